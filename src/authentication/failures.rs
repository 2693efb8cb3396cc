//! Bounds what signatures that do not hold may cost: a budget of failed verifications for each
//! source of requests.
//!
//! A token that nobody has verified before costs a signature check, and whoever makes tokens up can
//! ask for as many as they like. Each check that fails takes from the budget of the client's
//! address; where that is used up, a new token of that address is denied before its signature is
//! looked at. A good token never takes anything.
//
// INVARIANT: memory is fixed: sources share a cell where their keyed hashes meet, and nobody can
// choose whom to share one with. A source that never fails writes nothing.

use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::check::request::PeerAddress;
use crate::config::findings::Findings;

/// How many sources can be told apart at best.
const CELLS: usize = 4096;
const NANOSECONDS: u64 = 1_000_000_000;

/// How many signatures may fail.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum FailedVerifications {
    /// As many as there are.
    Off,
    /// As many from each client address (IPv6: from each /64).
    PerSource(FailureRate),
}

/// A rate, and how far it may be exceeded for a short time.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct FailureRate {
    /// How many a second, for ever.
    pub per_second: u32,
    /// How many at once, after a time without any.
    pub burst: u32,
}

impl Default for FailedVerifications {
    fn default() -> Self {
        Self::PerSource(FailureRate::default())
    }
}

impl Default for FailureRate {
    fn default() -> Self {
        Self {
            per_second: 500,
            burst: 1000,
        }
    }
}

impl FailedVerifications {
    /// Finds what is wrong.
    pub fn check(&self, findings: &mut Findings) {
        let Self::PerSource(rate) = self else { return };
        for (path, value) in [
            ("perSource.perSecond", rate.per_second),
            ("perSource.burst", rate.burst),
        ] {
            if !(1..=1_000_000).contains(&value) {
                findings.wrong(path, "must lie between 1 and 1000000; `off` sets no limit");
            }
        }
    }
}

/// What each source has left. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct FailureBudget {
    /// None where there is no limit.
    shared: Option<Arc<Shared>>,
}

struct Shared {
    /// For each source, when its budget will be whole again, in nanoseconds after `origin`: a
    /// token bucket in one number (the generic cell rate algorithm).
    whole_at: Box<[AtomicU64]>,
    hasher: RandomState,
    /// What one failure takes, as the time until it is given back.
    cost: u64,
    /// What a whole budget lasts for, less one failure.
    depth: u64,
    origin: Instant,
}

impl FailureBudget {
    /// Whole budgets.
    #[must_use]
    pub fn new(config: &FailedVerifications) -> Self {
        let FailedVerifications::PerSource(rate) = config else {
            return Self { shared: None };
        };
        let cost = NANOSECONDS / u64::from(rate.per_second.max(1));
        let shared = Shared {
            whole_at: (0..CELLS).map(|_| AtomicU64::new(0)).collect(),
            hasher: RandomState::new(),
            cost,
            depth: cost * u64::from(rate.burst.max(1) - 1),
            origin: Instant::now(),
        };
        Self {
            shared: Some(Arc::new(shared)),
        }
    }

    /// Whether `source` may have another signature checked.
    #[must_use]
    pub fn is_left(&self, source: PeerAddress, now: Instant) -> bool {
        self.shared.as_ref().is_none_or(|shared| {
            let whole_at = shared
                .cell(source)
                .map_or(0, |cell| cell.load(Ordering::Relaxed));
            whole_at.saturating_sub(shared.time(now)) <= shared.depth
        })
    }

    /// A signature that `source` presented did not hold.
    pub fn take(&self, source: PeerAddress, now: Instant) {
        let Some(shared) = &self.shared else { return };
        let Some(cell) = shared.cell(source) else {
            return;
        };
        let now = shared.time(now);
        let _ = cell.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |whole_at| {
            // those that were let in side by side may take more than there is, by one each
            Some(whole_at.max(now).saturating_add(shared.cost))
        });
    }
}

impl Shared {
    fn cell(&self, source: PeerAddress) -> Option<&AtomicU64> {
        let hash = self.hasher.hash_one(network(source));
        let at = usize::try_from(hash % self.whole_at.len() as u64).ok()?;
        self.whole_at.get(at)
    }

