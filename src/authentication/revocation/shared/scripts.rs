//! What is written to Redis and told on the channel, and how that is read.
//!
//! A field of the hash is an entry's id. Its value is `until|before|entry`; that of one that was removed
//! is `until|x|at`: what was entered before `at` is removed. The fields `#epoch`, `#born` and `#seq` say
//! which life of the hash this is, since when, and how often it changed. A message is
//! `epoch|number|+|id|value`, `epoch|number|-|id|at`, or `epoch|number|~|id|` of what has ended there.

use crate::authentication::revocation::entry::{Entry, EntryId, LEEWAY_SECONDS, NEVER};
use crate::redis::Script;

/// How long it is known that an entry was removed, in seconds: for longer than any replica is away.
const REMOVED_SECONDS: i64 = 30 * 24 * 60 * 60;
/// What stands in place of `before` where the entry was removed.
const REMOVED: &str = "x";

/// Writes entries: what is there already is never made less.
const PUT: &str = r"
local channel, fresh = ARGV[1], ARGV[2]
if redis.call('HSETNX', KEYS[1], '#epoch', fresh) == 1 then
  redis.call('HSET', KEYS[1], '#born', redis.call('TIME')[1])
end
local epoch = redis.call('HGET', KEYS[1], '#epoch')
for at = 3, #ARGV, 4 do
  local id, before, upto, entry = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
  local known = redis.call('HGET', KEYS[1], id)
  local same = false
  if known then
    local there, from = string.match(known, '^(%-?%d+)|([^|]*)|')
    if there and from ~= 'x' then
      local later = tonumber(there) >= tonumber(upto)
      local wider = from == '' or (before ~= '' and tonumber(from) >= tonumber(before))
      same = later and wider
      if later then upto = there end
      if wider then before = from end
    end
  end
  if not same then
    local value = upto .. '|' .. before .. '|' .. entry
    redis.call('HSET', KEYS[1], id, value)
    local number = redis.call('HINCRBY', KEYS[1], '#seq', 1)
    redis.call('PUBLISH', channel, epoch .. '|' .. string.format('%d', number) .. '|+|' .. id .. '|' .. value)
  end
end
return 1
";

/// Marks an entry as removed; tells which change that is.
const REMOVE: &str = r"
local channel, fresh, id, upto, at = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
if redis.call('HSETNX', KEYS[1], '#epoch', fresh) == 1 then
  redis.call('HSET', KEYS[1], '#born', redis.call('TIME')[1])
end
local epoch = redis.call('HGET', KEYS[1], '#epoch')
redis.call('HSET', KEYS[1], id, upto .. '|x|' .. at)
local number = redis.call('HINCRBY', KEYS[1], '#seq', 1)
redis.call('PUBLISH', channel, epoch .. '|' .. string.format('%d', number) .. '|-|' .. id .. '|' .. at)
return { epoch, number }
";

/// Forgets those of these that are over by the clock of Redis, as a replica's may be wrong; tells of
/// it, so that a replica which takes one for needed still writes it back.
const SWEEP: &str = r"
local channel = ARGV[1]
local now = tonumber(redis.call('TIME')[1]) - tonumber(ARGV[2])
local epoch = redis.call('HGET', KEYS[1], '#epoch') or ''
for at = 3, #ARGV do
  local id = ARGV[at]
  local known = redis.call('HGET', KEYS[1], id)
  local upto = known and string.match(known, '^(%-?%d+)|')
  if upto and tonumber(upto) < now then
    redis.call('HDEL', KEYS[1], id)
    local number = redis.call('HINCRBY', KEYS[1], '#seq', 1)
    redis.call('PUBLISH', channel, epoch .. '|' .. string.format('%d', number) .. '|~|' .. id .. '|')
  end
end
return 1
";

/// Tells which life this is, how often it changed, and how many seconds old it is.
const POSITION: &str = r"
local now = redis.call('TIME')[1]
if redis.call('HSETNX', KEYS[1], '#epoch', ARGV[1]) == 1 then
  redis.call('HSET', KEYS[1], '#born', now)
end
local there = redis.call('HMGET', KEYS[1], '#epoch', '#seq', '#born')
return { there[1], tonumber(there[2] or '0'), tonumber(now) - tonumber(there[3] or '0') }
";

/// The scripts.
#[derive(Debug)]
pub(super) struct Scripts {
    pub(super) put: Script,
    pub(super) remove: Script,
    pub(super) sweep: Script,
    pub(super) position: Script,
}

