//! Counters in this process: exact, without a round trip, and gone with the process.
//!
//! A counter that says no more than a new one would (its window is over, its bucket empty) is
//! dropped. Counters whose keys the catalog names are always kept; those whose keys callers choose
//! (subjects, addresses, claims) are kept up to a number, beyond which all further ones of a limit
//! share one counter: a flood of keys evicts nobody, and admits no more.
//
// INVARIANT: a charge holds the locks of all its counters at once, taken in their order, so that
// all are charged or none.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use smallvec::SmallVec;

use crate::authorization::quota::recent::RecentCharges;
use crate::authorization::quota::{Charge, Charged, Counter, Level, Levels};
use crate::catalog::model::limit::{Rule, WindowAlignment};
use crate::secret::KeyedDigest;

const SHARDS: usize = 64;
/// How many limits can be told apart at best.
const LIMITS: u16 = 1024;
const NANOSECONDS: u64 = 1_000_000_000;
/// How few counters of a shard are never swept for room.
const FEW: usize = 64;

/// Counters in this process.
#[derive(Debug)]
pub struct LocalCounters {
    shards: Box<[Mutex<Shard>]>,
    recent: RecentCharges,
    max_open: usize,
    open: AtomicUsize,
    /// How many of those each limit has; few limits share a number.
    open_of_limit: Box<[AtomicUsize]>,
    shared: AtomicU64,
}

#[derive(Debug, Default)]
struct Shard {
    cells: HashMap<KeyedDigest, Cell, BuildHasherDefault<Digested>>,
    /// At how many cells those that say nothing are dropped.
    sweep_at: usize,
}

/// What one counter says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cell {
    /// On the calendar, what was used in the window. Sliding, what is in the bucket, times the
    /// nanoseconds of a window: so that what drains in a nanosecond is a whole number, the amount.
    used: u128,
    /// On the calendar, the second in which the window began. Sliding, the nanosecond since 1970
    /// of the last charge.
    at: u64,
    /// The second from which on it says nothing; the greatest for never.
    idle_from: u32,
    /// Where a caller chose its key, where its limit's are counted.
    open: Option<u16>,
}

/// A digest is a hash already.
#[derive(Debug, Default)]
struct Digested(u64);

impl Hasher for Digested {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u128(&mut self, digest: u128) {
        let low = digest & u128::from(u64::MAX);
        self.0 = u64::try_from(low).unwrap_or(0);
    }
}

/// A counter of a charge, and where it is kept.
#[derive(Debug, Clone, Copy)]
struct Place {
    key: KeyedDigest,
    shard: usize,
}

/// What a counter is before a charge, and what it would be after.
#[derive(Debug, Clone, Copy)]
struct Step {
    after: Cell,
    level: Level,
    fits: bool,
}

