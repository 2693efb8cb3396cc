//! Counters that replicas share in Redis, exact: one script call for all counters of a check.
//!
//! The server's clock counts, so that replicas whose clocks differ count alike. A counter is kept
//! under a digest of its limit and values, so that nothing of a caller can be read there. Numbers
//! are doubles there: counters saturate at 2^53, and a bucket's level may be wrong in its last
//! digits.
//
// INVARIANT: a charge is one script call, so that all its counters are charged or none.

use std::sync::LazyLock;
use std::time::Duration;

use jiff::Timestamp;
use redis::Value;
use smallvec::SmallVec;

use crate::authorization::quota::{Charge, Charged, Counter, Level, Levels, StoreUnavailable};
use crate::catalog::model::limit::{Rule, WindowAlignment};
use crate::redis::{Redis, RedisUnavailable, Script};
use crate::secret::{hexadecimal, sha256};

static CHARGE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(concat!(
        include_str!("redis/counter.lua"),
        include_str!("redis/charge.lua")
    ))
});

static TAKE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(concat!(
        include_str!("redis/counter.lua"),
        include_str!("redis/take.lua")
    ))
});
static GIVE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("redis/give.lua")));

/// How long a charge is remembered, so that a check that Envoy asks again is charged once.
const REMEMBERED: Duration = Duration::from_secs(30);
/// The largest whole number that a script can count to.
pub(super) const MOST: u64 = 1 << 53;
/// For what no check waits alone, so many budgets are time enough.
const PATIENCE: u32 = 4;
/// How many numbers of an answer are of one counter.
const NUMBERS: usize = 3;

/// Whose clock says which window holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Time {
    /// The server's: the same for all replicas.
    OfServer,
    /// The caller's, for tests of windows.
    OfCaller,
}

/// Counters in Redis.
#[derive(Debug, Clone)]
pub struct RedisCounters {
    redis: Redis,
    time: Time,
}

impl RedisCounters {
    /// Counters in `redis`.
    #[must_use]
    pub fn new(redis: Redis, time: Time) -> Self {
        Self { redis, time }
    }

    /// Where they are.
    #[must_use]
    pub fn redis(&self) -> &Redis {
        &self.redis
    }

    /// How long a check waits.
    pub(super) fn budget(&self) -> Duration {
        self.redis.budget()
    }

    /// Takes a share of a counter: the cost at least, what is wanted at most; nothing where the cost
    /// does not fit.
    pub(super) async fn take(
        &self,
        key: &str,
        rule: &Rule,
        (cost, wanted): (u64, u64),
        now: Timestamp,
    ) -> Result<Share, StoreUnavailable> {
        let mut args = vec![self.time(now)];
        push_rule(rule, &mut args);
        push_cost(rule, cost, &mut args);
        args.push(wanted.min(MOST).to_string().into());
        let time = self.redis.budget() * PATIENCE;
        let keys = [key.to_owned()];
        let answer = self.redis.run_within(time, &TAKE, &keys, &args).await?;
        let numbers = numbers(answer)?;
        let [taken, start, left, reset, wait] = numbers[..] else {
            return Err(unusable());
        };
        Ok(Share {
            taken: u64::try_from(taken).map_err(|_| unusable())?,
            start: u64::try_from(start).ok(),
            level: level([left, reset, wait]),
        })
    }

    /// Gives back what is left of a share of the window of the calendar that began at `start`.
    pub(super) async fn give(
        &self,
        key: &str,
        start: u64,
        left: u64,
    ) -> Result<(), StoreUnavailable> {
        let args = [start, left].map(|number| number.to_string().into());
        let time = self.redis.budget() * PATIENCE;
        let keys = [key.to_owned()];
        self.redis.run_within(time, &GIVE, &keys, &args).await?;
        Ok(())
    }

    /// Charges all counters, or none.
    ///
    /// # Errors
    /// Where Redis is of no use. The counters may have been charged all the same.
    pub async fn charge(
        &self,
        charge: &Charge<'_, '_>,
        now: Timestamp,
    ) -> Result<Charged, StoreUnavailable> {
        let mut keys: Vec<String> = self.keys(charge.counters);
        if !charge.request.is_empty() {
            keys.push(self.memory(charge.request, &keys));
        }
        let (refused, levels) = self.ask("charge", &keys, charge.counters, now).await?;
        Ok(match refused {
            Some(at) => Charged::Exceeded { at, levels },
            None => Charged::Admitted(levels),
        })
    }

