//! The one bounded cache: values by keyed digest, at most so many bytes of them.
//!
//! What has not been used for long makes room for what is new; a flood of values that are never
//! asked for again does not drive out those that are. It does not know how long a value may be
//! used: who asks judges that, each time.

use std::fmt;
use std::sync::Arc;

use quick_cache::Weighter;
use quick_cache::sync::Cache as Bounded;

use crate::secret::KeyedDigest;

/// What an entry takes beside its value: key, place in the table and in the queue, reference counts.
const ENTRY_BYTES: u64 = 128;
/// The size of a value that the table is laid out for at first; it grows where they are smaller.
const USUAL_BYTES: usize = 4096;

/// A bounded cache; clones share its content.
pub struct Cache<V>(Option<Arc<Bounded<KeyedDigest, Entry<V>, Weigh>>>);

struct Entry<V> {
    value: Arc<V>,
    bytes: usize,
}

impl<V> Clone for Entry<V> {
    fn clone(&self) -> Self {
        Self {
            value: Arc::clone(&self.value),
            bytes: self.bytes,
        }
    }
}

#[derive(Clone)]
struct Weigh;

impl<V> Weighter<KeyedDigest, Entry<V>> for Weigh {
    fn weight(&self, _: &KeyedDigest, entry: &Entry<V>) -> u64 {
        ENTRY_BYTES.saturating_add(u64::try_from(entry.bytes).unwrap_or(u64::MAX))
    }
}

impl<V> Cache<V> {
    /// A cache of `max_bytes` at most; of none, where that is 0.
    #[must_use]
    pub fn new(max_bytes: usize) -> Self {
        if max_bytes == 0 {
            return Self(None);
        }
        let usual = (max_bytes / USUAL_BYTES).max(1);
        let capacity = u64::try_from(max_bytes).unwrap_or(u64::MAX);
        Self(Some(Arc::new(Bounded::with_weighter(
            usual, capacity, Weigh,
        ))))
    }

    /// Whether nothing is ever kept.
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.0.is_none()
    }

    /// The value under `key`.
    #[must_use]
    pub fn get(&self, key: KeyedDigest) -> Option<Arc<V>> {
        Some(self.0.as_ref()?.get(&key)?.value)
    }

    /// Keeps `value`, which takes about `bytes` with all that it owns.
    pub fn insert(&self, key: KeyedDigest, value: Arc<V>, bytes: usize) {
        if let Some(cache) = &self.0 {
            cache.insert(key, Entry { value, bytes });
        }
    }

    /// Forgets the value under `key`.
    pub fn remove(&self, key: KeyedDigest) {
        if let Some(cache) = &self.0 {
            cache.remove(&key);
        }
    }

    /// Forgets `value`, if it is still what is kept under `key`.
    pub fn remove_same(&self, key: KeyedDigest, value: &Arc<V>) {
        if let Some(cache) = &self.0 {
            cache.remove_if(&key, |entry| Arc::ptr_eq(&entry.value, value));
        }
    }

    /// Everything that is kept; what is added meanwhile may be missing.
    #[must_use]
    pub fn entries(&self) -> Vec<(KeyedDigest, Arc<V>)> {
        let entries = self.0.iter().flat_map(|cache| cache.iter());
        entries.map(|(key, entry)| (key, entry.value)).collect()
    }

    /// How many values are kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |cache| cache.len())
    }

    /// Whether none is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many bytes the values take, about.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.0.as_ref().map_or(0, |cache| cache.weight())
    }
}

impl<V> Clone for Cache<V> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<V> fmt::Debug for Cache<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache")
            .field("len", &self.len())
            .field("bytes", &self.bytes())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u32) -> KeyedDigest {
        KeyedDigest::of(&[&number.to_be_bytes()])
    }

    #[test]
    fn values_are_found_by_their_key() {
        let cache = Cache::new(1024 * 1024);
        cache.insert(key(1), Arc::new("one"), 10);
        assert_eq!(cache.get(key(1)).as_deref(), Some(&"one"));
        assert_eq!(cache.get(key(2)), None);
        assert_eq!((cache.len(), cache.bytes()), (1, 138));
    }

    #[test]
    fn it_never_holds_more_bytes_than_allowed() {
        let cache = Cache::new(1024 * 1024);
        for number in 0..100_000 {
            cache.insert(key(number), Arc::new(number), 1000);
            assert!(cache.bytes() <= 1024 * 1024);
        }
        assert!(cache.len() > 500, "{cache:?}");
    }

    #[test]
    fn what_is_used_outlives_a_flood_of_what_is_not() {
        let cache = Cache::new(1024 * 1024);
        cache.insert(key(0), Arc::new(0), 1000);
        for number in 1..100_000 {
            assert!(cache.get(key(0)).is_some(), "gone after {number}");
            cache.insert(key(number), Arc::new(number), 1000);
        }
    }

    #[test]
    fn a_cache_of_no_bytes_keeps_nothing() {
        let cache = Cache::new(0);
        cache.insert(key(1), Arc::new(1), 0);
        assert!(cache.is_off() && cache.is_empty() && cache.get(key(1)).is_none());
    }
}
