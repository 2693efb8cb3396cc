//! TLS of clients that show our X509-SVID.

use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

use super::HttpError;
use crate::workload_api::SvidReceiver;

/// Shows `svid` to servers that `roots` (PEM) verify, or else the system's certificates.
///
/// # Errors
/// Where there is no certificate to verify servers with.
pub(super) fn showing(
    svid: &SvidReceiver,
    roots: Option<&[u8]>,
) -> Result<ClientConfig, HttpError> {
    let store = match roots {
        Some(pem) => given(pem)?,
        None => systems(),
    };
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| HttpError::Client(error.to_string()))?;
    let mut config = config
        .with_root_certificates(store)
        .with_client_cert_resolver(Arc::new(svid.clone()));
    // who resumes a session is known by the certificate of its beginning
    config.resumption = Resumption::disabled();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

fn given(pem: &[u8]) -> Result<RootCertStore, HttpError> {
    let client = |error: &dyn std::fmt::Display| HttpError::Client(error.to_string());
    let mut store = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| client(&error))?;
        store.add(certificate).map_err(|error| client(&error))?;
    }
    if store.is_empty() {
        return Err(client(&"there is no CERTIFICATE block in `ca`"));
    }
    Ok(store)
}

fn systems() -> RootCertStore {
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    store
}
