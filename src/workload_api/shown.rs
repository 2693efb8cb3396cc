//! Our X509-SVID as the certificate that we show to servers: whichever it is when we are asked.

use std::sync::Arc;

use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::sign::CertifiedKey;
use tokio::sync::watch;

use super::{Svid, WorkloadApi, X509State};

/// Our X509-SVID, as it changes.
#[derive(Debug, Clone, Default)]
pub struct SvidReceiver(Option<watch::Receiver<Arc<X509State>>>);

impl SvidReceiver {
    /// That of `api`, which is followed from now on.
    #[must_use]
    pub fn of(api: &WorkloadApi) -> Self {
        Self(Some(api.x509()))
    }

    /// The one that is ours now.
    #[must_use]
    pub fn current(&self) -> Option<Arc<Svid>> {
        self.0.as_ref()?.borrow().svid.clone()
    }
}

impl ResolvesClientCert for SvidReceiver {
    fn resolve(&self, _: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let svid = self.current()?;
        let can_sign = svid.certified_key.key.choose_scheme(schemes).is_some();
        can_sign.then(|| Arc::clone(&svid.certified_key))
    }

    fn has_certs(&self) -> bool {
        true
    }
}
