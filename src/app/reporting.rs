//! What the parts of the process tell metrics and the admin API.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use crate::authentication::key_refresh::KeySources;
use crate::authorization::quota::Quota;
use crate::catalog::sync::{CatalogStatus, CatalogSync, Failure};
use crate::check::service::Shared;
use crate::task::{Schedule, Tasks};
use crate::telemetry::metrics::{Metrics, ReloadResult};

/// `told` as JSON.
pub(super) fn told(told: &impl Serialize) -> Value {
    serde_json::to_value(told).unwrap_or_default()
}

/// Reads at each scrape what is not counted as it happens.
pub(super) fn sample(
    metrics: &Metrics,
    shared: &Arc<Shared>,
    key_sources: &KeySources,
    tasks: &Tasks,
) {
    let most = shared.slots.available_permits();
    metrics.follow_tasks(tasks.clone());
    let (shared, key_sources) = (Arc::clone(shared), key_sources.clone());
    metrics.before_each_scrape(move |metrics| {
        metrics.set_checks_in_flight(most.saturating_sub(shared.slots.available_permits()));
        let key_sets = key_sources.statuses();
        metrics.set_key_sets(key_sets.iter().map(|status| {
            (
                &status.name,
                status.age_seconds.map(Duration::from_secs),
                status.keys.unwrap_or(0),
            )
        }));
    });
}

/// How often counters that say nothing are dropped.
const SWEEP: Schedule = Schedule {
    interval: Duration::from_secs(5),
    timeout: Duration::from_secs(60),
    retry: Duration::from_secs(5),
};
/// After how many sweeps a new hour of consumers begins.
const SWEEPS_AN_HOUR: u32 = 720;

/// Tells how many counters there are at each scrape, and keeps them from growing.
pub(super) fn quota(quota: &Quota, metrics: &Metrics, tasks: &Tasks) {
    let sampled = quota.clone();
    metrics.before_each_scrape(move |metrics| {
        let (counters, shared) = sampled.store().size();
        metrics.set_quota_counters(counters, shared);
    });
    let (quota, mut sweeps) = (quota.clone(), 0_u32);
    tasks
        .periodic("quota_sweep", SWEEP, Arc::default(), move || {
            sweeps = sweeps.wrapping_add(1);
            if sweeps.is_multiple_of(SWEEPS_AN_HOUR) {
                quota.consumers().turn();
            }
            quota.store().sweep(jiff::Timestamp::now());
            async { Ok(()) }
        })
        .keep();
}

/// Counts reloads as they happen, and tells the age of each source at each scrape. Runs as a task.
pub(super) async fn catalog(sync: Arc<CatalogSync>, metrics: Metrics) {
    let aged = Arc::clone(&sync);
    metrics.before_each_scrape(move |metrics| {
        for source in aged.status().sources {
            let age = jiff::Timestamp::now().duration_since(source.last_success);
            metrics.set_catalog_age(&source.name.into(), age.try_into().unwrap_or_default());
        }
    });
    let mut changes = sync.subscribe();
    let mut last = changes.borrow_and_update().clone();
    metrics.set_catalog_revision(&last.revision);
    for part in parts(&last) {
        metrics.set_catalog_refused(&part.name.into(), part.refused);
    }
    while changes.changed().await.is_ok() {
        let now = changes.borrow_and_update().clone();
        for (before, part) in parts(&last).zip(parts(&now)) {
            let name = part.name.into();
            metrics.catalog_reloaded(&name, part.result_since(&before));
            metrics.set_catalog_refused(&name, part.refused);
        }
        if now.revision != last.revision {
            metrics.set_catalog_revision(&now.revision);
        }
        last = now;
    }
}

/// How a part of the revision stands.
struct Part<'s> {
    name: &'s str,
    digest: &'s str,
    refused: bool,
    failure: Option<&'s Failure>,
}

/// Each part of the revision. The configuration counts as a source of its own, called
/// `configuration`.
fn parts(status: &CatalogStatus) -> impl Iterator<Item = Part<'_>> {
    let configuration = &status.configuration;
    let configuration = Part {
        name: "configuration",
        digest: &configuration.digest,
        refused: configuration.refused,
        failure: configuration.last_failure.as_ref(),
    };
    let sources = status.sources.iter().map(|source| Part {
        name: &source.name,
        digest: &source.digest,
        refused: source.refused,
        failure: source.last_failure.as_ref(),
    });
    sources.chain([configuration])
}

impl Part<'_> {
    /// How the look ended that was before `self` and after `before`. What is refused is looked at
    /// again and again; it counts once, until its problems are others.
    fn result_since(&self, before: &Self) -> ReloadResult {
        let problems = |part: &Self| part.failure.map(|failure| failure.problems.clone());
        let is_known = before.refused && problems(before) == problems(self);
        if self.refused && !is_known {
            ReloadResult::Refused
        } else if self.digest == before.digest {
            ReloadResult::Unchanged
        } else {
            ReloadResult::Published
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::problem::{Problem, Problems};

    fn refusal(second: i64, message: &str) -> Failure {
        let problem = Problem {
            file: "a.yaml".into(),
            line: None,
            path: String::new(),
            message: message.to_owned(),
        };
        Failure {
            at: jiff::Timestamp::from_second(second).unwrap(),
            problems: Problems::from(problem),
        }
    }

    #[test]
    fn one_refusal_counts_once() {
        let (first, again, other) = (refusal(1, "a"), refusal(2, "a"), refusal(3, "b"));
        let part = |digest, refused, failure| Part {
            name: "main",
            digest,
            refused,
            failure,
        };
        let good = part("1", false, None);
        let refused = part("1", true, Some(&first));
        assert_eq!(refused.result_since(&good), ReloadResult::Refused);
        let seen_again = part("1", true, Some(&again));
        assert_eq!(seen_again.result_since(&refused), ReloadResult::Unchanged);
        let worse = part("1", true, Some(&other));
        assert_eq!(worse.result_since(&seen_again), ReloadResult::Refused);
        let mended = part("2", false, Some(&other));
        assert_eq!(mended.result_since(&worse), ReloadResult::Published);
        assert_eq!(worse.result_since(&mended), ReloadResult::Refused);
    }
}
