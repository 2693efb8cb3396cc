//! The quota: the limits that a request counts for, all charged or none.
//!
//! Which limits those are says [`selection`]; where they are counted, a [`CounterStore`]. A request
//! that application, subscription, scopes or blocks refuse never comes here.
//
// INVARIANT: a store that cannot say is a fault, never an allow and never a 429.

pub mod config;
pub mod consumers;
pub mod headers;
pub mod lease;
pub mod local;
mod recent;
pub mod redis;
pub mod selection;
pub mod shared;
#[cfg(test)]
pub(crate) mod testing;
pub mod window;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use smallvec::SmallVec;

use crate::authentication::principal::Principal;
use crate::authorization::quota::config::QuotaHeadersConfig;
use crate::authorization::quota::consumers::Consumers;
use crate::authorization::quota::local::LocalCounters;
use crate::authorization::quota::selection::select;
use crate::authorization::quota::shared::SharedCounters;
use crate::authorization::subscription::Standing;
use crate::catalog::model::limit::Limit;
use crate::check::decision::{Denial, Fault, FaultReason, QuotaRefusal, Reason, Stop};
use crate::check::request::DownstreamRequest;
use crate::redis::Redis;
use crate::routing::Route;
use crate::secret::KeyedDigest;
use crate::telemetry::metrics::Metrics;

/// One counter that a request is charged to.
#[derive(Debug)]
pub struct Counter<'c> {
    /// The limit that it counts for.
    pub limit: &'c Limit,
    /// What is counted apart, in the order of the limit's keys.
    pub values: Values<'c>,
    /// What the request takes.
    pub cost: u64,
    /// Whether a caller chose one of the values.
    pub is_open: bool,
}

/// The values of a limit's keys.
pub type Values<'c> = SmallVec<[Cow<'c, str>; 2]>;

/// The counters of one check.
#[derive(Debug)]
pub struct Charge<'a, 'c> {
    /// Envoy's id of the request: a check that is asked again has the same. Empty where there is none.
    pub request: &'a str,
    /// The counters.
    pub counters: &'a [Counter<'c>],
}

/// What became of a charge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Charged {
    /// All counters were charged, or had been for the same request.
    Admitted(Levels),
    /// None was, because of the counter at this place.
    Exceeded {
        /// The place.
        at: usize,
        /// What the counters say.
        levels: Levels,
    },
}

/// What each counter of a charge says, in their order.
pub type Levels = SmallVec<[Level; 4]>;

/// What a counter says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Level {
    /// What is left.
    pub remaining: u64,
    /// In which time all of it is there again; none: never.
    pub reset: Option<Duration>,
    /// In which time what was asked for is there; none: never.
    pub wait: Option<Duration>,
}

/// A store of counters that cannot say.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the quota's store cannot say: {0}")]
pub struct StoreUnavailable(pub String);

/// Where limits are counted. Every store charges all counters of a check or none, admits a charge that
/// it took a moment ago without charging it, saturates at 2^53 at the least, and says by whose clock
/// its windows are; `tests/it/quota/conformance.rs` holds them to it.
#[derive(Debug)]
pub enum CounterStore {
    /// In this process.
    Local(LocalCounters),
    /// In Redis, for all replicas.
    Shared(SharedCounters),
}

impl CounterStore {
    /// Charges all counters, or none. The same request again is admitted, and charged no more.
    ///
    /// # Errors
    /// Where the store cannot say.
    pub async fn charge(
        &self,
        charge: &Charge<'_, '_>,
        now: Timestamp,
    ) -> Result<Charged, StoreUnavailable> {
        match self {
            Self::Local(counters) => Ok(counters.charge(charge, now)),
            Self::Shared(counters) => counters.charge(charge, now).await,
        }
    }

    /// What counters say, without charging them.
    ///
    /// # Errors
    /// Where the store cannot say.
    pub async fn read(
        &self,
        counters: &[Counter<'_>],
        now: Timestamp,
    ) -> Result<Levels, StoreUnavailable> {
        match self {
            Self::Local(local) => Ok(local.read(counters, now)),
            Self::Shared(shared) => shared.read(counters, now).await,
        }
    }

    /// The Redis that counters are shared in, where they are.
    #[must_use]
    pub fn redis(&self) -> Option<&Redis> {
        match self {
            Self::Local(_) => None,
            Self::Shared(counters) => Some(counters.redis()),
        }
    }

    /// How many counters there are in this process, and how many charges went to shared ones.
    #[must_use]
    pub fn size(&self) -> (usize, u64) {
        match self {
            Self::Local(counters) => (counters.len(), counters.shared()),
            Self::Shared(counters) => (counters.len(), counters.shared()),
        }
    }

    /// Drops what says nothing any more.
    pub fn sweep(&self, now: Timestamp) {
        match self {
            Self::Local(counters) => counters.sweep(now),
            Self::Shared(counters) => counters.sweep(now),
        }
    }

    /// Gives back what was taken ahead, when the process ends.
    pub async fn close(&self) {
        match self {
            Self::Local(_) => {}
            Self::Shared(counters) => counters.close().await,
        }
    }
}

impl Counter<'_> {
    /// What it is kept under in this process.
    #[must_use]
    pub fn key(&self) -> KeyedDigest {
        let mut parts: SmallVec<[&[u8]; 4]> = SmallVec::new();
        parts.push(self.limit.id.as_bytes());
        parts.extend(self.values.iter().map(|value| value.as_bytes()));
        KeyedDigest::of(&parts)
    }

