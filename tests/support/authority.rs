//! A certificate authority for tests: servers whose certificates are good, expired or of another
//! host, clients, and parties that sign with what stands in their certificate.

use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256, RsaKeySize, SanType,
};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};

use super::signing;

/// The authority. What it issues is signed by its intermediate certificate.
#[derive(Debug)]
pub(crate) struct Authority {
    root: CertifiedIssuer<'static, KeyPair>,
    intermediate: CertifiedIssuer<'static, KeyPair>,
}

/// Which certificate a server shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shown {
    /// One for `localhost`, `127.0.0.1` and any name below `test`.
    Good,
    /// One that ended in 2020.
    Expired,
    /// One for `elsewhere.test`.
    OfAnotherHost,
}

/// A key with its certificate.
#[derive(Debug)]
pub(crate) struct Identity {
    key: KeyPair,
    /// Leaf first, without the root.
    chain: Vec<CertificateDer<'static>>,
}

impl Authority {
    /// A new authority, unknown to everybody.
    pub(crate) fn new() -> Self {
        let key = || KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key");
        let root = CertifiedIssuer::self_signed(authority("test root"), key()).expect("a root");
        let intermediate = CertifiedIssuer::signed_by(authority("test intermediate"), key(), &root)
            .expect("an intermediate certificate");
        Self { root, intermediate }
    }

    /// Its root certificate in PEM: what a client trusts.
    pub(crate) fn pem(&self) -> String {
        self.root.pem()
    }

    /// An identity for TLS clients, with this common name.
    pub(crate) fn client(&self, name: &str) -> Identity {
        let mut params = named(name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.issue(params, ec_key())
    }

    /// An identity with a certificate of any form: `change` is given one that is good for clients
    /// and servers, names nobody and lasts.
    pub(crate) fn certify(&self, change: impl FnOnce(&mut CertificateParams)) -> Identity {
        let mut params = CertificateParams::default();
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ClientAuth,
            ExtendedKeyUsagePurpose::ServerAuth,
        ];
        params.key_usages = vec![rcgen::KeyUsagePurpose::DigitalSignature];
        change(&mut params);
        self.issue(params, ec_key())
    }

    /// An X.509-SVID that names this workload.
    pub(crate) fn svid(&self, id: &str) -> Identity {
        self.certify(|params| params.subject_alt_names = vec![uri(id)])
    }

    /// Its root certificate in DER.
    pub(crate) fn root(&self) -> &CertificateDer<'static> {
        self.root.der()
    }

    /// An identity for TLS servers on this machine.
    pub(crate) fn host(&self) -> Identity {
        self.issue(server_params(&["localhost", "127.0.0.1"]), ec_key())
    }

    /// An identity with an RSA key and this organization identifier as its serial number, as
    /// iSHARE's parties have one.
    pub(crate) fn party(&self, id: &str) -> Identity {
        self.issue(party_params(id), rsa_key())
    }

    /// The same with a certificate that ended in 2020.
    pub(crate) fn party_expired(&self, id: &str) -> Identity {
        let mut params = party_params(id);
        params.not_before = rcgen::date_time_ymd(2019, 1, 1);
        params.not_after = rcgen::date_time_ymd(2020, 1, 1);
        self.issue(params, rsa_key())
    }

    /// The TLS settings of a server; with `ask_clients` it demands a certificate of this
    /// authority.
    pub(crate) fn server(&self, shown: Shown, ask_clients: bool) -> Arc<ServerConfig> {
        let clients = ask_clients.then(|| self.root.der().clone());
        self.server_for(shown, clients)
    }

    /// The same, which demands a certificate of the authority whose root `clients` is.
    pub(crate) fn server_for(
        &self,
        shown: Shown,
        clients: Option<CertificateDer<'static>>,
    ) -> Arc<ServerConfig> {
        let mut params = match shown {
            Shown::Good | Shown::Expired => server_params(&["localhost", "127.0.0.1", "*.test"]),
            Shown::OfAnotherHost => server_params(&["elsewhere.test"]),
        };
        if shown == Shown::Expired {
            params.not_before = rcgen::date_time_ymd(2019, 1, 1);
            params.not_after = rcgen::date_time_ymd(2020, 1, 1);
        }
        let identity = self.issue(params, ec_key());
        let provider = Arc::new(default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .expect("TLS 1.2 and 1.3");
        let builder = if let Some(clients) = clients {
            let mut roots = RootCertStore::empty();
            roots.add(clients).expect("a root");
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(verifier.expect("a verifier"))
        } else {
            builder.with_no_client_auth()
        };
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(identity.key.serialize_der()));
        let settings = builder.with_single_cert(identity.chain, key);
        Arc::new(settings.expect("a key and its certificate"))
    }

    fn issue(&self, params: CertificateParams, key: KeyPair) -> Identity {
        let leaf = params.signed_by(&key, &self.intermediate).expect("a leaf");
        let chain = vec![leaf.der().clone(), self.intermediate.der().clone()];
        Identity { key, chain }
    }
}

/// A name of a certificate: a URI.
pub(crate) fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().expect("a URI in ASCII"))
}

impl Identity {
    /// The private key in DER (PKCS #8).
    pub(crate) fn key_der(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::from(PrivatePkcs8KeyDer::from(self.key.serialize_der()))
    }

    /// The private key in PEM (PKCS #8).
    pub(crate) fn key_pem(&self) -> String {
        self.key.serialize_pem()
    }

    /// The private key in PEM, in the older form of RSA keys (PKCS #1, RFC 8017 appendix A.1.2).
    ///
    /// # Panics
    /// Where it is no RSA key.
    pub(crate) fn key_pem_pkcs1(&self) -> String {
        let der = self.key.serialized_der();
        signing::pem("RSA PRIVATE KEY", &der[pkcs1_start(der)..])
    }

    /// The certificates in PEM, leaf first, without the root.
    pub(crate) fn chain_pem(&self) -> String {
        let certificates = self.chain.iter();
        certificates
            .map(|certificate| signing::pem("CERTIFICATE", certificate))
            .collect()
    }

    /// The certificates in DER, leaf first, without the root.
    pub(crate) fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }
}

/// Where the PKCS #1 key begins in the PKCS #8 structure of an RSA key (RFC 5208 section 5): in an
/// octet string, of a tag and three bytes of length, behind the algorithm, which ends in NULL.
fn pkcs1_start(pkcs8: &[u8]) -> usize {
    let null = pkcs8.windows(3).position(|bytes| bytes == [5, 0, 4]);
    null.expect("an RSA key") + 2 + 4
}

fn ec_key() -> KeyPair {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key")
}

fn rsa_key() -> KeyPair {
    KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).expect("an RSA key")
}

fn party_params(id: &str) -> CertificateParams {
    let mut params = named(id);
    params
        .distinguished_name
        .push(DnType::CustomDnType(vec![2, 5, 4, 5]), id);
    params
}

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

fn authority(name: &str) -> CertificateParams {
    let mut params = named(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
}

fn server_params(names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let mut params = CertificateParams::new(names).expect("names of a server");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params
}
