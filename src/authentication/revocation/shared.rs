//! What is revoked, shared with other replicas by Redis: a hash of entries, and a channel on which
//! each change is told with its number.
//!
//! A replica listens before it reads the whole, and reads the whole again where a number is missing.
//! What it knows and Redis does not (it was restarted empty, or was away when the entry was made) it
//! writes there. An entry that was removed leaves a mark, so that no replica which missed that writes it
//! back.
//
// INVARIANT: nothing that is known here is forgotten because Redis does not have it. INVARIANT: as long
// as Redis has never been read, no credential is taken.

mod scripts;

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::FromRedisValue;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::authentication::revocation::entry::{Entry, EntryId};
use crate::authentication::revocation::shared::scripts::{
    Change, Marked, Position, Scripts, Value,
};
use crate::authentication::revocation::{Changes, Revocations};
use crate::clock::Clock;
use crate::readiness::{Latch, Readiness};
use crate::redis::{Notice, Redis, RedisFailure, RedisUnavailable, Subscription};
use crate::store::Store;
use crate::task::Tasks;

/// The name of this use of Redis, in metrics.
pub const REDIS: &str = "revocation";
/// The name of the source, in metrics and answers.
pub const SOURCE: &str = "redis";
/// The name of the task.
const TASK: &str = "revocation_shared";
/// How long a call may take; no check waits for it.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often it is asked whether what is known is all there is.
const INTERVAL: Duration = Duration::from_secs(1);
/// How often everything is read although nothing seems to be missing.
const READ_AGAIN: Duration = Duration::from_secs(60 * 60);
/// How young a life of the hash may be for a replica to start with it: until then, others that know more
/// may not have written it back to a Redis that came back empty.
const SETTLED_SECONDS: i64 = 5;
/// How many entries are read or written at once.
const PAGE: usize = 500;

/// A field of the hash, and its value.
type Field = (Vec<u8>, Vec<u8>);

/// What is shared. Clones are the same.
#[derive(Debug, Clone)]
pub struct SharedEntries(Arc<Inner>);

/// What it is made of.
#[derive(Debug)]
pub struct SharedParts {
    /// Redis.
    pub redis: Redis,
    /// What requests read.
    pub revocations: Revocations,
    /// Where entries outlive the process beside Redis.
    pub store: Option<Store>,
    /// Where changes are followed, and the store is written.
    pub tasks: Tasks,
    /// The time of day.
    pub clock: Clock,
    /// Held back while what is known is too old.
    pub readiness: Readiness,
    /// How old that may be.
    pub max_age: Option<Duration>,
}

#[derive(Debug)]
struct Inner {
    parts: SharedParts,
    scripts: Scripts,
    key: String,
    channel: String,
    state: Mutex<State>,
    /// The last change that is in force.
    applied: watch::Sender<Option<Position>>,
    /// Told where there is something to write.
    nudge: Notify,
}

#[derive(Debug)]
struct State {
    /// Known here, and perhaps not in Redis.
    pending: BTreeSet<EntryId>,
    /// No longer in a file of this replica, and perhaps still in Redis.
    gone: BTreeSet<EntryId>,
    /// When what is known was last found to be all there is.
    known: Option<Instant>,
    started: Instant,
    /// Why it is not known to be.
    problem: Option<String>,
    not_ready: Option<Latch>,
}

/// Where the reading of changes stands.
#[derive(Debug)]
struct Following {
    /// The last change that is in force; none where some may be missing.
    at: Option<Position>,
    /// Whether changes are heard.
    hears: bool,
    /// A number that Redis had at the last look and that was not heard of then.
    behind: Option<u64>,
    read: Instant,
}

