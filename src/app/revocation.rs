//! What is revoked, as this process knows it: read at the start, kept by tasks from then on.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use crate::admin::revocations::RevocationState;
use crate::authentication::revocation::Revocations;
use crate::authentication::revocation::config::RevocationConfig;
use crate::authentication::revocation::file::RevocationFiles;
use crate::authentication::revocation::keeper::{self, Keeper, KeeperParts};
use crate::clock::Clock;
use crate::config::load::Loaded;
use crate::problem::Problems;
use crate::store::Store;
use crate::task::{Schedule, Tasks};
use crate::telemetry::metrics::Metrics;

use super::reporting::told;

/// How often what is over is forgotten.
const SWEEP: Schedule = Schedule {
    interval: Duration::from_secs(60),
    timeout: Duration::from_secs(60),
    retry: Duration::from_secs(5),
};

/// What is revoked, and who keeps it.
#[derive(Debug)]
pub(super) struct Revoking {
    pub(super) keeper: Keeper,
    files: RevocationFiles,
}

/// What is revoked in the files and the store of `loaded`.
///
/// # Errors
/// What is wrong in the files.
pub(super) fn read(
    loaded: &Loaded,
    store: Option<&Store>,
    clock: &Clock,
) -> Result<(Revocations, RevocationFiles), Problems> {
    let config = section(loaded);
    let revocations = Revocations::new(config.max_entries);
    if let Some(store) = store {
        keeper::load(&revocations, store);
    }
    let files = RevocationFiles::load_first(
        config.files(),
        loaded.base(),
        revocations.clone(),
        (config.keep, clock.clone()),
    )?;
    Ok((revocations, files))
}

fn section(loaded: &Loaded) -> RevocationConfig {
    loaded.config.revocation.clone().unwrap_or_default()
}

impl Revoking {
    /// Reads what is there, and lets `tasks` keep it.
    ///
    /// # Errors
    /// What is wrong in the files.
    pub(super) fn start(
        loaded: &Loaded,
        store: Option<&Store>,
        clock: &Clock,
        (tasks, metrics): (&Tasks, &Metrics),
    ) -> Result<Self, Problems> {
        let (revocations, files) = read(loaded, store, clock)?;
        if loaded.config.revocation.is_some() && store.is_none() {
            tracing::warn!(
                "what the admin API and logout tokens revoke is forgotten when this process ends: `revocation` has no source of type redis, and there is no `store`"
            );
        }
        let keeper = Keeper::new(KeeperParts {
            revocations: revocations.clone(),
            store: store.cloned(),
            keep: section(loaded).keep,
            clock: clock.clone(),
            tasks: tasks.clone(),
            metrics: metrics.clone(),
        });
        let (statuses, clock) = (files.clone(), clock.clone());
        metrics.before_each_scrape(move |metrics| {
            metrics.set_revocations(
                revocations
                    .counts()
                    .map(|(kind, count)| (kind.name(), count)),
            );
            for status in statuses.statuses() {
                let age = status
                    .last_success
                    .map(|last| clock.now().duration_since(last));
                let age = age
                    .and_then(|age| Duration::try_from(age).ok())
                    .unwrap_or_default();
                metrics.set_revocation_age(&status.file, age);
            }
        });
        Ok(Self { keeper, files })
    }

    /// Starts its tasks.
    pub(super) fn start_tasks(&self, tasks: &Tasks) {
        let keeper = self.keeper.clone();
        let sweep = tasks.periodic(
            "revocation_sweep",
            SWEEP,
            Arc::new(Notify::new()),
            move || {
                let keeper = keeper.clone();
                async move { keeper.sweep().await }
            },
        );
        sweep.keep();
        if !self.files.is_empty() {
            self.files.watch(tasks, Arc::new(|_| {})).keep();
        }
    }

    /// What the admin API needs.
    pub(super) fn admin_state(&self) -> RevocationState {
        let files = self.files.clone();
        RevocationState {
            keeper: self.keeper.clone(),
            sources: Arc::new(move || told(&files.statuses())),
        }
    }
}
