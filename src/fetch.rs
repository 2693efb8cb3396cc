//! The one way to fetch while a check waits: one flight per key, in a task of its own, so that who
//! stops waiting stops nobody else.
//!
//! A failure is remembered for a while that doubles with each further one, so that no check waits
//! for what just failed; a server that fails for many keys, or that asks for a pause
//! (`Retry-After`), is not asked at all until the pause is over (a circuit breaker). It does not
//! keep what was fetched: who fetches puts it where it belongs before the flight ends.
//
// INVARIANT: under one key there is one flight at a time, and none where the value is known.

mod breaker;

use std::fmt;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use futures_util::FutureExt as _;
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

use crate::cache::Cache;
use crate::fetch::breaker::{Breaker, Leave};
use crate::secret::KeyedDigest;
use crate::task::Tasks;

pub use breaker::Pause;

/// What has been fetched, or why it was not.
pub type Landed<V> = Result<Arc<V>, Arc<FetchError>>;

/// The flights to one server.
pub struct Fetches<V>(Arc<Inner<V>>);

struct Inner<V> {
    /// None where nothing is fetched in this process.
    tasks: Option<Tasks>,
    timeout: Duration,
    flights: DashMap<KeyedDigest, watch::Receiver<Option<Landed<V>>>>,
    failed: Cache<Failed>,
    breaker: Mutex<Breaker>,
    places: Arc<Semaphore>,
    /// For what is fetched again, so that those who ask for what nobody has cannot keep what is in
    /// use from being renewed.
    renewing_places: Arc<Semaphore>,
}

/// Why something is fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// It is not there.
    Missing,
    /// It is in use and ends soon.
    Renewal,
}

/// How many flights there may be at once for what is missing.
pub const MAX_FLIGHTS: usize = 128;
/// How many there may be for what is renewed.
const MAX_RENEWALS: usize = 64;
/// What the memory of failures may take.
const FAILED_BYTES: usize = 1024 * 1024;
/// What one remembered failure takes, about.
const FAILURE_BYTES: usize = 256;
/// How long the first failure is remembered.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// How long a failure is remembered at most.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// A remembered failure.
struct Failed {
    until: Instant,
    times: u32,
    error: Arc<FetchError>,
}

/// Why something was not fetched. No text here has a secret.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct FetchError {
    /// What kind of failure it is.
    pub kind: FailureKind,
    /// What happened.
    pub message: String,
    /// How long the server wants to be left alone.
    pub retry_after: Option<Duration>,
    /// The code of the error that a token endpoint answered with (RFC 6749 section 5.2), of those
    /// that we know.
    pub code: Option<&'static str>,
}

/// What kind of failure it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FailureKind {
    /// The server cannot be reached, has no time, or is broken.
    Unavailable,
    /// The server answered that it does not give this.
    Refused,
    /// The server gave what cannot be used.
    Unusable,
    /// We do not ask now: too many flights, an open breaker, or no network.
    NotAsked,
}

impl FailureKind {
    /// The name in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unavailable => "unavailable",
            Self::Refused => "refused",
            Self::Unusable => "unusable",
            Self::NotAsked => "not_asked",
        }
    }
}

impl FetchError {
    /// A failure of this kind.
    #[must_use]
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            retry_after: None,
            code: None,
        }
    }
}

/// How it stands with a key.
pub enum Joined<V> {
    /// It is known.
    Known(Arc<V>),
    /// It is under way.
    Flying(Flight<V>),
    /// It failed a moment ago, or cannot be asked for now.
    Failed(Arc<FetchError>),
}

/// A fetch that is under way; letting it go stops nothing.
pub struct Flight<V>(watch::Receiver<Option<Landed<V>>>);

impl<V> Flight<V> {
    /// What came of it, where it has ended.
    #[must_use]
    pub fn ended(&self) -> Option<Landed<V>> {
        self.0.borrow().clone()
    }

    /// Waits for its end.
    pub async fn landed(mut self) -> Landed<V> {
        let landed = self.0.wait_for(Option::is_some).await;
        match landed.as_deref() {
            Ok(Some(landed)) => landed.clone(),
            Ok(None) | Err(_) => Err(Arc::new(FetchError::new(
                FailureKind::Unavailable,
                "the fetch was given up",
            ))),
        }
    }
}

