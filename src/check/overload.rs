//! Sheds load: where checks come faster than they can be answered, as many as can be answered in
//! time are let in, and the others are told at once that we are overloaded.
//!
//! After CoDel (RFC 8289): a queue that a burst left behind drains by itself and is no reason to
//! refuse anything; one that has been standing for an interval does not. CoDel takes the shortest
//! wait of an interval for the sign of a standing queue. Here checks come in batches, as a
//! connection is read, and some of each batch have hardly waited; the sign is that a check waited
//! too long and no worker of the runtime has run out of work for an interval.
//
// INVARIANT: nothing is written for a check that has not waited while no queue is standing, and
// nothing is locked.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

/// How long workers may be busy without a rest until a queue is a standing one.
const INTERVAL: Duration = Duration::from_millis(100);
/// How many checks may wait for their turn in a standing queue, for each worker: enough to keep it
/// busy while connections are read.
const ROOM: usize = 32;

#[cfg(test)]
const TEST_TARGET: Duration = Duration::from_millis(10);

/// Knows whether a queue is standing, and who may join it.
#[derive(Debug, Clone)]
pub struct Overload {
    shared: Arc<Shared>,
}

struct Shared {
    /// The longest wait that is no concern.
    target: Duration,
    /// How often a worker has run out of work so far.
    rests: Box<dyn Fn() -> u64 + Send + Sync>,
    /// How many there were when a check last came late and there had been others before.
    seen: AtomicU64,
    /// When that was, in microseconds after `origin`.
    since: AtomicU64,
    origin: Instant,
    /// Whether a queue was standing when a check last came late.
    standing: AtomicBool,
    /// How many have joined the standing queue and still wait for their turn.
    waiting: AtomicUsize,
    room: usize,
}

/// A check that arrived and waits for its turn.
#[derive(Debug)]
pub struct Arrival {
    at: Instant,
    entry: Entry,
}

#[derive(Debug)]
enum Entry {
    /// No queue was standing.
    Free,
    /// It has joined the standing queue.
    Joined { _place: Place },
    /// There was no place in it.
    Refused,
}

/// A place in the standing queue.
#[derive(Debug)]
struct Place(Overload);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.shared.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Arrival {
    /// When it arrived.
    #[must_use]
    pub fn at(&self) -> Instant {
        self.at
    }

    /// Whether it is refused already.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        matches!(self.entry, Entry::Refused)
    }
}

impl Overload {
    /// Of the runtime with this handle; a wait of up to `target` is no concern.
    #[must_use]
    pub fn of(runtime: &Handle, target: Duration) -> Self {
        let metrics = runtime.metrics();
        let room = ROOM * metrics.num_workers();
        let rests = move || {
            (0..metrics.num_workers())
                .map(|worker| metrics.worker_park_count(worker))
                .sum()
        };
        Self::new(rests, room, Instant::now(), target)
    }

    fn new(
        rests: impl Fn() -> u64 + Send + Sync + 'static,
        room: usize,
        origin: Instant,
        target: Duration,
    ) -> Self {
        Self {
            shared: Arc::new(Shared {
                target,
                rests: Box::new(rests),
                seen: AtomicU64::new(u64::MAX),
                since: AtomicU64::new(0),
                origin,
                standing: AtomicBool::new(false),
                waiting: AtomicUsize::new(0),
                room,
            }),
        }
    }

    /// One whose queue is standing and has no room, until the count of rests changes.
    #[cfg(test)]
    pub(crate) fn standing() -> (Self, Arc<AtomicU64>) {
        let rests = Arc::<AtomicU64>::default();
        let read = Arc::clone(&rests);
        let begin = Instant::now();
        let overload = Self::new(move || read.load(Ordering::Relaxed), 0, begin, TEST_TARGET);
        for waited in [INTERVAL, 2 * INTERVAL] {
            let arrival = overload.arrive(begin);
            assert_eq!(overload.refuses(arrival, begin + waited), waited > INTERVAL);
        }
        (overload, rests)
    }

    /// A check arrives `at` this time.
    #[must_use]
    pub fn arrive(&self, at: Instant) -> Arrival {
        let entry = if self.shared.is_standing_still() {
            match Place(self.clone()).taken() {
                Some(place) => Entry::Joined { _place: place },
                None => Entry::Refused,
            }
        } else {
            Entry::Free
        };
        Arrival { at, entry }
    }

    /// Whether the check is to be refused, now that its turn has come.
    #[must_use]
    pub fn refuses(&self, arrival: Arrival, now: Instant) -> bool {
        match arrival.entry {
            Entry::Free => {
                let waited = now.saturating_duration_since(arrival.at);
                waited > self.shared.target && self.shared.is_standing(now)
            }
            Entry::Joined { .. } => false,
            Entry::Refused => true,
        }
    }
}

impl Place {
    /// The place, where there is room for it.
    fn taken(self) -> Option<Self> {
        let Shared { waiting, room, .. } = &*self.0.shared;
        let before = waiting.fetch_add(1, Ordering::Relaxed);
        (before < *room).then_some(self)
    }
}

impl Shared {
    /// Whether no worker has rested for an interval, as far as those see that come late.
    fn is_standing(&self, now: Instant) -> bool {
        let rests = (self.rests)();
        let now = now.saturating_duration_since(self.origin).as_micros();
        let now = u64::try_from(now).unwrap_or(u64::MAX);
        if self.seen.load(Ordering::Acquire) == rests {
            let busy = now.saturating_sub(self.since.load(Ordering::Relaxed));
            let standing = Duration::from_micros(busy) >= INTERVAL;
            if standing {
                self.standing.store(true, Ordering::Relaxed);
            }
            return standing;
        }
        // two at a time may put each other's numbers there: the interval then begins a little later
        self.since.store(now, Ordering::Relaxed);
        self.seen.store(rests, Ordering::Release);
        false
    }

    /// Whether the queue that was standing still is: until a worker rests.
    fn is_standing_still(&self) -> bool {
        if !self.standing.load(Ordering::Relaxed) {
            return false;
        }
        let still = (self.rests)() == self.seen.load(Ordering::Relaxed);
        if !still {
            self.standing.store(false, Ordering::Relaxed);
        }
        still
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Overload")
    }
}

#[cfg(test)]
mod tests;
