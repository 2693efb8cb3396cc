//! Which DPoP proofs were used (RFC 9449 section 11.1), so that none is taken twice.
//
// INVARIANT: a proof is forgotten only after it has ended. Where there is no room for another, it is
// refused: nobody can push one out of memory to use it again.

use std::collections::HashMap;
use std::fmt;
use std::hash::BuildHasher as _;
use std::hash::RandomState;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use redis::Value;

use super::config::ReplayConfig;
use super::dpop::UsedProof;
use crate::redis::{Redis, Script};
use crate::secret::{KeyedDigest, hexadecimal, sha256};

/// How many parts the memory has, each with a lock of its own.
const SHARDS: usize = 16;
/// How many proofs a part remembers: as many as a table of 65,536 places takes before it grows.
const SHARD_CAPACITY: usize = 57_344;

/// Remembers a use, unless there is one already: then that is told.
static USE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local used = redis.call('GET', KEYS[1]) if used then return used end \
         redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2]) return false",
    )
});

/// Where it can be remembered which proofs were used; clones share it.
#[derive(Debug, Clone, Default)]
pub struct Replays {
    local: LocalReplays,
    redis: Option<Redis>,
}

/// Where an authenticator remembers it.
#[derive(Debug, Clone)]
pub(super) enum ReplayStore {
    /// In this process.
    Local(LocalReplays),
    /// In Redis, for all replicas; none where this process has no Redis.
    Redis(Option<Redis>),
}

/// Why it cannot be said whether a proof was used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::authentication) enum ReplayError {
    /// There is no room for another.
    #[error("more DPoP proofs were used than can be remembered")]
    Full,
    /// Redis does not say.
    #[error("it cannot be said whether the DPoP proof was used: {0}")]
    Redis(String),
}

impl Replays {
    /// In this process, or in the Redis that counters are shared in.
    #[must_use]
    pub fn new(redis: Option<Redis>) -> Self {
        Self {
            local: LocalReplays::default(),
            redis,
        }
    }

    /// Where an authenticator remembers it.
    pub(super) fn store(&self, config: ReplayConfig) -> ReplayStore {
        match config {
            ReplayConfig::Local => ReplayStore::Local(self.local.clone()),
            ReplayConfig::Redis => ReplayStore::Redis(self.redis.clone()),
        }
    }
}

impl ReplayStore {
    /// Whether `proof` is used for the first time, by the request with this id: Envoy may ask about
    /// one request more than once. From here on it is used.
    pub(super) async fn is_first(
        &self,
        proof: &UsedProof,
        request: &str,
        now: i64,
    ) -> Result<bool, ReplayError> {
        match self {
            Self::Local(local) => local.is_first(proof, request, now),
            Self::Redis(Some(redis)) => is_first_in(redis, proof, request, now).await,
            Self::Redis(None) => {
                let why = "this process has no `quota.store` of type redis; it needs a restart";
                Err(ReplayError::Redis(why.to_owned()))
            }
        }
    }
}

/// The same in Redis, in one round trip. Nothing of a proof can be read there.
async fn is_first_in(
    redis: &Redis,
    proof: &UsedProof,
    request: &str,
    now: i64,
) -> Result<bool, ReplayError> {
    let digest = sha256(&[&proof.key, proof.id.as_bytes()].concat());
    let key = redis.key("proof", &hexadecimal(&digest));
    let has_id = !request.is_empty();
    let request = hexadecimal(&sha256(request.as_bytes())).into_bytes();
    // a second more, as seconds are whole
    let left = proof.ends.saturating_sub(now).saturating_add(1).max(1);
    let left = left.saturating_mul(1000).to_string().into_bytes();
    let answer = redis.run(&USE, &[key], &[request.clone(), left]).await;
    let answer = answer.map_err(|error| ReplayError::Redis(error.to_string()))?;
    if let Value::BulkString(used) = answer {
        return Ok(has_id && used == request);
    }
    let is_unused = matches!(answer, Value::Nil);
    let useless = || ReplayError::Redis("its answer is of no use".to_owned());
    is_unused.then_some(true).ok_or_else(useless)
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

impl Default for LocalReplays {
    fn default() -> Self {
        Self::new(SHARD_CAPACITY)
    }
}

impl LocalReplays {
    fn new(capacity: usize) -> Self {
        Self(Arc::new(Inner {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            capacity,
            hasher: RandomState::new(),
        }))
    }

    fn is_first(&self, proof: &UsedProof, request: &str, now: i64) -> Result<bool, ReplayError> {
        let inner = &self.0;
        let key = KeyedDigest::of(&[&proof.key, proof.id.as_bytes()]).to_bytes();
        let request = inner.request(request);
        let at = usize::from(key.first().copied().unwrap_or_default()) % SHARDS;
        let shard = inner.shards.get(at).ok_or(ReplayError::Full)?;
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
            return Err(ReplayError::Full);
        }
        // a proof that would not end is refused long before this
        let ends = u32::try_from(proof.ends).map_err(|_| ReplayError::Full)?;
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
                .filter(|used| *used == Err(ReplayError::Full))
                .count()
        };
        assert!(flood(50) > 900);
        assert_eq!(replays.is_first(&proof("a", 100), "s", 50), Ok(false));
        // there is room again once those have ended
        assert!(flood(70) < 1000);
        assert_eq!(replays.is_first(&proof("a", 100), "s", 70), Ok(false));
    }
}
