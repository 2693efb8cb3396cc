//! The one place that provider tokens are kept (a use of [`crate::cache`]): by provider, host, path,
//! audience, scope and, where the answer depends on a caller, the digest of what of the caller it
//! depends on.
//
// INVARIANT: a key is made of everything that was asked with; a token is found by all of it or not
// at all.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use jiff::Timestamp;
use tokio::time::Instant;

use crate::cache::Cache;
use crate::secret::KeyedDigest;
use crate::upstream::provider::answer::CredentialHeader;
use crate::upstream::provider::life::Times;
use crate::upstream::provider::{Provider, Want};

/// Tokens of every provider; clones share them.
#[derive(Debug, Clone)]
pub struct TokenCache {
    tokens: Cache<Held>,
    /// Counts how often tokens were evicted.
    epoch: Arc<AtomicU64>,
}

/// What a provider gave, and until when it is used.
#[derive(Debug)]
pub struct Held {
    headers: Vec<CredentialHeader>,
    /// None where it is for those alone who wait for it.
    times: Option<Times>,
    given_at: Timestamp,
    provider: Arc<str>,
    fingerprint: [u8; 32],
    want: Want,
    /// Whether it took the place of another ahead of that one's end.
    renewed: bool,
    used: AtomicBool,
}

/// What the admin API tells of one token: never its value.
#[derive(Debug, Clone)]
pub struct HeldStatus {
    /// Whose it is.
    pub provider: Arc<str>,
    /// For which host.
    pub host: Box<str>,
    /// Below which path.
    pub path: Arc<str>,
    /// For whom.
    pub audience: Option<Arc<str>>,
    /// What it may do.
    pub scope: Option<Arc<str>>,
    /// Whether it is for one caller alone.
    pub per_caller: bool,
    /// The names of its headers.
    pub headers: Vec<Box<str>>,
    /// When it was given.
    pub given_at: Timestamp,
    /// How long it is still used, in seconds; below zero where it is over.
    pub left_seconds: i64,
    /// Whether it was used since it was given.
    pub used: bool,
}

impl Held {
    /// What `provider` gave for `want`.
    #[must_use]
    pub fn new(
        provider: &Provider,
        want: Want,
        headers: Vec<CredentialHeader>,
        times: Option<Times>,
    ) -> Self {
        let service = provider.service();
        Self {
            headers,
            times,
            given_at: service.clock().now(),
            provider: Arc::clone(provider.name()),
            fingerprint: *service.fingerprint(),
            want,
            renewed: false,
            used: AtomicBool::new(false),
        }
    }

    /// The same, in the place of one that was about to end.
    #[must_use]
    pub fn renewed(mut self) -> Self {
        self.renewed = true;
        self
    }

    /// The headers; none where the provider has nothing.
    #[must_use]
    pub fn headers(&self) -> &[CredentialHeader] {
        &self.headers
    }

    /// Whether it sets any header; what only removes is no credential.
    #[must_use]
    pub fn has_values(&self) -> bool {
        self.headers.iter().any(|header| header.value().is_some())
    }

    /// For what it was given.
    #[must_use]
    pub fn want(&self) -> &Want {
        &self.want
    }

    /// Whose it is, by name and configuration.
    #[must_use]
    pub fn provider(&self) -> (&Arc<str>, &[u8; 32]) {
        (&self.provider, &self.fingerprint)
    }

