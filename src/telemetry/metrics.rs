//! Every metric, declared once. `docs/METRICS.md` is generated from the declarations.
//!
//! Labels come from closed sets: names of the configuration, reasons of the table, names of ours.
//! Nothing that a client sends becomes a label. A label is always present, empty where there is
//! nothing to say.

mod declaration;
mod labels;
mod workload;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::authentication::verified_tokens::VerifiedTokens;
use crate::catalog::model::limit::Limit;
use crate::task::Tasks;
use crate::telemetry::metrics::declaration::Declare;
use crate::telemetry::metrics::labels::{
    BuildLabels, CheckLabels, DecisionLabels, ErrorLabels, FetchLabels, HandshakeLabels,
    IssuerLabels, KindLabels, LimitLabels, ListenerLabels, OutcomeLabels, ProviderLabels,
    RedisLabels, RedisRequestLabels, RefusalLabels, ReloadLabels, RevisionLabels, SourceLabels,
    TaskLabels,
};
use crate::telemetry::metrics::workload::WorkloadMetrics;
use crate::telemetry::process::ProcessReading;
use crate::telemetry::sharded::{ShardedCounter, ShardedHistogram};
use crate::upstream::token_cache::TokenCache;
use crate::usage::{PermitCounter, Record, Verdict};

pub use declaration::metrics_reference;
pub use labels::{Handshake, Refusal, ReloadResult};

type FloatGauge = Gauge<f64, AtomicU64>;

/// The metrics of the process.
#[derive(Clone)]
pub struct Metrics {
    inner: Arc<Inner>,
}

struct Inner {
    registry: Registry,
    samplers: Mutex<Vec<Sampler>>,
    checks: Family<CheckLabels, ShardedCounter>,
    durations: [ShardedHistogram; 3],
    in_flight: Gauge,
    connections: Family<ListenerLabels, Gauge>,
    refused: Family<RefusalLabels, Counter>,
    handshakes: Family<HandshakeLabels, Counter>,
    peers_refused: Family<RefusalLabels, Counter>,
    catalog_age: Family<SourceLabels, FloatGauge>,
    catalog_reloads: Family<ReloadLabels, Counter>,
    catalog_refused: Family<SourceLabels, Gauge>,
    catalog_info: Family<RevisionLabels, Gauge>,
    key_set_age: Family<IssuerLabels, FloatGauge>,
    keys: Family<IssuerLabels, Gauge>,
    verified_tokens: Gauge,
    verified_tokens_bytes: Gauge,
    revocations: Family<KindLabels, Gauge>,
    revocations_refused: Counter,
    revocation_age: Family<SourceLabels, FloatGauge>,
    provider_tokens: Family<OutcomeLabels, ShardedCounter>,
    provider_fetches: Family<FetchLabels, Counter>,
    provider_errors: Family<ErrorLabels, Counter>,
    provider_paused: Family<ProviderLabels, Gauge>,
    provider_cache_tokens: Gauge,
    provider_cache_bytes: Gauge,
    quota_exceeded: Family<LimitLabels, Counter>,
    quota_counters: Gauge,
    quota_shared: Counter,
    redis_requests: Family<RedisRequestLabels, ShardedCounter>,
    redis_durations: Family<RedisLabels, ShardedHistogram>,
    redis_connected: Family<RedisLabels, Gauge>,
    workload: WorkloadMetrics,
    task_success: Family<TaskLabels, FloatGauge>,
    usage_dropped: Counter,
    log_written: Counter,
    resident: Gauge,
    cpu: Counter<f64, AtomicU64>,
    open_files: Gauge,
}

/// Brings values up to date before they are told.
type Sampler = Box<dyn Fn(&Metrics) + Send + Sync>;

impl Metrics {
    /// All metrics, at zero; `started` is when the process did.
    #[must_use]
    pub fn new(started: Timestamp) -> Self {
        Self {
            inner: Arc::new(Inner::new(started)),
        }
    }

