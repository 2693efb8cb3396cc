//! The `quota` section.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::authorization::quota::CounterStore;
use crate::authorization::quota::lease::{LeaseRule, LeasedCounters};
use crate::authorization::quota::local::LocalCounters;
use crate::authorization::quota::redis::{RedisCounters, Time};
use crate::authorization::quota::shared::{Counting, DividedCounters, OnFailure, SharedCounters};
use crate::config::findings::Findings;
use crate::config::reader::Reader;
use crate::config::value::HumanDuration;
use crate::redis::Redis;
use crate::redis::config::{RedisConfig, RedisSettings};
use crate::task::Tasks;
use crate::telemetry::metrics::Metrics;

const MAX_REPLICAS: u64 = 10_000;
const MAX_SHARE: u64 = 1_000_000;
const MIN_LIFETIME: Duration = Duration::from_millis(100);
const MAX_LIFETIME: Duration = Duration::from_secs(60);

/// How limits are counted, and what clients are told of them.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct QuotaConfig {
    /// Where limits are counted.
    pub store: StoreConfig,
    /// How replicas share counters; of use with Redis only.
    pub mode: Mode,
    /// How shares are taken, with `mode: lease`.
    pub lease: LeaseConfig,
    /// What holds where Redis cannot say.
    pub on_store_failure: OnStoreFailure,
    /// How many replicas there are, for `onStoreFailure: local`.
    pub replicas: u64,
    /// What clients are told.
    pub headers: QuotaHeadersConfig,
    /// How many counters there may be in this process whose keys callers choose (subjects, addresses,
    /// claims), and half as many of one limit; all further ones of a limit share one. In Redis nothing
    /// bounds them; with leases, further ones are charged exactly.
    pub max_counters: usize,
}

/// Where limits are counted.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "camelCase")]
pub enum StoreConfig {
    /// In each process for itself, and gone with it.
    #[default]
    Local,
    /// In Redis or Valkey, for all replicas together.
    Redis(Box<RedisConfig>),
}

/// How replicas share counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Mode {
    /// Each check is a round trip: no limit is exceeded.
    #[default]
    Exact,
    /// Each replica takes shares ahead and spends them without a round trip.
    Lease,
}

/// How shares are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct LeaseConfig {
    /// The largest share is one of so many parts of a limit's amount; one unit at least.
    pub share: u64,
    /// How long a replica keeps what it did not spend.
    pub lifetime: HumanDuration,
}

/// What holds where Redis cannot say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum OnStoreFailure {
    /// Requests that have limits are answered 503.
    #[default]
    Deny,
    /// Each replica counts for itself, with one of `replicas` parts of every limit, rounded down.
    Local,
}

/// What a store is started with.
#[derive(Debug)]
pub enum StoreSettings {
    /// Nothing.
    Local,
    /// What Redis is reached with.
    Redis(Box<RedisSettings>),
}

impl Default for LeaseConfig {
    fn default() -> Self {
        Self {
            share: 100,
            lifetime: HumanDuration(Duration::from_secs(1)),
        }
    }
}

/// What clients are told of their limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct QuotaHeadersConfig {
    /// Which headers a refusal has, beside `Retry-After`.
    pub names: HeaderNames,
    /// Whether the answers to requests that pass have them too.
    pub on_allow: bool,
}

/// Which headers tell of limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum HeaderNames {
    /// `RateLimit` and `RateLimit-Policy`, by the draft of the IETF.
    #[default]
    Standard,
    /// `X-RateLimit-Limit`, `X-RateLimit-Remaining` and `X-RateLimit-Reset`.
    Legacy,
    /// All of them.
    Both,
    /// None.
    None,
}

impl Default for QuotaConfig {
    fn default() -> Self {
        Self {
            store: StoreConfig::default(),
            mode: Mode::default(),
            lease: LeaseConfig::default(),
            on_store_failure: OnStoreFailure::default(),
            replicas: 1,
            headers: QuotaHeadersConfig::default(),
            max_counters: 100_000,
        }
    }
}

impl QuotaConfig {
    /// The Redis that counters are in.
    #[must_use]
    pub fn redis(&self) -> Option<&RedisConfig> {
        match &self.store {
            StoreConfig::Local => None,
            StoreConfig::Redis(redis) => Some(redis),
        }
    }

    /// Finds what is wrong.
    pub fn check(&self, findings: &mut Findings) {
        if self.max_counters > 100_000_000 {
            findings.wrong("maxCounters", "must be 100000000 at most");
        }
        self.check_shared(findings);
    }

