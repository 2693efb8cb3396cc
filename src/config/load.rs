//! Reads the configuration: file, overrides, structure, meaning.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::config::findings::Findings;
use crate::config::locator::Locator;
use crate::config::overrides::{Override, apply};
use crate::config::reader::Reader;
use crate::config::yaml::YamlDocument;
use crate::config::{Config, ConfigSeed, RELOADED_SECTIONS, SECTIONS};
use crate::problem::{Problem, Problems};
use crate::secret::sha256;

/// The largest configuration, in bytes.
const MAX_CONFIG_BYTES: usize = 4 * 1024 * 1024;

/// A configuration that has been checked, and where it comes from.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// What is allowed, but dangerous.
    pub warnings: Problems,
    pub(crate) origin: ConfigOrigin,
    pub(crate) document: YamlDocument,
    pub(crate) sections: BTreeMap<&'static str, [u8; 32]>,
}

/// Where a configuration comes from.
#[derive(Debug, Clone)]
pub(crate) enum ConfigOrigin {
    /// A file, with overrides.
    File {
        /// The file.
        path: PathBuf,
        /// What the environment overrides.
        overrides: Vec<Override>,
    },
    /// The command line, with the one document of its catalog.
    CommandLine {
        /// The document.
        catalog: String,
    },
}

impl Config {
    /// Reads the configuration at `path`, with `overrides` of single scalars.
    ///
    /// # Errors
    /// The first structural mistake, or else everything that is wrong.
    pub fn load(path: &Path, overrides: Vec<Override>) -> Result<Loaded, Problems> {
        let name = path.display().to_string();
        let bytes = Reader::new("")
            .read(path, MAX_CONFIG_BYTES)
            .map_err(|error| one(&name, error.to_string()))?;
        let text =
            String::from_utf8(bytes).map_err(|_| one(&name, "it is no UTF-8 text".to_owned()))?;
        if YamlDocument::split(&name, &text).len() > 1 {
            return Err(one(
                &name,
                "it has several documents; the configuration is one".to_owned(),
            ));
        }
        let applied = apply(&name, text, &overrides)?;
        let origin = ConfigOrigin::File {
            path: path.to_owned(),
            overrides: overrides.clone(),
        };
        Loaded::parse(&name, &applied.text, origin).map_err(|problems| applied.blame(&problems))
    }
}

impl Loaded {
    pub(super) fn parse(name: &str, text: &str, origin: ConfigOrigin) -> Result<Self, Problems> {
        let document = YamlDocument::whole(name, text);
        let locator = Locator::new(text);
        let config = if YamlDocument::split(name, text).is_empty() {
            Config::default()
        } else {
            document
                .parse_with(ConfigSeed(&locator))
                .map_err(Problems::from)?
        };
        let mut findings = Findings::new();
        config.check(&mut findings);
        let sections = SECTIONS.map(|section| (section, section_digest(&locator, section)));
        document.problems(&findings).into_result(Self {
            warnings: document.located(findings.warnings()),
            config,
            origin,
            document,
            sections: sections.into(),
        })
    }

    /// The folder that relative paths start from: that of the file.
    #[must_use]
    pub fn base(&self) -> PathBuf {
        match &self.origin {
            ConfigOrigin::File { path, .. } => {
                path.parent().map(Path::to_owned).unwrap_or_default()
            }
            ConfigOrigin::CommandLine { .. } => PathBuf::new(),
        }
    }

    /// Reads it again from where it came.
    ///
    /// # Errors
    /// Like [`Config::load`].
    pub fn load_again(&self) -> Result<Self, Problems> {
        match &self.origin {
            ConfigOrigin::File { path, overrides } => Config::load(path, overrides.clone()),
            ConfigOrigin::CommandLine { .. } => Ok(self.clone()),
        }
    }

    /// The digest of what the sections say that reload.
    pub(crate) fn reloaded_digest(&self) -> [u8; 32] {
        let digests = RELOADED_SECTIONS.map(|section| self.sections.get(section).copied());
        sha256(&digests.map(Option::unwrap_or_default).concat())
    }

    /// The sections in which `other` says something else.
    #[must_use]
    pub fn changed_sections(&self, other: &Self) -> Vec<&'static str> {
        let changed = SECTIONS
            .into_iter()
            .filter(|section| self.sections.get(section) != other.sections.get(section));
        changed.collect()
    }
}

/// A digest of what a section says, whatever the layout and comments.
fn section_digest(locator: &Locator, section: &str) -> [u8; 32] {
    let mut text = String::new();
    for place in locator.places() {
        let rest = place.path.strip_prefix(section);
        if rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '['])) {
            let value = place.scalar.as_ref().map(|scalar| &scalar.text);
            text.push_str(&format!("{:?}={value:?}\n", place.path));
        }
    }
    sha256(text.as_bytes())
}

fn one(file: &str, message: String) -> Problems {
    Problems::from(Problem {
        file: file.into(),
        line: None,
        path: String::new(),
        message,
    })
}