    /// Lets `sampler` bring values up to date each time that metrics are asked for.
    pub fn before_each_scrape(&self, sampler: impl Fn(&Self) + Send + Sync + 'static) {
        let mut samplers = self
            .inner
            .samplers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        samplers.push(Box::new(sampler));
    }

    /// The metrics as OpenMetrics text.
    ///
    /// # Errors
    /// Never in practice: writing to a string does not fail.
    pub fn render(&self) -> Result<String, fmt::Error> {
        let samplers = self
            .inner
            .samplers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        for sampler in samplers.iter() {
            sampler(self);
        }
        self.sample_process();
        let mut text = String::new();
        // still under the lock: another scrape would take values away to bring them up to date
        text::encode(&mut text, &self.inner.registry)?;
        Ok(text)
    }

    /// Counts a check; a permitted one by `permits`, which finds its place here but once.
    pub fn check_done(&self, record: &Record<&str>, permits: Option<&PermitCounter>) {
        let labels = || CheckLabels {
            api: record.api.unwrap_or_default().into(),
            decision: record.verdict.name(),
            reason: record.reason,
        };
        match permits {
            Some(permits) if record.verdict == Verdict::Allow => permits
                .get_or_find(|| self.inner.checks.get_or_create_owned(&labels()))
                .inc(),
            Some(_) | None => self.inner.checks.get_or_create(&labels()).inc(),
        }
        let [allow, deny, fail] = &self.inner.durations;
        let durations = match record.verdict {
            Verdict::Allow => allow,
            Verdict::Deny => deny,
            Verdict::Fail => fail,
        };
        durations.observe(record.duration);
    }

    /// Tells how many checks wait.
    pub fn set_checks_in_flight(&self, checks: usize) {
        self.inner.in_flight.set(whole(checks));
    }

    /// The number of open connections of a listener, which is told from now on.
    pub fn connections(&self, listener: &Arc<str>) -> Gauge {
        for reason in Refusal::ALL {
            self.refusals(listener, reason);
        }
        let listener = Arc::clone(listener);
        self.inner
            .connections
            .get_or_create_owned(&ListenerLabels { listener })
    }

    /// Counts a connection that a listener did not serve.
    pub fn connection_refused(&self, listener: &Arc<str>, reason: Refusal) {
        self.refusals(listener, reason).inc();
    }

    fn refusals(&self, listener: &Arc<str>, reason: Refusal) -> Counter {
        let listener = Arc::clone(listener);
        let reason = reason.name();
        self.inner
            .refused
            .get_or_create_owned(&RefusalLabels { listener, reason })
    }

    /// Lets every outcome of a listener's handshakes be told from now on.
    pub fn handshakes(&self, listener: &Arc<str>) {
        for outcome in Handshake::ALL {
            self.handshakes_of(listener, outcome);
        }
    }

    /// Counts a TLS handshake.
    pub fn handshake_done(&self, listener: &Arc<str>, outcome: Handshake) {
        self.handshakes_of(listener, outcome).inc();
    }

    fn handshakes_of(&self, listener: &Arc<str>, outcome: Handshake) -> Counter {
        let listener = Arc::clone(listener);
        let outcome = outcome.name();
        self.inner
            .handshakes
            .get_or_create_owned(&HandshakeLabels { listener, outcome })
    }

    /// Counts checks of `listener` that were refused because of who asked.
    #[must_use]
    pub fn peers_refused(&self, listener: &Arc<str>, reason: &'static str) -> Counter {
        let listener = Arc::clone(listener);
        self.inner
            .peers_refused
            .get_or_create_owned(&RefusalLabels { listener, reason })
    }

    /// Tells how old what came from a source is.
    pub fn set_catalog_age(&self, source: &Arc<str>, age: Duration) {
        let source = Arc::clone(source);
        self.inner
            .catalog_age
            .get_or_create(&SourceLabels { source })
            .set(age.as_secs_f64());
    }

    /// Counts a look at a source.
    pub fn catalog_reloaded(&self, source: &Arc<str>, result: ReloadResult) {
        self.reloads(source, result).inc();
    }

