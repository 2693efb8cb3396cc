//! Counters that replicas share in Redis, spent from shares that each takes ahead: a round trip for
//! many checks instead of one for each.
//!
//! A share begins with what a check takes, and doubles while it is used up within its lifetime, up
//! to a part of the limit's amount and a tenth of what is left. What is not spent within the
//! lifetime is given back, and so is what is left at the end of the process. A share of a window of
//! the calendar ends with the window, so that such limits are never exceeded; a bucket's share may
//! be spent while the bucket has drained already: `docs/SCALING.md` has the bounds.
//
// INVARIANT: what is spent here was taken from the counter before.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use smallvec::SmallVec;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::authorization::quota::recent::RecentCharges;
use crate::authorization::quota::redis::{MOST, RedisCounters, Share};
use crate::authorization::quota::{Charge, Charged, Counter, Level, Levels, StoreUnavailable};
use crate::catalog::model::limit::Rule;
use crate::redis::Redis;
use crate::secret::KeyedDigest;
use crate::task::Tasks;

const SHARDS: usize = 64;
/// How often a check waits for shares that others take from under it, before it is charged exactly.
const ATTEMPTS: usize = 4;
/// A share for fewer checks is not taken ahead of its need.
const FEW: u64 = 4;
/// How long a refusal is remembered at most, so that a caller who is over is not asked about.
const LONGEST_REFUSAL: Duration = Duration::from_millis(100);

/// Shares of counters in Redis; clones share them.
#[derive(Debug, Clone)]
pub struct LeasedCounters(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    counters: RedisCounters,
    rule: LeaseRule,
    tasks: Tasks,
    shards: Box<[Mutex<Shard>]>,
    recent: RecentCharges,
    open: AtomicUsize,
}

/// How shares are taken.
#[derive(Debug, Clone, Copy)]
pub struct LeaseRule {
    /// The largest share is one of so many parts of the amount.
    pub parts: u64,
    /// How long what was not spent is kept.
    pub lifetime: Duration,
    /// How many shares there may be of counters whose keys callers choose; further ones are charged
    /// exactly.
    pub max_open: usize,
}

type Shard = HashMap<KeyedDigest, Lease>;

/// How taking a share ended.
type Landed = Result<(), StoreUnavailable>;

/// What is known of one counter.
#[derive(Debug, Default)]
struct Lease {
    /// What is left to spend.
    available: u64,
    /// What was taken last.
    taken: u64,
    /// What checks wait for.
    demand: u64,
    /// What the counter said when it was taken.
    said: Option<Said>,
    /// What was refused a moment ago.
    refused: Option<Refused>,
    flight: Option<watch::Receiver<Option<Landed>>>,
    /// What the counter is kept under in Redis.
    key: Arc<str>,
    is_open: bool,
}

#[derive(Debug, Clone, Copy)]
struct Said {
    share: Share,
    /// When it was asked, by both clocks, and until when it may be spent.
    asked: Timestamp,
    until: Timestamp,
    deadline: Instant,
}

#[derive(Debug, Clone, Copy)]
struct Refused {
    cost: u64,
    level: Level,
    asked: Timestamp,
    until: Timestamp,
}

/// What a look at the shares came to.
enum Tried {
    Charged(Charged),
    /// These must come first.
    Lacking(SmallVec<[watch::Receiver<Option<Landed>>; 4]>),
    /// There are too many shares.
    Full,
}

impl LeasedCounters {
    /// Shares of `counters`; `tasks` take and give them back.
    #[must_use]
    pub fn start(counters: RedisCounters, rule: LeaseRule, tasks: &Tasks) -> Self {
        let leased = Self(Arc::new(Inner {
            counters,
            rule,
            tasks: tasks.clone(),
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            recent: RecentCharges::default(),
            open: AtomicUsize::new(0),
        }));
        let (swept, lifetime) = (leased.clone(), rule.lifetime);
        tasks
            .streaming("quota_leases", async move {
                loop {
                    tokio::time::sleep(lifetime).await;
                    swept.sweep(Timestamp::now());
                }
            })
            .keep();
        leased
    }

