//! What is revoked, as this process knows it: read at the start, kept by tasks from then on.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use serde_json::json;
use tokio::sync::Notify;

use crate::admin::revocations::RevocationState;
use crate::authentication::failures::FailureBudget;
use crate::authentication::revocation::Revocations;
use crate::authentication::revocation::config::{self, RevocationConfig};
use crate::authentication::revocation::file::RevocationFiles;
use crate::authentication::revocation::keeper::{self, Keeper, KeeperParts};
use crate::authentication::revocation::shared::{self, SharedEntries, SharedParts};
use crate::clock::Clock;
use crate::config::Config;
use crate::config::findings::Findings;
use crate::config::load::Loaded;
use crate::config::reader::Reader;
use crate::listener::logout::{self, LogoutState, SeenLogouts};
use crate::problem::Problems;
use crate::readiness::Readiness;
use crate::redis::Redis;
use crate::redis::config::RedisSettings;
use crate::snapshot::SnapshotReader;
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
    shared: Option<SharedEntries>,
    seen: SeenLogouts,
}

/// What revoking needs of the process.
#[derive(Debug, Clone, Copy)]
pub(super) struct Around<'p> {
    pub(super) clock: &'p Clock,
    pub(super) tasks: &'p Tasks,
    pub(super) readiness: &'p Readiness,
    pub(super) metrics: &'p Metrics,
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
        (config.keep, clock.clone(), loaded.config.spiffe.mesh()),
    )?;
    Ok((revocations, files))
}

/// What Redis is reached with, where it is a source.
fn settings(loaded: &Loaded, config: &RevocationConfig) -> Result<Option<RedisSettings>, Problems> {
    let Some((at, own)) = config.redis() else {
        return Ok(None);
    };
    let quota = loaded.config.quota.redis().filter(|_| own.is_default());
    let (redis, path) = match quota {
        Some(quota) => (quota, "quota.store".to_owned()),
        None => (own, format!("revocation.sources[{at}]")),
    };
    let (mut reader, mut findings) = (Reader::new(loaded.base()), Findings::new());
    let built = findings.within(&path, |findings| redis.build(&mut reader, findings));
    loaded.document.problems(&findings).into_result(built)
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
        around: Around<'_>,
    ) -> Result<Self, Problems> {
        let (revocations, files) = read(loaded, store, around.clock)?;
        let config = section(loaded);
        let shared = settings(loaded, &config)?.map(|settings| {
            SharedEntries::new(SharedParts {
                redis: Redis::start(shared::REDIS, settings, around.tasks, around.metrics),
                revocations: revocations.clone(),
                store: store.cloned(),
                tasks: around.tasks.clone(),
                clock: around.clock.clone(),
                readiness: around.readiness.clone(),
                max_age: config.max_age.map(|age| age.0),
            })
        });
        if loaded.config.revocation.is_some() && store.is_none() && shared.is_none() {
            tracing::warn!(
                "what the admin API and logout tokens revoke is forgotten when this process ends: `revocation` has no source of type redis, and there is no `store`"
            );
        }
        let keeper = Keeper::new(KeeperParts {
            revocations,
            shared: shared.clone(),
            store: store.cloned(),
            keep: config.keep,
            is_open_ended: config::is_open_ended(&loaded.config.authenticators),
            clock: around.clock.clone(),
            tasks: around.tasks.clone(),
            metrics: around.metrics.clone(),
        });
        let revoking = Self {
            keeper,
            files,
            shared,
            seen: SeenLogouts::default(),
        };
        revoking.report(around);
        Ok(revoking)
    }

    /// Lets metrics read how it stands.
    fn report(&self, around: Around<'_>) {
        let revocations = self.keeper.revocations().clone();
        let (files, shared) = (self.files.clone(), self.shared.clone());
        let (clock, redis) = (around.clock.clone(), Arc::from(shared::SOURCE));
        around.metrics.before_each_scrape(move |metrics| {
            let counts = revocations.counts();
            metrics.set_revocations(counts.map(|(kind, count)| (kind.name(), count)));
            for status in files.statuses() {
                let age = status
                    .last_success
                    .map(|last| clock.now().duration_since(last));
                let age = age.and_then(|age| Duration::try_from(age).ok());
                metrics.set_revocation_age(&status.file, age.unwrap_or_default());
            }
            if let Some(shared) = &shared {
                metrics.set_revocation_age(&redis, shared.age());
            }
        });
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
            let shared = self.shared.clone();
            let changed = move |changes| {
                if let Some(shared) = &shared {
                    shared.file_changed(changes);
                }
            };
            self.files.watch(tasks, Arc::new(changed)).keep();
        }
        if let Some(shared) = &self.shared {
            shared.start();
        }
    }

    /// What a listener of type logout answers.
    pub(super) fn logout(&self, config: &Config, snapshots: &SnapshotReader) -> Router {
        let revocation = config.revocation.as_ref();
        let Some(logout) = revocation.and_then(|revocation| revocation.logout.as_ref()) else {
            // refused by the check of the configuration; nothing is answered
            return Router::new();
        };
        logout::router(LogoutState {
            snapshots: snapshots.clone(),
            config: Arc::new(logout.clone()),
            keeper: self.keeper.clone(),
            seen: self.seen.clone(),
            failures: FailureBudget::new(&config.checks.failed_verifications),
        })
    }

    /// What the admin API needs.
    pub(super) fn admin_state(&self) -> RevocationState {
        let (files, shared) = (self.files.clone(), self.shared.clone());
        RevocationState {
            keeper: self.keeper.clone(),
            sources: Arc::new(move || {
                let files = files.statuses();
                let files = files.iter().map(told);
                let shared = shared.iter().map(|shared| {
                    json!({
                        "redis": shared::SOURCE,
                        "ageSeconds": shared.age().as_secs(),
                        "pending": shared.pending(),
                        "problem": shared.problem(),
                    })
                });
                files.chain(shared).collect()
            }),
        }
    }
}
