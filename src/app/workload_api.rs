//! The Workload API of a configuration: where it answers is read at the start.

use super::revocation::Around;
use crate::config::findings::Findings;
use crate::config::load::Loaded;
use crate::config::reader::Reader;
use crate::problem::Problems;
use crate::workload_api::{Surroundings, WorkloadApi};

/// The Workload API, where the configuration or the environment says where it answers. Nobody asks
/// it before something uses it.
///
/// # Errors
/// Where the environment names none that can be.
pub(super) fn of(loaded: &Loaded, around: Around<'_>) -> Result<Option<WorkloadApi>, Problems> {
    let (mut findings, config) = (Findings::new(), &loaded.config.spiffe);
    let surroundings = Surroundings {
        tasks: around.tasks.clone(),
        readiness: around.readiness.clone(),
        metrics: around.metrics.clone(),
        clock: around.clock.clone(),
    };
    let found = config
        .endpoint(&Reader::new(loaded.base()))
        .and_then(|endpoint| match endpoint {
            Some(endpoint) => WorkloadApi::new(config, &endpoint, surroundings).map(Some),
            None => Ok(None),
        });
    found.map_err(|why| {
        findings.within("spiffe", |findings| findings.wrong("endpoint", why));
        loaded.document.problems(&findings)
    })
}