    fn reloads(&self, source: &Arc<str>, result: ReloadResult) -> Counter {
        let source = Arc::clone(source);
        let result = result.name();
        self.inner
            .catalog_reloads
            .get_or_create_owned(&ReloadLabels { source, result })
    }

    /// Tells whether what a source holds now is refused. Its looks are told from now on.
    pub fn set_catalog_refused(&self, source: &Arc<str>, refused: bool) {
        for result in ReloadResult::ALL {
            self.reloads(source, result);
        }
        let source = Arc::clone(source);
        self.inner
            .catalog_refused
            .get_or_create(&SourceLabels { source })
            .set(refused.into());
    }

    /// Tells which revision is current; the one before is told no longer.
    pub fn set_catalog_revision(&self, revision: &str) {
        self.inner.catalog_info.clear();
        let revision = revision.into();
        self.inner
            .catalog_info
            .get_or_create(&RevisionLabels { revision })
            .set(1);
    }

    /// Tells the age and number of the keys of each issuer, and of no other; an issuer whose keys
    /// never came has no age.
    pub fn set_key_sets<'a>(
        &self,
        key_sets: impl IntoIterator<Item = (&'a Arc<str>, Option<Duration>, usize)>,
    ) {
        self.inner.key_set_age.clear();
        self.inner.keys.clear();
        for (issuer, age, keys) in key_sets {
            let labels = IssuerLabels {
                issuer: Arc::clone(issuer),
            };
            if let Some(age) = age {
                self.inner
                    .key_set_age
                    .get_or_create(&labels)
                    .set(age.as_secs_f64());
            }
            self.inner.keys.get_or_create(&labels).set(whole(keys));
        }
    }

    /// Tells how many tokens are remembered, and what they take.
    pub fn set_verified_tokens(&self, tokens: &VerifiedTokens) {
        self.inner.verified_tokens.set(whole(tokens.len()));
        let bytes = i64::try_from(tokens.bytes()).unwrap_or(i64::MAX);
        self.inner.verified_tokens_bytes.set(bytes);
    }

