//! The set as requests read it: what is revoked, by keyed digest, and before when.
//
// INVARIANT: reading takes no lock. A change replaces one shard of many, so that its cost does not
// grow with the whole set.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use arc_swap::ArcSwapOption;

use crate::authentication::revocation::entry::Kind;
use crate::secret::KeyedDigest;

/// Into how many parts it is cut.
const SHARDS: usize = 1024;

type Shard = HashMap<KeyedDigest, i64>;

/// What requests read.
pub(super) struct Index {
    /// One bit for each kind that has an entry, and others below.
    flags: AtomicU32,
    /// By key, the second before which tokens are refused.
    shards: Box<[ArcSwapOption<Shard>]>,
}

/// Which kinds of entries there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Flags(u32);

impl Flags {
    /// A subject is revoked whoever its issuer is.
    pub(super) const SUBJECT_OF_ANY: Self = Self(1 << 16);
    /// What is revoked has not been read yet.
    pub(super) const UNKNOWN: Self = Self(1 << 17);

    /// That there are entries of `kind`.
    pub(super) const fn of(kind: Kind) -> Self {
        Self(match kind {
            Kind::Token => 1,
            Kind::Jti => 1 << 1,
            Kind::Subject => 1 << 2,
            Kind::Client => 1 << 3,
            Kind::Session => 1 << 4,
            Kind::Issuer => 1 << 5,
            Kind::Application => 1 << 6,
        })
    }

    /// Whether nothing at all is revoked.
    pub(super) const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether any of `others` is among these.
    pub(super) const fn has(self, others: Self) -> bool {
        self.0 & others.0 != 0
    }
}

impl Index {
    /// Nothing.
    pub(super) fn new() -> Self {
        Self {
            flags: AtomicU32::new(0),
            shards: (0..SHARDS).map(|_| ArcSwapOption::empty()).collect(),
        }
    }

    /// Which kinds there are; the one thing that is read where there are none.
    pub(super) fn flags(&self) -> Flags {
        Flags(self.flags.load(Ordering::Acquire))
    }

    /// Tells that there are some, or none.
    pub(super) fn set_flag(&self, flag: Flags, is_set: bool) {
        if is_set {
            self.flags.fetch_or(flag.0, Ordering::AcqRel);
        } else {
            self.flags.fetch_and(!flag.0, Ordering::AcqRel);
        }
    }

    /// Whether what was issued then is refused under `key`. What does not say when counts as issued
    /// before everything.
    pub(super) fn refuses(&self, key: KeyedDigest, issued: Option<i64>) -> bool {
        let Some(shard) = self.shard(key) else {
            return false;
        };
        let shard = shard.load();
        let before = shard.as_ref().and_then(|shard| shard.get(&key));
        before.is_some_and(|before| issued.is_none_or(|issued| issued < *before))
    }

    /// Replaces what stands under `key`. One writer at a time.
    pub(super) fn set(&self, key: KeyedDigest, before: Option<i64>) {
        let Some(place) = self.shard(key) else {
            return;
        };
        let mut shard = place.load().as_deref().cloned().unwrap_or_default();
        match before {
            Some(before) => {
                shard.insert(key, before);
            }
            None => {
                shard.remove(&key);
                if shard.capacity() > 4 * shard.len() {
                    shard.shrink_to_fit();
                }
            }
        }
        place.store((!shard.is_empty()).then(|| Arc::new(shard)));
    }

    fn shard(&self, key: KeyedDigest) -> Option<&ArcSwapOption<Shard>> {
        let [low, high, ..] = key.to_bytes();
        self.shards
            .get(usize::from(u16::from_le_bytes([low, high])) % SHARDS)
    }
}

impl std::fmt::Debug for Index {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Index")
            .field("flags", &self.flags())
            .finish_non_exhaustive()
    }
}
