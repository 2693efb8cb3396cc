//! The quota of a configuration: what its store needs is read before anything is started.

use crate::authorization::quota::config::{QuotaConfig, StoreSettings};
use crate::authorization::quota::{Charging, Quota};
use crate::config::findings::Findings;
use crate::config::load::Loaded;
use crate::config::reader::Reader;
use crate::problem::Problems;
use crate::task::Tasks;
use crate::telemetry::metrics::Metrics;

/// What the store of counters is started with.
///
/// # Errors
/// Where a file that it names cannot be used.
pub(crate) fn settings(loaded: &Loaded) -> Result<StoreSettings, Problems> {
    let mut findings = Findings::new();
    let mut reader = Reader::new(loaded.base());
    let settings = findings.within("quota", |findings| {
        loaded.config.quota.settings(&mut reader, findings)
    });
    let problems = loaded.document.problems(&findings);
    match settings {
        Some(settings) => problems.into_result(settings),
        None => Err(problems),
    }
}

/// The quota that charges.
pub(super) fn start(
    config: &QuotaConfig,
    settings: StoreSettings,
    tasks: &Tasks,
    metrics: &Metrics,
) -> Quota {
    let store = config.start(settings, tasks, metrics);
    Quota::new(store, Charging::Charge, config.headers, metrics.clone())
}