    /// Reads the files that the store needs. What is wrong is told below where we are.
    #[must_use]
    pub fn settings(&self, reader: &mut Reader, findings: &mut Findings) -> Option<StoreSettings> {
        match &self.store {
            StoreConfig::Local => Some(StoreSettings::Local),
            StoreConfig::Redis(redis) => {
                let settings = findings.within("store", |findings| redis.build(reader, findings));
                settings.map(Box::new).map(StoreSettings::Redis)
            }
        }
    }

    /// Whether there is a Redis.
    #[must_use]
    pub fn is_in_redis(&self) -> bool {
        matches!(self.store, StoreConfig::Redis(_))
    }

    /// Where limits are counted.
    #[must_use]
    pub fn start(&self, settings: StoreSettings, tasks: &Tasks, metrics: &Metrics) -> CounterStore {
        let settings = match settings {
            StoreSettings::Local => {
                return CounterStore::Local(LocalCounters::new(self.max_counters));
            }
            StoreSettings::Redis(settings) => settings,
        };
        let redis = Redis::start("quota", *settings, tasks, metrics);
        let counters = RedisCounters::new(redis, Time::OfServer);
        let counting = match self.mode {
            Mode::Exact => Counting::Exact(counters),
            Mode::Lease => {
                let rule = LeaseRule {
                    parts: self.lease.share,
                    lifetime: self.lease.lifetime.0,
                    max_open: self.max_counters,
                };
                Counting::Leased(LeasedCounters::start(counters, rule, tasks))
            }
        };
        let on_failure = match self.on_store_failure {
            OnStoreFailure::Deny => OnFailure::Deny,
            OnStoreFailure::Local => {
                OnFailure::Local(DividedCounters::new(self.replicas, self.max_counters))
            }
        };
        CounterStore::Shared(SharedCounters::new(counting, on_failure))
    }

    fn check_shared(&self, findings: &mut Findings) {
        if !(1..=MAX_REPLICAS).contains(&self.replicas) {
            findings.wrong("replicas", "must be 1 or more and 10000 at most");
        }
        if !(1..=MAX_SHARE).contains(&self.lease.share) {
            findings.wrong("lease.share", "must be 1 or more and 1000000 at most");
        }
        if !(MIN_LIFETIME..=MAX_LIFETIME).contains(&self.lease.lifetime.0) {
            findings.wrong("lease.lifetime", "must be 100ms or more and 60s at most");
        }
        match &self.store {
            StoreConfig::Redis(redis) => {
                findings.within("store", |findings| redis.check(findings));
                if self.on_store_failure == OnStoreFailure::Local && self.replicas == 1 {
                    findings.warn(
                        "replicas",
                        "is 1: while Redis is away, each replica admits the whole of every limit",
                    );
                }
            }
            StoreConfig::Local => {
                if self.mode == Mode::Lease {
                    findings.wrong("mode", "is `exact` where each process counts for itself");
                }
                if self.on_store_failure == OnStoreFailure::Local {
                    findings.wrong(
                        "onStoreFailure",
                        "is of use with a store of type `redis` only",
                    );
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn found(config: Value) -> (Vec<String>, Vec<String>) {
        let config: QuotaConfig = serde_json::from_value(config).unwrap();
        let mut findings = Findings::new();
        config.check(&mut findings);
        let path = |finding: &crate::config::findings::Finding| finding.path.clone();
        (
            findings.found().iter().map(path).collect(),
            findings.warnings().iter().map(path).collect(),
        )
    }

    #[test]
    fn what_is_of_no_use_without_redis_is_refused() {
        assert_eq!(found(json!({})), (vec![], vec![]));
        let local = json!({ "mode": "lease", "onStoreFailure": "local" });
        assert_eq!(found(local).0, ["mode", "onStoreFailure"]);
        let sizes = json!({ "replicas": 0, "lease": { "share": 0, "lifetime": "1ms" } });
        assert_eq!(
            found(sizes).0,
            ["replicas", "lease.share", "lease.lifetime"]
        );
    }

    #[test]
    fn one_replica_that_counts_for_itself_is_warned_about() {
        let mut config = json!({
            "store": { "type": "redis", "url": "rediss://redis" },
            "mode": "lease",
            "onStoreFailure": "local",
        });
        assert_eq!(found(config.clone()).1, ["replicas"]);
        config["replicas"] = json!(3);
        assert_eq!(found(config), (vec![], vec![]));
        let store = json!({ "store": { "type": "redis" } });
        assert_eq!(found(store).0, ["store.url"]);
        let unknown =
            json!({ "store": { "type": "redis", "password": { "file": "x" }, "pass": 1 } });
        assert!(serde_json::from_value::<QuotaConfig>(unknown).is_err());
    }
}
