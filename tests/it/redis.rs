//! The handle to Redis against a real server, which fails in every way that one can.

use std::time::Duration;

use portcullis::config::findings::Findings;
use portcullis::config::reader::Reader;
use portcullis::redis::config::RedisConfig;
use portcullis::redis::{Notice, Redis, RedisFailure, RedisUnavailable, Script};
use portcullis::task::Tasks;
use portcullis::telemetry::metrics::Metrics;
use redis::Value;
use serde_json::json;

use crate::support::PATIENCE;
use crate::support::chaos::ChaosProxy;
use crate::support::redis::{PASSWORD, RedisOptions, RedisServer};

/// Long enough for a machine that does other things beside.
const BUDGET: &str = "250ms";

struct Handle {
    redis: Redis,
    tasks: Tasks,
    metrics: Metrics,
}

/// A handle made of this section.
fn handle(mut config: serde_json::Value) -> Handle {
    config["budget"] = json!(BUDGET);
    config["connectTimeout"] = json!("2s");
    let config: RedisConfig = serde_json::from_value(config).unwrap();
    let mut findings = Findings::new();
    config.check(&mut findings);
    let settings = config.build(&mut Reader::new("/"), &mut findings);
    assert_eq!(findings.found(), []);
    let (tasks, metrics) = (Tasks::new(), Metrics::new(jiff::Timestamp::now()));
    let redis = Redis::start("quota", settings.unwrap(), &tasks, &metrics);
    Handle {
        redis,
        tasks,
        metrics,
    }
}

impl Handle {
    async fn set(&self, value: &str) -> Result<Value, RedisUnavailable> {
        let key = self.redis.key("test", "value");
        self.redis
            .command(redis::cmd("SET").arg(key).arg(value))
            .await
    }

    /// Waits until a write succeeds.
    async fn recovers(&self) {
        until("a write", async || self.set("1").await.ok()).await;
    }

    /// Waits until a write fails in this way.
    async fn fails(&self, kind: RedisFailure) {
        until(kind.name(), async || {
            (self.set("1").await.err()?.kind == kind).then_some(())
        })
        .await;
    }
}

