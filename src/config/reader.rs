//! Reads the files and environment variables that a configuration names, and remembers which, so
//! that a change of any of them can be seen.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use crate::secret::sha256;

/// Reads files relative to a folder.
#[derive(Debug)]
pub struct Reader {
    base: PathBuf,
    files: BTreeMap<PathBuf, Option<[u8; 32]>>,
}

/// Why a file or variable cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file cannot be read.
    #[error("cannot read `{path}`: {error}")]
    File {
        /// The file.
        path: String,
        /// Why.
        error: std::io::Error,
    },
    /// The file is too large.
    #[error("`{path}` has more than {limit} bytes")]
    TooLarge {
        /// The file.
        path: String,
        /// The most that it may have.
        limit: usize,
    },
    /// The variable is not set.
    #[error("the environment variable `{0}` is not set, or is no UTF-8")]
    Env(String),
    /// There is nothing in it.
    #[error("it is empty")]
    Empty,
}

impl Reader {
    /// Reads relative to `base`.
    #[must_use]
    pub fn new(base: impl Into<PathBuf>) -> Self {
        Self {
            base: base.into(),
            files: BTreeMap::new(),
        }
    }

    /// The place of `path`, which may be relative.
    #[must_use]
    pub fn resolve(&self, path: &Path) -> PathBuf {
        self.base.join(path)
    }

    /// The bytes of the file at `path`, of which there are `limit` at most.
    ///
    /// # Errors
    /// Where it cannot be read whole.
    pub fn read(&mut self, path: &Path, limit: usize) -> Result<Vec<u8>, ReadError> {
        let path = self.resolve(path);
        let name = || path.display().to_string();
        let mut bytes = Vec::new();
        let cap = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
        let read =
            std::fs::File::open(&path).and_then(|file| file.take(cap).read_to_end(&mut bytes));
        let digest = read.is_ok().then(|| sha256(&bytes));
        self.files.insert(path.clone(), digest);
        read.map_err(|error| ReadError::File {
            path: name(),
            error,
        })?;
        if bytes.len() > limit {
            return Err(ReadError::TooLarge {
                path: name(),
                limit,
            });
        }
        Ok(bytes)
    }

    /// The value of the environment variable `name`.
    ///
    /// # Errors
    /// Where it is not set, or no UTF-8.
    pub fn env(&self, name: &str) -> Result<String, ReadError> {
        #[expect(
            clippy::disallowed_methods,
            reason = "the configuration is what reads the environment"
        )]
        std::env::var(name).map_err(|_| ReadError::Env(name.to_owned()))
    }

    /// Every file that was asked for, with the SHA-256 digest of what it held.
    #[must_use]
    pub fn files(&self) -> &BTreeMap<PathBuf, Option<[u8; 32]>> {
        &self.files
    }
}