    /// Tells how many entries of each kind are revoked.
    pub fn set_revocations(&self, counts: impl IntoIterator<Item = (&'static str, usize)>) {
        for (kind, count) in counts {
            let labels = KindLabels { kind };
            self.inner
                .revocations
                .get_or_create(&labels)
                .set(whole(count));
        }
    }

    /// Counts an entry for which there was no room.
    pub fn revocation_refused(&self) {
        self.inner.revocations_refused.inc();
    }

    /// Tells how old what is known of a source of revocations is.
    pub fn set_revocation_age(&self, source: &Arc<str>, age: Duration) {
        let source = Arc::clone(source);
        self.inner
            .revocation_age
            .get_or_create(&SourceLabels { source })
            .set(age.as_secs_f64());
    }

    /// Counts needs for a provider's token that were met in one way.
    #[must_use]
    pub fn provider_tokens(&self, provider: &Arc<str>, outcome: &'static str) -> ShardedCounter {
        let provider = Arc::clone(provider);
        self.inner
            .provider_tokens
            .get_or_create_owned(&OutcomeLabels { provider, outcome })
    }

    /// Counts an error that a token endpoint answered with.
    pub fn provider_refused(&self, provider: &Arc<str>, error: &'static str) {
        let provider = Arc::clone(provider);
        self.inner
            .provider_errors
            .get_or_create(&ErrorLabels { provider, error })
            .inc();
    }

    /// Counts a request for a token.
    pub fn provider_fetched(&self, provider: &Arc<str>, result: &'static str) {
        let provider = Arc::clone(provider);
        self.inner
            .provider_fetches
            .get_or_create(&FetchLabels { provider, result })
            .inc();
    }

    /// Tells which providers are not asked now, and of no others than these.
    pub fn set_providers<'a>(&self, providers: impl IntoIterator<Item = (&'a Arc<str>, bool)>) {
        self.inner.provider_paused.clear();
        for (provider, paused) in providers {
            let provider = Arc::clone(provider);
            self.inner
                .provider_paused
                .get_or_create(&ProviderLabels { provider })
                .set(paused.into());
        }
    }

    /// Counts a request over `limit`, which was refused where that is enforced.
    pub fn quota_exceeded(&self, limit: &Limit, enforced: bool) {
        let plan = limit.plan.as_ref();
        let labels = LimitLabels {
            plan: plan.map_or_else(|| "".into(), |plan| Arc::clone(plan.as_arc())),
            limit: Arc::clone(&limit.id),
            enforced: if enforced { "true" } else { "false" },
        };
        self.inner.quota_exceeded.get_or_create(&labels).inc();
    }

    /// Tells how many counters there are in this process, and how many charges went to shared ones.
    pub fn set_quota_counters(&self, counters: usize, shared: u64) {
        self.inner.quota_counters.set(whole(counters));
        let told = self.inner.quota_shared.get();
        self.inner.quota_shared.inc_by(shared.saturating_sub(told));
    }

    /// Tells how many provider tokens are kept, and what they take.
    pub fn set_provider_cache(&self, tokens: &TokenCache) {
        self.inner.provider_cache_tokens.set(whole(tokens.len()));
        let bytes = i64::try_from(tokens.bytes()).unwrap_or(i64::MAX);
        self.inner.provider_cache_bytes.set(bytes);
    }

    /// Counts requests to Redis that ended in one way.
    #[must_use]
    pub fn redis_requests(&self, redis: &'static str, outcome: &'static str) -> ShardedCounter {
        self.inner
            .redis_requests
            .get_or_create_owned(&RedisRequestLabels { redis, outcome })
    }

    /// The times of requests to Redis.
    #[must_use]
    pub fn redis_durations(&self, redis: &'static str) -> ShardedHistogram {
        self.inner
            .redis_durations
            .get_or_create_owned(&RedisLabels { redis })
    }

    /// Tells how many connections to Redis are in use.
    pub fn set_redis_connected(&self, redis: &'static str, connections: usize) {
        self.inner
            .redis_connected
            .get_or_create(&RedisLabels { redis })
            .set(whole(connections));
    }

    /// Tells, each time that metrics are asked for, when the tasks that ran at least once last
    /// succeeded, and of no other task; 0 for one that never did.
    pub fn follow_tasks(&self, tasks: Tasks) {
        self.before_each_scrape(move |metrics| {
            metrics.inner.task_success.clear();
            for (task, status) in tasks.statuses() {
                if status.last_success.is_some() || status.last_failure.is_some() {
                    let success = status.last_success.map_or(0.0, seconds);
                    let labels = TaskLabels { task };
                    metrics
                        .inner
                        .task_success
                        .get_or_create(&labels)
                        .set(success);
                }
            }
        });
    }

    /// Counts records that were lost.
    pub fn usage_dropped(&self, records: u64) {
        self.inner.usage_dropped.inc_by(records);
    }

    /// Counts lines of the decision log.
    pub fn decision_log_written(&self, lines: u64) {
        self.inner.log_written.inc_by(lines);
    }

    fn sample_process(&self) {
        let reading = ProcessReading::now();
        self.inner.resident.set(reading.resident_bytes.unwrap_or(0));
        let cpu = reading.cpu_seconds.unwrap_or(0.0);
        self.inner
            .cpu
            .inner()
            .store(cpu.to_bits(), Ordering::Relaxed);
        self.inner.open_files.set(reading.open_files.unwrap_or(0));
    }
}