/// Waits until `attempt` gives a value.
async fn until<T>(what: &str, mut attempt: impl AsyncFnMut() -> Option<T>) -> T {
    let started = tokio::time::Instant::now();
    loop {
        if let Some(value) = attempt().await {
            return value;
        }
        assert!(started.elapsed() < PATIENCE, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn scripts_run_and_are_sent_whole_where_the_server_does_not_know_them() {
    for options in [
        RedisOptions::default(),
        RedisOptions {
            tls: true,
            acl: true,
            cluster: false,
        },
        RedisOptions {
            cluster: true,
            ..RedisOptions::default()
        },
    ] {
        let server = RedisServer::start_with(options);
        let handle = handle(server.config());
        handle.recovers().await;
        let script = Script::new(
            "redis.call('SET', KEYS[1], ARGV[1]) redis.call('SET', KEYS[2], ARGV[1]) return 7",
        );
        let keys = [
            handle.redis.key("test", "one"),
            handle.redis.key("test", "two"),
        ];
        for _ in 0..2 {
            let _: () = server.ask(&["SCRIPT", "FLUSH"]);
            for _ in 0..2 {
                let answer = handle.redis.run(&script, &keys, &[b"x".to_vec()]).await;
                assert_eq!(answer, Ok(Value::Int(7)), "{options:?}");
            }
        }
        assert!(server.keys().contains(&"{portcullis}:test:two".to_owned()));
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_is_found_when_it_comes() {
    let mut server = RedisServer::start();
    server.kill();
    let handle = handle(server.config());
    handle.fails(RedisFailure::NotConnected).await;
    server.restart_empty();
    handle.recovers().await;
    server.restart_empty();
    handle.recovers().await;
}

#[tokio::test]
async fn a_server_that_is_frozen_is_not_waited_for_and_found_again() {
    let mut server = RedisServer::start();
    let handle = handle(server.config());
    handle.recovers().await;
    server.freeze();
    handle.fails(RedisFailure::TimedOut).await;
    handle.fails(RedisFailure::NotAsked).await;
    let started = tokio::time::Instant::now();
    for _ in 0..100 {
        handle.set("1").await.unwrap_err();
    }
    assert!(
        started.elapsed() < Duration::from_millis(250),
        "nobody waits"
    );
    server.thaw();
    handle.recovers().await;
}

#[tokio::test]
async fn what_a_server_cannot_do_is_told_apart() {
    let server = RedisServer::start();
    let handle = handle(server.config());
    handle.recovers().await;
    server.replica(true);
    handle.fails(RedisFailure::ReadOnly).await;
    server.replica(false);
    handle.recovers().await;
    server.fill(true);
    handle.fails(RedisFailure::Full).await;
    server.fill(false);
    handle.recovers().await;
    let key = handle.redis.key("test", "list");
    let _: () = server.ask(&["RPUSH", &key, "1"]);
    for _ in 0..20 {
        let read = handle.redis.command(redis::cmd("GET").arg(&key)).await;
        assert_eq!(read.unwrap_err().kind, RedisFailure::WrongType);
    }
    handle.set("1").await.expect("one key is not the server");
}

#[tokio::test]
async fn a_network_that_is_slow_cut_or_silent_is_survived() {
    let server = RedisServer::start();
    let proxy = ChaosProxy::to(server.address());
    let handle = handle(server.config_at(proxy.address()));
    handle.recovers().await;
    proxy.slow(Duration::from_millis(20));
    handle.recovers().await;
    proxy.slow(Duration::from_millis(1500));
    handle.fails(RedisFailure::TimedOut).await;
    handle.fails(RedisFailure::NotAsked).await;
    proxy.heal();
    handle.recovers().await;
    proxy.cut();
    handle.fails(RedisFailure::NotConnected).await;
    proxy.heal();
    handle.recovers().await;
    proxy.silence();
    handle.fails(RedisFailure::TimedOut).await;
    proxy.heal();
    handle.recovers().await;
}

#[tokio::test]
async fn a_subscription_tells_messages_and_each_new_connection() {
    let mut server = RedisServer::start();
    let handle = handle(server.config());
    let channel = handle.redis.key("test", "channel");
    let mut subscription = handle.redis.subscribe(&channel);
    for _ in 0..2 {
        assert_eq!(subscription.next().await, Some(Notice::Connected));
        let _: i64 = server.ask(&["PUBLISH", &channel, "news"]);
        let message = Notice::Message(b"news".to_vec());
        assert_eq!(subscription.next().await, Some(message));
        server.restart_empty();
        assert_eq!(subscription.next().await, Some(Notice::Disconnected));
    }
    drop(subscription);
    assert!(
        !handle
            .tasks
            .statuses()
            .keys()
            .any(|name| name.contains("subscription"))
    );
}

#[tokio::test]
async fn the_password_is_never_told() {
    let server = RedisServer::start_with(RedisOptions {
        acl: true,
        ..RedisOptions::default()
    });
    let config = server.config();
    let _: () = server.ask(&["ACL", "SETUSER", "gate", "resetpass", ">another"]);
    let handle = handle(config);
    let told = until("a failed login", async || {
        let status = handle.tasks.statuses().remove("redis/quota/0")?;
        status.error
    })
    .await;
    assert!(told.contains("password"), "{told}");
    let debug = format!(
        "{:?} {told} {}",
        handle.redis,
        handle.metrics.render().unwrap()
    );
    assert!(!debug.contains(PASSWORD), "{debug}");
    handle.fails(RedisFailure::NotConnected).await;
}

#[tokio::test]
async fn requests_and_connections_are_counted() {
    let server = RedisServer::start();
    let handle = handle(server.config());
    handle.recovers().await;
    let told = handle.metrics.render().unwrap();
    for metric in [
        "portcullis_redis_requests_total{redis=\"quota\",outcome=\"answered\"} 1",
        "portcullis_redis_requests_total{redis=\"quota\",outcome=\"timed_out\"} 0",
        "portcullis_redis_request_duration_seconds_count{redis=\"quota\"} 1",
    ] {
        assert!(told.contains(metric), "{metric}\n{told}");
    }
    until("both connections", async || {
        let told = handle.metrics.render().unwrap();
        told.contains("portcullis_redis_connected{redis=\"quota\"} 2")
            .then_some(())
    })
    .await;
}