impl LocalCounters {
    /// None yet; at most `max_open` whose keys callers choose.
    #[must_use]
    pub fn new(max_open: usize) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            recent: RecentCharges::default(),
            max_open,
            open: AtomicUsize::new(0),
            open_of_limit: (0..LIMITS).map(|_| AtomicUsize::new(0)).collect(),
            shared: AtomicU64::new(0),
        }
    }

    /// Charges all counters, or none.
    pub fn charge(&self, charge: &Charge<'_, '_>, now: Timestamp) -> Charged {
        let places = self.places(charge.counters);
        let id = charge.id(places.iter().map(|place| place.key));
        let mut shards = Locked::of(self, &places);
        let again = id.is_some_and(|id| self.recent.has(id, now));
        let mut steps: SmallVec<[Step; 4]> = SmallVec::new();
        for (counter, place) in charge.counters.iter().zip(&places) {
            let cell = shards.cell(*place);
            let cost = if again { 0 } else { counter.cost };
            steps.push(step(cell, &counter.limit.rule, cost, now));
        }
        if let Some(at) = refusal(charge.counters, &steps).filter(|_| !again) {
            let mut levels = Levels::new();
            for ((counter, place), asked) in charge.counters.iter().zip(&places).zip(&steps) {
                let rule = &counter.limit.rule;
                shards.follow_back(*place, rule, now);
                let left = step(shards.cell(*place), rule, 0, now).level;
                levels.push(Level {
                    wait: asked.level.wait,
                    ..left
                });
            }
            return Charged::Exceeded { at, levels };
        }
        if !again {
            for ((counter, place), step) in charge.counters.iter().zip(&places).zip(&steps) {
                let cell = Cell {
                    open: counter.is_open.then(|| limit_place(counter)),
                    ..step.after
                };
                self.put(&mut shards, *place, cell, now);
            }
            if let Some(id) = id {
                self.recent.take(id, now);
            }
        }
        Charged::Admitted(steps.iter().map(|step| step.level).collect())
    }

    /// What counters say, without charging them. `wait` is that of their costs.
    pub fn read(&self, counters: &[Counter<'_>], now: Timestamp) -> Levels {
        let places = self.places(counters);
        let shards = Locked::of(self, &places);
        let levels = counters.iter().zip(&places).map(|(counter, place)| {
            let cell = shards.cell(*place);
            let rule = &counter.limit.rule;
            Level {
                wait: step(cell, rule, counter.cost, now).level.wait,
                ..step(cell, rule, 0, now).level
            }
        });
        levels.collect()
    }

    /// How many counters there are.
    #[must_use]
    pub fn len(&self) -> usize {
        let shards = self.shards.iter();
        shards.map(|shard| lock(shard).cells.len()).sum()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many charges went to a counter that is shared, as there are too many of their own.
    #[must_use]
    pub fn shared(&self) -> u64 {
        self.shared.load(Ordering::Relaxed)
    }

    /// Drops the counters that say nothing any more, and gives back the room that they took.
    pub fn sweep(&self, now: Timestamp) {
        for shard in &self.shards {
            self.sweep_shard(&mut lock(shard), now);
        }
    }

    fn sweep_shard(&self, shard: &mut Shard, now: Timestamp) {
        let now = seconds(now);
        shard.cells.retain(|_, cell| {
            let stays = u64::from(cell.idle_from) > now || cell.idle_from == u32::MAX;
            if let (false, Some(of)) = (stays, cell.open) {
                self.open.fetch_sub(1, Ordering::Relaxed);
                self.of_limit(of).fetch_sub(1, Ordering::Relaxed);
            }
            stays
        });
        let left = shard.cells.len();
        if shard.cells.capacity() > 4 * left.max(FEW) {
            shard.cells.shrink_to(2 * left);
        }
        shard.sweep_at = (2 * left).max(FEW);
    }

    fn put(&self, shards: &mut Locked<'_>, place: Place, cell: Cell, now: Timestamp) {
        let Some(shard) = shards.shard(place.shard) else {
            return;
        };
        if let Some(known) = shard.cells.get_mut(&place.key) {
            *known = cell;
            return;
        }
        if shard.cells.len() >= shard.sweep_at.max(FEW) {
            self.sweep_shard(shard, now);
        }
        if let Some(of) = cell.open {
            self.open.fetch_add(1, Ordering::Relaxed);
            self.of_limit(of).fetch_add(1, Ordering::Relaxed);
        }
        shard.cells.insert(place.key, cell);
    }

    fn places(&self, counters: &[Counter<'_>]) -> SmallVec<[Place; 4]> {
        let places = counters.iter().map(|counter| {
            let own = place(counter.key());
            if counter.is_open && self.is_full(counter) && !self.knows(own) {
                self.shared.fetch_add(1, Ordering::Relaxed);
                return place(counter.shared_key());
            }
            own
        });
        places.collect()
    }

    /// Whether there are as many counters of keys that callers choose as there may be: in all, or
    /// half of that of one limit, so that one does not take the room of all others.
    fn is_full(&self, counter: &Counter<'_>) -> bool {
        self.open.load(Ordering::Relaxed) >= self.max_open
            || self.of_limit(limit_place(counter)).load(Ordering::Relaxed)
                >= self.max_open.div_ceil(2)
    }

    fn of_limit(&self, place: u16) -> &AtomicUsize {
        static NONE: AtomicUsize = AtomicUsize::new(0);
        self.open_of_limit.get(usize::from(place)).unwrap_or(&NONE)
    }

    fn knows(&self, place: Place) -> bool {
        let shard = self.shards.get(place.shard);
        shard.is_some_and(|shard| lock(shard).cells.contains_key(&place.key))
    }
}

/// Where the counters of a counter's limit are counted.
fn limit_place(counter: &Counter<'_>) -> u16 {
    let [low, _] = counter.shared_key().halves();
    u16::try_from(low % u64::from(LIMITS)).unwrap_or(0)
}

fn place(key: KeyedDigest) -> Place {
    let [_, high] = key.halves();
    Place {
        key,
        shard: usize::try_from(high).unwrap_or(0) % SHARDS,
    }
}

fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The shards of a charge, each locked once, in their order.
struct Locked<'l>(SmallVec<[(usize, MutexGuard<'l, Shard>); 4]>);

impl<'l> Locked<'l> {
    fn of(counters: &'l LocalCounters, places: &[Place]) -> Self {
        let mut shards: SmallVec<[usize; 4]> = places.iter().map(|place| place.shard).collect();
        shards.sort_unstable();
        shards.dedup();
        let shards = shards.into_iter();
        Self(
            shards
                .filter_map(|at| Some((at, lock(counters.shards.get(at)?))))
                .collect(),
        )
    }

    fn cell(&self, place: Place) -> Option<Cell> {
        let (_, shard) = self.0.iter().find(|(at, _)| *at == place.shard)?;
        shard.cells.get(&place.key).copied()
    }