impl SharedEntries {
    /// Holds readiness back until Redis has been read.
    #[must_use]
    pub fn new(parts: SharedParts) -> Self {
        parts.revocations.set_known(false);
        let not_ready = parts
            .readiness
            .insist("what is revoked has not been read from redis yet");
        Self(Arc::new(Inner {
            scripts: Scripts::new(),
            key: parts.redis.key(REDIS, "entries"),
            channel: parts.redis.key(REDIS, "changes"),
            state: Mutex::new(State {
                pending: BTreeSet::new(),
                gone: BTreeSet::new(),
                known: None,
                started: Instant::now(),
                problem: None,
                not_ready: Some(not_ready),
            }),
            applied: watch::Sender::new(None),
            nudge: Notify::new(),
            parts,
        }))
    }

    /// Starts to listen and to write.
    pub fn start(&self) {
        let subscription = self.0.parts.redis.subscribe(&self.0.channel);
        let following = self.clone().follow(subscription);
        self.0.parts.tasks.streaming(TASK, following).keep();
    }

    /// Shares an entry that is in force here. Where that fails, it is shared when Redis is back.
    ///
    /// # Errors
    /// Where Redis did not take it yet.
    pub async fn put(&self, entry: &Entry) -> Result<(), RedisUnavailable> {
        self.0.locked().pending.insert(entry.id());
        let written = self.0.write(std::slice::from_ref(entry)).await;
        if written.is_err() {
            self.0.nudge.notify_one();
        }
        written
    }

    /// Marks an entry as removed, for every replica; also here it goes when that is heard, so that one
    /// which is entered again meanwhile stays.
    ///
    /// # Errors
    /// Where Redis did not take that: the entry stays in force then.
    pub async fn remove(&self, entry: &Entry) -> Result<(), RedisUnavailable> {
        let was_pending = self.0.locked().pending.remove(&entry.id());
        // also where the clock of whoever entered it is ahead of ours, that entry is meant
        let after = entry.at.saturating_add(1);
        let removed = self.0.remove(entry.id(), (entry.until, after)).await;
        let position = removed.inspect_err(|_| {
            if was_pending {
                self.0.locked().pending.insert(entry.id());
            }
        })?;
        let mut applied = self.0.applied.subscribe();
        let heard = applied.wait_for(|applied| {
            let applied = applied.as_ref();
            applied.is_some_and(|applied| applied.includes(&position))
        });
        // where it is not heard in time, it is when changes are
        let _ = tokio::time::timeout(PATIENCE, heard).await;
        Ok(())
    }

    /// Shares what a file of this replica changed.
    pub fn file_changed(&self, changes: Changes) {
        let mut state = self.0.locked();
        for entry in changes.added {
            state.gone.remove(&entry.id());
            state.pending.insert(entry.id());
        }
        for id in changes.removed {
            state.pending.remove(&id);
            state.gone.insert(id);
        }
        drop(state);
        self.0.nudge.notify_one();
    }

    /// Lets Redis forget what is over.
    pub async fn forget(&self, ids: &[EntryId]) {
        for ids in ids.chunks(PAGE) {
            self.0.locked().pending.retain(|id| !ids.contains(id));
            let args = Scripts::sweep_args(&self.0.channel, ids);
            // what is left there is found by the next that reads the whole
            let _ = self.0.run(&self.0.scripts.sweep, args).await;
        }
    }

    /// How long ago what is known was last found to be all there is; since the start, where it never was.
    #[must_use]
    pub fn age(&self) -> Duration {
        let state = self.0.locked();
        state.known.unwrap_or(state.started).elapsed()
    }