impl<V: Send + Sync + 'static> Fetches<V> {
    /// Flights that `tasks` run, of `timeout` at most; without tasks, nothing is fetched.
    #[must_use]
    pub fn new(tasks: Option<Tasks>, timeout: Duration) -> Self {
        Self(Arc::new(Inner {
            tasks,
            timeout,
            flights: DashMap::new(),
            failed: Cache::new(FAILED_BYTES),
            breaker: Mutex::default(),
            places: Arc::new(Semaphore::new(MAX_FLIGHTS)),
            renewing_places: Arc::new(Semaphore::new(MAX_RENEWALS)),
        }))
    }

    /// The value of `key` where it is `known`; else the flight for it, which `fetch` starts where
    /// there is none. Before its flight ends, `fetch` has made the value known.
    pub fn join<F>(
        &self,
        (key, why): (KeyedDigest, Why),
        known: impl Fn() -> Option<Arc<V>>,
        fetch: impl FnOnce() -> F,
    ) -> Joined<V>
    where
        F: Future<Output = Result<Arc<V>, FetchError>> + Send + 'static,
    {
        if let Some(flight) = self.0.flights.get(&key) {
            return Joined::Flying(Flight(flight.clone()));
        }
        if let Some(error) = self.recent_failure(key) {
            return Joined::Failed(error);
        }
        match self.0.flights.entry(key) {
            Entry::Occupied(flight) => Joined::Flying(Flight(flight.get().clone())),
            // a flight that has just ended made it known
            Entry::Vacant(place) => match known() {
                Some(value) => Joined::Known(value),
                None => match self.start(key, why, fetch) {
                    Ok(flight) => Joined::Flying(Flight(place.insert(flight).clone())),
                    Err(error) => Joined::Failed(Arc::new(error)),
                },
            },
        }
    }

    /// Whether there is a flight for `key`.
    #[must_use]
    pub fn is_flying(&self, key: KeyedDigest) -> bool {
        self.0.flights.contains_key(&key)
    }

    /// Whether the last fetch of `key` failed.
    #[must_use]
    pub fn is_failing(&self, key: KeyedDigest) -> bool {
        self.0.failed.get(key).is_some()
    }

    /// How it stands with the server.
    #[must_use]
    pub fn pause(&self) -> Option<Pause> {
        self.breaker().pause(Instant::now())
    }

    fn recent_failure(&self, key: KeyedDigest) -> Option<Arc<FetchError>> {
        let failed = self.0.failed.get(key)?;
        (Instant::now() < failed.until).then(|| Arc::clone(&failed.error))
    }

    fn start<F>(
        &self,
        key: KeyedDigest,
        why: Why,
        fetch: impl FnOnce() -> F,
    ) -> Result<watch::Receiver<Option<Landed<V>>>, FetchError>
    where
        F: Future<Output = Result<Arc<V>, FetchError>> + Send + 'static,
    {
        let not_asked = |why: &str| FetchError::new(FailureKind::NotAsked, why);
        let tasks = self.0.tasks.as_ref();
        let tasks = tasks.ok_or_else(|| not_asked("nothing is fetched without a network"))?;
        let places = match why {
            Why::Missing => &self.0.places,
            Why::Renewal => &self.0.renewing_places,
        };
        let place = Arc::clone(places).try_acquire_owned();
        let place = place.map_err(|_| not_asked("too many fetches are under way"))?;
        let leave = self.breaker().begin(Instant::now())?;
        let (landing, flight) = watch::channel(None);
        let (fetch, inner) = (fetch(), Arc::clone(&self.0));
        let fetches = Self(inner);
        tasks.detached(async move {
            let fetch = AssertUnwindSafe(tokio::time::timeout(fetches.0.timeout, fetch));
            let landed = match fetch.catch_unwind().await {
                Ok(Ok(landed)) => landed,
                Ok(Err(_)) => Err(FetchError::new(
                    FailureKind::Unavailable,
                    "no answer in time",
                )),
                Err(_) => Err(FetchError::new(
                    FailureKind::Unavailable,
                    "the fetch panicked",
                )),
            };
            let landed = landed.map_err(Arc::new);
            fetches.remember(key, leave, &landed);
            fetches.0.flights.remove(&key);
            landing.send_replace(Some(landed));
            drop(place);
        });
        Ok(flight)
    }

    fn remember(&self, key: KeyedDigest, leave: Leave, landed: &Landed<V>) {
        let now = Instant::now();
        match landed {
            Ok(_) => {
                self.0.failed.remove(key);
                self.breaker().landed(leave, None, now);
            }
            Err(error) => {
                let times = self.0.failed.get(key).map_or(0, |failed| failed.times);
                let pause = backoff(times).max(error.retry_after.unwrap_or_default());
                let failed = Failed {
                    until: now + pause,
                    times: times.saturating_add(1),
                    error: Arc::clone(error),
                };
                self.0.failed.insert(key, Arc::new(failed), FAILURE_BYTES);
                self.breaker().landed(leave, Some(error), now);
            }
        }
    }

    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.0
            .breaker
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl<V> Clone for Fetches<V> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<V> fmt::Debug for Fetches<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fetches")
            .field("flights", &self.0.flights.len())
            .finish_non_exhaustive()
    }
}

impl<V> fmt::Debug for Flight<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Flight")
    }
}

impl<V> fmt::Debug for Joined<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Known(_) => "Known",
            Self::Flying(_) => "Flying",
            Self::Failed(_) => "Failed",
        })
    }
}

/// The wait after a failure that `before` others came before: it doubles, with up to half of it
/// more at random, so that replicas do not ask together.
fn backoff(before: u32) -> Duration {
    let pause = FIRST_PAUSE.saturating_mul(1_u32 << before.min(16));
    let pause = pause.min(LONGEST_PAUSE);
    (pause + pause.mul_f64(fastrand::f64() / 2.0)).min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests;
