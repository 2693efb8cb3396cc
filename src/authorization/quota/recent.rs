//! The checks that were charged a short while ago, so that one that Envoy asks again is charged once.
//!
//! A fixed table of 131,072 places, by keyed digest: it never grows and nothing locks it. A check is
//! forgotten when eight others have come to its own eight places, which is after some hundred
//! thousand checks; Envoy asks again within a second.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::secret::KeyedDigest;

const SETS: usize = 1 << 14;
const WAYS: usize = 8;

/// The checks that were charged; the table is made with the first of them.
#[derive(Debug, Default)]
pub(super) struct RecentCharges(OnceLock<Box<[[AtomicU64; WAYS]]>>);

impl RecentCharges {
    /// Whether `charge` was taken a short while ago.
    pub(super) fn has(&self, charge: KeyedDigest) -> bool {
        let (set, mark) = place(charge);
        let set = self.0.get().and_then(|sets| sets.get(set));
        set.is_some_and(|set| set.iter().any(|way| way.load(Ordering::Relaxed) == mark))
    }

    /// Takes `charge`.
    pub(super) fn take(&self, charge: KeyedDigest) {
        let (set, mark) = place(charge);
        let sets = self.0.get_or_init(|| {
            let empty = || std::array::from_fn(|_| AtomicU64::new(0));
            (0..SETS).map(|_| empty()).collect()
        });
        let Some(set) = sets.get(set) else { return };
        let free = set.iter().find(|way| way.load(Ordering::Relaxed) == 0);
        let way = free.or_else(|| set.get(fastrand::usize(..WAYS)));
        if let Some(way) = way {
            way.store(mark, Ordering::Relaxed);
        }
    }
}

/// The set that a charge belongs to, and what stands for it there; never 0.
fn place(charge: KeyedDigest) -> (usize, u64) {
    let [low, high] = charge.halves();
    (usize::try_from(low).unwrap_or(0) % SETS, high | 1)
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
        assert!(!recent.has(charge(0)));
        recent.take(charge(0));
        for number in 1..20_000 {
            assert!(!recent.has(charge(number)));
            recent.take(charge(number));
        }
        assert!(recent.has(charge(0)));
        assert!(recent.has(charge(19_999)));
    }
}
