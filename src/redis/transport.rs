//! The bytes under the protocol: TCP, TLS over it, or a socket of the machine.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

use crate::secret::Secret;

/// A stream of bytes to the server.
pub(super) type Stream = Box<dyn Bytes>;

/// What a stream can do.
pub(super) trait Bytes: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Bytes for T {}

/// Where the server is.
#[derive(Debug)]
pub(super) enum Transport {
    /// On the network; with TLS where it says so.
    Tcp {
        host: String,
        port: u16,
        tls: Option<TlsTarget>,
    },
    /// On this machine.
    Unix(PathBuf),
}

/// Whom TLS must lead to, and who we are there.
pub(super) struct TlsTarget {
    name: ServerName<'static>,
    config: Arc<ClientConfig>,
}

impl fmt::Debug for TlsTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsTarget")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// The files that TLS is made of.
pub(super) struct Material {
    pub(super) ca: Option<Secret<Vec<u8>>>,
    pub(super) certificate: Option<Secret<Vec<u8>>>,
    pub(super) key: Option<Secret<Vec<u8>>>,
}

/// What is wrong, and at which key of the configuration.
type Wrong = (&'static str, String);

impl Transport {
    /// A new stream.
    pub(super) async fn open(&self) -> io::Result<Stream> {
        match self {
            Self::Unix(path) => Ok(Box::new(UnixStream::connect(path).await?)),
            Self::Tcp { host, port, tls } => {
                let stream = TcpStream::connect((host.as_str(), *port)).await?;
                stream.set_nodelay(true)?;
                match tls {
                    None => Ok(Box::new(stream)),
                    Some(tls) => {
                        let connector = TlsConnector::from(Arc::clone(&tls.config));
                        Ok(Box::new(connector.connect(tls.name.clone(), stream).await?))
                    }
                }
            }
        }
    }
}

impl TlsTarget {
    /// TLS to `host`.
    pub(super) fn new(host: &str, material: &Material) -> Result<Self, Wrong> {
        let name = ServerName::try_from(host.to_owned());
        let name = name.map_err(|_| ("url", "the host is no name for TLS".to_owned()))?;
        let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| ("url", error.to_string()))?
            .with_root_certificates(roots(material.ca.as_ref())?);
        let config = match material.certificate.as_ref().zip(material.key.as_ref()) {
            None => builder.with_no_client_auth(),
            Some((chain, key)) => {
                let chain = certificates("certificate", chain.expose())?;
                let key = PrivateKeyDer::from_pem_slice(key.expose());
                let key = key.map_err(|_| ("key", "is no private key in PEM".to_owned()))?;
                let config = builder.with_client_auth_cert(chain, key);
                config.map_err(|error| ("key", error.to_string()))?
            }
        };
        let config = Arc::new(config);
        Ok(Self { name, config })
    }
}

fn roots(ca: Option<&Secret<Vec<u8>>>) -> Result<RootCertStore, Wrong> {
    let mut roots = RootCertStore::empty();
    match ca {
        Some(ca) => {
            for certificate in certificates("ca", ca.expose())? {
                let added = roots.add(certificate);
                added.map_err(|error| ("ca", error.to_string()))?;
            }
        }
        None => {
            let system = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(system.certs);
            if roots.is_empty() {
                let message = "is needed: the system has no certificates";
                return Err(("ca", message.to_owned()));
            }
        }
    }
    Ok(roots)
}

fn certificates(path: &'static str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Wrong> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match certificates {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) | Err(_) => Err((path, "has no certificate in PEM".to_owned())),
    }
}