    /// What it is kept under where the limit has too many counters of its own.
    #[must_use]
    pub fn shared_key(&self) -> KeyedDigest {
        KeyedDigest::of(&[self.limit.id.as_bytes()])
    }
}

impl Charge<'_, '_> {
    /// What tells the same charge again, where the request has an id: that id and the counters.
    #[must_use]
    pub fn id(&self, keys: impl Iterator<Item = KeyedDigest>) -> Option<KeyedDigest> {
        let own =
            (!self.request.is_empty()).then(|| KeyedDigest::of(&[self.request.as_bytes()]))?;
        Some(keys.fold(own, KeyedDigest::combined))
    }
}

/// What a permitted request left of its limits.
#[derive(Debug)]
pub struct Allowance<'s> {
    limit: &'s Limit,
    remaining: u64,
    /// What the client is told, where it is told.
    headers: Vec<(&'static str, String)>,
}

impl<'s> Allowance<'s> {
    /// The limit of which least is left.
    #[must_use]
    pub fn limit(&self) -> &'s Limit {
        self.limit
    }

    /// What is left of it.
    #[must_use]
    pub fn remaining(&self) -> u64 {
        self.remaining
    }

    /// The headers that tell the client.
    #[must_use]
    pub fn headers(&self) -> &[(&'static str, String)] {
        &self.headers
    }
}

/// Whether counters are charged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Charging {
    /// They are.
    Charge,
    /// They are only read, for commands that explain.
    ReadOnly,
}

/// The quota, part of the authorize stage. Clones share its counters.
#[derive(Debug, Clone)]
pub struct Quota(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: CounterStore,
    charging: Charging,
    headers: QuotaHeadersConfig,
    metrics: Metrics,
    consumers: Consumers,
}

impl Quota {
    /// The quota that counts in `store`.
    #[must_use]
    pub fn new(
        store: CounterStore,
        charging: Charging,
        headers: QuotaHeadersConfig,
        metrics: Metrics,
    ) -> Self {
        Self(Arc::new(Inner {
            store,
            charging,
            headers,
            metrics,
            consumers: Consumers::default(),
        }))
    }

    /// A quota that counts nothing, for commands that judge without serving.
    #[must_use]
    pub fn offline(metrics: Metrics) -> Self {
        Self::offline_with(QuotaHeadersConfig::default(), metrics)
    }

    /// The same, telling clients of limits as `headers` says.
    #[must_use]
    pub fn offline_with(headers: QuotaHeadersConfig, metrics: Metrics) -> Self {
        let store = CounterStore::Local(LocalCounters::new(0));
        Self::new(store, Charging::ReadOnly, headers, metrics)
    }

    /// Where it counts.
    #[must_use]
    pub fn store(&self) -> &CounterStore {
        &self.0.store
    }

    /// Who took most.
    #[must_use]
    pub fn consumers(&self) -> &Consumers {
        &self.0.consumers
    }

