//! The one way to speak to Redis or Valkey.
//!
//! Connections are made and kept by tasks; nobody waits for one. A call has a budget of time, after
//! which it is given up, although what it asked for may still happen. After failures in a row the
//! server is not asked until a task has seen that it answers (a circuit breaker). What is to be done
//! where Redis is of no use is the caller's to say: deny, or go on without it.
//
// INVARIANT: no call takes longer than its budget, whatever the server does.

mod breaker;
pub mod config;
mod failure;
mod keeper;
mod script;
mod subscription;
mod transport;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use redis::aio::MultiplexedConnection;
use redis::{Cmd, RedisError, Value};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::redis::breaker::Breaker;
use crate::redis::config::RedisSettings;
use crate::task::Tasks;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::sharded::{ShardedCounter, ShardedHistogram};

pub use failure::{RedisFailure, RedisUnavailable};
pub use script::Script;
pub use subscription::{Notice, Subscription};

/// A server, and the connections to it; clones share them.
#[derive(Clone)]
pub struct Redis(Arc<Inner>);

struct Inner {
    /// What it is for: `quota` or `revocation`.
    name: &'static str,
    settings: RedisSettings,
    slots: Box<[Slot]>,
    next: AtomicUsize,
    breaker: Breaker,
    tasks: Tasks,
    metrics: Metrics,
    answered: ShardedCounter,
    failed: Box<[ShardedCounter]>,
    durations: ShardedHistogram,
}

/// A place for a connection.
#[derive(Debug, Default)]
struct Slot {
    connection: ArcSwapOption<MultiplexedConnection>,
    /// Told where another connection is wanted.
    unwanted: Notify,
}

/// How a call is made again, where the server did not know its script.
type Again<'a> = Option<&'a (dyn Fn() -> Cmd + Sync)>;

impl Redis {
    /// Starts to connect; `name` says what it is for, in metrics and names of tasks.
    #[must_use]
    pub fn start(
        name: &'static str,
        settings: RedisSettings,
        tasks: &Tasks,
        metrics: &Metrics,
    ) -> Self {
        let failed = RedisFailure::ALL.iter();
        let failed = failed.map(|kind| metrics.redis_requests(name, kind.name()));
        let inner = Inner {
            name,
            slots: (0..settings.connections).map(|_| Slot::default()).collect(),
            next: AtomicUsize::new(0),
            breaker: Breaker::new(),
            tasks: tasks.clone(),
            answered: metrics.redis_requests(name, "answered"),
            failed: failed.collect(),
            durations: metrics.redis_durations(name),
            metrics: metrics.clone(),
            settings,
        };
        inner.report_connections();
        let redis = Self(Arc::new(inner));
        for at in 0..redis.0.slots.len() {
            let task = format!("redis/{name}/{at}");
            let kept = Arc::clone(&redis.0).keep(at, task.clone());
            tasks.streaming(&task, kept).keep();
        }
        redis
    }

    /// The key of something of this kind. All keys are in one slot of a cluster, so that one script
    /// can have several.
    #[must_use]
    pub fn key(&self, kind: &str, rest: &str) -> String {
        format!("{{{}}}:{kind}:{rest}", self.0.settings.prefix)
    }

    /// How long a check waits for an answer.
    #[must_use]
    pub fn budget(&self) -> Duration {
        self.0.settings.budget
    }