/// How often the hash has changed, in which life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Position {
    /// The life: another where the hash was lost.
    pub(super) epoch: String,
    /// The number of the last change.
    pub(super) number: u64,
}

impl Position {
    /// Whether nothing lies between this and `next`.
    pub(super) fn is_followed_by(&self, next: &Self) -> bool {
        self.epoch == next.epoch && self.number.checked_add(1) == Some(next.number)
    }

    /// Whether `other` is known where this is.
    pub(super) fn includes(&self, other: &Self) -> bool {
        self.epoch == other.epoch && other.number <= self.number
    }

    /// Whether it is a later one of the same life.
    pub(super) fn is_ahead_of(&self, other: &Self) -> bool {
        self.epoch == other.epoch && self.number > other.number
    }
}

/// A value of the hash.
#[derive(Debug)]
pub(super) enum Value {
    /// An entry.
    Entry(Box<Entry>),
    /// There was one.
    Removed {
        /// Until when that is known.
        until: i64,
        /// What was entered before then is removed, in seconds since 1970.
        at: i64,
    },
}

impl Value {
    /// Whether nobody needs it any more.
    pub(super) fn is_over(&self, now: i64) -> bool {
        match self {
            Self::Entry(entry) => entry.is_over(now),
            Self::Removed { until, .. } => until.saturating_add(LEEWAY_SECONDS) < now,
        }
    }
}

/// What matters of a value, to see whether another says the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Marked {
    /// An entry that refuses this.
    Entry {
        /// Up to when.
        before: Option<i64>,
        /// For how long.
        until: i64,
    },
    /// It was removed.
    Removed,
}

impl Marked {
    /// What matters of `entry`.
    pub(super) fn of(entry: &Entry) -> Self {
        Self::Entry {
            before: entry.before,
            until: entry.until,
        }
    }
}

/// What changed.
#[derive(Debug)]
pub(super) enum Change {
    /// An entry came, or says more.
    Put(Box<Entry>),
    /// An entry was removed that was entered before then, in seconds since 1970.
    Removed(EntryId, i64),
    /// What Redis had of an entry was over, by its clock.
    Swept(EntryId),
}

impl Scripts {
    pub(super) fn new() -> Self {
        Self {
            put: Script::new(PUT),
            remove: Script::new(REMOVE),
            sweep: Script::new(SWEEP),
            position: Script::new(POSITION),
        }
    }

    pub(super) fn put_args(channel: &str, entries: &[Entry]) -> Vec<Vec<u8>> {
        let mut args = vec![channel.as_bytes().to_vec(), fresh_epoch()];
        for entry in entries {
            let before = entry
                .before
                .map_or_else(String::new, |before| before.to_string());
            args.extend([
                entry.id().to_string().into_bytes(),
                before.into_bytes(),
                entry.until.to_string().into_bytes(),
                serde_json::to_vec(entry).unwrap_or_default(),
            ]);
        }
        args
    }

    pub(super) fn remove_args(
        channel: &str,
        id: EntryId,
        (now, until, at): (i64, i64, i64),
    ) -> Vec<Vec<u8>> {
        let least = now.saturating_add(REMOVED_SECONDS);
        // a replica may know it until it ends, but for one that never does
        let until = if until < NEVER {
            until.max(least)
        } else {
            least
        };
        vec![
            channel.as_bytes().to_vec(),
            fresh_epoch(),
            id.to_string().into_bytes(),
            until.to_string().into_bytes(),
            at.to_string().into_bytes(),
        ]
    }

    pub(super) fn sweep_args(channel: &str, ids: &[EntryId]) -> Vec<Vec<u8>> {
        let first = [channel.to_owned(), LEEWAY_SECONDS.to_string()];
        let ids = ids.iter().map(ToString::to_string);
        first
            .into_iter()
            .chain(ids)
            .map(String::into_bytes)
            .collect()
    }

    pub(super) fn position_args() -> Vec<Vec<u8>> {
        vec![fresh_epoch()]
    }
}

/// The name of a life that begins now, where one does.
fn fresh_epoch() -> Vec<u8> {
    format!("{:032x}", fastrand::u128(..)).into_bytes()
}