    /// Charges all counters, or none.
    ///
    /// # Errors
    /// Where a share is needed and Redis is of no use.
    pub async fn charge(
        &self,
        charge: &Charge<'_, '_>,
        now: Timestamp,
    ) -> Result<Charged, StoreUnavailable> {
        let keys: Keys = charge.counters.iter().map(Counter::key).collect();
        let deadline = Instant::now() + self.0.counters.budget();
        for _ in 0..ATTEMPTS {
            let flights = match self.0.spend(charge, &keys, now) {
                Tried::Charged(charged) => return Ok(charged),
                Tried::Lacking(flights) => flights,
                Tried::Full => break,
            };
            for mut flight in flights {
                let landed = tokio::time::timeout_at(deadline, flight.wait_for(Option::is_some));
                match landed.await {
                    Ok(Ok(landed)) => {
                        if let Some(Err(error)) = &*landed {
                            return Err(error.clone());
                        }
                    }
                    Ok(Err(_)) => return Err(gave_up("a share was given up")),
                    Err(_) => return Err(gave_up("no share came in time")),
                }
            }
        }
        self.0.counters.charge(charge, now).await
    }

    /// What counters say, without charging them.
    ///
    /// # Errors
    /// Where Redis is of no use.
    pub async fn read(
        &self,
        counters: &[Counter<'_>],
        now: Timestamp,
    ) -> Result<Levels, StoreUnavailable> {
        let mut levels = self.0.counters.read(counters, now).await?;
        for (counter, level) in counters.iter().zip(&mut levels) {
            let key = counter.key();
            let shards = self.0.locked(&[key]);
            let lease = shards.get(&key).and_then(|shard| shard.get(&key));
            // what is here to spend is left, too
            if let Some(lease) = lease.filter(|lease| lease.holds(now)) {
                level.remaining = level.remaining.saturating_add(lease.available);
                if lease.available >= cost_of(counter) {
                    level.wait = Some(Duration::ZERO);
                }
            }
        }
        Ok(levels)
    }

    /// Where the counters are.
    #[must_use]
    pub fn redis(&self) -> &Redis {
        self.0.counters.redis()
    }

    /// How many shares there are.
    #[must_use]
    pub fn len(&self) -> usize {
        let shards = self.0.shards.iter();
        shards.map(|shard| lock(shard).len()).sum()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Drops what may not be spent any more, and gives it back.
    pub fn sweep(&self, now: Timestamp) {
        let given = self.0.drop_where(|lease| !lease.is_in_use(now));
        if !given.is_empty() {
            let inner = Arc::clone(&self.0);
            self.0
                .tasks
                .detached(async move { inner.give_back(given, now).await });
        }
    }

    /// Gives back everything.
    pub async fn close(&self) {
        let given = self.0.drop_where(|_| true);
        self.0.give_back(given, Timestamp::now()).await;
    }
}

type Keys = SmallVec<[KeyedDigest; 4]>;

/// What is given back: the counter, the window that it is of, and how much.
type Given = Vec<(Arc<str>, Said, u64)>;

impl Inner {
    /// Spends the costs from the shares, all or none; starts to take the shares that lack.
    fn spend(self: &Arc<Self>, charge: &Charge<'_, '_>, keys: &Keys, now: Timestamp) -> Tried {
        let id = charge.id(keys.iter().copied());
        let mut shards = self.locked(keys);
        if id.is_some_and(|id| self.recent.has(id, now)) {
            let levels = charge.counters.iter().zip(keys);
            let levels = levels.map(|(_, key)| {
                let lease = shards.get(key).and_then(|shard| shard.get(key));
                lease.map_or(NOTHING, |lease| lease.level(now))
            });
            return Tried::Charged(Charged::Admitted(levels.collect()));
        }
        for (counter, key) in charge.counters.iter().zip(keys) {
            if !self.prepare(&mut shards, *key, counter, now) {
                return Tried::Full;
            }
        }
        if let Some(refused) = refusal(&shards, charge.counters, keys, now) {
            return Tried::Charged(refused);
        }
        let mut flights = SmallVec::new();
        for (counter, key) in charge.counters.iter().zip(keys) {
            if let Some(lease) = shards.lease(key)
                && lease.available < cost_of(counter)
            {
                lease.demand = lease.demand.saturating_add(cost_of(counter));
                flights.push(self.fly(lease, (*key, counter), now));
            }
        }
        if !flights.is_empty() {
            return Tried::Lacking(flights);
        }
        let mut levels = Levels::new();
        for (counter, key) in charge.counters.iter().zip(keys) {
            if let Some(lease) = shards.lease(key) {
                lease.available -= cost_of(counter);
                levels.push(lease.level(now));
                if lease.taken >= FEW.saturating_mul(cost_of(counter))
                    && lease.available < lease.taken / 4
                {
                    let _ahead = self.fly(lease, (*key, counter), now);
                }
            }
        }
        if let Some(id) = id {
            self.recent.take(id, now);
        }
        Tried::Charged(Charged::Admitted(levels))
    }

    /// Makes a place for the share of a counter, and empties one that may not be spent any more;
    /// false where there are too many.
    fn prepare(
        self: &Arc<Self>,
        shards: &mut Locked<'_>,
        key: KeyedDigest,
        counter: &Counter<'_>,
        now: Timestamp,
    ) -> bool {
        let Some(shard) = shards.get_mut(&key) else {
            return false;
        };
        if let Some(lease) = shard.get_mut(&key) {
            if lease.available > 0 && !lease.holds(now) {
                let left = std::mem::take(&mut lease.available);
                if let Some(said) = lease.said {
                    let (inner, given) = (Arc::clone(self), (Arc::clone(&lease.key), said, left));
                    self.tasks
                        .detached(async move { inner.give_back(vec![given], now).await });
                }
            }
            return true;
        }
        if counter.is_open {
            if self.open.load(Ordering::Relaxed) >= self.rule.max_open {
                return false;
            }
            self.open.fetch_add(1, Ordering::Relaxed);
        }
        let lease = Lease {
            key: self.counters.key(counter).into(),
            is_open: counter.is_open,
            ..Lease::default()
        };
        shard.insert(key, lease);
        true
    }

    /// The flight that takes a share; one at a time.
    fn fly(
        self: &Arc<Self>,
        lease: &mut Lease,
        (at, counter): (KeyedDigest, &Counter<'_>),
        now: Timestamp,
    ) -> watch::Receiver<Option<Landed>> {
        if let Some(flight) = &lease.flight
            && flight.has_changed().is_ok()
        {
            return flight.clone();
        }
        let rule = counter.limit.rule;
        let (landing, flight) = watch::channel(None);
        lease.flight = Some(flight.clone());
        let wanted = lease.wanted(&rule, self.rule.parts, now);
        let cost = cost_of(counter);
        let lacking = cost.saturating_sub(lease.available).max(1);
        lease.demand = 0;
        let (inner, key) = (Arc::clone(self), Arc::clone(&lease.key));
        self.tasks.detached(async move {
            let asked = Instant::now();
            let taking = inner.counters.take(&key, &rule, (lacking, wanted), now);
            let mut share = taking.await;
            if let Ok(share) = &mut share
                && cost > rule.capacity()
            {
                // what lacks may fit, the whole never does
                share.level.wait = None;
            }
            let landed = inner.land(at, cost, share, (now, asked));
            landing.send_replace(Some(landed));
        });
        flight
    }

    /// Puts a share that was taken where it is spent.
    fn land(
        &self,
        at: KeyedDigest,
        cost: u64,
        share: Result<Share, StoreUnavailable>,
        (now, asked): (Timestamp, Instant),
    ) -> Landed {
        let mut shards = self.locked(&[at]);
        let Some(lease) = shards.lease(&at) else {
            return share.map(|_| ());
        };
        lease.flight = None;
        let share = share?;
        if share.taken == 0 {
            let mut level = share.level;
            let wait = level.wait.unwrap_or(LONGEST_REFUSAL);
            level.remaining = level.remaining.saturating_add(lease.available);
            lease.refused = Some(Refused {
                cost,
                level,
                asked: now,
                until: after(now, wait.min(LONGEST_REFUSAL)),
            });
            return Ok(());
        }
        // a share of the calendar ends with its window
        let life = match (share.start, share.level.reset) {
            (Some(_), Some(reset)) => reset.min(self.rule.lifetime),
            (Some(_), None) | (None, _) => self.rule.lifetime,
        };
        let is_of_another_window = lease
            .said
            .is_some_and(|said| said.share.start != share.start || !lease.holds(now));
        if is_of_another_window {
            lease.available = 0;
        }
        lease.available = lease.available.saturating_add(share.taken);
        lease.taken = share.taken;
        lease.refused = None;
        lease.said = Some(Said {
            share,
            asked: now,
            until: after(now, life),
            deadline: asked + life,
        });
        Ok(())
    }

    async fn give_back(&self, given: Given, now: Timestamp) {
        for (key, said, left) in given {
            let reset = said.share.level.reset;
            let is_over = reset.is_some_and(|reset| now >= after(said.asked, reset));
            // a bucket has drained meanwhile what was taken of it
            if let (Some(start), false) = (said.share.start, is_over) {
                // what cannot be given back is lost, and nobody gets more for it
                if self.counters.give(&key, start, left).await.is_err() {
                    return;
                }
            }
        }
    }

    /// Drops the shares of which `ends` says so; what was left of them.
    fn drop_where(&self, ends: impl Fn(&Lease) -> bool) -> Given {
        let mut given = Given::new();
        for shard in &self.shards {
            lock(shard).retain(|_, lease| {
                if !ends(lease) {
                    return true;
                }
                if let (Some(said), 1..) = (lease.said, lease.available) {
                    given.push((Arc::clone(&lease.key), said, lease.available));
                }
                if lease.is_open {
                    self.open.fetch_sub(1, Ordering::Relaxed);
                }
                false
            });
        }
        given
    }

    fn locked(&self, keys: &[KeyedDigest]) -> Locked<'_> {
        let mut places: SmallVec<[usize; 4]> = keys.iter().map(|key| place(*key)).collect();
        places.sort_unstable();
        places.dedup();
        let locked = places
            .into_iter()
            .filter_map(|at| Some((at, lock(self.shards.get(at)?))));
        Locked(locked.collect())
    }
}

/// What a counter says of which nothing is known.
const NOTHING: Level = Level {
    remaining: 0,
    reset: None,
    wait: Some(Duration::ZERO),
};

impl Lease {
    /// Whether what is available may be spent.
    fn holds(&self, now: Timestamp) -> bool {
        self.said.is_some_and(|said| {
            said.asked <= now && now < said.until && Instant::now() < said.deadline
        })
    }

    /// Whether anything here is of use still.
    fn is_in_use(&self, now: Timestamp) -> bool {
        let flies = self
            .flight
            .as_ref()
            .is_some_and(|flight| flight.has_changed().is_ok());
        let refuses = self.refused.is_some_and(|refused| refused.holds(now));
        flies || refuses || self.holds(now)
    }

    /// How much is wanted: twice what was used up within its lifetime, and what checks wait for.
    fn wanted(&self, rule: &Rule, parts: u64, now: Timestamp) -> u64 {
        let most = (rule.amount / parts.max(1)).max(1);
        let before = if self.holds(now) { self.taken } else { 0 };
        before.saturating_mul(2).min(most).max(self.demand)
    }

    fn level(&self, now: Timestamp) -> Level {
        // of a limit that only counts nothing is left, although shares of it are spent
        let here = |said: Said| match said.share.level.wait {
            Some(Duration::ZERO) => self.available,
            Some(_) | None => 0,
        };
        self.said.map_or(NOTHING, |said| Level {
            remaining: said.share.level.remaining.saturating_add(here(said)),
            reset: said
                .share
                .level
                .reset
                .map(|reset| left(said.asked, reset, now)),
            wait: said.share.level.wait,
        })
    }
}

impl Refused {
    fn holds(&self, now: Timestamp) -> bool {
        self.asked <= now && now < self.until
    }

    fn level(&self, now: Timestamp) -> Level {
        Level {
            remaining: self.level.remaining,
            reset: self.level.reset.map(|reset| left(self.asked, reset, now)),
            wait: self.level.wait.map(|wait| left(self.asked, wait, now)),
        }
    }
}

/// The refusal of the counter that has to be waited for longest, where one was refused a moment ago.
fn refusal(
    shards: &Locked<'_>,
    counters: &[Counter<'_>],
    keys: &Keys,
    now: Timestamp,
) -> Option<Charged> {
    let leases = || {
        counters.iter().zip(keys).map(|(counter, key)| {
            let lease = shards.get(key).and_then(|shard| shard.get(key));
            (counter, lease)
        })
    };
    let refused = |(counter, lease): (&Counter<'_>, Option<&Lease>)| {
        let refused = lease?.refused?;
        let is_refused = refused.holds(now) && cost_of(counter) >= refused.cost;
        let lacks =
            lease.is_some_and(|lease| lease.available < cost_of(counter) || !lease.holds(now));
        (is_refused && lacks && counter.limit.rule.enforced).then(|| refused.level(now))
    };
    let refusals = leases().map(refused).enumerate();
    let refusals = refusals.filter_map(|(at, level)| Some((at, level?)));
    let (at, _) = refusals.max_by_key(|(_, level)| level.wait.unwrap_or(Duration::MAX))?;
    let levels = leases().map(|(counter, lease)| {
        let known = lease.map_or(NOTHING, |lease| lease.level(now));
        refused((counter, lease)).unwrap_or(known)
    });
    Some(Charged::Exceeded {
        at,
        levels: levels.collect(),
    })
}

/// The shards of a charge, each locked once, in their order.
struct Locked<'l>(SmallVec<[(usize, MutexGuard<'l, Shard>); 4]>);

