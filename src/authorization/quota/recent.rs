//! The checks that were charged a short while ago, so that one that Envoy asks again is charged once.
//!
//! A fixed table of 131,072 places, by keyed digest: it never grows and nothing locks it. A check is
//! forgotten after half a minute, or when eight others have come to its own eight places, which is after
//! some hundred thousand checks; Envoy asks again within a second.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use jiff::Timestamp;

use crate::secret::KeyedDigest;

const SETS: usize = 1 << 14;
const WAYS: usize = 8;
/// The bits of a mark that tell the time.
const TICKS: u64 = 0xffff;
/// For how many ticks of four seconds a charge is known.
const REMEMBERED: u64 = 8;

/// The checks that were charged; the table is made with the first of them.
#[derive(Debug, Default)]
pub(super) struct RecentCharges(OnceLock<Box<[[AtomicU64; WAYS]]>>);

impl RecentCharges {
    /// Whether `charge` was taken a short while before `now`.
    pub(super) fn has(&self, charge: KeyedDigest, now: Timestamp) -> bool {
        let (set, mark) = place(charge);
        let set = self.0.get().and_then(|sets| sets.get(set));
        let is_it = |way: &AtomicU64| {
            let known = way.load(Ordering::Relaxed);
            let age = tick(now).wrapping_sub(known) & TICKS;
            known & !TICKS == mark && age <= REMEMBERED
        };
        set.is_some_and(|set| set.iter().any(is_it))
    }

    /// Takes `charge` at `now`.
    pub(super) fn take(&self, charge: KeyedDigest, now: Timestamp) {
        let (set, mark) = place(charge);
        let sets = self.0.get_or_init(|| {
            let empty = || std::array::from_fn(|_| AtomicU64::new(0));
            (0..SETS).map(|_| empty()).collect()
        });
        let Some(set) = sets.get(set) else { return };
        let free = set.iter().find(|way| way.load(Ordering::Relaxed) == 0);
        let way = free.or_else(|| set.get(fastrand::usize(..WAYS)));
        if let Some(way) = way {
            way.store(mark | tick(now), Ordering::Relaxed);
        }
    }
}

/// The set that a charge belongs to, and what stands for it there, beside the time; never 0.
fn place(charge: KeyedDigest) -> (usize, u64) {
    let [low, high] = charge.halves();
    let mark = (high | 1 << 63) & !TICKS;
    (usize::try_from(low).unwrap_or(0) % SETS, mark)
}

/// The time in four seconds, as far as a mark has room for it.
fn tick(now: Timestamp) -> u64 {
    u64::try_from(now.as_second() >> 2).unwrap_or(0) & TICKS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn charge(number: u32) -> KeyedDigest {
        KeyedDigest::of(&[&number.to_le_bytes()])
    }

    #[test]
    fn a_charge_is_known_again_after_thousands_of_others() {
        let recent = RecentCharges::default();
        let now = Timestamp::from_second(1_790_000_000).unwrap();
        assert!(!recent.has(charge(0), now));
        recent.take(charge(0), now);
        for number in 1..20_000 {
            assert!(!recent.has(charge(number), now));
            recent.take(charge(number), now);
        }
        assert!(recent.has(charge(0), now));
        assert!(recent.has(charge(19_999), now));
    }

    #[test]
    fn a_charge_is_forgotten_after_half_a_minute() {
        let recent = RecentCharges::default();
        let at = |second: i64| Timestamp::from_second(1_790_000_000 + second).unwrap();
        recent.take(charge(7), at(0));
        assert!(recent.has(charge(7), at(30)));
        for second in [40, 3600, 100_000, -60] {
            assert!(!recent.has(charge(7), at(second)), "{second}");
        }
    }
}
