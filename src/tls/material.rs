//! What one handshake is made with: a certificate, and whose certificates are taken.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::ResolvesServerCert;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;

use crate::spiffe::TrustDomain;
use crate::tls::verifier::PeerVerifier;

/// What is spoken on a listener beneath TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// gRPC.
    Http2,
    /// Anything for people and monitoring.
    Http1,
}

impl Protocol {
    /// Its name (RFC 7301 section 6).
    fn alpn(self) -> &'static [u8] {
        match self {
            Self::Http2 => b"h2",
            Self::Http1 => b"http/1.1",
        }
    }
}

/// What handshakes are made with, at one time.
#[derive(Debug, Default)]
pub(crate) struct Material {
    /// Nothing, where we have no certificate: no handshake succeeds.
    config: Option<Arc<ServerConfig>>,
    /// When our certificate ends.
    ends: Timestamp,
    /// The trust domains whose workloads are taken; nothing where hosts are, too.
    domains: Option<BTreeSet<TrustDomain>>,
}

impl Material {
    /// We have no certificate.
    pub(crate) fn none() -> Self {
        Self::default()
    }

    /// Shows `shown`; takes whom `clients` takes, or everybody without a certificate.
    ///
    /// # Errors
    /// Where its cryptography cannot speak TLS.
    pub(crate) fn new(
        shown: Shown,
        clients: Option<PeerVerifier>,
        protocol: Protocol,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, rustls::Error> {
        let domains = clients
            .as_ref()
            .and_then(|clients| Some(clients.trust_domains()?.cloned().collect()));
        let builder = ServerConfig::builder_with_provider(Arc::clone(provider))
            .with_safe_default_protocol_versions()?;
        let builder = match clients {
            Some(clients) => builder.with_client_cert_verifier(Arc::new(clients)),
            None => builder.with_no_client_auth(),
        };
        // whatever name a client asks for (SNI): it says nothing about who asks or is asked
        let resolver: Arc<dyn ResolvesServerCert> = Arc::new(SingleCertAndKey::from(shown.key));
        let mut config = builder.with_cert_resolver(resolver);
        config.alpn_protocols = vec![protocol.alpn().to_vec()];
        // a session that is resumed is not verified again: it would outlive its certificate
        config.send_tls13_tickets = 0;
        config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
        Ok(Self {
            config: Some(Arc::new(config)),
            ends: shown.ends,
            domains,
        })
    }

    /// What a handshake at `now` is made with; nothing where our certificate is over.
    pub(crate) fn config(&self, now: Timestamp) -> Option<&Arc<ServerConfig>> {
        self.config.as_ref().filter(|_| now < self.ends)
    }

    /// Whether a connection of a client of this trust domain may go on.
    pub(crate) fn keeps(&self, domain: Option<&TrustDomain>) -> bool {
        let is_taken = match (&self.domains, domain) {
            (Some(domains), Some(domain)) => domains.contains(domain),
            (Some(_), None) | (None, _) => true,
        };
        is_taken && self.config.is_some()
    }
}

/// A certificate that we show, with its key.
#[derive(Debug)]
pub(crate) struct Shown {
    key: Arc<CertifiedKey>,
    ends: Timestamp,
}

/// A pair of certificate and key that cannot be shown.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct BadPair(&'static str);

impl Shown {
    /// `chain`, leaf first, with the leaf's private key.
    ///
    /// # Errors
    /// Where they do not belong together or cannot be used. Nothing of the key is told.
    pub(crate) fn new(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        provider: &CryptoProvider,
    ) -> Result<Self, BadPair> {
        let leaf = chain.first().ok_or(BadPair("there is no certificate"))?;
        let ends = ends(leaf).ok_or(BadPair("the certificate cannot be read"))?;
        let key = provider.key_provider.load_private_key(key);
        let key = key.map_err(|_| BadPair("the key cannot be used"))?;
        let key = CertifiedKey::new(chain, key);
        match key.keys_match() {
            Ok(()) => {}
            Err(_) => return Err(BadPair("the key is not that of the certificate")),
        }
        Ok(Self {
            key: Arc::new(key),
            ends,
        })
    }

    /// What is ready for handshakes, until `ends`.
    pub(crate) fn of_key(key: &Arc<CertifiedKey>, ends: Timestamp) -> Self {
        Self {
            key: Arc::clone(key),
            ends,
        }
    }

    /// When it ends.
    pub(crate) fn ends(&self) -> Timestamp {
        self.ends
    }
}

/// The cryptography of handshakes.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(default_provider())
}

fn ends(leaf: &CertificateDer<'_>) -> Option<Timestamp> {
    let (_, certificate) = X509Certificate::from_der(leaf).ok()?;
    Timestamp::from_second(certificate.validity().not_after.timestamp()).ok()
}