    /// Charges the request that is `asked` about to every limit that it counts for.
    ///
    /// # Errors
    /// `quota_exceeded` or `rate_limited`; `dependency_unavailable` where the store cannot say.
    pub async fn charge<'s>(
        &self,
        asked: &Asked<'_, 's>,
        now: Timestamp,
    ) -> Result<Option<Allowance<'s>>, Stop> {
        let (limits, counters) = select(asked);
        if limits.is_empty() {
            return Ok(None);
        }
        let charge = Charge {
            request: asked.request.id(),
            counters: &counters,
        };
        let store = &self.0.store;
        let charged = match self.0.charging {
            Charging::Charge => store.charge(&charge, now).await,
            Charging::ReadOnly => {
                let levels = store.read(&counters, now).await;
                levels.map(|levels| judged(&counters, levels))
            }
        };
        let charged = charged
            .map_err(|error| Fault::new(FaultReason::DependencyUnavailable, error.to_string()))?;
        explain(&counters, &charged);
        match charged {
            Charged::Admitted(levels) => {
                self.count(asked, &limits, Err(&levels));
                Ok(self.allowance(&limits, &levels))
            }
            Charged::Exceeded { at, levels } => {
                self.count(asked, &limits, Ok(at));
                Err(self.refusal(&limits, &levels, at).into())
            }
        }
    }

    fn count(&self, asked: &Asked<'_, '_>, limits: &[&Limit], refused: Result<usize, &Levels>) {
        if self.0.charging == Charging::ReadOnly {
            return;
        }
        match refused {
            Ok(at) => {
                if let Some(limit) = limits.get(at) {
                    self.0.metrics.quota_exceeded(limit, true);
                }
            }
            Err(levels) => {
                // of those that hold, only ones that never refuse can be over
                let over = |level: &Level| level.wait != Some(Duration::ZERO);
                for (limit, _) in limits.iter().zip(levels).filter(|(_, level)| over(level)) {
                    self.0.metrics.quota_exceeded(limit, false);
                }
                if let Some(consumer) = asked.standing.application_id() {
                    self.0.consumers.record(consumer, asked.cost());
                }
            }
        }
    }

    fn allowance<'s>(&self, limits: &[&'s Limit], levels: &[Level]) -> Option<Allowance<'s>> {
        let told = told(limits, levels);
        let (limit, level) = told.clone().min_by_key(|(_, level)| level.remaining)?;
        let headers = if self.0.headers.on_allow {
            headers::headers(self.0.headers.names, None, told)
        } else {
            Vec::new()
        };
        Some(Allowance {
            limit,
            remaining: level.remaining,
            headers,
        })
    }

    fn refusal(&self, limits: &[&Limit], levels: &[Level], at: usize) -> Denial {
        let (Some(limit), Some(level)) = (limits.get(at), levels.get(at)) else {
            return Denial::new(Reason::QuotaExceeded, "a limit is exceeded");
        };
        let told = told(limits, levels);
        let reason = match limit.plan {
            Some(_) => Reason::QuotaExceeded,
            None => Reason::RateLimited,
        };
        let detail = format!("limit `{}` is exceeded", limit.id);
        Denial::new(reason, detail).with_quota(QuotaRefusal {
            limit: Arc::clone(&limit.id),
            remaining: level.remaining,
            retry_after: level.wait,
            headers: headers::headers(self.0.headers.names, Some((limit, *level)), told),
        })
    }
}

/// The limits that refuse, and what their counters say: those that only count are not told.
fn told<'l, 's: 'l>(
    limits: &'l [&'s Limit],
    levels: &'l [Level],
) -> impl Iterator<Item = (&'s Limit, Level)> + Clone + 'l {
    let told = limits.iter().copied().zip(levels.iter().copied());
    told.filter(|(limit, _)| limit.rule.enforced)
}

/// What is asked about.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'r, 's> {
    /// Where the request belongs.
    pub route: &'r Route<'s>,
    /// The request.
    pub request: &'r DownstreamRequest,
    /// Who calls.
    pub principal: &'r Principal<'s>,
    /// Their application and subscription.
    pub standing: &'r Standing<'s>,
}

impl Asked<'_, '_> {
    /// What the request takes of limits that name no metric.
    #[must_use]
    pub fn cost(&self) -> u64 {
        self.route.operation.map_or(1, |operation| operation.cost)
    }
}

/// What a charge would come to, by what the counters say.
fn judged(counters: &[Counter<'_>], levels: Levels) -> Charged {
    let over = |(counter, level): (&Counter<'_>, &Level)| {
        counter.limit.rule.enforced && level.wait != Some(Duration::ZERO)
    };
    match counters.iter().zip(&levels).position(over) {
        Some(at) => Charged::Exceeded { at, levels },
        None => Charged::Admitted(levels),
    }
}

/// Tells `explain` what was counted: limits and numbers, never a subject, an address or a claim.
fn explain(counters: &[Counter<'_>], charged: &Charged) {
    if !tracing::enabled!(target: "portcullis::explain", tracing::Level::TRACE) {
        return;
    }
    let (levels, exceeded) = match charged {
        Charged::Admitted(levels) => (levels, None),
        Charged::Exceeded { at, levels } => (levels, Some(*at)),
    };
    for (at, (counter, level)) in counters.iter().zip(levels).enumerate() {
        tracing::trace!(
            target: "portcullis::explain",
            stage = "authorize",
            compared = "limit",
            limit = &*counter.limit.id,
            amount = counter.limit.rule.amount,
            cost = counter.cost,
            remaining = level.remaining,
            enforced = counter.limit.rule.enforced,
            found = if exceeded == Some(at) { "the limit is exceeded" } else { "a limit that holds" },
        );
    }
}
