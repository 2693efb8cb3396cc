//! Whose certificates are taken: each trust domain's by its own roots alone.
//
// INVARIANT: there is no pool of the roots of several trust domains: a certificate that names a
// workload of one is never verified by the roots of another.

use std::collections::BTreeMap;
use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, RootCertStore,
    SignatureScheme,
};

use crate::spiffe::TrustDomain;
use crate::tls::leaf::{self, BadLeaf, Named};

/// Verifies the certificates of those who connect.
#[derive(Debug)]
pub(crate) struct PeerVerifier {
    trust: Trust,
    provider: Arc<CryptoProvider>,
}

type Verifier = Arc<dyn ClientCertVerifier>;

/// Whose word counts.
#[derive(Debug)]
enum Trust {
    /// These authorities', about hosts, and about workloads of these trust domains, or of any.
    Authorities(Verifier, Option<Vec<TrustDomain>>),
    /// Each trust domain's, about its own workloads.
    Domains(BTreeMap<TrustDomain, Verifier>),
}

/// Roots that nothing can be verified by.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct BadRoots(String);

impl PeerVerifier {
    /// Takes what `roots` signed; workloads of `domains` alone, where they are given.
    pub(crate) fn authorities(
        roots: &[CertificateDer<'static>],
        domains: Option<Vec<TrustDomain>>,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, BadRoots> {
        let verifier = verifier(roots, provider)?;
        Ok(Self {
            trust: Trust::Authorities(verifier, domains),
            provider: Arc::clone(provider),
        })
    }

    /// Takes the workloads of each of these trust domains by its own roots. One whose roots are of
    /// no use is left out: its workloads are not taken.
    pub(crate) fn domains<'r>(
        bundles: impl Iterator<Item = (&'r TrustDomain, &'r [CertificateDer<'static>])>,
        provider: &Arc<CryptoProvider>,
    ) -> Self {
        let verifiers = bundles.filter_map(|(domain, roots)| {
            let verifier = verifier(roots, provider).inspect_err(|error| {
                tracing::warn!(trust_domain = %domain, %error, "a bundle is of no use");
            });
            Some((domain.clone(), verifier.ok()?))
        });
        Self {
            trust: Trust::Domains(verifiers.collect()),
            provider: Arc::clone(provider),
        }
    }

    /// The trust domains whose workloads are taken; none where hosts are, too.
    pub(crate) fn trust_domains(&self) -> Option<impl Iterator<Item = &TrustDomain>> {
        match &self.trust {
            Trust::Authorities(..) => None,
            Trust::Domains(domains) => Some(domains.keys()),
        }
    }

    fn verifier(&self, named: &Named) -> Result<&Verifier, BadPeer> {
        match (&self.trust, named) {
            (Trust::Authorities(verifier, Some(domains)), Named::Spiffe(id)) => domains
                .contains(id.trust_domain())
                .then_some(verifier)
                .ok_or(BadPeer::TrustDomain),
            (Trust::Authorities(verifier, _), _) => Ok(verifier),
            (Trust::Domains(domains), Named::Spiffe(id)) => {
                domains.get(id.trust_domain()).ok_or(BadPeer::TrustDomain)
            }
            (Trust::Domains(_), Named::Dns(_) | Named::Nobody) => Err(BadPeer::NoWorkload),
        }
    }
}

/// Why a certificate is not taken, before its signatures are looked at.
#[derive(Debug, thiserror::Error)]
enum BadPeer {
    #[error("{0}")]
    Leaf(#[from] BadLeaf),
    #[error("it is of a trust domain that is not taken")]
    TrustDomain,
    #[error("it names no workload")]
    NoWorkload,
}

impl From<BadPeer> for Error {
    fn from(error: BadPeer) -> Self {
        Self::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(error))))
    }
}

fn verifier(
    roots: &[CertificateDer<'static>],
    provider: &Arc<CryptoProvider>,
) -> Result<Verifier, BadRoots> {
    let mut store = RootCertStore::empty();
    for root in roots {
        let added = store.add(root.clone());
        added.map_err(|error| BadRoots(format!("an authority cannot be used: {error}")))?;
    }
    let builder =
        WebPkiClientVerifier::builder_with_provider(Arc::new(store), Arc::clone(provider));
    let built = builder.build().map(|verifier| -> Verifier { verifier });
    built.map_err(|error| BadRoots(error.to_string()))
}

impl ClientCertVerifier for PeerVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // a hint would keep clients from showing what is verified by another trust domain's roots
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let named = leaf::read(end_entity).map_err(BadPeer::from)?;
        let verifier = self.verifier(&named)?;
        verifier.verify_client_cert(end_entity, intermediates, now)
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