impl Locked<'_> {
    fn get(&self, key: &KeyedDigest) -> Option<&Shard> {
        let shard = place(*key);
        let found = self.0.iter().find(|(at, _)| *at == shard);
        found.map(|(_, shard)| &**shard)
    }

    fn get_mut(&mut self, key: &KeyedDigest) -> Option<&mut Shard> {
        let shard = place(*key);
        let found = self.0.iter_mut().find(|(at, _)| *at == shard);
        found.map(|(_, shard)| &mut **shard)
    }

    fn lease(&mut self, key: &KeyedDigest) -> Option<&mut Lease> {
        self.get_mut(key)?.get_mut(key)
    }
}

fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

fn place(key: KeyedDigest) -> usize {
    let [_, high] = key.halves();
    usize::try_from(high).unwrap_or(0) % SHARDS
}

/// So long after a time; times end in the year 9999.
fn after(time: Timestamp, duration: Duration) -> Timestamp {
    let duration = SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX);
    time.checked_add(duration).unwrap_or(Timestamp::MAX)
}

/// What is left of a duration that began at a time.
fn left(began: Timestamp, duration: Duration, now: Timestamp) -> Duration {
    let passed = Duration::try_from(now.duration_since(began)).unwrap_or_default();
    duration.saturating_sub(passed)
}

/// What a counter is charged: no more than it can count.
fn cost_of(counter: &Counter<'_>) -> u64 {
    counter.cost.min(MOST)
}

fn gave_up(why: &str) -> StoreUnavailable {
    StoreUnavailable(why.to_owned())
}
