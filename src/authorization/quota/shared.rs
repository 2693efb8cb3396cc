//! Counters that replicas share, and what holds where they cannot be had.
//
// INVARIANT: where the store cannot say, a charge is an error or counted here against a part of each
// limit; it is never admitted uncounted.

use std::borrow::Cow;

use jiff::Timestamp;
use smallvec::SmallVec;

use crate::authorization::quota::lease::LeasedCounters;
use crate::authorization::quota::local::LocalCounters;
use crate::authorization::quota::redis::RedisCounters;
use crate::authorization::quota::{Charge, Charged, Counter, Levels, StoreUnavailable, Values};
use crate::catalog::model::limit::{Limit, Rule, WindowAlignment};
use crate::redis::Redis;

/// Counters that replicas share.
#[derive(Debug)]
pub struct SharedCounters {
    counting: Counting,
    on_failure: OnFailure,
}

/// How replicas share counters.
#[derive(Debug)]
pub enum Counting {
    /// Each charge is a round trip.
    Exact(RedisCounters),
    /// Shares are taken ahead.
    Leased(LeasedCounters),
}

/// What holds where the store cannot say.
#[derive(Debug)]
pub enum OnFailure {
    /// Nothing: who asked is told.
    Deny,
    /// Each replica counts for itself.
    Local(DividedCounters),
}

/// Counters of one replica for its part of every limit.
#[derive(Debug)]
pub struct DividedCounters {
    counters: LocalCounters,
    replicas: u64,
}

impl SharedCounters {
    /// Counters that are counted so, and what holds where they cannot be had.
    #[must_use]
    pub fn new(counting: Counting, on_failure: OnFailure) -> Self {
        Self {
            counting,
            on_failure,
        }
    }

    /// Charges all counters, or none.
    ///
    /// # Errors
    /// Where the store cannot say and nothing else holds then.
    pub async fn charge(
        &self,
        charge: &Charge<'_, '_>,
        now: Timestamp,
    ) -> Result<Charged, StoreUnavailable> {
        let charged = match &self.counting {
            Counting::Exact(counters) => counters.charge(charge, now).await,
            Counting::Leased(counters) => counters.charge(charge, now).await,
        };
        match (charged, &self.on_failure) {
            (Err(_), OnFailure::Local(divided)) => Ok(divided.charge(charge, now)),
            (charged, _) => charged,
        }
    }

    /// What counters say, without charging them.
    ///
    /// # Errors
    /// Where the store cannot say and nothing else holds then.
    pub async fn read(
        &self,
        counters: &[Counter<'_>],
        now: Timestamp,
    ) -> Result<Levels, StoreUnavailable> {
        let levels = match &self.counting {
            Counting::Exact(exact) => exact.read(counters, now).await,
            Counting::Leased(leased) => leased.read(counters, now).await,
        };
        match (levels, &self.on_failure) {
            (Err(_), OnFailure::Local(divided)) => Ok(divided.read(counters, now)),
            (levels, _) => levels,
        }
    }

    /// Where they are.
    #[must_use]
    pub fn redis(&self) -> &Redis {
        match &self.counting {
            Counting::Exact(counters) => counters.redis(),
            Counting::Leased(counters) => counters.redis(),
        }
    }

    /// How many counters there are in this process.
    #[must_use]
    pub fn len(&self) -> usize {
        let leases = match &self.counting {
            Counting::Exact(_) => 0,
            Counting::Leased(counters) => counters.len(),
        };
        match &self.on_failure {
            OnFailure::Deny => leases,
            OnFailure::Local(divided) => leases + divided.counters.len(),
        }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many charges went to a counter that is shared by several keys.
    #[must_use]
    pub fn shared(&self) -> u64 {
        match &self.on_failure {
            OnFailure::Deny => 0,
            OnFailure::Local(divided) => divided.counters.shared(),
        }
    }

    /// Drops what says nothing any more.
    pub fn sweep(&self, now: Timestamp) {
        match &self.counting {
            Counting::Exact(_) => {}
            Counting::Leased(counters) => counters.sweep(now),
        }
        match &self.on_failure {
            OnFailure::Deny => {}
            OnFailure::Local(divided) => divided.counters.sweep(now),
        }
    }

    /// Gives back what was taken ahead, when the process ends.
    pub async fn close(&self) {
        match &self.counting {
            Counting::Exact(_) => {}
            Counting::Leased(counters) => counters.close().await,
        }
    }
}

impl DividedCounters {
    /// The counters of one of so many replicas; at most `max_open` whose keys callers choose.
    #[must_use]
    pub fn new(replicas: u64, max_open: usize) -> Self {
        Self {
            counters: LocalCounters::new(max_open),
            replicas: replicas.max(1),
        }
    }

    fn charge(&self, charge: &Charge<'_, '_>, now: Timestamp) -> Charged {
        self.with(charge.counters, |counters| {
            let charge = Charge {
                request: charge.request,
                counters,
            };
            self.counters.charge(&charge, now)
        })
    }

    fn read(&self, counters: &[Counter<'_>], now: Timestamp) -> Levels {
        self.with(counters, |counters| self.counters.read(counters, now))
    }

    /// Does `what` with counters whose limits are this replica's part.
    fn with<T>(&self, counters: &[Counter<'_>], what: impl FnOnce(&[Counter<'_>]) -> T) -> T {
        let limits: SmallVec<[Limit; 4]> = counters
            .iter()
            .map(|counter| Limit {
                rule: part(counter.limit.rule, self.replicas),
                ..counter.limit.clone()
            })
            .collect();
        let counters: SmallVec<[Counter<'_>; 4]> = counters
            .iter()
            .zip(&limits)
            .map(|(counter, limit)| Counter {
                limit,
                values: borrowed(&counter.values),
                cost: counter.cost,
                is_open: counter.is_open,
            })
            .collect();
        what(&counters)
    }
}

fn borrowed<'v>(values: &'v Values<'_>) -> Values<'v> {
    let values = values.iter();
    values.map(|value| Cow::Borrowed(value.as_ref())).collect()
}

/// One part of so many, rounded down.
fn part(rule: Rule, replicas: u64) -> Rule {
    let amount = rule.amount / replicas;
    let burst = match rule.alignment {
        // a bucket drains one in a window at least: one that drains less has no room
        WindowAlignment::Sliding if amount == 0 => Some(0),
        WindowAlignment::Sliding | WindowAlignment::Calendar => {
            rule.burst.map(|burst| burst / replicas)
        }
    };
    Rule {
        amount,
        burst,
        ..rule
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::model::limit::Window;

    #[test]
    fn parts_are_rounded_down_and_add_up_to_no_more_than_the_whole() {
        let rule = |amount, alignment, burst| Rule {
            amount,
            window: Window::Second,
            alignment,
            burst,
            enforced: true,
        };
        for (amount, alignment, burst, expected) in [
            (100, WindowAlignment::Calendar, None, (33, None)),
            (2, WindowAlignment::Calendar, None, (0, None)),
            (100, WindowAlignment::Sliding, Some(200), (33, Some(66))),
            (2, WindowAlignment::Sliding, Some(40), (0, Some(0))),
            (2, WindowAlignment::Sliding, None, (0, Some(0))),
        ] {
            let part = part(rule(amount, alignment, burst), 3);
            assert_eq!((part.amount, part.burst), expected, "{amount}");
        }
    }
}