/// Reads a value of the hash.
pub(super) fn parse_value(value: &[u8]) -> Option<Value> {
    let mut parts = std::str::from_utf8(value).ok()?.splitn(3, '|');
    let until: i64 = parts.next()?.parse().ok()?;
    let (before, entry) = (parts.next()?, parts.next()?);
    if before == REMOVED {
        let at = parse_removal(entry)?;
        return Some(Value::Removed { until, at });
    }
    let before = match before {
        "" => None,
        before => Some(before.parse().ok()?),
    };
    // what several said together stands before what one of them said
    let entry: Entry = serde_json::from_str(entry).ok()?;
    Some(Value::Entry(Box::new(Entry {
        before,
        until,
        ..entry
    })))
}

/// Reads when an entry was removed; where that is not said, whatever was entered is.
fn parse_removal(at: &str) -> Option<i64> {
    match at {
        "" => Some(i64::MAX),
        at => at.parse().ok(),
    }
}

/// Reads a message.
pub(super) fn parse_message(message: &[u8]) -> Option<(Position, Change)> {
    let mut parts = std::str::from_utf8(message).ok()?.splitn(5, '|');
    let (epoch, number) = (parts.next()?.to_owned(), parts.next()?.parse().ok()?);
    let (change, id) = (parts.next()?, parts.next()?.parse().ok()?);
    let rest = parts.next()?;
    let change = match (change, parse_value(rest.as_bytes())) {
        ("+", Some(Value::Entry(entry))) if entry.id() == id => Change::Put(entry),
        ("-", None) => Change::Removed(id, parse_removal(rest)?),
        ("~", None) if rest.is_empty() => Change::Swept(id),
        _ => return None,
    };
    Some((Position { epoch, number }, change))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authentication::revocation::entry::{About, Entered};

    fn entry() -> Entry {
        Entry {
            about: About::subject("https://idp.example|x".into(), "al|ice"),
            before: Some(5),
            until: 10,
            note: Some("a|b".into()),
            by: Entered::Admin,
            at: 3,
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let json = serde_json::to_string(&entry()).unwrap();
        let value = format!("20|7|{json}");
        let Some(Value::Entry(read)) = parse_value(value.as_bytes()) else {
            panic!("an entry");
        };
        assert_eq!(
            *read,
            Entry {
                before: Some(7),
                until: 20,
                ..entry()
            }
        );
        let id = entry().id();
        let message = format!("e|12|+|{id}|{value}");
        let (position, change) = parse_message(message.as_bytes()).unwrap();
        assert_eq!((position.epoch.as_str(), position.number), ("e", 12));
        assert!(matches!(change, Change::Put(put) if put == read));
        let removed = parse_message(format!("e|13|-|{id}|").as_bytes()).unwrap();
        assert!(position.is_followed_by(&removed.0) && removed.0.includes(&position));
        assert!(matches!(removed.1, Change::Removed(other, i64::MAX) if other == id));
        let removed = parse_message(format!("e|13|-|{id}|99").as_bytes()).unwrap();
        assert!(matches!(removed.1, Change::Removed(other, 99) if other == id));
        let swept = parse_message(format!("e|14|~|{id}|").as_bytes()).unwrap();
        assert!(matches!(swept.1, Change::Swept(other) if other == id));
        assert!(matches!(
            parse_value(b"30|x|20"),
            Some(Value::Removed { until: 30, at: 20 })
        ));
        let at_any_time = parse_value(b"30|x|");
        assert!(matches!(
            at_any_time,
            Some(Value::Removed { at: i64::MAX, .. })
        ));
    }

    #[test]
    fn what_is_over_is_judged_by_the_clock_of_redis() {
        let args = Scripts::sweep_args("c", &[entry().id()]);
        let id = entry().id().to_string();
        assert_eq!(args, [&b"c"[..], b"120", id.as_bytes()]);
        assert!(SWEEP.contains("redis.call('TIME')"));
    }

    #[test]
    fn what_cannot_be_read_is_no_change() {
        let id = entry().id();
        let other = "0".repeat(32);
        let json = serde_json::to_string(&entry()).unwrap();
        for message in [
            String::new(),
            "e|1|+".to_owned(),
            format!("e|1|+|{id}|"),
            format!("e|x|-|{id}|"),
            format!("e|1|-|{id}|soon"),
            format!("e|1|~|{id}|1"),
            format!("e|1|?|{id}|"),
            format!("e|1|+|{other}|1|1|{json}"),
            format!("e|1|+|{id}|1|1|{{}}"),
        ] {
            assert!(parse_message(message.as_bytes()).is_none(), "{message}");
        }
    }
}
