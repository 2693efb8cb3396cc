//! What outlives a revision of the configuration: the flights of each provider, its counters, and
//! how its last fetch ended. A provider whose configuration did not change keeps all of it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use dashmap::DashMap;
use jiff::Timestamp;

use crate::clock::Clock;
use crate::fetch::{FetchError, Fetches, Pause};
use crate::header::HeaderName;
use crate::secret::hexadecimal;
use crate::task::Tasks;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::sharded::ShardedCounter;
use crate::upstream::credentials::is_spelling;
use crate::upstream::provider::Target;
use crate::upstream::provider::answer::CredentialHeader;
use crate::upstream::token_cache::{Held, TokenCache};

/// How an Api's need for a token was met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TokenOutcome {
    /// By a token that was there.
    Hit,
    /// By a token that was renewed since it was last used.
    Refreshed,
    /// By a token that the check waited for.
    Waited,
    /// By a token that is over, as it cannot be renewed and the Api allows that.
    Stale,
    /// The provider has nothing for this upstream.
    Absent,
    /// Not at all: the token cannot be had.
    Failed,
}

impl TokenOutcome {
    /// Every outcome.
    pub const ALL: [Self; 6] = [
        Self::Hit,
        Self::Refreshed,
        Self::Waited,
        Self::Stale,
        Self::Absent,
        Self::Failed,
    ];

    /// The name in metrics, metadata and the decision log.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Refreshed => "refreshed",
            Self::Waited => "waited",
            Self::Stale => "stale",
            Self::Absent => "absent",
            Self::Failed => "failed",
        }
    }
}

/// What outlives a revision of one provider.
#[derive(Debug)]
pub struct ProviderService {
    name: Arc<str>,
    fingerprint: [u8; 32],
    tasks: Option<Tasks>,
    /// How long a flight may take.
    timeout: Duration,
    /// The flights to each server that it asks: one that fails does not stop the others.
    fetches: DashMap<Box<str>, Fetches<Held>>,
    cache: TokenCache,
    clock: Clock,
    metrics: Option<Metrics>,
    outcomes: [ShardedCounter; TokenOutcome::ALL.len()],
    last: Mutex<LastFetch>,
    /// The headers that it gave so far.
    given: ArcSwap<Vec<HeaderName>>,
}

/// The most names of headers that are remembered of one provider.
const MAX_NAMES: usize = 128;

/// How the last fetch of a provider ended.
#[derive(Debug, Clone, Default)]
pub struct LastFetch {
    /// When one last succeeded.
    pub success: Option<Timestamp>,
    /// When one last failed.
    pub failure: Option<Timestamp>,
    /// Why, if the last one failed.
    pub error: Option<Arc<str>>,
    /// The failure that was last logged, and when.
    told: Option<(Timestamp, Arc<str>)>,
}

/// How long the log does not repeat a failure of a provider: clients cause fetches.
const QUIET_SECONDS: i64 = 10;

impl ProviderService {
    /// Which configuration it is of.
    #[must_use]
    pub fn fingerprint(&self) -> &[u8; 32] {
        &self.fingerprint
    }

    /// The flights to the server that is asked for `target`: the provider's own, or the one that the
    /// Api names.
    #[must_use]
    pub fn fetches(&self, target: &Target) -> Fetches<Held> {
        let url = target.token_url.as_ref();
        let server = url.map_or_else(String::new, |url| url.origin().ascii_serialization());
        let fetches = self.fetches.entry(server.into());
        fetches
            .or_insert_with(|| Fetches::new(self.tasks.clone(), self.timeout))
            .clone()
    }

    /// Where its tokens are kept.
    #[must_use]
    pub fn cache(&self) -> &TokenCache {
        &self.cache
    }

    /// The time of day.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// How its last fetch ended.
    #[must_use]
    pub fn last_fetch(&self) -> LastFetch {
        self.last().clone()
    }

    /// The longest pause in which a server of its is not asked, where there is one.
    #[must_use]
    pub fn pause(&self) -> Option<Pause> {
        let pauses = self.fetches.iter().filter_map(|fetches| fetches.pause());
        pauses.max_by_key(|pause| pause.left)
    }

    /// Counts how a need was met.
    pub fn count(&self, outcome: TokenOutcome) {
        if let Some(counter) = self.outcomes.get(outcome as usize) {
            counter.inc();
        }
    }

    /// Whether it gave a header so far of which `sent`, in lower case, is a spelling.
    #[must_use]
    pub fn gave(&self, sent: &[u8]) -> bool {
        let given = self.given.load();
        given
            .iter()
            .any(|name| is_spelling(sent, name.as_str().as_bytes()))
    }

