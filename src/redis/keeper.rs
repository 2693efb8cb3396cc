//! The tasks that make connections, keep them, and see whether a server that failed answers again.

use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, RedisConnectionInfo, Value};
use tokio::time::Instant;

use super::breaker::{LONGEST_PAUSE, backoff};
use super::transport::Stream;
use super::{Inner, RedisFailure, RedisUnavailable};

/// How many calls may wait to be written to one connection.
const WAITING_CALLS: usize = 4096;
/// How often a connection that is not in use is tried, so that one that is broken is found.
pub(super) const KEEPALIVE: Duration = Duration::from_secs(5);
/// How often a server that failed is asked before it counts as failing still.
const TRIES: usize = 3;
/// How long what is written to see whether the server takes it is kept, in milliseconds.
const PROBE_LIFETIME: u32 = 10_000;

impl Inner {
    /// Makes one connection and keeps it, for ever.
    pub(super) async fn keep(self: Arc<Self>, at: usize, task: String) {
        let mut failures = 0;
        loop {
            let started = Instant::now();
            let failure = self.connect_and_serve(at, &task).await;
            self.tasks.record(&task, Err(failure.into()));
            if started.elapsed() > LONGEST_PAUSE {
                failures = 0;
            }
            tokio::time::sleep(backoff(failures)).await;
            failures = failures.saturating_add(1);
        }
    }

    async fn connect_and_serve(&self, at: usize, task: &str) -> RedisUnavailable {
        let login = self.login();
        let connecting = async {
            let stream = self.stream().await?;
            let config = AsyncConnectionConfig::new()
                .set_response_timeout(None)
                .set_connection_timeout(None)
                .set_pipeline_buffer_size(WAITING_CALLS);
            MultiplexedConnection::new_with_config(&login, stream, config)
                .await
                .map_err(|error| RedisUnavailable::of(&error))
        };
        let (connection, driver) = match self.in_time(connecting).await {
            Ok(connected) => connected,
            Err(failure) => return failure,
        };
        let failure = tokio::select! {
            biased;
            () = driver => RedisUnavailable::new(
                RedisFailure::Disconnected,
                "the connection to redis ended",
            ),
            failure = self.serve(at, task, connection) => failure,
        };
        if let Some(slot) = self.slots.get(at) {
            slot.connection.store(None);
        }
        self.report_connections();
        failure
    }

    /// Lets calls use the connection until another is wanted, or the server does not answer.
    async fn serve(
        &self,
        at: usize,
        task: &str,
        mut connection: MultiplexedConnection,
    ) -> RedisUnavailable {
        let Some(slot) = self.slots.get(at) else {
            return std::future::pending().await;
        };
        if let Err(failure) = self.probe(&mut connection, self.settings.budget).await {
            return failure;
        }
        self.warn_of_eviction(at, &mut connection).await;
        slot.connection.store(Some(Arc::new(connection.clone())));
        self.breaker.close();
        self.report_connections();
        self.tasks.record(task, Ok(()));
        let mut opened = self.breaker.watch();
        loop {
            let patience = tokio::select! {
                () = slot.unwanted.notified() => return RedisUnavailable::new(
                    RedisFailure::Disconnected,
                    "the connection to redis led to a server that is of no use",
                ),
                () = async { drop(opened.wait_for(|open| *open).await) } => {
                    tokio::time::sleep(self.breaker.pause()).await;
                    self.settings.budget
                }
                () = tokio::time::sleep(KEEPALIVE) => self.settings.connect_timeout,
            };
            match self.probe(&mut connection, patience).await {
                Ok(()) if self.breaker.is_open() => self.breaker.close(),
                Ok(()) => {}
                Err(failure) => return failure,
            }
        }
    }

    /// Whether the server takes a write, and answers as fast as checks need it.
    async fn probe(
        &self,
        connection: &mut MultiplexedConnection,
        patience: Duration,
    ) -> Result<(), RedisUnavailable> {
        let key = format!("{{{}}}:probe", self.settings.prefix);
        let mut cmd = redis::cmd("SET");
        cmd.arg(key).arg(1).arg("PX").arg(PROBE_LIFETIME);
        let mut last = RedisUnavailable::new(
            RedisFailure::TimedOut,
            format!("redis did not answer within {patience:?}"),
        );
        for _ in 0..TRIES {
            let asked = cmd.query_async::<Value>(connection);
            match tokio::time::timeout(patience, asked).await {
                Ok(Ok(_)) => return Ok(()),
                Ok(Err(error)) => {
                    last = RedisUnavailable::of(&error);
                    if last.kind == RedisFailure::NotPermitted && error.code() == Some("NOPERM") {
                        // a user who may not write such keys; the server answers
                        return Ok(());
                    }
                }
                Err(_) => {}
            }
        }
        Err(last)
    }

    /// A server that throws keys away throws counters away.
    async fn warn_of_eviction(&self, at: usize, connection: &mut MultiplexedConnection) {
        if at != 0 {
            return;
        }
        let mut cmd = redis::cmd("INFO");
        cmd.arg("memory");
        let asked = cmd.query_async::<String>(connection);
        let asked = tokio::time::timeout(self.settings.connect_timeout, asked).await;
        // a user who may not ask is not told
        if let Ok(Ok(info)) = asked
            && let Some(policy) = eviction(&info)
        {
            tracing::warn!(
                redis = self.name,
                policy,
                "redis removes keys when its memory is full, and counters and revocations with them; set maxmemory-policy to noeviction"
            );
        }
    }

    /// A new stream of bytes.
    pub(super) async fn stream(&self) -> Result<Stream, RedisUnavailable> {
        self.settings.transport.open().await.map_err(|error| {
            let message = format!("redis cannot be reached: {error}");
            RedisUnavailable::new(RedisFailure::Disconnected, message)
        })
    }

    /// What is made as part of connecting, within the time for it.
    pub(super) async fn in_time<T>(
        &self,
        work: impl Future<Output = Result<T, RedisUnavailable>>,
    ) -> Result<T, RedisUnavailable> {
        let time = self.settings.connect_timeout;
        let worked = tokio::time::timeout(time, work).await;
        worked.unwrap_or_else(|_| {
            let message = format!("there was no connection to redis within {time:?}");
            Err(RedisUnavailable::new(RedisFailure::TimedOut, message))
        })
    }

    /// Who we are, and which database is ours.
    pub(super) fn login(&self) -> RedisConnectionInfo {
        let settings = &self.settings;
        let mut login = RedisConnectionInfo::default()
            .set_db(settings.database)
            .set_skip_set_lib_name();
        if let Some(username) = &settings.username {
            login = login.set_username(username);
        }
        if let Some(password) = &settings.password {
            login = login.set_password(password.expose());
        }
        login
    }
}

/// The policy of a server that has a limit of memory and removes keys at it.
fn eviction(info: &str) -> Option<&str> {
    let value = |name: &str| {
        let mut lines = info.lines();
        lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
    };
    let policy = value("maxmemory_policy")?;
    (value("maxmemory")? != "0" && policy != "noeviction").then_some(policy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_limit_of_memory_with_eviction_is_warned_about() {
        let info = |limit: &str, policy: &str| {
            format!("# Memory\r\nmaxmemory:{limit}\r\nmaxmemory_policy:{policy}\r\n")
        };
        assert_eq!(eviction(&info("0", "allkeys-lru")), None);
        assert_eq!(eviction(&info("100", "noeviction")), None);
        assert_eq!(eviction(&info("100", "volatile-ttl")), Some("volatile-ttl"));
        assert_eq!(eviction(""), None);
    }
}