    /// Whether it would be asked now.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        !self.0.breaker.is_open() && self.0.connection().is_some()
    }

    /// Runs a script, within the budget.
    ///
    /// # Errors
    /// Where there is no answer, or none that is of use.
    pub async fn run(
        &self,
        script: &Script,
        keys: &[String],
        args: &[Vec<u8>],
    ) -> Result<Value, RedisUnavailable> {
        self.run_within(self.0.settings.budget, script, keys, args)
            .await
    }

    /// Runs a script for which no check waits.
    ///
    /// # Errors
    /// Where there is no answer in `time`, or none that is of use.
    pub async fn run_within(
        &self,
        time: Duration,
        script: &Script,
        keys: &[String],
        args: &[Vec<u8>],
    ) -> Result<Value, RedisUnavailable> {
        let cmd = script.by_digest(keys, args);
        let whole = || script.whole(keys, args);
        self.0.ask(time, &cmd, Some(&whole)).await
    }

    /// Runs a command, within the budget.
    ///
    /// # Errors
    /// Where there is no answer, or none that is of use.
    pub async fn command(&self, cmd: &Cmd) -> Result<Value, RedisUnavailable> {
        self.command_within(self.0.settings.budget, cmd).await
    }

    /// Runs a command for which no check waits.
    ///
    /// # Errors
    /// Where there is no answer in `time`, or none that is of use.
    pub async fn command_within(
        &self,
        time: Duration,
        cmd: &Cmd,
    ) -> Result<Value, RedisUnavailable> {
        self.0.ask(time, cmd, None).await
    }

    /// Listens to a channel, on a connection of its own, for as long as the value lives.
    #[must_use]
    pub fn subscribe(&self, channel: &str) -> Subscription {
        Subscription::start(Arc::clone(&self.0), channel)
    }
}

impl Inner {
    async fn ask(
        &self,
        time: Duration,
        cmd: &Cmd,
        again: Again<'_>,
    ) -> Result<Value, RedisUnavailable> {
        let started = Instant::now();
        let result = self.ask_uncounted(time, cmd, again).await;
        match &result {
            Ok(_) => {
                self.answered.inc();
                self.durations.observe(started.elapsed());
            }
            Err(failure) => {
                let at = RedisFailure::ALL
                    .iter()
                    .position(|kind| *kind == failure.kind);
                if let Some(counter) = at.and_then(|at| self.failed.get(at)) {
                    counter.inc();
                }
            }
        }
        result
    }

    async fn ask_uncounted(
        &self,
        time: Duration,
        cmd: &Cmd,
        again: Again<'_>,
    ) -> Result<Value, RedisUnavailable> {
        if self.breaker.is_open() {
            return Err(RedisUnavailable::new(
                RedisFailure::NotAsked,
                "redis is not asked now, after failures in a row",
            ));
        }
        let Some((slot, connection)) = self.connection() else {
            return Err(RedisUnavailable::new(
                RedisFailure::NotConnected,
                "there is no connection to redis now",
            ));
        };
        let asked = tokio::time::timeout(time, send(connection, cmd, again));
        let failure = match asked.await {
            Ok(Ok(value)) => {
                self.breaker.succeeded();
                return Ok(value);
            }
            Ok(Err(error)) => RedisUnavailable::of(&error),
            Err(_) => RedisUnavailable::new(
                RedisFailure::TimedOut,
                format!("redis did not answer within {time:?}"),
            ),
        };
        if failure.kind.is_of_the_server() {
            self.breaker.failed();
        } else {
            self.breaker.succeeded();
        }
        if failure.kind.wants_another_connection() {
            slot.unwanted.notify_one();
        }
        Err(failure)
    }

    /// One of the connections that there are, in turn.
    fn connection(&self) -> Option<(&Slot, MultiplexedConnection)> {
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        let slots = self.slots.len();
        (0..slots).find_map(|step| {
            let slot = self.slots.get(first.wrapping_add(step) % slots)?;
            let connection = slot.connection.load();
            Some((slot, connection.as_ref()?.as_ref().clone()))
        })
    }

    fn report_connections(&self) {
        let connected = self.slots.iter();
        let connected = connected.filter(|slot| slot.connection.load().is_some());
        self.metrics
            .set_redis_connected(self.name, connected.count());
    }
}

async fn send(
    mut connection: MultiplexedConnection,
    cmd: &Cmd,
    again: Again<'_>,
) -> Result<Value, RedisError> {
    match (cmd.query_async(&mut connection).await, again) {
        (Err(error), Some(again)) if failure::is_script_unknown(&error) => {
            again().query_async(&mut connection).await
        }
        (result, _) => result,
    }
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis")
            .field("name", &self.name)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}