    /// Why what is known may not be all there is.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        let state = self.0.locked();
        state.problem.clone().or_else(|| {
            state
                .known
                .is_none()
                .then(|| "it has not been read yet".to_owned())
        })
    }

    /// How many entries Redis may not have yet.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.0.locked().pending.len()
    }

    async fn follow(self, mut subscription: Subscription) {
        let mut following = Following {
            at: None,
            hears: false,
            behind: None,
            read: Instant::now(),
        };
        let mut look = tokio::time::interval(INTERVAL);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let result = tokio::select! {
                biased;
                notice = subscription.next() => match notice {
                    Some(notice) => self.0.hear(&mut following, notice).await,
                    // the process ends
                    None => return std::future::pending().await,
                },
                () = self.0.nudge.notified() => self.0.write_pending().await,
                _ = look.tick() => self.0.look(&mut following).await,
            };
            let problem = result.as_ref().err().map(ToString::to_string);
            // one that lasts is logged once
            if self.0.tell(problem) || result.is_ok() {
                self.0.parts.tasks.record(TASK, result.map_err(Into::into));
            }
        }
    }
}

impl Inner {
    /// Takes note of what was told.
    async fn hear(
        &self,
        following: &mut Following,
        notice: Notice,
    ) -> Result<(), RedisUnavailable> {
        match notice {
            Notice::Connected => {
                following.hears = true;
                self.read_all(following).await
            }
            Notice::Disconnected => {
                following.hears = false;
                following.at = None;
                Err(RedisUnavailable::new(
                    RedisFailure::Disconnected,
                    "changes are not heard",
                ))
            }
            Notice::Message(message) => {
                let Some(at) = &mut following.at else {
                    // the whole will be read
                    return Ok(());
                };
                match scripts::parse_message(&message) {
                    Some((position, change)) if at.is_followed_by(&position) => {
                        *at = position.clone();
                        self.apply(change).await;
                        self.applied.send_replace(Some(position));
                        self.locked().known = Some(Instant::now());
                        Ok(())
                    }
                    Some((position, _)) if at.includes(&position) => Ok(()),
                    Some(_) | None => self.read_all(following).await,
                }
            }
        }
    }

    /// Sees whether something was missed, and writes what could not be written before.
    async fn look(&self, following: &mut Following) -> Result<(), RedisUnavailable> {
        if !following.hears {
            return Err(RedisUnavailable::new(
                RedisFailure::Disconnected,
                "changes are not heard",
            ));
        }
        let (there, _) = self.position().await?;
        match &following.at {
            Some(at) if *at == there && following.read.elapsed() < READ_AGAIN => {
                following.behind = None;
                self.locked().known = Some(Instant::now());
            }
            // it may be on its way: it is missed where it has not come until the next look
            Some(at)
                if there.is_ahead_of(at)
                    && following.behind.is_none_or(|behind| at.number >= behind)
                    && following.read.elapsed() < READ_AGAIN =>
            {
                following.behind = Some(there.number);
            }
            Some(_) | None => self.read_all(following).await?,
        }
        self.write_pending().await
    }

    /// Reads everything, and writes what is known here and not there.
    async fn read_all(&self, following: &mut Following) -> Result<(), RedisUnavailable> {
        following.at = None;
        // what changes from here on is heard, and applied after what is read
        let (position, age) = self.position().await?;
        let found = self.scan().await?;
        let missing = self.compare(&found);
        self.locked().pending.extend(missing);
        let is_first = self.locked().known.is_none();
        if is_first && (0..SETTLED_SECONDS).contains(&age) {
            // read again at the next look
            return self.write_pending().await;
        }
        self.applied.send_replace(Some(position.clone()));
        following.at = Some(position);
        following.behind = None;
        following.read = Instant::now();
        self.locked().known = Some(Instant::now());
        self.parts.revocations.set_known(true);
        self.write_pending().await
    }

    /// Every entry there, which is in force here from now on. Gives what there is of each, to compare.
    async fn scan(&self) -> Result<HashMap<EntryId, Marked>, RedisUnavailable> {
        let mut found = HashMap::new();
        let mut over = Vec::new();
        let mut cursor: u64 = 0;
        loop {
            let mut cmd = redis::cmd("HSCAN");
            cmd.arg(&self.key).arg(cursor).arg("COUNT").arg(PAGE);
            let answer = self.parts.redis.command_within(PATIENCE, &cmd).await?;
            let (next, fields): (u64, Vec<Field>) = read(answer)?;
            for (id, value) in fields {
                self.take(&id, &value, (&mut found, &mut over)).await;
            }
            cursor = next;
            if cursor == 0 {
                break;
            }
        }
        for ids in over.chunks(PAGE) {
            let args = Scripts::sweep_args(&self.channel, ids);
            self.run(&self.scripts.sweep, args).await?;
        }
        Ok(found)
    }

