//! Which DPoP proofs were used (RFC 9449 section 11.1), so that none is taken twice.
//
// INVARIANT: a proof is forgotten only after it has ended, whoever judges it. Where there is no room
// for another, it is refused: nobody can push one out of memory to use it again, and no key takes
// more than its part of the room.

use std::collections::HashMap;
use std::fmt;
use std::hash::BuildHasher as _;
use std::hash::RandomState;
use std::sync::{Arc, LazyLock, Mutex, PoisonError, RwLock};

use redis::Value;

use super::config::ReplayConfig;
use super::dpop::UsedProof;
use crate::redis::{Redis, Script};
use crate::secret::{KeyedDigest, hexadecimal, sha256};

/// How many parts the memory has, each with a lock of its own.
const SHARDS: usize = 16;
/// How many proofs a part remembers: as many as a table of 65,536 places takes before it grows.
const SHARD_CAPACITY: usize = 57_344;

/// How many proofs of one key a part remembers.
const KEY_CAPACITY: u16 = 896;
/// How many keys can be told apart at best: those whose keyed digests meet share what they may take.
const CELLS: u16 = 4096;
/// For how many seconds after proofs are remembered for longer there may be such as were forgotten:
/// of clients whose clock is ahead, and taken by replicas that reload later.
const SETTLING_SECONDS: i64 = 120;

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
    horizon: Arc<RwLock<Horizon>>,
}

/// For how long proofs are remembered: as long as any authenticator of this process has ever taken
/// them, so that none is taken by one and forgotten before it has ended for another.
#[derive(Debug, Clone, Copy, Default)]
struct Horizon {
    /// How many seconds after `iat`.
    lifetime: i64,
    raised: Option<Raised>,
}

/// That proofs were remembered for a shorter time before.
#[derive(Debug, Clone, Copy)]
struct Raised {
    /// Proofs with an `iat` up to this may have been forgotten,
    until: i64,
    /// so many seconds after it.
    lifetime: i64,
}

/// What an authenticator remembers proofs in.
#[derive(Debug, Clone)]
pub(super) struct ReplayStore {
    place: Place,
    horizon: Arc<RwLock<Horizon>>,
}

/// Where it is remembered which proofs were used.
#[derive(Debug, Clone)]
enum Place {
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
    /// The key has no room for another.
    #[error("more DPoP proofs of one key were used than can be remembered")]
    TooMany,
    /// It may have been used and forgotten.
    #[error("the DPoP proof is older than what was remembered before `maxAge` was raised")]
    Forgotten,
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
            horizon: Arc::default(),
        }
    }

    /// What an authenticator, which takes proofs for `lifetime` seconds from `now` on, remembers them
    /// in.
    pub(super) fn store(&self, config: ReplayConfig, lifetime: i64, now: i64) -> ReplayStore {
        let horizon = self.horizon.write();
        let mut horizon = horizon.unwrap_or_else(PoisonError::into_inner);
        horizon.raise(lifetime, now);
        ReplayStore {
            place: match config {
                ReplayConfig::Local => Place::Local(self.local.clone()),
                ReplayConfig::Redis => Place::Redis(self.redis.clone()),
            },
            horizon: Arc::clone(&self.horizon),
        }
    }
}

impl Horizon {
    /// From `now` on proofs are remembered for `lifetime` seconds at least.
    fn raise(&mut self, lifetime: i64, now: i64) {
        if lifetime <= self.lifetime {
            return;
        }
        if self.lifetime > 0 {
            self.raised = Some(Raised {
                until: now.saturating_add(SETTLING_SECONDS),
                // the least of all, where this happens more than once
                lifetime: self.raised.map_or(self.lifetime, |raised| raised.lifetime),
            });
        }
        self.lifetime = lifetime;
    }

