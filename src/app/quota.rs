//! The store of counters of a configuration: what it needs is read before anything is started.

use crate::authorization::quota::config::StoreSettings;
use crate::config::findings::Findings;
use crate::config::load::Loaded;
use crate::config::reader::Reader;
use crate::problem::Problems;

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
