//! What the parts of the process tell metrics and the admin API.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use crate::authentication::key_refresh::KeySources;
use crate::catalog::sync::{CatalogStatus, CatalogSync, Failure};
use crate::check::service::Shared;
use crate::task::Tasks;
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
    while changes.changed().await.is_ok() {
        let now = changes.borrow_and_update().clone();
        for (name, result) in results(&last, &now) {
            metrics.catalog_reloaded(&name, result);
        }
        if now.revision != last.revision {
            metrics.set_catalog_revision(&now.revision);
        }
        last = now;
    }
}

/// How each part of the revision came out of a look at its files. The configuration counts as a
/// source of its own, called `configuration`.
fn results(last: &CatalogStatus, now: &CatalogStatus) -> Vec<(Arc<str>, ReloadResult)> {
    let part =
        |name: &str, digests: (&str, &str), failures: (&Option<Failure>, &Option<Failure>)| {
            let result = if failures.0 != failures.1 {
                ReloadResult::Refused
            } else if digests.0 == digests.1 {
                ReloadResult::Unchanged
            } else {
                ReloadResult::Published
            };
            (Arc::from(name), result)
        };
    let sources = last.sources.iter().zip(&now.sources).map(|(last, now)| {
        part(
            &now.name,
            (&last.digest, &now.digest),
            (&last.last_failure, &now.last_failure),
        )
    });
    let (before, after) = (&last.configuration, &now.configuration);
    let configuration = part(
        "configuration",
        (&before.digest, &after.digest),
        (&before.last_failure, &after.last_failure),
    );
    sources.chain([configuration]).collect()
}