    /// Whether it is for others than those who wait for it.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        self.times.is_some()
    }

    /// Whether it is used at `now`.
    #[must_use]
    pub fn is_fresh(&self, now: Instant) -> bool {
        self.times.is_some_and(|times| now < times.fresh)
    }

    /// Whether it may be used at `now` where it cannot be renewed.
    #[must_use]
    pub fn is_usable(&self, now: Instant) -> bool {
        self.times.is_some_and(|times| now < times.stale)
    }

    /// Whether it is to be asked for again.
    #[must_use]
    pub fn is_due(&self, now: Instant) -> bool {
        self.times.is_some_and(|times| now >= times.renew)
    }

    /// Whether it was used since it was given.
    #[must_use]
    pub fn is_used(&self) -> bool {
        self.used.load(Ordering::Relaxed)
    }

    /// Takes note of a use; tells whether it is the first since it was renewed.
    pub fn touch(&self) -> bool {
        // most often it is set already: then nothing is written that other threads read
        !self.is_used() && !self.used.swap(true, Ordering::Relaxed) && self.renewed
    }

    fn bytes(&self) -> usize {
        let headers: usize = self.headers.iter().map(CredentialHeader::bytes).sum();
        let caller = self.want.caller.as_ref();
        let caller = caller.map_or(0, |caller| caller.expose().len());
        size_of::<Self>() + headers + caller + self.want.host.len()
    }
}

impl TokenCache {
    /// A cache of `max_bytes` at most.
    #[must_use]
    pub fn new(max_bytes: usize) -> Self {
        Self {
            tokens: Cache::new(max_bytes),
            epoch: Arc::default(),
        }
    }

    /// What is kept under `key`, also where it is over.
    #[must_use]
    pub fn get(&self, key: KeyedDigest) -> Option<Arc<Held>> {
        self.tokens.get(key)
    }

    /// How often tokens were evicted so far.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// Keeps `held`, unless it is for those alone who wait for it, or tokens were evicted since it
    /// was asked for in `epoch`.
    pub fn insert(&self, key: KeyedDigest, held: &Arc<Held>, epoch: u64) {
        if epoch != self.epoch() {
            return;
        }
        if held.is_kept() {
            self.tokens.insert(key, Arc::clone(held), held.bytes());
        } else {
            self.tokens.remove(key);
        }
    }

    /// Forgets what `is_gone` says, also what is being asked for, and tells how many were kept.
    pub fn evict(&self, is_gone: impl Fn(&Held) -> bool) -> usize {
        self.epoch.fetch_add(1, Ordering::AcqRel);
        self.forget(is_gone)
    }

    /// Forgets what `is_gone` says, and tells how many those were.
    pub fn forget(&self, is_gone: impl Fn(&Held) -> bool) -> usize {
        let gone: Vec<_> = self
            .all()
            .into_iter()
            .filter(|(_, held)| is_gone(held))
            .collect();
        for (key, held) in &gone {
            self.tokens.remove_same(*key, held);
        }
        gone.len()
    }

    /// Every token that is kept.
    #[must_use]
    pub fn all(&self) -> Vec<(KeyedDigest, Arc<Held>)> {
        self.tokens.entries()
    }

    /// What the admin API tells.
    #[must_use]
    pub fn statuses(&self) -> Vec<HeldStatus> {
        let now = Instant::now();
        let all = self.all();
        let mut statuses: Vec<_> = all.iter().map(|(_, held)| held.status(now)).collect();
        statuses.sort_by(|a, b| {
            let order = |status: &HeldStatus| (Arc::clone(&status.provider), status.host.clone());
            order(a).cmp(&order(b))
        });
        statuses
    }

    /// How many tokens are kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Whether none is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// How many bytes they take, about.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.tokens.bytes()
    }
}

impl Held {
    fn status(&self, now: Instant) -> HeldStatus {
        let seconds = |from: Instant, to: Instant| {
            i64::try_from(to.saturating_duration_since(from).as_secs()).unwrap_or(i64::MAX)
        };
        HeldStatus {
            provider: Arc::clone(&self.provider),
            host: self.want.host.clone(),
            path: Arc::clone(&self.want.target.path),
            audience: self.want.target.audience.clone(),
            scope: self.want.target.scope.clone(),
            per_caller: self.want.caller.is_some(),
            headers: self
                .headers
                .iter()
                .map(|header| header.name().as_str().into())
                .collect(),
            given_at: self.given_at,
            left_seconds: self.times.map_or(0, |times| {
                seconds(now, times.fresh) - seconds(times.fresh, now)
            }),
            used: self.is_used(),
        }
    }
}
