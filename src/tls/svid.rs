//! What a listener shows and takes by the Workload API: our SVID, and the SVIDs of trust domains.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use tokio::sync::watch;

use crate::spiffe::TrustDomain;
use crate::spiffe::config::Mesh;
use crate::tls::material::{self, Material, Protocol, Shown};
use crate::tls::verifier::PeerVerifier;
use crate::workload_api::{Svid, X509State};

/// The TLS of one listener, by the Workload API.
#[derive(Debug)]
pub(crate) struct SvidTls {
    /// The listener.
    pub(crate) listener: Arc<str>,
    /// What is spoken there.
    pub(crate) protocol: Protocol,
    /// Whether who connects must show an SVID.
    pub(crate) asks_clients: bool,
    /// Whose SVIDs are taken.
    pub(crate) mesh: Arc<Mesh>,
}

impl SvidTls {
    /// Publishes what follows from each state of `x509`: run it as a task.
    pub(crate) async fn follow(
        self,
        mut x509: watch::Receiver<Arc<X509State>>,
        publish: watch::Sender<Arc<Material>>,
    ) {
        loop {
            let state = Arc::clone(&x509.borrow_and_update());
            publish.send_replace(Arc::new(self.material(&state)));
            if x509.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    fn material(&self, state: &X509State) -> Material {
        let Some(svid) = &state.svid else {
            return Material::none();
        };
        let provider = material::provider();
        let shown = Shown::of_key(&svid.certified_key, svid.not_after);
        let clients = self
            .asks_clients
            .then(|| self.clients(svid, state, &provider));
        Material::new(shown, clients, self.protocol, &provider).unwrap_or_else(|error| {
            tracing::error!(%error, listener = %self.listener, "no handshake can be made");
            Material::none()
        })
    }

    /// Takes the workloads of the trust domains that are taken, each by its own bundle.
    fn clients(
        &self,
        svid: &Svid,
        state: &X509State,
        provider: &Arc<CryptoProvider>,
    ) -> PeerVerifier {
        let bundles = state.bundles.iter();
        let bundles = bundles.filter(|(domain, _)| self.takes(domain, svid));
        let bundles = bundles.map(|(domain, roots)| (domain, &**roots));
        PeerVerifier::domains(bundles, provider)
    }

    /// Whether workloads of `domain` are taken: the mesh's own, which is that of our SVID where the
    /// configuration names none, and those that the configuration names beside it.
    fn takes(&self, domain: &TrustDomain, svid: &Svid) -> bool {
        let mut own = self.mesh.aliases.names();
        let is_own = match self.mesh.trust_domain {
            Some(_) => own.any(|name| name == domain),
            None => svid.id.trust_domain() == domain,
        };
        is_own || self.mesh.federated.contains(domain)
    }
}
