//! Certificates from files, read again when they change.
//!
//! All of a listener's files are taken together or not at all: a pair that is half written, or does
//! not belong together, leaves the one before in force.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::sync::{Notify, watch};

use crate::catalog::sync::watch::{FileWatcher, folder_of};
use crate::catalog::sync::{DEBOUNCE, SCHEDULE};
use crate::clock::Clock;
use crate::config::reader::Reader;
use crate::secret::{Secret, sha256};
use crate::spiffe::TrustDomain;
use crate::task::{TaskGuard, Tasks};
use crate::tls::config::TlsConfig;
use crate::tls::material::{self, Material, Protocol, Shown};
use crate::tls::verifier::PeerVerifier;

/// The largest file, in bytes.
const MAX_BYTES: usize = 1024 * 1024;

/// The files of one listener.
#[derive(Debug, Clone)]
pub(crate) struct TlsFiles {
    listener: Arc<str>,
    base: PathBuf,
    certificate: PathBuf,
    key: PathBuf,
    client_ca: Option<PathBuf>,
    protocol: Protocol,
    /// The trust domains that the authorities may name workloads of; any where none are given.
    domains: Option<Vec<TrustDomain>>,
    clock: Clock,
}

/// Where they are used, and whom they may name.
#[derive(Debug, Clone)]
pub(crate) struct FilesFor {
    /// The listener.
    pub(crate) listener: Arc<str>,
    /// What is spoken there.
    pub(crate) protocol: Protocol,
    /// What relative paths start from.
    pub(crate) base: PathBuf,
    /// The trust domains that the authorities may name workloads of; any where none are given.
    pub(crate) domains: Option<Vec<TrustDomain>>,
    /// Says what is over.
    pub(crate) clock: Clock,
}

/// What is wrong with a file.
#[derive(Debug)]
pub(crate) struct BadFile {
    /// The key of the configuration that names it.
    pub(crate) path: &'static str,
    /// What is wrong.
    pub(crate) message: String,
}

impl fmt::Display for BadFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.message)
    }
}

/// What the files hold.
struct Read {
    certificate: Vec<u8>,
    key: Secret<Vec<u8>>,
    client_ca: Option<Vec<u8>>,
}

impl Read {
    fn digest(&self) -> [u8; 32] {
        let client_ca = self.client_ca.as_deref().unwrap_or_default();
        let parts = [&*self.certificate, self.key.expose(), client_ca];
        sha256(&parts.map(sha256).concat())
    }
}

/// A digest of what was read, and what came of it.
type Taken = ([u8; 32], Material);

impl TlsFiles {
    /// Those that `config` names; none where it names no pair.
    pub(crate) fn new(config: &TlsConfig, place: FilesFor) -> Option<Self> {
        let file = |file: &crate::tls::config::PemFile| file.file.clone();
        Some(Self {
            certificate: config.certificate.as_ref().map(file)?,
            key: config.key.as_ref().map(file)?,
            client_ca: config.client_ca.as_ref().map(file),
            listener: place.listener,
            base: place.base,
            protocol: place.protocol,
            domains: place.domains,
            clock: place.clock,
        })
    }

    /// The listener that they are of.
    pub(crate) fn listener(&self) -> &Arc<str> {
        &self.listener
    }

    /// Reads them.
    ///
    /// # Errors
    /// What is wrong.
    pub(crate) fn load(&self) -> Result<Taken, BadFile> {
        let read = self.read()?;
        Ok((read.digest(), self.material(read)?))
    }