    fn time(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.origin).as_nanos();
        u64::try_from(since).unwrap_or(u64::MAX)
    }
}

/// What stands for `source`, for all addresses of its network alike; none where it has no address.
pub(super) fn network(source: PeerAddress) -> Option<u64> {
    match source {
        PeerAddress::Ip(IpAddr::V4(address)) => Some(u64::from(address.to_bits())),
        // whoever has one address of a /64 has all of them
        PeerAddress::Ip(IpAddr::V6(address)) => match address.to_ipv4_mapped() {
            Some(address) => Some(u64::from(address.to_bits())),
            None => u64::try_from(address.to_bits() >> 64).ok().map(|net| !net),
        },
        PeerAddress::Other => None,
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FailureBudget")
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn budget(per_second: u32, burst: u32) -> FailureBudget {
        FailureBudget::new(&FailedVerifications::PerSource(FailureRate {
            per_second,
            burst,
        }))
    }

    fn ip(text: &str) -> PeerAddress {
        PeerAddress::Ip(text.parse().unwrap())
    }

    /// How many failures are let in at this time.
    fn failures(budget: &FailureBudget, source: PeerAddress, now: Instant) -> usize {
        (0..10_000)
            .take_while(|_| {
                let left = budget.is_left(source, now);
                budget.take(source, now);
                left
            })
            .count()
    }

    #[test]
    fn a_source_has_its_burst_and_then_its_rate() {
        let budget = budget(10, 5);
        let (source, begin) = (ip("192.0.2.1"), Instant::now());
        for _ in 0..5 {
            assert!(budget.is_left(source, begin));
            budget.take(source, begin);
        }
        assert!(!budget.is_left(source, begin));
        assert!(!budget.is_left(source, begin + Duration::from_millis(99)));
        assert!(budget.is_left(source, begin + Duration::from_millis(101)));
        // after a long time there is one burst, not more
        let later = begin + Duration::from_secs(3600);
        assert_eq!(failures(&budget, source, later), 5);
    }

    #[test]
    fn asking_takes_nothing() {
        let budget = budget(1, 1);
        let (source, now) = (ip("192.0.2.1"), Instant::now());
        assert!((0..1000).all(|_| budget.is_left(source, now)));
    }

    #[test]
    fn sources_do_not_take_from_each_other() {
        let budget = budget(1, 1);
        let now = Instant::now();
        let hostile = ip("192.0.2.1");
        failures(&budget, hostile, now);
        assert!(!budget.is_left(hostile, now));
        // two may share a cell, hardly ever more
        let others = (0..200).map(|number| ip(&format!("198.51.100.{number}")));
        assert!(others.filter(|other| !budget.is_left(*other, now)).count() <= 3);
    }

    #[test]
    fn an_ipv6_network_is_one_source_and_mapped_addresses_are_ipv4() {
        let budget = budget(1, 1);
        let now = Instant::now();
        failures(&budget, ip("2001:db8:1:2::1"), now);
        assert!(!budget.is_left(ip("2001:db8:1:2:ffff::9"), now));
        assert!(budget.is_left(ip("2001:db8:1:3::1"), now));
        failures(&budget, ip("::ffff:192.0.2.1"), now);
        assert!(!budget.is_left(ip("192.0.2.1"), now));
    }

    #[test]
    fn those_without_an_address_share_a_budget() {
        let budget = budget(1, 1);
        let now = Instant::now();
        failures(&budget, PeerAddress::Other, now);
        assert!(!budget.is_left(PeerAddress::Other, now));
    }

    #[test]
    fn off_sets_no_limit() {
        let budget = FailureBudget::new(&FailedVerifications::Off);
        let now = Instant::now();
        assert_eq!(failures(&budget, ip("192.0.2.1"), now), 10_000);
    }

    #[test]
    fn a_time_before_the_first_is_harmless() {
        let budget = budget(1000, 1000);
        let now = Instant::now();
        let before = now.checked_sub(Duration::from_secs(1)).unwrap_or(now);
        assert_eq!(failures(&budget, ip("192.0.2.1"), before), 1000);
    }
}