    fn remember_names(&self, held: &Held) {
        let known = self.given.load();
        let names = held.headers().iter().map(CredentialHeader::name);
        let new: Vec<HeaderName> = names
            .filter(|name| !known.contains(name))
            .cloned()
            .collect();
        if !new.is_empty() && known.len() < MAX_NAMES {
            self.given.rcu(|known| [&known[..], &new[..]].concat());
        }
    }

    /// Records how a fetch ended.
    pub fn fetched(&self, landed: Result<&Arc<Held>, &FetchError>) {
        let now = self.clock.now();
        if let Ok(held) = landed {
            self.remember_names(held);
        }
        let result = match landed {
            Ok(held) if held.headers().is_empty() => "absent",
            Ok(_) => "given",
            Err(error) => error.kind.name(),
        };
        if let Some(metrics) = &self.metrics {
            metrics.provider_fetched(&self.name, result);
            if let Err(FetchError {
                code: Some(code), ..
            }) = landed
            {
                metrics.provider_refused(&self.name, code);
            }
        }
        let mut last = self.last();
        match landed {
            Ok(_) => {
                last.success = Some(now);
                last.error = None;
            }
            Err(error) => {
                let told: Arc<str> = error.message.as_str().into();
                let told_lately = last.told.as_ref().is_some_and(|(when, before)| {
                    *before == told && now.duration_since(*when).as_secs() < QUIET_SECONDS
                });
                if !told_lately {
                    last.told = Some((now, Arc::clone(&told)));
                    tracing::warn!(provider = %self.name, error = %told, "a token cannot be had");
                }
                last.failure = Some(now);
                last.error = Some(told);
            }
        }
    }

    fn last(&self) -> MutexGuard<'_, LastFetch> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A provider's name, and the digest of its configuration.
type Identity = (Arc<str>, [u8; 32]);

/// The services of every provider in use.
#[derive(Debug, Clone)]
pub struct ProviderServices(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    tasks: Option<Tasks>,
    cache: TokenCache,
    clock: Clock,
    metrics: Option<Metrics>,
    services: Mutex<HashMap<Identity, Weak<ProviderService>>>,
}

impl ProviderServices {
    /// Services whose flights `tasks` run and whose tokens `cache` keeps.
    #[must_use]
    pub fn online(tasks: Tasks, cache: TokenCache, clock: Clock, metrics: Metrics) -> Self {
        Self(Arc::new(Inner {
            tasks: Some(tasks),
            cache,
            clock,
            metrics: Some(metrics),
            services: Mutex::default(),
        }))
    }

    /// Services that fetch nothing and keep nothing, for commands that judge without a network.
    #[must_use]
    pub fn offline(clock: Clock) -> Self {
        Self(Arc::new(Inner {
            tasks: None,
            cache: TokenCache::new(0),
            clock,
            metrics: None,
            services: Mutex::default(),
        }))
    }

    /// The time of day.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.0.clock
    }

    /// What runs flights; none where nothing is fetched in this process.
    #[must_use]
    pub fn tasks(&self) -> Option<&Tasks> {
        self.0.tasks.as_ref()
    }

    /// The service of the provider `name` whose configuration has this digest; a request
    /// takes `timeout` at most, and is sent twice at most.
    #[must_use]
    pub fn get_or_start(
        &self,
        name: &Arc<str>,
        fingerprint: [u8; 32],
        timeout: Duration,
    ) -> Arc<ProviderService> {
        let inner = &self.0;
        let services = inner.services.lock();
        let mut services = services.unwrap_or_else(PoisonError::into_inner);
        services.retain(|_, service| service.strong_count() > 0);
        let key = (Arc::clone(name), fingerprint);
        if let Some(service) = services.get(&key).and_then(Weak::upgrade) {
            return service;
        }
        let flight = timeout.saturating_mul(2) + Duration::from_secs(1);
        let service = Arc::new(ProviderService {
            name: Arc::clone(name),
            fingerprint,
            tasks: inner.tasks.clone(),
            timeout: flight,
            fetches: DashMap::new(),
            cache: inner.cache.clone(),
            clock: inner.clock.clone(),
            metrics: inner.metrics.clone(),
            outcomes: TokenOutcome::ALL.map(|outcome| {
                let metrics = inner.metrics.as_ref();
                metrics.map_or_else(ShardedCounter::default, |metrics| {
                    metrics.provider_tokens(name, outcome.name())
                })
            }),
            last: Mutex::default(),
            given: ArcSwap::default(),
        });
        services.insert(key, Arc::downgrade(&service));
        service
    }
}

impl std::fmt::Display for ProviderService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let digits = hexadecimal(&self.fingerprint);
        write!(f, "{} ({})", self.name, digits.get(..8).unwrap_or_default())
    }
}