    async fn take(
        &self,
        id: &[u8],
        value: &[u8],
        (found, over): (&mut HashMap<EntryId, Marked>, &mut Vec<EntryId>),
    ) {
        let id = std::str::from_utf8(id).ok().and_then(|id| id.parse().ok());
        let Some(id) = id else { return };
        let now = self.parts.clock.unix_seconds();
        match scripts::parse_value(value) {
            Some(value) if value.is_over(now) => over.push(id),
            Some(Value::Entry(entry)) if entry.id() == id => {
                let is_gone = self.locked().gone.contains(&id);
                let marked = Marked::of(&entry);
                if !is_gone {
                    self.add(*entry);
                }
                found.insert(id, marked);
            }
            Some(Value::Removed { at, .. }) => {
                found.insert(id, Marked::Removed);
                let is_pending = self.locked().pending.contains(&id);
                if !is_pending {
                    self.removed_elsewhere(id, at).await;
                }
            }
            // nobody else writes here: it is of a version that we do not know, or damaged. What we know
            // ourselves is written over it
            Some(Value::Entry(_)) | None => {
                tracing::error!(revocation.id = %id, "an entry in redis cannot be read: it is not in force here");
            }
        }
    }

    fn add(&self, entry: Entry) {
        let was_full = self.parts.revocations.is_full();
        self.parts.revocations.add_accepted(entry);
        if !was_full && self.parts.revocations.is_full() {
            tracing::error!(
                "there are as many entries as `revocation.maxEntries` allows: new ones are refused"
            );
        }
    }

    /// What is known here and not there, or there with less.
    fn compare(&self, found: &HashMap<EntryId, Marked>) -> Vec<EntryId> {
        let now = self.parts.clock.unix_seconds();
        let (mut missing, mut after) = (Vec::new(), None);
        loop {
            let page = self.parts.revocations.after(after, PAGE);
            let Some(last) = page.last() else { break };
            after = Some(last.id());
            let differs = page.iter().filter(|entry| {
                !entry.is_over(now) && found.get(&entry.id()) != Some(&Marked::of(entry))
            });
            missing.extend(differs.map(|entry| entry.id()));
        }
        missing
    }

    async fn apply(&self, change: Change) {
        match change {
            Change::Put(entry) => self.add(*entry),
            Change::Removed(id, at) => self.removed_elsewhere(id, at).await,
            Change::Swept(id) => self.swept_elsewhere(id),
        }
    }

    /// Redis forgot an entry by its clock; what is needed by ours stays, and is written again.
    fn swept_elsewhere(&self, id: EntryId) {
        let now = self.parts.clock.unix_seconds();
        let known = self.parts.revocations.get(id);
        if known.is_some_and(|entry| !entry.is_over(now)) {
            self.locked().pending.insert(id);
            self.nudge.notify_one();
        }
    }

    /// Another replica removed what was entered before `at`; what stands in a file of this one, or was
    /// entered here later, stays and is written again.
    async fn removed_elsewhere(&self, id: EntryId, at: i64) {
        let revocations = &self.parts.revocations;
        let is_later = revocations
            .get(id)
            .is_some_and(|entry| entry.is_entered_after(at));
        if is_later || revocations.is_in_file(id) {
            self.locked().pending.insert(id);
            self.nudge.notify_one();
            return;
        }
        self.locked().pending.remove(&id);
        if self.parts.revocations.remove(id).is_some()
            && let Some(store) = self.parts.store.clone()
        {
            let removing = move || store.remove_revocations(&[id]);
            if let Ok(Err(error)) = self.parts.tasks.blocking(removing).await {
                tracing::error!(%error, "an entry that was removed is still in the store");
            }
        }
    }

