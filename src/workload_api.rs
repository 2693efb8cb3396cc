//! The SPIFFE Workload API: the agent beside us that gives us our identity, the certificates of the
//! trust domains, and the keys of their JWT-SVIDs.
//!
//! Streams are followed by tasks and begin where something first asks for them while it is built:
//! [`WorkloadApi::x509`], [`WorkloadApi::follow_jwt_bundles`]. Every message is the complete state:
//! what is missing in it is no longer used. A bundle or an SVID in it that cannot be used concerns its
//! own trust domain, or our SVID, alone. While the agent is away, what it last said holds, an SVID
//! until its end.
//
// INVARIANT: no private key and no JWT-SVID reaches a log, an error or `Debug`.

mod bundles;
mod jwt_bundles;
mod jwt_svid;
mod messages;
mod readiness;
mod selection;
mod shown;
mod stream;
mod x509;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use arc_swap::ArcSwap;
use jiff::Timestamp;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use spiffe::transport::Endpoint;
use tokio::sync::watch;

use crate::authentication::key_set::KeySet;
use crate::clock::Clock;
use crate::fetch::FetchError;
use crate::readiness::Readiness;
use crate::secret::Secret;
use crate::spiffe::config::{Mesh, SpiffeConfig};
use crate::spiffe::{SpiffeId, TrustDomain};
use crate::task::Tasks;
use crate::telemetry::metrics::Metrics;
use crate::workload_api::jwt_svid::JwtSvids;
use crate::workload_api::readiness::Waiting;
use crate::workload_api::selection::Selection;

pub use jwt_svid::JwtSvid;
pub use shown::SvidReceiver;

/// The agent that gives us our identity. Clones are the same.
#[derive(Clone)]
pub struct WorkloadApi(Arc<Inner>);

struct Inner {
    endpoint: Endpoint,
    selection: Selection,
    mesh: Mesh,
    surroundings: Surroundings,
    x509: watch::Sender<Arc<X509State>>,
    x509_is_followed: AtomicBool,
    jwt_bundles: ArcSwap<JwtBundles>,
    jwt_bundles_are_followed: AtomicBool,
    jwt_svids: JwtSvids,
    waiting: Waiting,
}

/// What runs and hears of what the agent says.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// Runs the streams.
    pub tasks: Tasks,
    /// Waits for our identity, where something cannot do without.
    pub readiness: Readiness,
    /// Tells how it stands.
    pub metrics: Metrics,
    /// The time of day.
    pub clock: Clock,
}

/// What the agent says of X.509 now.
#[derive(Debug, Default)]
pub struct X509State {
    /// Our identity; none where there is none yet, it was taken away, or it is over.
    pub svid: Option<Arc<Svid>>,
    /// The authorities of each trust domain. A certificate is verified by those of the trust domain
    /// in its own SPIFFE ID, never by those of another.
    pub bundles: BTreeMap<TrustDomain, Arc<[CertificateDer<'static>]>>,
}

/// Our X509-SVID: it has been checked, and its key is that of its certificate.
pub struct Svid {
    /// Who we are.
    pub id: SpiffeId,
    /// The certificate, and those between it and the authorities.
    pub chain: Vec<CertificateDer<'static>>,
    /// Its private key.
    pub key: Secret<PrivateKeyDer<'static>>,
    /// The same, ready for handshakes.
    pub certified_key: Arc<CertifiedKey>,
    /// When it was made.
    pub not_before: Timestamp,
    /// Until when it holds.
    pub not_after: Timestamp,
}

/// The keys that sign JWT-SVIDs, by the trust domain whose they are.
#[derive(Debug, Default)]
pub struct JwtBundles(BTreeMap<TrustDomain, Arc<KeySet>>);

impl FromIterator<(TrustDomain, KeySet)> for JwtBundles {
    fn from_iter<I: IntoIterator<Item = (TrustDomain, KeySet)>>(bundles: I) -> Self {
        let bundles = bundles.into_iter();
        Self(bundles.map(|(name, keys)| (name, Arc::new(keys))).collect())
    }
}

impl JwtBundles {
    /// The keys of `trust_domain`, where it is known.
    #[must_use]
    pub fn get(&self, trust_domain: &TrustDomain) -> Option<&Arc<KeySet>> {
        self.0.get(trust_domain)
    }

    /// Whether `keys`, which were here once, are here now.
    #[must_use]
    pub fn holds(&self, keys: &Weak<KeySet>) -> bool {
        self.0.values().any(|now| Arc::as_ptr(now) == keys.as_ptr())
    }

    /// How many trust domains there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl WorkloadApi {
    /// The agent at `endpoint`, which [`crate::spiffe::config::check_endpoint`] has found good.
    /// Nothing is asked yet.
    ///
    /// # Errors
    /// Where `endpoint` is none.
    pub fn new(
        config: &SpiffeConfig,
        endpoint: &str,
        surroundings: Surroundings,
    ) -> Result<Self, String> {
        let endpoint = Endpoint::parse(endpoint).map_err(|error| error.to_string())?;
        Ok(Self(Arc::new(Inner {
            endpoint,
            selection: Selection::of(config),
            mesh: config.mesh(),
            x509: watch::Sender::default(),
            x509_is_followed: AtomicBool::new(false),
            jwt_bundles: ArcSwap::default(),
            jwt_bundles_are_followed: AtomicBool::new(false),
            jwt_svids: JwtSvids::new(surroundings.tasks.clone()),
            waiting: Waiting::new(surroundings.readiness.clone()),
            surroundings,
        })))
    }

    /// Our identity and the authorities of the trust domains, now and with each change. The first
    /// who asks begins the stream: for parts that are being built, never for a check.
    #[must_use]
    pub fn x509(&self) -> watch::Receiver<Arc<X509State>> {
        if !self.0.x509_is_followed.swap(true, Ordering::SeqCst) {
            x509::follow(&self.0);
        }
        self.0.x509.subscribe()
    }

    /// Lets readiness depend on our identity, at the start and ever after: for listeners that can
    /// serve nobody without.
    pub fn insist_on_svid(&self) {
        self.0.waiting.insist();
    }

    /// Begins the stream of [`WorkloadApi::jwt_bundles`], if nobody did before: for parts that are
    /// being built, never for a check.
    pub fn follow_jwt_bundles(&self) {
        if !self.0.jwt_bundles_are_followed.swap(true, Ordering::SeqCst) {
            jwt_bundles::follow(&self.0);
        }
    }

    /// The keys that sign JWT-SVIDs; none before the agent first said them, and none once it said
    /// that they are no longer for us. Somebody has to have called
    /// [`WorkloadApi::follow_jwt_bundles`].
    #[must_use]
    pub fn jwt_bundles(&self) -> Arc<JwtBundles> {
        self.0.jwt_bundles.load_full()
    }

    /// Our JWT-SVID for `audience`. The agent is asked where none is known that lasts long enough,
    /// in a task of its own and once for all who wait; for tasks that fetch, never for a check.
    ///
    /// # Errors
    /// Where the agent does not give one.
    pub async fn jwt_svid(&self, audience: &str) -> Result<JwtSvid, FetchError> {
        jwt_svid::get(&self.0, audience).await
    }
}

impl fmt::Debug for WorkloadApi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkloadApi")
            .field("endpoint", &self.0.endpoint)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Svid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Svid")
            .field("id", &self.id)
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
