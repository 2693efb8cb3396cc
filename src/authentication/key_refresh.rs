//! Keeps the key sets of issuers fresh, beside the request path.
//!
//! A [`KeySource`] is one place that a key set comes from, with one task that fetches it. A request
//! only reads what the task published; where it must wait for a fetch, it asks the task for one
//! and waits for the result, within its own budget.
//
// INVARIANT: a key that is known is never fetched for, whatever its signature is worth.

mod asking;
mod fetch;
mod sources;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use serde::Serialize;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::Instant;
use url::Url;

use crate::authentication::key_refresh::asking::{Answer, Asking};
use crate::authentication::key_set::KeySet;
use crate::http_client::Schemes;
use crate::readiness::Latch;
use crate::task::TaskGuard;

pub use sources::KeySources;

/// Where a key set is fetched from, and how often.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct KeySourceConfig {
    /// The place.
    pub place: KeyPlace,
    /// Whether plain `http` is allowed.
    pub schemes: Schemes,
    /// From one fetch to the next.
    pub refresh_interval: Duration,
    /// How long the last good set is used while no newer one can be had.
    pub max_stale: Duration,
    /// From one fetch for an unknown key to the next.
    pub unknown_key_cooldown: Duration,
}

/// The place that a key set is fetched from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum KeyPlace {
    /// The `jwks_uri` of this issuer's discovery document.
    Discovery {
        /// The issuer, exactly as its tokens name it.
        issuer: Arc<str>,
    },
    /// This address.
    Jwks(Url),
}

/// One place that a key set comes from, and what is known of it.
#[derive(Debug)]
pub struct KeySource {
    shared: Arc<Shared>,
    /// Stops the task with the last user of the source.
    task: Option<TaskGuard>,
}

/// What the task writes and requests read.
struct Shared {
    name: Arc<str>,
    config: KeySourceConfig,
    known: ArcSwap<Known>,
    finished: watch::Sender<u64>,
    asking: Mutex<Asking>,
    nudge: Arc<Notify>,
    latch: Mutex<Option<Latch>>,
    /// One for each check that may wait for a fetch. Whoever sends tokens with unknown keys must
    /// not take the places of those whose keys are known.
    waiting: Semaphore,
}

/// How many checks may wait for one source at a time.
const MAX_WAITING: usize = 64;

/// What is known of the issuer's keys.
#[derive(Debug, Clone, Default)]
struct Known {
    /// The last good set, and when it was fetched.
    loaded: Option<(Arc<KeySet>, Instant)>,
    /// How the last fetch ended.
    last: LastFetch,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
enum LastFetch {
    #[default]
    None,
    Succeeded,
    Failed(Arc<str>),
}

/// We cannot find out which keys the issuer has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeysUnavailable {
    /// No set could be fetched, or no newer one while this is needed.
    #[error("{0} cannot be fetched: {1}")]
    Failed(Arc<str>, Arc<str>),
    /// The last good set is too old.
    #[error("{0} are too old; last error: {1}")]
    Stale(Arc<str>, Arc<str>),
    /// Nothing is fetched in this process.
    #[error("{0} are not fetched without a network")]
    Offline(Arc<str>),
    /// Too many wait for it already.
    #[error("too many checks wait for {0}")]
    Busy(Arc<str>),
}

/// What the admin API tells of a source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct KeySourceStatus {
    /// `keys of <issuer or address>`.
    pub name: Arc<str>,
    /// How many keys the set has; none where no set was fetched yet.
    pub keys: Option<usize>,
    /// The keys of the set that cannot be used.
    pub skipped: Vec<String>,
    /// How old the set is.
    pub age_seconds: Option<u64>,
    /// Why the last fetch failed, if it did.
    pub last_error: Option<Arc<str>>,
    /// Whether the set is too old to be used.
    pub stale: bool,
}

impl KeySource {
    /// The keys, to look for `key_id` in. Returns at once where that is known; else when the
    /// source has been asked for it, which happens once in each cool-down.
    ///
    /// # Errors
    /// Where we cannot find out.
    pub async fn keys(&self, key_id: Option<&str>) -> Result<Arc<KeySet>, KeysUnavailable> {
        let shared = &*self.shared;
        if self.task.is_none() {
            return Err(KeysUnavailable::Offline(Arc::clone(&shared.name)));
        }
        let known = shared.known.load_full();
        if known.last == LastFetch::None {
            shared.wait_for(1).await?;
            return shared.fresh_enough();
        }
        match (&known.loaded, shared.fresh_enough()) {
            (Some(_), Ok(keys)) if keys.knows(key_id) => Ok(keys),
            // never loaded, or too old: no request waits for a source that is down
            (_, Err(unavailable)) => {
                shared.ask();
                Err(unavailable)
            }
            (_, Ok(_)) => shared.after_asking().await,
        }
    }

