//! Who took most: a bounded sketch of the applications with the greatest cost, this hour and the last.
//!
//! Space-saving (Metwally, Agrawal, El Abbadi 2005): a newcomer takes the place of the smallest and
//! inherits its count, so that whoever took more than the smallest is always found, and counted too
//! high by the inherited part at most.

use std::sync::{Mutex, PoisonError};

use crate::secret::KeyedDigest;

const SHARDS: usize = 16;
/// The places of one shard.
const PLACES: usize = 64;

/// Who took most.
#[derive(Debug, Default)]
pub struct Consumers {
    shards: [Mutex<Hours>; SHARDS],
}

#[derive(Debug, Default)]
struct Hours {
    current: Vec<Place>,
    last: Vec<Place>,
}

#[derive(Debug, Clone)]
struct Place {
    mark: u64,
    name: Box<str>,
    count: u64,
    error: u64,
}

/// One of those that took most.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consumer {
    /// The application.
    pub application: Box<str>,
    /// What it took, at most.
    pub cost: u64,
    /// By how much that may be too high.
    pub error: u64,
}

/// Which hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hour {
    /// The one that has begun.
    Current,
    /// The one before.
    Last,
}

impl Consumers {
    /// `application` took `cost`. Where others are counted at the same moment, it may be left out.
    pub fn record(&self, application: &str, cost: u64) {
        let [low, mark] = KeyedDigest::of(&[application.as_bytes()]).halves();
        let shard = usize::try_from(low).unwrap_or(0) % SHARDS;
        let Some(Ok(mut hours)) = self.shards.get(shard).map(Mutex::try_lock) else {
            return;
        };
        let places = &mut hours.current;
        if let Some(place) = places.iter_mut().find(|place| place.mark == mark) {
            place.count = place.count.saturating_add(cost);
            return;
        }
        let mut place = Place {
            mark,
            name: application.into(),
            count: cost,
            error: 0,
        };
        if places.len() < PLACES {
            places.push(place);
        } else if let Some(least) = places.iter_mut().min_by_key(|place| place.count) {
            place.count = place.count.saturating_add(least.count);
            place.error = least.count;
            *least = place;
        }
    }

    /// Begins a new hour.
    pub fn turn(&self) {
        for shard in &self.shards {
            let mut hours = shard.lock().unwrap_or_else(PoisonError::into_inner);
            hours.last = std::mem::take(&mut hours.current);
        }
    }

    /// The `count` that took most, the greatest first.
    #[must_use]
    pub fn top(&self, hour: Hour, count: usize) -> Vec<Consumer> {
        let mut all = Vec::new();
        for shard in &self.shards {
            let hours = shard.lock().unwrap_or_else(PoisonError::into_inner);
            let places = match hour {
                Hour::Current => &hours.current,
                Hour::Last => &hours.last,
            };
            all.extend(places.iter().map(|place| Consumer {
                application: place.name.clone(),
                cost: place.count,
                error: place.error,
            }));
        }
        all.sort_by(|a, b| {
            b.cost
                .cmp(&a.cost)
                .then_with(|| a.application.cmp(&b.application))
        });
        all.truncate(count);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_that_took_most_are_found_among_a_flood_of_others() {
        let consumers = Consumers::default();
        for round in 0..1000_u32 {
            consumers.record("default/big", 100);
            consumers.record("default/middle", 50);
            for other in 0..50 {
                consumers.record(&format!("default/{round}-{other}"), 1);
            }
        }
        let top = consumers.top(Hour::Current, 2);
        let names: Vec<&str> = top.iter().map(|one| &*one.application).collect();
        assert_eq!(names, ["default/big", "default/middle"]);
        for (one, took) in top.iter().zip([100_000, 50_000]) {
            assert!(one.cost >= took && one.cost - one.error <= took, "{one:?}");
        }
        assert!(consumers.top(Hour::Current, usize::MAX).len() <= SHARDS * PLACES);
    }

    #[test]
    fn an_hour_ends() {
        let consumers = Consumers::default();
        consumers.record("default/shop", 3);
        consumers.turn();
        consumers.record("default/shop", 4);
        let cost = |hour| consumers.top(hour, 1).first().map(|one| one.cost);
        assert_eq!((cost(Hour::Current), cost(Hour::Last)), (Some(4), Some(3)));
        consumers.turn();
        consumers.turn();
        assert_eq!((cost(Hour::Current), cost(Hour::Last)), (None, None));
    }
}