    /// Writes what Redis may not have.
    async fn write_pending(&self) -> Result<(), RedisUnavailable> {
        loop {
            let gone = self.locked().gone.first().copied();
            let Some(id) = gone else { break };
            let now = self.parts.clock.unix_seconds();
            self.remove(id, (now, now)).await?;
            self.locked().gone.remove(&id);
        }
        loop {
            let ids: Vec<EntryId> = self.locked().pending.iter().take(PAGE).copied().collect();
            if ids.is_empty() {
                return Ok(());
            }
            let entries = ids.iter().map(|id| (id, self.parts.revocations.get(*id)));
            let (mut there, mut ended) = (Vec::new(), Vec::new());
            for (id, entry) in entries {
                match entry {
                    Some(entry) => there.push((*entry).clone()),
                    None => ended.push(*id),
                }
            }
            self.locked().pending.retain(|id| !ended.contains(id));
            self.write(&there).await?;
        }
    }

    /// Writes entries; those that are in force with more by the time that they are written stay pending.
    async fn write(&self, entries: &[Entry]) -> Result<(), RedisUnavailable> {
        if entries.is_empty() {
            return Ok(());
        }
        self.run(&self.scripts.put, Scripts::put_args(&self.channel, entries))
            .await?;
        let mut state = self.locked();
        for entry in entries {
            let now = self.parts.revocations.get(entry.id());
            if now.is_none_or(|now| now.says_the_same(entry)) {
                state.pending.remove(&entry.id());
            }
        }
        Ok(())
    }

    /// Removes what ends at `until` and was entered before now, or before `after`.
    async fn remove(
        &self,
        id: EntryId,
        (until, after): (i64, i64),
    ) -> Result<Position, RedisUnavailable> {
        let now = self.parts.clock.unix_seconds();
        let args = Scripts::remove_args(&self.channel, id, (now, until, after.max(now)));
        let (epoch, number) = read(self.run(&self.scripts.remove, args).await?)?;
        Ok(Position { epoch, number })
    }

    /// Where the changes stand there, and how many seconds old this life of the hash is.
    async fn position(&self) -> Result<(Position, i64), RedisUnavailable> {
        let answer = self
            .run(&self.scripts.position, Scripts::position_args())
            .await?;
        let (epoch, number, age): (String, u64, i64) = read(answer)?;
        Ok((Position { epoch, number }, age))
    }

    async fn run(
        &self,
        script: &crate::redis::Script,
        args: Vec<Vec<u8>>,
    ) -> Result<redis::Value, RedisUnavailable> {
        let keys = [self.key.clone()];
        self.parts
            .redis
            .run_within(PATIENCE, script, &keys, &args)
            .await
    }

    /// Tells how it stands, and gives whether that is another problem than before.
    fn tell(&self, problem: Option<String>) -> bool {
        let mut state = self.locked();
        let is_other = state.problem != problem;
        state.problem = problem;
        let is_old = match (state.known, self.parts.max_age) {
            // not ready since the start
            (None, _) => return is_other,
            (Some(known), Some(most)) => known.elapsed() > most,
            (Some(_), None) => false,
        };
        if is_old && state.not_ready.is_none() {
            tracing::error!(
                "what other replicas revoked is not known since `revocation.maxAge`: not ready"
            );
            let reason = "what is revoked is older than revocation.maxAge";
            state.not_ready = Some(self.parts.readiness.insist(reason));
        } else if !is_old {
            state.not_ready = None;
        }
        is_other
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read<T: FromRedisValue>(value: redis::Value) -> Result<T, RedisUnavailable> {
    redis::from_redis_value(value).map_err(|_| RedisUnavailable::unusable("was asked for"))
}
