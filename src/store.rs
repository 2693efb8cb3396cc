//! The embedded store: one SQLite file that holds what the admin API writes: FIWARE's endpoints and
//! credentials, and what is revoked.
//!
//! Not for the request path's own state, and not for several processes: a lock beside the file is
//! held as long as the store is open. Everything is kept in memory too, so that reading never
//! touches the file.
//
// INVARIANT: a write is whole or not at all, and is in the file before anybody reads it.
// INVARIANT: a signing key leaves only as a `Secret`, always with the certificates that it belongs to.

mod credential;
pub mod encryption;
pub mod endpoint;
pub mod error;
mod file;
pub mod material;
mod revocation;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::authentication::revocation::entry::{Entry, EntryId};
use crate::config::findings::Findings;
use crate::config::reader::Reader;
use crate::config::value::SecretSource;
use crate::secret::Secret;
use crate::store::endpoint::Endpoint;
use crate::store::error::StoreError;
use crate::store::file::StoreFile;
use crate::store::material::{CertificateChain, SigningKey};

/// The embedded store, for what the admin API writes. One process uses it: run one replica.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StoreConfig {
    /// The SQLite file, in a folder that exists and can be written; the file is made where there is
    /// none.
    pub path: PathBuf,
    /// The secret, of 32 bytes or more, that signing keys are encrypted with; needed where the
    /// credentials API is used. A store that was written with one cannot be opened with another.
    #[serde(default)]
    pub encryption_key: Option<SecretSource>,
}

impl StoreConfig {
    /// Finds what is wrong.
    pub fn check(&self, findings: &mut Findings) {
        if self.path.as_os_str().is_empty() {
            findings.wrong("path", "it must not be empty");
        }
    }
}

/// A credential that is in effect: a signing key and the certificates that belong to it.
#[derive(Debug)]
pub struct StoredCredential {
    /// The certificates in PEM, leaf first.
    pub certificates: Vec<u8>,
    /// The signing key in PEM, PKCS #1 or PKCS #8.
    pub key: Secret<Vec<u8>>,
    /// Another number for each pair that this process saw of any client.
    pub generation: u64,
}

/// What became of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// It is in effect.
    Done,
    /// Half of a credential waits for the other half; what was in effect still is.
    Waiting,
    /// What it was about is not there.
    Missing,
    /// What it would make is there already.
    Taken,
}

/// Everything in the store at one time.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    /// By host and base path.
    pub(crate) endpoints: Vec<Endpoint>,
    /// By client id; none where no pair is in effect.
    pub(crate) credentials: BTreeMap<String, Option<Arc<StoredCredential>>>,
}

/// The store; clones are the same one.
#[derive(Debug, Clone)]
pub struct Store(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    file: Mutex<Option<StoreFile>>,
    contents: ArcSwap<Contents>,
    /// What was revoked when the file was read, until it is asked for.
    revoked: Mutex<Vec<Entry>>,
}

impl Store {
    /// Opens the store for this process alone, and makes it where there is none.
    ///
    /// # Errors
    /// Where it cannot be had, is damaged, or is encrypted with another key.
    pub fn open(config: &StoreConfig, reader: &mut Reader) -> Result<Self, StoreError> {
        let (file, contents, revoked) = StoreFile::open(config, reader)?;
        Ok(Self::with(Some(file), contents, revoked))
    }

    /// Reads what the store holds now, for commands that look beside a server which may be using it.
    /// Where there is no file yet, it holds nothing.
    ///
    /// # Errors
    /// Like [`Store::open`]; it cannot be written.
    pub fn read(config: &StoreConfig, reader: &mut Reader) -> Result<Self, StoreError> {
        let (contents, revoked) = StoreFile::read(config, reader)?;
        Ok(Self::with(None, contents, revoked))
    }

    fn with(file: Option<StoreFile>, contents: Contents, revoked: Vec<Entry>) -> Self {
        Self(Arc::new(Inner {
            file: Mutex::new(file),
            contents: ArcSwap::from_pointee(contents),
            revoked: Mutex::new(revoked),
        }))
    }

    /// The credential of `client_id` that is in effect. Cheap: for each token that is fetched.
    #[must_use]
    pub fn credential(&self, client_id: &str) -> Option<Arc<StoredCredential>> {
        let contents = self.0.contents.load();
        contents.credentials.get(client_id).cloned().flatten()
    }

    /// Every client id that has a credential, or half of one.
    #[must_use]
    pub fn client_ids(&self) -> Vec<String> {
        self.contents().credentials.keys().cloned().collect()
    }

