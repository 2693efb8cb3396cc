//! The stream of X509-SVIDs and of the authorities of trust domains.

mod offer;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::messages::X509Message;
use super::stream::{self, Feed};
use super::{Inner, Svid, X509State, bundles};
use crate::spiffe::TrustDomain;
use offer::{Offer, chosen, ours, read_svids};

/// Where a stream brings no newer SVID by then, it is opened anew: agents do so at half of a life.
const STALE_PART: f64 = 0.8;
/// The shortest wait for that.
const LEAST_PATIENCE: Duration = Duration::from_secs(10);

/// Begins the stream, and watches the end of the SVID that it brings.
pub(super) fn follow(inner: &Arc<Inner>) {
    inner.waiting.begin();
    let tasks = &inner.surroundings.tasks;
    let feed = X509Feed(Arc::clone(inner));
    let following = stream::follow(Arc::clone(inner), feed);
    tasks.streaming(NAME, following).keep();
    let ending = end(Arc::clone(inner));
    tasks.streaming("workload_api_expiry", ending).keep();
}

const NAME: &str = "workload_api_x509";

type Bundles = BTreeMap<TrustDomain, Arc<[CertificateDer<'static>]>>;

struct X509Feed(Arc<Inner>);

impl Feed for X509Feed {
    type Message = X509Message;

    const CALL: &'static str = "/SpiffeWorkloadAPI/FetchX509SVID";

    fn name(&self) -> &'static str {
        NAME
    }

    fn take(&self, message: X509Message) -> Result<(), String> {
        let svids = read_svids(&message)?;
        let at = chosen(&self.0, &svids);
        let bundles = read_bundles(&self.0, &message, &svids, at)?;
        match at
            .and_then(|at| svids.get(at))
            .map(|one| ours(&self.0, one))
        {
            None => self.0.publish(X509State {
                svid: None,
                bundles,
            }),
            Some(Ok(svid)) => self.0.publish(X509State {
                svid: Some(Arc::new(svid)),
                bundles,
            }),
            Some(Err(why)) => {
                self.0.publish_bundles(bundles);
                return Err(why);
            }
        }
        Ok(())
    }

    fn take_away(&self) {
        let state = self.0.x509.borrow();
        let is_empty = state.svid.is_none() && state.bundles.is_empty();
        drop(state);
        if !is_empty {
            tracing::warn!("the Workload API says that we have no identity any more");
            self.0.publish(X509State::default());
        }
    }

    fn patience(&self) -> Option<Duration> {
        let state = Arc::clone(&self.0.x509.borrow());
        let svid = state.svid.as_ref()?;
        let (life, left) = (svid.life(), svid.left(self.0.surroundings.clock.now()));
        let old = life.mul_f64(STALE_PART);
        Some(left.saturating_sub(life - old).max(LEAST_PATIENCE))
    }
}

impl Inner {
    fn publish(&self, state: X509State) {
        self.waiting.set(state.svid.is_some());
        let metrics = &self.surroundings.metrics;
        metrics.set_svid_expiry(state.svid.as_ref().map(|svid| svid.not_after));
        metrics.set_trust_bundles(NAME, state.bundles.len());
        if let Some(svid) = &state.svid {
            metrics.svid_updated();
            tracing::info!(svid.id = %svid.id, svid.not_after = %svid.not_after, "our SVID");
        }
        self.x509.send_replace(Arc::new(state));
    }

    /// The same with the SVID that we have.
    fn publish_bundles(&self, bundles: Bundles) {
        let metrics = &self.surroundings.metrics;
        metrics.set_trust_bundles(NAME, bundles.len());
        self.x509.send_modify(|state| {
            *state = Arc::new(X509State {
                svid: state.svid.clone(),
                bundles,
            });
        });
    }

    /// Takes away the SVID that is over, if it is.
    fn publish_end(&self) {
        let now = self.surroundings.clock.now();
        self.x509.send_if_modified(|state| {
            let is_over = state
                .svid
                .as_ref()
                .is_some_and(|svid| svid.not_after <= now);
            if is_over {
                *state = Arc::new(X509State {
                    svid: None,
                    bundles: state.bundles.clone(),
                });
                self.waiting.set(false);
                self.surroundings.metrics.set_svid_expiry(None);
                tracing::error!("our SVID is over, and the Workload API gave no newer one");
            }
            is_over
        });
    }
}

/// Waits for the end of each SVID that no newer one came for.
async fn end(inner: Arc<Inner>) {
    let mut states = inner.x509.subscribe();
    loop {
        let svid = states.borrow_and_update().svid.clone();
        let now = inner.surroundings.clock.now();
        let changed = match svid {
            Some(svid) => {
                tokio::time::timeout(
                    svid.left(now).max(Duration::from_millis(100)),
                    states.changed(),
                )
                .await
            }
            None => Ok(states.changed().await),
        };
        if changed.is_err() {
            inner.publish_end();
        }
    }
}

impl Svid {
    /// How long it lasts from `now`.
    #[must_use]
    pub fn left(&self, now: Timestamp) -> Duration {
        Duration::try_from(self.not_after.duration_since(now)).unwrap_or_default()
    }

    /// How long it lasts as a whole.
    fn life(&self) -> Duration {
        Duration::try_from(self.not_after.duration_since(self.not_before)).unwrap_or_default()
    }
}

/// The bundles of a message: that of our SVID goes before others of its trust domain.
fn read_bundles(
    inner: &Inner,
    message: &X509Message,
    svids: &[Offer<'_>],
    at: Option<usize>,
) -> Result<Bundles, String> {
    let ours = at.and_then(|at| svids.get(at));
    let own = ours.into_iter().chain(svids);
    let own = own.map(|one| (one.domain.as_str(), one.given.bundle.as_slice()));
    let federated = message.federated.iter();
    let federated = federated.map(|(name, bundle)| (name.as_str(), bundle.as_slice()));
    bundles::read(inner, own.chain(federated), |_, bundle| authorities(bundle))
}

/// The certificates of one trust domain, which stand one after another.
fn authorities(bundle: &[u8]) -> Result<Arc<[CertificateDer<'static>]>, String> {
    let mut authorities = Vec::new();
    let mut rest = bundle;
    while !rest.is_empty() {
        let (after, _) = X509Certificate::from_der(rest)
            .map_err(|_| "a certificate cannot be read".to_owned())?;
        let one = rest.get(..rest.len() - after.len()).unwrap_or_default();
        authorities.push(CertificateDer::from(one.to_vec()));
        rest = after;
    }
    if authorities.is_empty() {
        return Err("it has no certificate".to_owned());
    }
    Ok(authorities.into())
}
