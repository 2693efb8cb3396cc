//! Which DPoP proofs were used (RFC 9449 section 11.1), so that none is taken twice.
//
// INVARIANT: a proof is forgotten only after it has ended. Where there is no room for another, it is
// refused: nobody can push one out of memory to use it again.

use std::collections::HashMap;
use std::fmt;
use std::hash::BuildHasher as _;
use std::hash::RandomState;
use std::sync::{Arc, Mutex, PoisonError};

use super::dpop::UsedProof;
use crate::secret::KeyedDigest;

/// How many parts the memory has, each with a lock of its own.
const SHARDS: usize = 16;
/// How many proofs a part remembers: as many as a table of 65,536 places takes before it grows.
const SHARD_CAPACITY: usize = 57_344;

/// Where it is remembered which proofs were used; clones share it.
#[derive(Debug, Clone)]
pub enum ReplayStore {
    /// In this process.
    Local(LocalReplays),
}

impl Default for ReplayStore {
    fn default() -> Self {
        Self::Local(LocalReplays::new(SHARD_CAPACITY))
    }
}

/// There is no room for another proof.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("more DPoP proofs were used than can be remembered")]
pub struct ReplaysFull;

impl ReplayStore {
    /// Whether `proof` is used for the first time, by the request with this id: Envoy may ask about
    /// one request more than once. From here on it is used.
    pub(super) async fn is_first(
        &self,
        proof: &UsedProof,
        request: &str,
        now: i64,
    ) -> Result<bool, ReplaysFull> {
        match self {
            Self::Local(local) => local.is_first(proof, request, now),
        }
    }
}

/// The proofs that were used here, of all authenticators; clones share them.
#[derive(Clone)]
pub struct LocalReplays(Arc<Inner>);

struct Inner {
    shards: Box<[Mutex<Shard>]>,
    capacity: usize,
    hasher: RandomState,
}

#[derive(Default)]
struct Shard {
    used: HashMap<[u8; 16], Use>,
    /// When what has ended was last thrown out.
    swept: i64,
}

/// A use of a proof, small as there may be many.
#[derive(Clone, Copy)]
struct Use {
    /// When the proof ends, in seconds since 1970.
    ends: u32,
    /// Of the id of the request; 0 where it has none.
    request: u32,
}

impl LocalReplays {
    fn new(capacity: usize) -> Self {
        Self(Arc::new(Inner {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            capacity,
            hasher: RandomState::new(),
        }))
    }

    fn is_first(&self, proof: &UsedProof, request: &str, now: i64) -> Result<bool, ReplaysFull> {
        let inner = &self.0;
        let key = KeyedDigest::of(&[&proof.key, proof.id.as_bytes()]).to_bytes();
        let request = inner.request(request);
        let at = usize::from(key.first().copied().unwrap_or_default()) % SHARDS;
        let shard = inner.shards.get(at).ok_or(ReplaysFull)?;
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(used) = shard.used.get(&key)
            && i64::from(used.ends) > now
        {
            return Ok(used.request != 0 && used.request == request);
        }
        if shard.used.len() >= inner.capacity && shard.swept != now {
            // once a second at most, however full it is
            shard.swept = now;
            shard.used.retain(|_, used| i64::from(used.ends) > now);
        }
        if shard.used.len() >= inner.capacity {
            return Err(ReplaysFull);
        }
        // a proof that would not end is refused long before this
        let ends = u32::try_from(proof.ends).map_err(|_| ReplaysFull)?;
        shard.used.insert(key, Use { ends, request });
        Ok(true)
    }
}

impl Inner {
    /// A digest of the id of a request, 0 for none.
    fn request(&self, id: &str) -> u32 {
        if id.is_empty() {
            return 0;
        }
        let [.., a, b, c, d] = self.hasher.hash_one(id).to_le_bytes();
        u32::from_le_bytes([a, b, c, d]).max(1)
    }
}

impl fmt::Debug for LocalReplays {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LocalReplays")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proof(id: &str, ends: i64) -> UsedProof {
        UsedProof {
            key: [1; 32],
            id: id.into(),
            ends,
        }
    }

    #[test]
    fn a_proof_is_used_once_until_it_ends() {
        let replays = LocalReplays::new(10);
        assert_eq!(replays.is_first(&proof("a", 100), "r1", 50), Ok(true));
        assert_eq!(replays.is_first(&proof("a", 100), "r2", 50), Ok(false));
        assert_eq!(replays.is_first(&proof("a", 100), "r2", 99), Ok(false));
        // Envoy asks again about the same request
        assert_eq!(replays.is_first(&proof("a", 100), "r1", 51), Ok(true));
        let other_key = UsedProof {
            key: [2; 32],
            ..proof("a", 100)
        };
        assert_eq!(replays.is_first(&other_key, "r3", 50), Ok(true));
    }

    #[test]
    fn requests_without_an_id_are_never_the_same() {
        let replays = LocalReplays::new(10);
        assert_eq!(replays.is_first(&proof("a", 100), "", 50), Ok(true));
        assert_eq!(replays.is_first(&proof("a", 100), "", 50), Ok(false));
    }

    #[test]
    fn a_flood_makes_no_proof_usable_again() {
        let replays = LocalReplays::new(4);
        assert_eq!(replays.is_first(&proof("a", 100), "r", 50), Ok(true));
        let flood = |now| {
            (0..1000)
                .map(|at| replays.is_first(&proof(&format!("f{at}"), now + 10), "x", now))
                .filter(|used| *used == Err(ReplaysFull))
                .count()
        };
        assert!(flood(50) > 900);
        assert_eq!(replays.is_first(&proof("a", 100), "s", 50), Ok(false));
        // there is room again once those have ended
        assert!(flood(70) < 1000);
        assert_eq!(replays.is_first(&proof("a", 100), "s", 70), Ok(false));
    }
}
