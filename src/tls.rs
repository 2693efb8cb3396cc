//! TLS of our own ports: what they show, and whose certificates they take.
//!
//! Each handshake is made with what is in force when it begins (`material`); what is replaced never
//! touches connections that run, unless whoever they belong to is no longer taken. Who may ask, once
//! it is known who it is, is not judged here: that is [`crate::check::peer`].
//
// INVARIANT: nothing is resumed; each connection has shown its certificate in its own handshake.

pub mod config;
pub(crate) mod files;
pub mod leaf;
pub mod material;
pub(crate) mod stream;
pub(crate) mod svid;
pub(crate) mod verifier;

use std::sync::Arc;

use rustls::ServerConfig;
use tokio::sync::watch;

use crate::clock::Clock;
use crate::spiffe::TrustDomain;
use crate::telemetry::metrics::{Handshake, Metrics};
use crate::tls::leaf::Named;
use crate::tls::material::Material;

/// The TLS of one listener.
#[derive(Debug, Clone)]
pub struct ServerTls {
    listener: Arc<str>,
    current: watch::Receiver<Arc<Material>>,
    clock: Clock,
    metrics: Metrics,
}

/// Whether one client is still taken.
#[derive(Debug)]
pub struct Tenure {
    current: watch::Receiver<Arc<Material>>,
    domain: Option<TrustDomain>,
}

impl ServerTls {
    /// Makes the handshakes of `listener` with what `current` says, each time it says something new.
    pub(crate) fn new(
        listener: &Arc<str>,
        current: watch::Receiver<Arc<Material>>,
        clock: Clock,
        metrics: &Metrics,
    ) -> Self {
        // all outcomes are there from the start
        metrics.handshakes(listener);
        Self {
            listener: Arc::clone(listener),
            current,
            clock,
            metrics: metrics.clone(),
        }
    }

    /// What a handshake that begins now is made with.
    fn config(&self) -> Option<Arc<ServerConfig>> {
        self.current.borrow().config(self.clock.now()).cloned()
    }

    fn listener(&self) -> &Arc<str> {
        &self.listener
    }

    fn tell(&self, outcome: Handshake) {
        self.metrics.handshake_done(&self.listener, outcome);
    }

    fn tenure(&self, client: &Named) -> Tenure {
        let domain = match client {
            Named::Spiffe(id) => Some(id.trust_domain().clone()),
            Named::Dns(_) | Named::Nobody => None,
        };
        Tenure {
            current: self.current.clone(),
            domain,
        }
    }
}

impl Tenure {
    /// Waits until it is taken no longer: its trust domain's roots, or our own certificate, are gone.
    pub async fn lost(&mut self) {
        loop {
            if !self.current.borrow_and_update().keeps(self.domain.as_ref()) {
                return;
            }
            if self.current.changed().await.is_err() {
                // what is in force stays so
                return std::future::pending().await;
            }
        }
    }
}
