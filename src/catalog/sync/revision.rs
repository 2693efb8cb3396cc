//! The parts of a revision: the documents of each source, and what the configuration builds.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::catalog::build::{Built, Known, Refused, build};
use crate::catalog::source::SourceDocuments;
use crate::catalog::source::file::SourceFiles;
use crate::catalog::source::store::StoreSource;
use crate::catalog::sync::BuildConfigured;
use crate::catalog::sync::watch::folder_of;
use crate::config::Config;
use crate::config::findings::Findings;
use crate::config::load::Loaded;
use crate::config::reader::Reader;
use crate::listener::check_peers;
use crate::problem::{Problem, Problems};
use crate::secret::sha256;
use crate::snapshot::{Configured, Revision};

/// Where the documents of a source are.
#[derive(Debug)]
pub(super) enum Place {
    /// In these files.
    Files(PathBuf),
    /// In the command line.
    Memory(String),
    /// In the store.
    Store(StoreSource),
}

impl Place {
    /// What is there now.
    pub(super) fn read(&self) -> Result<SourceFiles, Problems> {
        match self {
            Self::Files(path) => SourceFiles::read(path),
            Self::Memory(text) => Ok(SourceFiles::of_text("command line", text)),
            Self::Store(source) => Ok(source.documents()),
        }
    }

    /// The folders in which a change may concern it.
    pub(super) fn watched(&self) -> Vec<PathBuf> {
        match self {
            Self::Files(path) if path.is_dir() => vec![path.clone(), folder_of(path)],
            Self::Files(path) => vec![folder_of(path)],
            Self::Memory(_) | Self::Store(_) => Vec::new(),
        }
    }
}

/// The authenticators and providers of one configuration, and the files that they were made of.
#[derive(Debug, Clone)]
pub(super) struct ConfiguredSet {
    /// The configuration that they are of; its other sections are those of the start.
    pub(super) config: Arc<Config>,
    /// The authenticators and providers.
    pub(super) configured: Configured,
    /// The files that were read, with digests.
    pub(super) files: BTreeMap<PathBuf, Option<[u8; 32]>>,
    /// The digest of all of it.
    pub(super) digest: [u8; 32],
}

impl ConfiguredSet {
    /// Builds those of `loaded`; the other sections stay those of `started`.
    pub(super) fn build(
        loaded: &Loaded,
        started: &Config,
        build: &BuildConfigured,
    ) -> Result<Self, Problems> {
        let config = Config {
            authenticators: loaded.config.authenticators.clone(),
            providers: loaded.config.providers.clone(),
            ..started.clone()
        };
        let mut reader = Reader::new(loaded.base());
        let mut findings = Findings::new();
        // ports do not reload, and providers do
        findings.within("listeners", |findings| {
            check_peers(&started.listeners, !config.providers.is_empty(), findings);
        });
        let configured = build(&config, &mut reader, &mut findings);
        if configured.is_none() && findings.count() == 0 {
            findings.wrong(
                "authenticators",
                "they or the providers cannot be built, and nothing says why",
            );
        }
        for warning in loaded.document.located(findings.warnings()).iter() {
            tracing::warn!(warning = %warning, "configuration");
        }
        let files = reader.files().clone();
        loaded.document.problems(&findings).into_result(Self {
            digest: digest(loaded, &files),
            config: Arc::new(config),
            configured: configured.unwrap_or_default(),
            files,
        })
    }

    /// Whether `loaded` and the files say the same as when this was built.
    pub(super) fn is_of(&self, loaded: &Loaded) -> bool {
        let files = self
            .files
            .keys()
            .map(|path| (path.clone(), read_digest(path)))
            .collect();
        digest(loaded, &files) == self.digest
    }
}

fn digest(loaded: &Loaded, files: &BTreeMap<PathBuf, Option<[u8; 32]>>) -> [u8; 32] {
    let mut digested = Vec::new();
    digested.extend(loaded.reloaded_digest());
    for (path, digest) in files {
        digested.extend(sha256(path.as_os_str().as_encoded_bytes()));
        digested.extend(digest.unwrap_or_default());
    }
    sha256(&digested)
}

/// The digest of the file at `path`, as a [`Reader`] makes it.
pub(super) fn read_digest(path: &Path) -> Option<[u8; 32]> {
    const MAX_BYTES: usize = 16 * 1024 * 1024;
    let mut reader = Reader::new("");
    let _ = reader.read(path, MAX_BYTES);
    reader.files().values().next().copied().flatten()
}

/// A choice of documents for each source, some of them new, and of what the configuration builds.
#[derive(Debug, Clone)]
pub(super) struct Candidate {
    /// The documents of each source, and whether they are new.
    pub(super) sources: Vec<(Arc<SourceDocuments>, bool)>,
    /// What the configuration builds.
    pub(super) configured: ConfiguredSet,
    /// Whether that is new.
    pub(super) has_new_configured: bool,
}

impl Candidate {
    /// Whether anything in it is new.
    pub(super) fn is_new(&self) -> bool {
        self.has_new_configured || self.sources.iter().any(|(_, is_new)| *is_new)
    }

    /// The catalog of it.
    pub(super) fn build(&self) -> Result<Built, Vec<(usize, Problem)>> {
        let sources: Vec<&SourceDocuments> =
            self.sources.iter().map(|(source, _)| &**source).collect();
        let known: Known = self.configured.config.known();
        build(&sources, &known).map_err(|Refused(problems)| problems)
    }

    /// The digest of it.
    pub(super) fn revision(&self) -> Revision {
        let mut digested = self.configured.digest.to_vec();
        for (source, _) in &self.sources {
            digested.extend(sha256(source.source.as_bytes()));
            digested.extend(source.digest);
        }
        Revision::new(&sha256(&digested))
    }
}