    /// Every endpoint, by host and base path.
    #[must_use]
    pub fn endpoints(&self) -> Vec<Endpoint> {
        self.contents().endpoints.clone()
    }

    /// Everything, as it is now.
    pub(crate) fn contents(&self) -> Arc<Contents> {
        self.0.contents.load_full()
    }

    /// Adds an endpoint; [`Written::Taken`] where its host and base path have one. Writes the file.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn add_endpoint(&self, endpoint: &Endpoint) -> Result<Written, StoreError> {
        self.write(|file, now| file.write(now, |write| endpoint::insert(write, endpoint)))
    }

    /// Adds an endpoint like [`Store::add_endpoint`] where `check` takes it beside those that are there;
    /// nobody else writes meanwhile.
    ///
    /// # Errors
    /// Where it cannot be written; within, what `check` says.
    pub fn add_endpoint_if<E>(
        &self,
        endpoint: &Endpoint,
        check: impl FnOnce(&[Endpoint]) -> Result<(), E>,
    ) -> Result<Result<Written, E>, StoreError> {
        let mut file = self.file_locked();
        let now = self.contents();
        if now.endpoints.iter().any(|known| known.is_at(endpoint)) {
            return Ok(Ok(Written::Taken));
        }
        if let Err(refused) = check(&now.endpoints) {
            return Ok(Err(refused));
        }
        let file = file.as_mut().ok_or(StoreError::ReadOnly)?;
        let (written, contents) = file.write(&now, |write| endpoint::insert(write, endpoint))?;
        self.0.contents.store(Arc::new(contents));
        Ok(Ok(written))
    }

    /// Removes an endpoint. Writes the file.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn remove_endpoint(&self, id: Uuid) -> Result<Written, StoreError> {
        self.write(|file, now| file.write(now, |write| endpoint::delete(write, id)))
    }

    /// Adds a credential, whose halves belong together where there are both. Writes the file.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn add_credential(
        &self,
        client_id: &str,
        chain: Option<&CertificateChain>,
        key: Option<&SigningKey>,
    ) -> Result<Written, StoreError> {
        self.write(|file, now| {
            file.write_secrets(now, |write, seal| {
                credential::insert(write, seal, client_id, (chain, key))
            })
        })
    }

    /// Gives a client other certificates: at once where they belong to its key, or else as soon as
    /// the key comes that they belong to. Writes the file.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn set_chain(
        &self,
        client_id: &str,
        chain: &CertificateChain,
    ) -> Result<Written, StoreError> {
        self.write(|file, now| {
            file.write_secrets(now, |write, seal| {
                credential::set_chain(write, seal, client_id, chain)
            })
        })
    }

    /// Gives a client another signing key, as [`Store::set_chain`] gives certificates.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn set_key(&self, client_id: &str, key: &SigningKey) -> Result<Written, StoreError> {
        self.write(|file, now| {
            file.write_secrets(now, |write, seal| {
                credential::set_key(write, seal, client_id, key)
            })
        })
    }

    /// Removes a credential. Writes the file.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn remove_credential(&self, client_id: &str) -> Result<Written, StoreError> {
        self.write(|file, now| file.write(now, |write| credential::delete(write, client_id)))
    }

    /// What was revoked when the file was opened; none when it is asked for again.
    #[must_use]
    pub fn take_revocations(&self) -> Vec<Entry> {
        let revoked = self.0.revoked.lock();
        std::mem::take(&mut *revoked.unwrap_or_else(PoisonError::into_inner))
    }

    /// Keeps that something is revoked. Writes the file.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn put_revocation(&self, entry: &Entry) -> Result<(), StoreError> {
        let mut file = self.file_locked();
        file.as_mut()
            .ok_or(StoreError::ReadOnly)?
            .put_revocation(entry)
    }

    /// Forgets that these were revoked. Writes the file.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn remove_revocations(&self, ids: &[EntryId]) -> Result<(), StoreError> {
        let mut file = self.file_locked();
        file.as_mut()
            .ok_or(StoreError::ReadOnly)?
            .remove_revocations(ids)
    }

    /// Writes, and lets everybody read what is there then.
    fn write(
        &self,
        write: impl FnOnce(&mut StoreFile, &Contents) -> Result<(Written, Contents), StoreError>,
    ) -> Result<Written, StoreError> {
        let mut file = self.file_locked();
        let file = file.as_mut().ok_or(StoreError::ReadOnly)?;
        let (written, contents) = write(file, &self.contents())?;
        self.0.contents.store(Arc::new(contents));
        Ok(written)
    }

    fn file_locked(&self) -> MutexGuard<'_, Option<StoreFile>> {
        self.0.file.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
pub(crate) mod tests;
