//! Renews provider tokens ahead of their end, and asks for those that checks will need.
//!
//! A token that was used since it was given is renewed; one that was not is dropped when it is
//! over. What a required provider, or one that is polled, gives for hosts that are known is asked
//! for from the start.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::fetch::{Fetches, Flight, Joined, Why};
use crate::readiness::{Latch, Readiness};
use crate::secret::{KeyedDigest, Secret};
use crate::snapshot::{Snapshot, SnapshotReader};
use crate::upstream::provide::fetch;
use crate::upstream::provider::signed::published::PublishedKeys;
use crate::upstream::provider::{Provider, Want};
use crate::upstream::token_cache::{Held, TokenCache};

/// How often tokens are looked at. A check that meets one that is due asks at once.
const TICK: Duration = Duration::from_millis(500);

/// The task `token_refresh`.
#[derive(Debug)]
pub struct TokenRefresh {
    snapshots: SnapshotReader,
    cache: TokenCache,
    published: PublishedKeys,
    /// What is asked for before anybody needs it.
    wanted: Vec<Wanted>,
    revision: Option<Arc<str>>,
    /// What holds readiness back, by provider.
    latches: BTreeMap<Arc<str>, Latch>,
}

#[derive(Debug)]
struct Wanted {
    provider: Arc<Provider>,
    key: KeyedDigest,
    want: Want,
    /// The last fetch, until it has ended.
    flight: Option<Flight<Held>>,
    /// What came of it.
    tried: Tried,
}

/// What came of asking ahead of need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tried {
    NotYet,
    Kept,
    /// It is given, but may not be kept: to ask ahead is of no use.
    NotKept,
}

impl TokenRefresh {
    /// Renews what is in `cache`, for the Apis of the current snapshot. Holds `readiness` back for
    /// each required provider until it was tried.
    #[must_use]
    pub fn new(
        snapshots: SnapshotReader,
        cache: TokenCache,
        published: PublishedKeys,
        readiness: &Readiness,
    ) -> Self {
        let snapshot = snapshots.current();
        let required = snapshot.providers().values();
        let latches = required
            .filter(|provider| provider.is_required())
            .map(|provider| {
                let reason = format!("tokens of provider {}", provider.name());
                (Arc::clone(provider.name()), readiness.hold(reason))
            })
            .collect();
        Self {
            snapshots,
            cache,
            published,
            wanted: Vec::new(),
            revision: None,
            latches,
        }
    }

    /// Runs until the process stops.
    pub async fn run(mut self) {
        loop {
            let snapshot = self.snapshots.current();
            self.look(&snapshot);
            tokio::time::sleep(TICK).await;
        }
    }

    /// Looks once at every token.
    fn look(&mut self, snapshot: &Snapshot) {
        if self.revision.as_deref() != Some(snapshot.revision().as_str()) {
            self.revision = Some(snapshot.revision().as_str().into());
            let before = std::mem::replace(&mut self.wanted, wanted(snapshot));
            let before: HashMap<_, _> = before.iter().map(|one| (one.key, one.tried)).collect();
            for wanted in &mut self.wanted {
                wanted.tried = before.get(&wanted.key).copied().unwrap_or(wanted.tried);
            }
        }
        self.published.follow(snapshot.providers());
        let now = Instant::now();
        for wanted in &mut self.wanted {
            wanted.look(&self.cache, now);
        }
        for (key, held) in self.cache.all() {
            if held.is_due(now)
                && held.is_used()
                && held.is_fresh(now)
                && let Some(provider) = provider_of(snapshot, &held)
            {
                ask(provider, key, held.want());
            }
        }
        self.cache.forget(|held| {
            !held.is_usable(now)
                || !held.is_fresh(now) && !held.is_used()
                || provider_of(snapshot, held).is_none()
        });
        self.release();
    }

    /// Lets readiness go where everything of a provider was tried.
    fn release(&mut self) {
        let tried = |wanted: &Wanted| {
            wanted.tried != Tried::NotYet
                || self.cache.get(wanted.key).is_some()
                || wanted.fetches().is_failing(wanted.key)
        };
        let waiting = self.wanted.iter().filter(|wanted| !tried(wanted));
        let waiting: Vec<Arc<str>> = waiting
            .map(|wanted| Arc::clone(wanted.provider.name()))
            .collect();
        self.latches.retain(|name, _| waiting.contains(name));
    }
}

impl Wanted {
    fn fetches(&self) -> Fetches<Held> {
        self.provider.service().fetches(&self.want.target)
    }

    /// Asks for it where it is not there, or is due.
    fn look(&mut self, cache: &TokenCache, now: Instant) {
        if let Some(landed) = self.flight.as_ref().and_then(Flight::ended) {
            self.flight = None;
            if let Ok(held) = landed {
                self.tried = if held.is_kept() {
                    Tried::Kept
                } else {
                    Tried::NotKept
                };
            }
        }
        let known = |held: &Arc<Held>| held.is_fresh(now) && !held.is_due(now);
        if self.tried != Tried::NotKept && !cache.get(self.key).as_ref().is_some_and(known) {
            self.flight = ask(&self.provider, self.key, &self.want);
        }
    }
}

/// The provider that `held` is of, unless it is gone or configured otherwise by now.
fn provider_of<'s>(snapshot: &'s Snapshot, held: &Held) -> Option<&'s Arc<Provider>> {
    let (name, fingerprint) = held.provider();
    let provider = snapshot.providers().get(name)?;
    (provider.service().fingerprint() == fingerprint).then_some(provider)
}

/// What the Apis of `snapshot` will need of required and polled providers.
fn wanted(snapshot: &Snapshot) -> Vec<Wanted> {
    let mut keys = HashSet::new();
    let mut wanted: Vec<Wanted> = Vec::new();
    for (api, credential) in snapshot.credentials() {
        let provider = credential.provider();
        if !provider.is_required() && provider.is_per_host() {
            continue;
        }
        for (key, want) in credential.known_needs(&api.hosts) {
            if keys.insert(key) {
                wanted.push(Wanted {
                    provider: Arc::clone(provider),
                    key,
                    want,
                    flight: None,
                    tried: Tried::NotYet,
                });
            }
        }
    }
    wanted
}

/// Asks for a token beside everything else; what comes of it is found in the cache.
fn ask(provider: &Arc<Provider>, key: KeyedDigest, want: &Want) -> Option<Flight<Held>> {
    let service = provider.service();
    let known = || {
        let held = service.cache().get(key);
        held.filter(|held| !held.is_due(Instant::now()))
    };
    let copy = || Want {
        target: Arc::clone(&want.target),
        host: want.host.clone(),
        caller: want
            .caller
            .as_ref()
            .map(|caller| Secret::new(caller.expose().clone())),
    };
    let asked = service.fetches(&want.target);
    let fetch = || fetch(Arc::clone(provider), key, copy(), Why::Renewal);
    match asked.join((key, Why::Renewal), known, fetch) {
        Joined::Flying(flight) => Some(flight),
        Joined::Known(_) | Joined::Failed(_) => None,
    }
}