impl Inner {
    fn new(started: Timestamp) -> Self {
        let mut declare = Declare::new();
        let durations: Family<DecisionLabels, ShardedHistogram> = Family::default();
        let of = |verdict: Verdict| {
            let decision = verdict.name();
            durations.get_or_create_owned(&DecisionLabels { decision })
        };
        let build: Family<BuildLabels, Gauge> = Family::default();
        let version = env!("CARGO_PKG_VERSION");
        build.get_or_create(&BuildLabels { version }).set(1);
        let start_time = FloatGauge::default();
        start_time.set(seconds(started));
        declare.metric(declaration::BUILD_INFO, build);
        declare.metric(declaration::START_TIME, start_time);
        declare.metric(declaration::CHECK_DURATION, durations.clone());
        Self {
            samplers: Mutex::default(),
            durations: [of(Verdict::Allow), of(Verdict::Deny), of(Verdict::Fail)],
            checks: declare.metric(declaration::CHECKS, Family::default()),
            in_flight: declare.metric(declaration::CHECKS_IN_FLIGHT, Gauge::default()),
            connections: declare.metric(declaration::CONNECTIONS, Family::default()),
            refused: declare.metric(declaration::CONNECTIONS_REFUSED, Family::default()),
            handshakes: declare.metric(declaration::TLS_HANDSHAKES, Family::default()),
            peers_refused: declare.metric(declaration::PEERS_REFUSED, Family::default()),
            catalog_age: declare.metric(declaration::CATALOG_AGE, Family::default()),
            catalog_reloads: declare.metric(declaration::CATALOG_RELOADS, Family::default()),
            catalog_refused: declare.metric(declaration::CATALOG_REFUSED, Family::default()),
            catalog_info: declare.metric(declaration::CATALOG_INFO, Family::default()),
            key_set_age: declare.metric(declaration::KEY_SET_AGE, Family::default()),
            keys: declare.metric(declaration::KEY_SET_KEYS, Family::default()),
            verified_tokens: declare.metric(declaration::VERIFIED_TOKENS, Gauge::default()),
            verified_tokens_bytes: declare
                .metric(declaration::VERIFIED_TOKENS_BYTES, Gauge::default()),
            revocations: declare.metric(declaration::REVOCATIONS, Family::default()),
            revocations_refused: declare
                .metric(declaration::REVOCATIONS_REFUSED, Counter::default()),
            revocation_age: declare.metric(declaration::REVOCATION_AGE, Family::default()),
            provider_tokens: declare.metric(declaration::PROVIDER_TOKENS, Family::default()),
            provider_fetches: declare.metric(declaration::PROVIDER_FETCHES, Family::default()),
            provider_errors: declare.metric(declaration::PROVIDER_ERRORS, Family::default()),
            provider_paused: declare.metric(declaration::PROVIDER_PAUSED, Family::default()),
            provider_cache_tokens: declare
                .metric(declaration::PROVIDER_CACHE_TOKENS, Gauge::default()),
            provider_cache_bytes: declare
                .metric(declaration::PROVIDER_CACHE_BYTES, Gauge::default()),
            quota_exceeded: declare.metric(declaration::QUOTA_EXCEEDED, Family::default()),
            quota_counters: declare.metric(declaration::QUOTA_COUNTERS, Gauge::default()),
            quota_shared: declare.metric(declaration::QUOTA_SHARED, Counter::default()),
            redis_requests: declare.metric(declaration::REDIS_REQUESTS, Family::default()),
            redis_durations: declare.metric(declaration::REDIS_DURATION, Family::default()),
            redis_connected: declare.metric(declaration::REDIS_CONNECTED, Family::default()),
            workload: WorkloadMetrics::new(&mut declare),
            task_success: declare.metric(declaration::TASK_SUCCESS, Family::default()),
            usage_dropped: declare.metric(declaration::USAGE_DROPPED, Counter::default()),
            log_written: declare.metric(declaration::DECISION_LOG_WRITTEN, Counter::default()),
            resident: declare.metric(declaration::RESIDENT_MEMORY, Gauge::default()),
            cpu: declare.metric(declaration::CPU, Counter::default()),
            open_files: declare.metric(declaration::OPEN_FILES, Gauge::default()),
            registry: declare.into_registry(),
        }
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

fn whole(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "milliseconds since 1970 are far below 2^53"
)]
fn seconds(time: Timestamp) -> f64 {
    time.as_millisecond() as f64 / 1000.0
}

#[cfg(test)]
mod tests;
