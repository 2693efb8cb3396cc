//! A TLS client that shows what it is given, takes whatever it is shown, and remembers it.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::ClientConfig;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    DigitallySignedStruct, Error, ProtocolVersion, SignatureScheme, SupportedProtocolVersion,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::authority::Identity;
use super::workload_api::Signed;

/// A client.
#[derive(Debug, Clone)]
pub(crate) struct TlsClient {
    config: Arc<ClientConfig>,
    shown: Arc<Mutex<Option<CertificateDer<'static>>>>,
    name: &'static str,
}

/// A certificate chain, leaf first, with its key.
type Shown = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// Takes any certificate and remembers the leaf.
#[derive(Debug)]
struct Remember {
    shown: Arc<Mutex<Option<CertificateDer<'static>>>>,
    provider: Arc<CryptoProvider>,
}

impl TlsClient {
    /// A client that shows `identity`, or nothing, and speaks HTTP/2.
    pub(crate) fn new(identity: Option<&Identity>) -> Self {
        Self::with(identity, &[b"h2"], rustls::DEFAULT_VERSIONS)
    }

    /// A client that shows what an agent signed, and speaks HTTP/2.
    pub(crate) fn of(signed: &Signed) -> Self {
        let chain = CertificateDer::pem_slice_iter(signed.certificate.as_bytes());
        let chain = chain.collect::<Result<_, _>>().expect("certificates");
        let key = PrivateKeyDer::from_pem_slice(signed.key.as_bytes()).expect("a key");
        Self::showing(Some((chain, key)), &[b"h2"], rustls::DEFAULT_VERSIONS)
    }

    /// A client that offers these protocols and versions.
    pub(crate) fn with(
        identity: Option<&Identity>,
        protocols: &[&[u8]],
        versions: &[&'static SupportedProtocolVersion],
    ) -> Self {
        let shown = identity.map(|identity| (identity.chain().to_vec(), identity.key_der()));
        Self::showing(shown, protocols, versions)
    }

    fn showing(
        identity: Option<Shown>,
        protocols: &[&[u8]],
        versions: &[&'static SupportedProtocolVersion],
    ) -> Self {
        let provider = Arc::new(default_provider());
        let shown = Arc::<Mutex<_>>::default();
        let verifier = Remember {
            shown: Arc::clone(&shown),
            provider: Arc::clone(&provider),
        };
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .expect("versions of TLS")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let mut config = match identity {
            None => builder.with_no_client_auth(),
            Some((chain, key)) => builder
                .with_client_auth_cert(chain, key)
                .expect("a key and its certificate"),
        };
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        Self {
            config: Arc::new(config),
            shown,
            name: "localhost",
        }
    }

    /// The same, speaking HTTP/1.1.
    pub(crate) fn speaking_http1(mut self) -> Self {
        let mut config = ClientConfig::clone(&self.config);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        self.config = Arc::new(config);
        self
    }

    /// The same, asking for this name.
    pub(crate) fn asking_for(mut self, name: &'static str) -> Self {
        self.name = name;
        self
    }

    /// The leaf that it was shown last.
    pub(crate) fn shown(&self) -> Option<CertificateDer<'static>> {
        let shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        shown.clone()
    }

    /// Connects. With TLS 1.3 a server may refuse what it was shown only later.
    pub(crate) async fn connect(&self, address: SocketAddr) -> io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from(self.name).expect("a name of a host");
        let stream = TcpStream::connect(address).await?;
        let connector = TlsConnector::from(Arc::clone(&self.config));
        connector.connect(name, stream).await
    }

    /// Connects, and waits until the server has taken what it was shown: an HTTP/2 server says
    /// something first.
    pub(crate) async fn open(&self, address: SocketAddr) -> io::Result<TlsStream<TcpStream>> {
        let mut stream = self.connect(address).await?;
        stream
            .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
            .await?;
        let mut first = [0; 9];
        stream.read_exact(&mut first).await?;
        Ok(stream)
    }

    /// Asks for `target` over HTTP/1.1; gives the whole answer as text.
    pub(crate) async fn get(&self, address: SocketAddr, target: &str) -> io::Result<String> {
        self.get_with(address, target, "").await
    }

    /// The same, with more lines of headers.
    pub(crate) async fn get_with(
        &self,
        address: SocketAddr,
        target: &str,
        headers: &str,
    ) -> io::Result<String> {
        let mut stream = self.connect(address).await?;
        let request = format!(
            "GET {target} HTTP/1.1\r\nhost: localhost\r\n{headers}connection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    }
}

/// What was agreed on a connection.
pub(crate) fn agreed(stream: &TlsStream<TcpStream>) -> (ProtocolVersion, Option<Vec<u8>>) {
    let (_, connection) = stream.get_ref();
    (
        connection.protocol_version().expect("a version"),
        connection.alpn_protocol().map(<[u8]>::to_vec),
    )
}

impl ServerCertVerifier for Remember {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(end_entity.clone().into_owned());
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let algorithms = &self.provider.signature_verification_algorithms;
        algorithms.supported_schemes()
    }
}