    /// Where the clock was set back, a bucket drains from now on; else it would stand still until
    /// the clock is where it was.
    fn follow_back(&mut self, place: Place, rule: &Rule, now: Timestamp) {
        if rule.alignment == WindowAlignment::Sliding
            && let Some(shard) = self.shard(place.shard)
            && let Some(cell) = shard.cells.get_mut(&place.key)
        {
            cell.at = cell.at.min(nanoseconds(now));
        }
    }

    fn shard(&mut self, at: usize) -> Option<&mut Shard> {
        let found = self.0.iter_mut().find(|(shard, _)| *shard == at);
        found.map(|(_, shard)| &mut **shard)
    }
}

/// The place of the counter that refuses, if one does: the one that has to be waited for longest.
fn refusal(counters: &[Counter<'_>], steps: &[Step]) -> Option<usize> {
    let refusals = steps.iter().zip(counters).enumerate();
    let refusals =
        refusals.filter(|(_, (step, counter))| counter.limit.rule.enforced && !step.fits);
    let wait =
        |(_, (step, _)): &(usize, (&Step, &Counter<'_>))| step.level.wait.unwrap_or(Duration::MAX);
    refusals.max_by_key(wait).map(|(at, _)| at)
}

/// What `cost` makes of a counter.
fn step(cell: Option<Cell>, rule: &Rule, cost: u64, now: Timestamp) -> Step {
    match (rule.alignment, rule.window.seconds()) {
        (WindowAlignment::Sliding, Some(window)) => slide(cell, rule, cost, (now, window)),
        (WindowAlignment::Sliding, None) | (WindowAlignment::Calendar, _) => {
            count(cell, rule, cost, now)
        }
    }
}

fn count(cell: Option<Cell>, rule: &Rule, cost: u64, now: Timestamp) -> Step {
    let span = rule.window.calendar(now);
    let length = span.end.map_or(u64::MAX, |end| end - span.start);
    // a clock that was set back by less than a window goes on in the window that it has begun
    let holds = |cell: &Cell| cell.at >= span.start && cell.at - span.start < length;
    let current = cell.filter(holds);
    let (used, start) = current.map_or((0, span.start), |cell| (cell.used, cell.at));
    let end = span.end.map(|end| end + (start - span.start));
    let amount = u128::from(rule.amount);
    let after = used.saturating_add(cost.into());
    let until_end = end.map(|end| until(now, end));
    let fits = after <= amount;
    Step {
        after: Cell {
            used: after,
            at: start,
            idle_from: end.map_or(u32::MAX, |end| u32::try_from(end).unwrap_or(u32::MAX)),
            open: None,
        },
        level: Level {
            remaining: u64::try_from(amount.saturating_sub(after)).unwrap_or(0),
            reset: until_end,
            wait: match fits {
                true => Some(Duration::ZERO),
                false => until_end.filter(|_| cost <= rule.amount),
            },
        },
        fits,
    }
}

fn slide(cell: Option<Cell>, rule: &Rule, cost: u64, (now, window): (Timestamp, u64)) -> Step {
    let at = nanoseconds(now);
    let window = u128::from(window) * u128::from(NANOSECONDS);
    let (amount, capacity) = (u128::from(rule.amount.max(1)), u128::from(rule.capacity()));
    let before = cell.map_or(0, |cell| {
        // where the clock was set back, nothing has drained
        let drained = u128::from(at.saturating_sub(cell.at)) * amount;
        cell.used.saturating_sub(drained)
    });
    let whole = capacity * window;
    let after = before + u128::from(cost) * window;
    let fits = after <= whole;
    // a limit that only counts stays full
    let after = after.min(whole.max(before));
    let drains_in = |level: u128| {
        let nanoseconds = level.div_ceil(amount);
        Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
    };
    let empty_at = u128::from(at) + after.div_ceil(amount);
    let idle_from = empty_at / u128::from(NANOSECONDS) + 1;
    Step {
        after: Cell {
            used: after,
            at,
            idle_from: u32::try_from(idle_from).unwrap_or(u32::MAX - 1),
            open: None,
        },
        level: Level {
            remaining: u64::try_from((whole.saturating_sub(after)) / window).unwrap_or(0),
            reset: Some(drains_in(after)),
            wait: match fits {
                true => Some(Duration::ZERO),
                false => (u128::from(cost) <= capacity)
                    .then(|| drains_in(before + u128::from(cost) * window - whole)),
            },
        },
        fits,
    }
}

fn seconds(now: Timestamp) -> u64 {
    u64::try_from(now.as_second()).unwrap_or(0)
}

fn nanoseconds(now: Timestamp) -> u64 {
    u64::try_from(now.as_nanosecond()).unwrap_or(0)
}

fn until(now: Timestamp, second: u64) -> Duration {
    let end = u128::from(second) * u128::from(NANOSECONDS);
    let left = end.saturating_sub(u128::from(nanoseconds(now)));
    Duration::from_nanos(u64::try_from(left).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests;