    /// Whether [`KeySource::keys`] would give these very keys for a token that they verified.
    #[must_use]
    pub fn still_holds(&self, keys: &Weak<KeySet>) -> bool {
        let known = self.shared.known.load();
        known.loaded.as_ref().is_some_and(|(current, at)| {
            // where they are gone their place is not taken by others as long as `keys` is there
            std::ptr::eq(Arc::as_ptr(current), keys.as_ptr())
                && at.elapsed() <= self.shared.config.max_stale
        })
    }

    /// What the admin API tells of it.
    #[must_use]
    pub fn status(&self) -> KeySourceStatus {
        let known = self.shared.known.load();
        let keys = known.loaded.as_ref();
        let last_error = match &known.last {
            LastFetch::Failed(error) => Some(Arc::clone(error)),
            LastFetch::None | LastFetch::Succeeded => None,
        };
        KeySourceStatus {
            name: Arc::clone(&self.shared.name),
            keys: keys.map(|(keys, _)| keys.len()),
            skipped: keys.map_or_else(Vec::new, |(keys, _)| keys.skipped().to_vec()),
            age_seconds: keys.map(|(_, at)| at.elapsed().as_secs()),
            last_error,
            stale: keys.is_some_and(|(_, at)| at.elapsed() > self.shared.config.max_stale),
        }
    }
}

impl Shared {
    fn new(name: Arc<str>, config: KeySourceConfig, latch: Option<Latch>) -> Self {
        Self {
            name,
            asking: Mutex::new(Asking::new(config.unknown_key_cooldown)),
            config,
            known: ArcSwap::default(),
            finished: watch::Sender::new(0),
            nudge: Arc::default(),
            latch: Mutex::new(latch),
            waiting: Semaphore::new(MAX_WAITING),
        }
    }

    /// The last good set, unless it is too old.
    fn fresh_enough(&self) -> Result<Arc<KeySet>, KeysUnavailable> {
        let known = self.known.load();
        let error = || match &known.last {
            LastFetch::Failed(error) => Arc::clone(error),
            LastFetch::None | LastFetch::Succeeded => "none".into(),
        };
        match &known.loaded {
            Some((keys, at)) if at.elapsed() <= self.config.max_stale => Ok(Arc::clone(keys)),
            Some(_) => Err(KeysUnavailable::Stale(Arc::clone(&self.name), error())),
            None => Err(KeysUnavailable::Failed(Arc::clone(&self.name), error())),
        }
    }

    /// The set after a fetch that was made for an unknown key, or after the last one where the
    /// cool-down allows no other.
    async fn after_asking(&self) -> Result<Arc<KeySet>, KeysUnavailable> {
        if let Answer::Wait { fetch, .. } = self.ask() {
            self.wait_for(fetch).await?;
        }
        match &self.known.load().last {
            LastFetch::Failed(error) => Err(KeysUnavailable::Failed(
                Arc::clone(&self.name),
                Arc::clone(error),
            )),
            LastFetch::None | LastFetch::Succeeded => self.fresh_enough(),
        }
    }

    /// Asks the task for a fetch.
    fn ask(&self) -> Answer {
        let answer = self.asking(|asking| asking.ask(Instant::now()));
        match answer {
            Answer::Wait { wake: true, .. } | Answer::Later { wake: true } => {
                self.nudge.notify_one();
            }
            Answer::Wait { wake: false, .. } | Answer::Later { wake: false } => {}
        }
        answer
    }

    async fn wait_for(&self, fetch: u64) -> Result<(), KeysUnavailable> {
        let Ok(_place) = self.waiting.try_acquire() else {
            return Err(KeysUnavailable::Busy(Arc::clone(&self.name)));
        };
        let mut finished = self.finished.subscribe();
        // the sender lives as long as `self`: there is no error; the caller's deadline bounds it
        let _ = finished.wait_for(|finished| *finished >= fetch).await;
        Ok(())
    }

    fn asking<T>(&self, with: impl FnOnce(&mut Asking) -> T) -> T {
        with(&mut self.asking.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The set in use, where `fetched` is the same: what was verified with it still holds.
    fn same_or(&self, fetched: Arc<KeySet>) -> Arc<KeySet> {
        match &self.known.load().loaded {
            Some((keys, _)) if keys.is_of_same_document(&fetched) => Arc::clone(keys),
            Some(_) | None => fetched,
        }
    }

    /// Records how a fetch ended, and lets those go on who waited for it.
    fn publish(&self, fetch: u64, result: Result<Arc<KeySet>, Arc<str>>) {
        let known = match result.map(|keys| self.same_or(keys)) {
            Ok(keys) => Known {
                loaded: Some((keys, Instant::now())),
                last: LastFetch::Succeeded,
            },
            Err(error) => Known {
                loaded: self.known.load().loaded.clone(),
                last: LastFetch::Failed(error),
            },
        };
        self.known.store(Arc::new(known));
        self.asking(|asking| asking.finished(fetch));
        self.finished.send_replace(fetch);
        drop(
            self.latch
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take(),
        );
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("KeySource").field(&self.name).finish()
    }
}

#[cfg(test)]
mod tests;
