//! The stream of X509-SVIDs and of the authorities of trust domains.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;
use spiffe::{WorkloadApiClient, WorkloadApiError, X509BundleSet, X509Context, X509Svid};
use x509_parser::prelude::{FromDer as _, ParsedExtension, X509Certificate};

use super::selection::{Candidate, Chosen};
use super::stream::{self, Feed, Messages};
use super::{Inner, Svid, X509State};
use crate::secret::Secret;
use crate::spiffe::config::Mesh;
use crate::spiffe::{SpiffeId, TrustDomain};

/// The most SVIDs that a message may have.
const MAX_SVIDS: usize = 100;
/// The most trust domains that a message may have.
pub(super) const MAX_BUNDLES: usize = 200;
/// The most bytes that the authorities of one trust domain may have.
pub(super) const MAX_BUNDLE_BYTES: usize = 4 * 1024 * 1024;
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

struct X509Feed(Arc<Inner>);

impl Feed for X509Feed {
    type Message = X509Context;

    fn name(&self) -> &'static str {
        NAME
    }

    async fn open(
        &self,
        client: WorkloadApiClient,
    ) -> Result<Messages<X509Context>, WorkloadApiError> {
        Ok(Box::pin(client.stream_x509_contexts().await?))
    }

    fn take(&self, message: X509Context) -> Result<(), String> {
        let state = read(&self.0, &message)?;
        self.0.publish(state);
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

/// What a message says, where all of it can be used.
fn read(inner: &Inner, message: &X509Context) -> Result<X509State, String> {
    let svids = message.svids();
    if svids.len() > MAX_SVIDS {
        return Err(format!("it has more than {MAX_SVIDS} SVIDs"));
    }
    let bundles = read_bundles(message.bundle_set())?;
    let candidates = svids.iter().map(|svid| Candidate {
        id: svid.spiffe_id().to_string(),
        hint: svid.hint(),
    });
    let chosen = match inner.selection.choose(candidates) {
        Chosen::At(at) => svids.get(at),
        Chosen::FirstInstead => {
            let wanted = inner.selection.to_string();
            tracing::warn!(%wanted, "no SVID is the one that is asked for; the first is ours");
            svids.first()
        }
        Chosen::None => {
            let wanted = inner.selection.to_string();
            tracing::warn!(%wanted, "no SVID is the one that is asked for; we have none");
            None
        }
    };
    let svid = match chosen {
        Some(svid) => {
            let now = inner.surroundings.clock.now();
            let checked = check(svid, &inner.mesh, now);
            Some(Arc::new(checked.map_err(|why| {
                format!("the SVID `{}`: {why}", svid.spiffe_id())
            })?))
        }
        None => None,
    };
    Ok(X509State { svid, bundles })
}

fn read_bundles(
    set: &X509BundleSet,
) -> Result<BTreeMap<TrustDomain, Arc<[CertificateDer<'static>]>>, String> {
    if set.len() > MAX_BUNDLES {
        return Err(format!("it has more than {MAX_BUNDLES} trust domains"));
    }
    let mut bundles = BTreeMap::new();
    for (name, bundle) in set.iter() {
        let name = TrustDomain::parse(name.as_str()).map_err(|error| error.to_string())?;
        let authorities = bundle.authorities();
        let bytes: usize = authorities.iter().map(|one| one.as_bytes().len()).sum();
        if bytes > MAX_BUNDLE_BYTES {
            return Err(format!(
                "the bundle of `{name}` has more than {MAX_BUNDLE_BYTES} bytes"
            ));
        }
        let authorities = authorities.iter();
        let authorities = authorities.map(|one| CertificateDer::from(one.as_bytes().to_vec()));
        bundles.insert(name, authorities.collect());
    }
    Ok(bundles)
}

/// Checks an SVID before it is ours (X509-SVID sections 2 to 5); that it has one SPIFFE ID with a
/// path, and the key usage of a leaf, was checked as it was read.
fn check(svid: &X509Svid, mesh: &Mesh, now: Timestamp) -> Result<Svid, String> {
    let id = SpiffeId::parse(&svid.spiffe_id().to_string()).map_err(|error| error.to_string())?;
    if let Some(own) = &mesh.trust_domain
        && !mesh.aliases.are_same(own, id.trust_domain())
    {
        return Err(format!("it is not of `spiffe.trustDomain`, `{own}`"));
    }
    let (_, leaf) = X509Certificate::from_der(svid.leaf().as_bytes())
        .map_err(|_| "its certificate cannot be read".to_owned())?;
    let time = |seconds| Timestamp::from_second(seconds).unwrap_or(Timestamp::MIN);
    let not_before = time(leaf.validity().not_before.timestamp());
    let not_after = time(leaf.validity().not_after.timestamp());
    if not_after <= now {
        return Err(format!("it is over since {not_after}"));
    }
    check_extensions(&leaf)?;
    let chain = svid.cert_chain().iter();
    let chain: Vec<_> = chain
        .map(|one| CertificateDer::from(one.as_bytes().to_vec()))
        .collect();
    let key = PrivatePkcs8KeyDer::from(svid.private_key().as_bytes().to_vec());
    let key = Secret::new(PrivateKeyDer::from(key));
    let provider = aws_lc_rs::default_provider();
    let certified_key = CertifiedKey::from_der(chain.clone(), key.expose().clone_key(), &provider)
        .map_err(|error| format!("its key and certificate are no pair: {error}"))?;
    Ok(Svid {
        id,
        chain,
        key,
        certified_key: Arc::new(certified_key),
        not_before,
        not_after,
    })
}

/// X509-SVID sections 4.3 and 4.4: the key usage is critical, and an extended one is for both sides.
fn check_extensions(leaf: &X509Certificate<'_>) -> Result<(), String> {
    for extension in leaf.extensions() {
        let parsed = extension.parsed_extension();
        if matches!(parsed, ParsedExtension::KeyUsage(_)) && !extension.critical {
            return Err("its key usage is not critical".to_owned());
        }
        if let ParsedExtension::ExtendedKeyUsage(usage) = parsed
            && !(usage.any || usage.server_auth && usage.client_auth)
        {
            return Err("its extended key usage is not for servers and clients".to_owned());
        }
    }
    Ok(())
}
