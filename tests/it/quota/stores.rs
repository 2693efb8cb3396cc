//! Stores of counters in this process, each with a connection to Redis of its own, as replicas have.

use std::time::Duration;

use jiff::Timestamp;
use portcullis::authorization::quota::lease::{LeaseRule, LeasedCounters};
use portcullis::authorization::quota::local::LocalCounters;
use portcullis::authorization::quota::redis::{RedisCounters, Time};
use portcullis::authorization::quota::shared::{
    Counting, DividedCounters, OnFailure, SharedCounters,
};
use portcullis::authorization::quota::{
    Charge, Charged, Counter, CounterStore, Level, Levels, StoreUnavailable,
};
use portcullis::catalog::model::limit::{Limit, LimitKey, Rule, Window, WindowAlignment};
use portcullis::config::findings::Findings;
use portcullis::config::reader::Reader;
use portcullis::redis::Redis;
use portcullis::redis::config::RedisConfig;
use portcullis::task::Tasks;
use portcullis::telemetry::metrics::Metrics;
use serde_json::{Value, json};

use crate::support::PATIENCE;

/// How replicas count, and what holds where Redis is away.
#[derive(Debug, Clone, Copy)]
pub(super) struct Policy {
    /// The lifetime of shares; none: each charge is a round trip.
    pub(super) lease: Option<Duration>,
    /// Among how many replicas limits are divided; none: nobody is admitted.
    pub(super) local: Option<u64>,
    pub(super) time: Time,
}

/// One replica's store.
#[derive(Debug)]
pub(super) struct Replica {
    pub(super) store: CounterStore,
    /// None where nothing is shared.
    pub(super) redis: Option<Redis>,
    _tasks: Tasks,
}

/// A handle to Redis by this section.
pub(super) fn redis(mut config: Value, budget: &str) -> (Redis, Tasks) {
    config["budget"] = json!(budget);
    config["connectTimeout"] = json!("500ms");
    let config: RedisConfig = serde_json::from_value(config).unwrap();
    let mut findings = Findings::new();
    let settings = config.build(&mut Reader::new("/"), &mut findings);
    assert_eq!(findings.found(), []);
    let tasks = Tasks::new();
    let metrics = Metrics::new(Timestamp::now());
    (
        Redis::start("quota", settings.unwrap(), &tasks, &metrics),
        tasks,
    )
}

impl Replica {
    /// One that counts for itself.
    pub(super) fn local() -> Self {
        Self {
            store: CounterStore::Local(LocalCounters::new(1000)),
            redis: None,
            _tasks: Tasks::new(),
        }
    }

    /// One that shares its counters; it is connected when this returns.
    pub(super) async fn shared(config: Value, budget: &str, policy: Policy) -> Self {
        let (redis, tasks) = redis(config, budget);
        let counters = RedisCounters::new(redis.clone(), policy.time);
        let counting = match policy.lease {
            None => Counting::Exact(counters),
            Some(lifetime) => {
                let rule = LeaseRule {
                    parts: 10,
                    lifetime,
                    max_open: 1000,
                };
                Counting::Leased(LeasedCounters::start(counters, rule, &tasks))
            }
        };
        let on_failure = match policy.local {
            None => OnFailure::Deny,
            Some(replicas) => OnFailure::Local(DividedCounters::new(replicas, 1000)),
        };
        let replica = Self {
            store: CounterStore::Shared(SharedCounters::new(counting, on_failure)),
            redis: Some(redis),
            _tasks: tasks,
        };
        replica.reconnected().await;
        replica
    }

    /// Waits until Redis is asked.
    pub(super) async fn reconnected(&self) {
        let redis = self.redis.as_ref().unwrap();
        until("a connection", async || redis.is_asked().then_some(())).await;
    }

    /// Charges one counter for each limit, for somebody called `value`.
    pub(super) async fn charge(
        &self,
        request: &str,
        limits: &[&Limit],
        (value, cost): (&str, u64),
        now: Timestamp,
    ) -> Result<Charged, StoreUnavailable> {
        let counters = counters(limits, &[value], cost);
        let charge = Charge {
            request,
            counters: &counters,
        };
        self.store.charge(&charge, now).await
    }

    /// The same where it must be answered.
    ///
    /// # Panics
    /// Where it is not, for long.
    pub(super) async fn answer(
        &self,
        limits: &[&Limit],
        (value, cost): (&str, u64),
        now: Timestamp,
    ) -> Charged {
        self.charge("", limits, (value, cost), now).await.unwrap()
    }

    /// What counters say.
    pub(super) async fn read(&self, limit: &Limit, value: &str, now: Timestamp) -> Level {
        let counters = counters(&[limit], &[value], 1);
        let levels: Levels = self.store.read(&counters, now).await.unwrap();
        levels[0]
    }
}

/// A counter for each limit, of these values.
pub(super) fn counters<'c>(
    limits: &[&'c Limit],
    values: &[&'c str],
    cost: u64,
) -> Vec<Counter<'c>> {
    let counter = |limit: &&'c Limit| Counter {
        limit,
        values: values.iter().map(|value| (*value).into()).collect(),
        cost,
        is_open: false,
    };
    limits.iter().map(counter).collect()
}

/// A limit of the calendar.
pub(super) fn calendar(id: &str, amount: u64, window: Window) -> Limit {
    limit(id, amount, window, WindowAlignment::Calendar)
}

/// A bucket.
pub(super) fn sliding(id: &str, amount: u64, window: Window, burst: Option<u64>) -> Limit {
    let mut limit = limit(id, amount, window, WindowAlignment::Sliding);
    limit.rule.burst = burst;
    limit
}

fn limit(id: &str, amount: u64, window: Window, alignment: WindowAlignment) -> Limit {
    Limit {
        id: format!("plan/default/test/{id}").into(),
        name: id.into(),
        plan: None,
        rule: Rule {
            amount,
            window,
            alignment,
            burst: None,
            enforced: true,
        },
        keys: vec![LimitKey::Application],
        metric: None,
    }
}

/// Waits until `attempt` gives a value.
pub(super) async fn until<T>(what: &str, mut attempt: impl AsyncFnMut() -> Option<T>) -> T {
    let started = tokio::time::Instant::now();
    loop {
        if let Some(value) = attempt().await {
            return value;
        }
        assert!(started.elapsed() < PATIENCE, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
