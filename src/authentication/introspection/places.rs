//! How many questions about unknown tokens each source of requests may have under way, so that one
//! cannot take the places of all.
//
// INVARIANT: memory is fixed: sources share a number where their keyed hashes meet, and nobody can
// choose whom to share one with.

use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::authentication::failures::network;
use crate::check::request::PeerAddress;
use crate::fetch::MAX_FLIGHTS;

/// How many sources can be told apart at best.
const CELLS: usize = 4096;
/// How many questions of one source may be under way: a quarter of all.
const MOST: usize = MAX_FLIGHTS / 4;

/// How many questions each source has under way.
pub(super) struct SourcePlaces(Arc<Shared>);

struct Shared {
    taken: Box<[AtomicUsize]>,
    hasher: RandomState,
}

/// The place of one question; dropped, it is free again.
pub(super) struct Place {
    shared: Arc<Shared>,
    at: usize,
}

impl SourcePlaces {
    /// Nothing is under way.
    pub(super) fn new() -> Self {
        Self(Arc::new(Shared {
            taken: (0..CELLS).map(|_| AtomicUsize::new(0)).collect(),
            hasher: RandomState::new(),
        }))
    }

    /// A place for a question of `source`, where it has one left.
    pub(super) fn take(&self, source: PeerAddress) -> Option<Place> {
        let hash = self.0.hasher.hash_one(network(source));
        let at = usize::try_from(hash % CELLS as u64).ok()?;
        let taken = self.0.taken.get(at)?;
        let one_more = |taken| (taken < MOST).then_some(taken + 1);
        taken
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more)
            .ok()?;
        let shared = Arc::clone(&self.0);
        Some(Place { shared, at })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(taken) = self.shared.taken.get(self.at) {
            taken.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl fmt::Debug for SourcePlaces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SourcePlaces")
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Place")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_has_a_part_of_the_places_and_others_theirs() {
        let places = SourcePlaces::new();
        let ip = |text: &str| PeerAddress::Ip(text.parse().unwrap());
        let greedy = ip("2001:db8::1");
        let mut taken: Vec<Place> = (0..MAX_FLIGHTS)
            .filter_map(|_| places.take(greedy))
            .collect();
        assert_eq!(taken.len(), MOST);
        assert!(places.take(ip("2001:db8::2")).is_none(), "the same /64");
        let others = (0..100).map(|at| ip(&format!("192.0.2.{at}")));
        assert!(others.filter(|other| places.take(*other).is_none()).count() <= 2);
        taken.pop();
        assert!(places.take(greedy).is_some());
    }
}