    fn read(&self) -> Result<Read, BadFile> {
        let mut reader = Reader::new(&self.base);
        let mut file = |path: &'static str, file: &Path| {
            let read = reader.read(file, MAX_BYTES);
            read.map_err(|error| bad(path, error))
        };
        Ok(Read {
            certificate: file("certificate", &self.certificate)?,
            key: Secret::new(file("key", &self.key)?),
            client_ca: match &self.client_ca {
                Some(path) => Some(file("clientCa", path)?),
                None => None,
            },
        })
    }

    fn material(&self, read: Read) -> Result<Material, BadFile> {
        let provider = material::provider();
        let shown = self.shown(&read, &provider)?;
        let clients = match &read.client_ca {
            None => None,
            Some(pem) => Some(self.clients(pem, &provider)?),
        };
        Material::new(shown, clients, self.protocol, &provider)
            .map_err(|error| bad("certificate", error))
    }

    fn shown(&self, read: &Read, provider: &CryptoProvider) -> Result<Shown, BadFile> {
        let chain = certificates("certificate", &read.certificate)?;
        let key = PrivateKeyDer::from_pem_slice(read.key.expose())
            .map_err(|_| bad("key", "there is no private key that can be read"))?;
        let shown = Shown::new(chain, key, provider).map_err(|error| bad("certificate", error))?;
        if shown.ends() <= self.clock.now() {
            return Err(bad("certificate", "it is over"));
        }
        Ok(shown)
    }

    fn clients(&self, pem: &[u8], provider: &Arc<CryptoProvider>) -> Result<PeerVerifier, BadFile> {
        let roots = certificates("clientCa", pem)?;
        PeerVerifier::authorities(&roots, self.domains.clone(), provider)
            .map_err(|error| bad("clientCa", error))
    }

    /// Publishes what they hold whenever they change; `digest` is of what was read last.
    pub(crate) fn watch(
        self,
        digest: [u8; 32],
        publish: watch::Sender<Arc<Material>>,
        tasks: &Tasks,
    ) -> TaskGuard {
        let nudge = Arc::new(Notify::new());
        let watcher = Arc::new(Mutex::new(FileWatcher::new(Arc::clone(&nudge))));
        let name = format!("tls/{}", self.listener);
        let (files, publish, blocking) = (Arc::new(self), Arc::new(publish), tasks.clone());
        let last = Arc::new(Mutex::new(digest));
        tasks.periodic(&name, SCHEDULE, nudge, move || {
            let (files, publish) = (Arc::clone(&files), Arc::clone(&publish));
            let (watcher, last) = (Arc::clone(&watcher), Arc::clone(&last));
            let tasks = blocking.clone();
            async move {
                let look = {
                    let files = Arc::clone(&files);
                    move || {
                        // watched before it is read, so that no change falls between
                        files.watch_folders(&watcher);
                        files.read().ok().map(|read| read.digest())
                    }
                };
                let seen = tasks.blocking(look).await?;
                tokio::time::sleep(DEBOUNCE).await;
                let take = move || files.take_settled(seen, &last, &publish);
                tasks.blocking(take).await?
            }
        })
    }

    fn watch_folders(&self, watcher: &Mutex<FileWatcher>) {
        let paths = [
            Some(&self.certificate),
            Some(&self.key),
            self.client_ca.as_ref(),
        ];
        let folders = paths
            .into_iter()
            .flatten()
            .map(|path| folder_of(&self.base.join(path)));
        let folders = folders.collect();
        watcher
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .watch(folders);
    }

    /// Publishes what two looks found the same, where it is new and good.
    ///
    /// # Errors
    /// Where it is neither old nor good: what was good last stays.
    fn take_settled(
        &self,
        seen: Option<[u8; 32]>,
        last: &Mutex<[u8; 32]>,
        publish: &watch::Sender<Arc<Material>>,
    ) -> anyhow::Result<()> {
        let kept = "the certificate before stays";
        let read = self
            .read()
            .map_err(|error| anyhow::anyhow!("{error}; {kept}"))?;
        let digest = read.digest();
        anyhow::ensure!(seen == Some(digest), "the files are being written; {kept}");
        let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
        if *last == digest {
            return Ok(());
        }
        let material = self.material(read);
        let material = material.map_err(|error| anyhow::anyhow!("{error}; {kept}"))?;
        *last = digest;
        publish.send_replace(Arc::new(material));
        tracing::info!(listener = %self.listener, "a new certificate is shown");
        Ok(())
    }
}

fn bad(path: &'static str, message: impl fmt::Display) -> BadFile {
    BadFile {
        path,
        message: message.to_string(),
    }
}

fn certificates(path: &'static str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, BadFile> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match read {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) => Err(bad(path, "there is no certificate in PEM")),
        Err(_) => Err(bad(path, "it is no PEM that can be read")),
    }
}