    /// Until when `proof` is to be remembered; none where it may have been forgotten already.
    fn end(&self, proof: &UsedProof, now: i64) -> Option<i64> {
        let may_be_forgotten = self.raised.is_some_and(|raised| {
            proof.issued <= raised.until && proof.issued.saturating_add(raised.lifetime) <= now
        });
        let end = proof.issued.saturating_add(self.lifetime);
        (!may_be_forgotten).then_some(end.max(proof.ends))
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
        let horizon = *self.horizon.read().unwrap_or_else(PoisonError::into_inner);
        let ends = horizon.end(proof, now).ok_or(ReplayError::Forgotten)?;
        let proof = &UsedProof {
            key: proof.key,
            id: proof.id.clone(),
            issued: proof.issued,
            ends,
        };
        match &self.place {
            Place::Local(local) => local.is_first(proof, request, now),
            Place::Redis(Some(redis)) => is_first_in(redis, proof, request, now).await,
            Place::Redis(None) => {
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
    key_capacity: u16,
    hasher: RandomState,
}

struct Shard {
    /// By names that begin with the cell of their key.
    used: HashMap<[u8; 16], Use>,
    /// How many there are in each cell.
    counts: Box<[u16]>,
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
        Self::new(SHARD_CAPACITY, KEY_CAPACITY)
    }
}

impl LocalReplays {
    fn new(capacity: usize, key_capacity: u16) -> Self {
        Self(Arc::new(Inner {
            shards: (0..SHARDS).map(|_| Mutex::new(Shard::new())).collect(),
            capacity,
            key_capacity,
            hasher: RandomState::new(),
        }))
    }

    fn is_first(&self, proof: &UsedProof, request: &str, now: i64) -> Result<bool, ReplayError> {
        let inner = &self.0;
        let name = name(proof);
        let request = inner.request(request);
        let at = usize::from(name.last().copied().unwrap_or_default()) % SHARDS;
        let shard = inner.shards.get(at).ok_or(ReplayError::Full)?;
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(used) = shard.used.get(&name)
            && i64::from(used.ends) > now
        {
            return Ok(used.request != 0 && used.request == request);
        }
        // once a second at most, however full it is
        if shard.room(&name, inner).is_err() && shard.swept != now {
            shard.sweep(now);
        }
        shard.room(&name, inner)?;
        // a proof that would not end is refused long before this
        let ends = u32::try_from(proof.ends).map_err(|_| ReplayError::Full)?;
        shard.insert(name, Use { ends, request });
        Ok(true)
    }
}

/// What stands for a proof. It begins with the cell of its key; what follows tells it from others.
fn name(proof: &UsedProof) -> [u8; 16] {
    let [low, high, ..] = KeyedDigest::of(&[&proof.key]).to_bytes();
    let cell = u16::from_le_bytes([low, high]) % CELLS;
    let mut name = KeyedDigest::of(&[&proof.key, proof.id.as_bytes()]).to_bytes();
    let [first, second, ..] = &mut name;
    [*first, *second] = cell.to_le_bytes();
    name
}

/// The cell that a name begins with.
fn cell([first, second, ..]: &[u8; 16]) -> usize {
    usize::from(u16::from_le_bytes([*first, *second]))
}

impl Shard {
    fn new() -> Self {
        Self {
            used: HashMap::new(),
            counts: vec![0; usize::from(CELLS)].into(),
            swept: 0,
        }
    }

    /// Whether there is room for `name`.
    fn room(&self, name: &[u8; 16], inner: &Inner) -> Result<(), ReplayError> {
        let of_key = self.counts.get(cell(name)).copied();
        if of_key.is_none_or(|count| count >= inner.key_capacity) {
            return Err(ReplayError::TooMany);
        }
        if self.used.len() >= inner.capacity {
            return Err(ReplayError::Full);
        }
        Ok(())
    }

    /// Throws out what has ended.
    fn sweep(&mut self, now: i64) {
        self.swept = now;
        self.counts.fill(0);
        let counts = &mut self.counts;
        self.used.retain(|name, used| {
            let stays = i64::from(used.ends) > now;
            if stays && let Some(count) = counts.get_mut(cell(name)) {
                *count = count.saturating_add(1);
            }
            stays
        });
    }

    fn insert(&mut self, name: [u8; 16], used: Use) {
        if self.used.insert(name, used).is_none()
            && let Some(count) = self.counts.get_mut(cell(&name))
        {
            *count = count.saturating_add(1);
        }
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
            issued: ends - 65,
            ends,
        }
    }

    /// Uses the proof with this id, `iat` and lifetime.
    async fn use_it(
        store: &ReplayStore,
        (id, issued, lifetime): (&str, i64, i64),
        request: &str,
        now: i64,
    ) -> Result<bool, ReplayError> {
        let proof = UsedProof {
            issued,
            ..proof(id, issued + lifetime)
        };
        store.is_first(&proof, request, now).await
    }

    #[test]
    fn a_proof_is_used_once_until_it_ends() {
        let replays = LocalReplays::new(10, 10);
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
        let replays = LocalReplays::new(10, 10);
        assert_eq!(replays.is_first(&proof("a", 100), "", 50), Ok(true));
        assert_eq!(replays.is_first(&proof("a", 100), "", 50), Ok(false));
    }

    #[test]
    fn one_key_takes_its_part_of_the_room_and_leaves_the_rest() {
        let replays = LocalReplays::new(1000, 5);
        let mut taken = 0;
        for at in 0..1000 {
            match replays.is_first(&proof(&format!("f{at}"), 100), "r", 50) {
                Ok(true) => taken += 1,
                other => assert_eq!(other, Err(ReplayError::TooMany)),
            }
        }
        assert_eq!(taken, SHARDS * 5);
        let others = (2..30_u8).map(|key| UsedProof {
            key: [key; 32],
            ..proof("a", 100)
        });
        // two may share a cell, hardly ever more
        let refused = others.filter(|other| replays.is_first(other, "r", 50) != Ok(true));
        assert!(refused.count() <= 2);
        assert_eq!(replays.is_first(&proof("f0", 100), "s", 50), Ok(false));
        // what has ended takes no room
        let later = replays.is_first(&proof("later", 200), "r", 150);
        assert_eq!(later, Ok(true));
        for at in 0..SHARDS * 4 {
            let _ = replays.is_first(&proof(&format!("g{at}"), 200), "r", 151);
        }
        assert_eq!(replays.is_first(&proof("later", 200), "s", 151), Ok(false));
    }

    #[tokio::test]
    async fn a_proof_that_was_forgotten_is_not_taken_again_when_the_age_is_raised() {
        let replays = Replays::default();
        let now = 10_000;
        let before = replays.store(ReplayConfig::Local, 65, now);
        let first = use_it(&before, ("a", now, 65), "r", now).await;
        assert_eq!(first, Ok(true));
        let after = replays.store(ReplayConfig::Local, 605, now + 60);
        for later in [now + 61, now + 70, now + 600] {
            let again = use_it(&after, ("a", now, 605), "s", later).await;
            assert_ne!(again, Ok(true), "{later}");
        }
        // a fresh one holds, and is remembered for as long as it can be used by either
        let issued = now + 100;
        let fresh = use_it(&before, ("b", issued, 65), "r", issued).await;
        assert_eq!(fresh, Ok(true));
        for later in [issued + 64, issued + 66, issued + 604] {
            let again = use_it(&after, ("b", issued, 605), "s", later).await;
            assert_ne!(again, Ok(true), "{later}");
        }
        // once that has settled, a proof holds for as long as it says
        let issued = now + 60 + SETTLING_SECONDS + 1;
        let late = use_it(&after, ("c", issued, 605), "r", issued + 500).await;
        assert_eq!(late, Ok(true));
        let again = use_it(&before, ("c", issued, 605), "s", issued + 600).await;
        assert_eq!(again, Ok(false));
    }

    #[test]
    fn a_flood_makes_no_proof_usable_again() {
        let replays = LocalReplays::new(4, 10);
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