    /// What counters say, without charging them.
    ///
    /// # Errors
    /// Where Redis is of no use.
    pub async fn read(
        &self,
        counters: &[Counter<'_>],
        now: Timestamp,
    ) -> Result<Levels, StoreUnavailable> {
        let keys = self.keys(counters);
        let (_, levels) = self.ask("read", &keys, counters, now).await?;
        Ok(levels)
    }

    async fn ask(
        &self,
        what: &str,
        keys: &[String],
        counters: &[Counter<'_>],
        now: Timestamp,
    ) -> Result<(Option<usize>, Levels), StoreUnavailable> {
        let mut args = Vec::with_capacity(3 + counters.len() * 6);
        args.push(self.time(now));
        args.push(what.into());
        args.push(REMEMBERED.as_millis().to_string().into());
        for counter in counters {
            push_rule(&counter.limit.rule, &mut args);
            push_cost(&counter.limit.rule, counter.cost, &mut args);
        }
        let answer = self.redis.run(&CHARGE, keys, &args).await?;
        let numbers = numbers(answer)?;
        let (refused, levels) = numbers.split_first().ok_or_else(unusable)?;
        let (levels, rest) = levels.as_chunks::<NUMBERS>();
        if !rest.is_empty() || levels.len() != counters.len() {
            return Err(unusable());
        }
        let refused = match usize::try_from(*refused).map_err(|_| unusable())? {
            0 => None,
            place if place <= counters.len() => Some(place - 1),
            _ => return Err(unusable()),
        };
        Ok((refused, levels.iter().copied().map(level).collect()))
    }

    /// The time that a script is told: nothing where the server's counts.
    fn time(&self, now: Timestamp) -> Vec<u8> {
        match self.time {
            Time::OfServer => Vec::new(),
            Time::OfCaller => now.as_microsecond().max(0).to_string().into(),
        }
    }

    fn keys(&self, counters: &[Counter<'_>]) -> Vec<String> {
        counters.iter().map(|counter| self.key(counter)).collect()
    }

    /// What a counter is kept under: the same on every replica.
    pub(super) fn key(&self, counter: &Counter<'_>) -> String {
        let mut parts: SmallVec<[&str; 4]> = SmallVec::new();
        parts.push(&counter.limit.id);
        parts.extend(counter.values.iter().map(AsRef::as_ref));
        self.redis.key("quota", &digest(&parts))
    }

    /// What the charge of a request is remembered under.
    fn memory(&self, request: &str, keys: &[String]) -> String {
        let mut parts: SmallVec<[&str; 8]> = SmallVec::new();
        parts.push(request);
        parts.extend(keys.iter().map(String::as_str));
        self.redis.key("charge", &digest(&parts))
    }
}

impl From<RedisUnavailable> for StoreUnavailable {
    fn from(error: RedisUnavailable) -> Self {
        Self(error.message)
    }
}

/// What was taken of a counter ahead.
#[derive(Debug, Clone, Copy)]
pub(super) struct Share {
    /// How much; 0 where the cost does not fit.
    pub(super) taken: u64,
    /// The second in which the window of the calendar began; none for a bucket.
    pub(super) start: Option<u64>,
    /// What the counter says after it.
    pub(super) level: Level,
}

/// What a charge takes, and whether the limit refuses.
fn push_cost(rule: &Rule, cost: u64, args: &mut Vec<Vec<u8>>) {
    args.push(cost.min(MOST).to_string().into());
    args.push(u8::from(rule.enforced).to_string().into());
}

/// How a limit counts, as the scripts are told it: window, amount, capacity, length.
fn push_rule(rule: &Rule, args: &mut Vec<Vec<u8>>) {
    let (window, length) = match (rule.alignment, rule.window.seconds()) {
        (WindowAlignment::Sliding, Some(seconds)) => ("slide", seconds.saturating_mul(1_000_000)),
        (WindowAlignment::Sliding, None) | (WindowAlignment::Calendar, _) => {
            (rule.window.name(), 0)
        }
    };
    args.push(window.into());
    for number in [rule.amount.min(MOST), rule.capacity().min(MOST), length] {
        args.push(number.to_string().into());
    }
}

/// The digest of these parts, in hexadecimal digits; where one ends and the next begins counts.
fn digest(parts: &[&str]) -> String {
    let mut bytes = Vec::with_capacity(256);
    for part in parts {
        bytes.extend(part.len().to_le_bytes());
        bytes.extend(part.as_bytes());
    }
    hexadecimal(&sha256(&bytes))
}

/// The whole numbers that a script answered.
fn numbers(answer: Value) -> Result<SmallVec<[i64; 16]>, StoreUnavailable> {
    let Value::Array(values) = answer else {
        return Err(unusable());
    };
    let number = |value: &Value| {
        let Value::Int(number) = value else {
            return Err(unusable());
        };
        Ok(*number)
    };
    values.iter().map(number).collect()
}

/// What a script says of one counter.
fn level([left, reset, wait]: [i64; NUMBERS]) -> Level {
    Level {
        remaining: u64::try_from(left).unwrap_or(0),
        reset: microseconds(reset),
        wait: microseconds(wait),
    }
}

/// So many microseconds; below 0 is never.
fn microseconds(number: i64) -> Option<Duration> {
    u64::try_from(number).ok().map(Duration::from_micros)
}

/// An answer that is none.
fn unusable() -> StoreUnavailable {
    RedisUnavailable::unusable("what the script gives").into()
}
