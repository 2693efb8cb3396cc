//! Keeps the published snapshot in step with its files: the catalog's documents, the
//! `authenticators` of the configuration and every file that these read are one revision.
//!
//! A revision is built whole and published once. What is wrong is refused with the old kept: each
//! source by itself, and the configuration by itself. Where two sources contradict, the one that
//! the configuration names later keeps its last good documents.
//
// INVARIANT: nothing is published that `catalog::build` has not accepted; a missing or empty
// source never means "no rules".

mod revision;
mod state;
mod status;
mod watch;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch as channel};

use crate::catalog::sync::state::State;
pub use crate::catalog::sync::status::{
    CatalogStatus, ConfigurationStatus, Failure, ReloadOutcome, SourceStatus,
};
use crate::catalog::sync::watch::FileWatcher;
use crate::config::Config;
use crate::config::findings::Findings;
use crate::config::load::Loaded;
use crate::config::reader::Reader;
use crate::problem::Problems;
use crate::snapshot::{Authenticators, Snapshot, SnapshotReader};
use crate::task::{Schedule, TaskGuard, Tasks};

/// Builds the authenticators of a configuration, `anonymous` among them. It reads files and the
/// environment through the reader alone, and puts what is wrong into the findings, with paths that
/// begin with `authenticators`; none means that something is wrong.
pub type BuildAuthenticators =
    Box<dyn Fn(&Config, &mut Reader, &mut Findings) -> Option<Authenticators> + Send + Sync>;

/// After an event, files may still be changing for this long.
const DEBOUNCE: Duration = Duration::from_millis(300);

/// How often files are looked at although no event came.
const SCHEDULE: Schedule = Schedule {
    interval: Duration::from_secs(60),
    timeout: Duration::from_secs(300),
    retry: Duration::from_secs(5),
};

/// Keeps the published snapshot in step with its files.
#[derive(Debug)]
pub struct CatalogSync {
    state: Mutex<State>,
    status: channel::Sender<CatalogStatus>,
    nudge: Arc<Notify>,
}

impl CatalogSync {
    /// Reads everything for the first time.
    ///
    /// # Errors
    /// Everything that is wrong: at the start nothing is kept, so nothing may be.
    pub fn load_first(
        loaded: Loaded,
        build: BuildAuthenticators,
    ) -> Result<(Self, Snapshot), Problems> {
        let (state, snapshot) = State::load_first(loaded, build)?;
        let status = state.status();
        tracing::info!(
            revision = status.revision,
            apis = status.apis,
            applications = status.applications,
            "catalog loaded"
        );
        let sync = Self {
            status: channel::Sender::new(status),
            state: Mutex::new(state),
            nudge: Arc::default(),
        };
        Ok((sync, snapshot))
    }

    /// Looks at everything again, and publishes a new revision where something changed and holds.
    /// Reads files: not for the threads of requests.
    pub fn reload_once(&self, snapshots: &SnapshotReader) -> ReloadOutcome {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (outcome, snapshot) = state.reload();
        if let Some(snapshot) = snapshot {
            snapshots.publish(snapshot);
        }
        self.status.send_replace(state.status());
        outcome
    }

    /// Looks at everything again whenever a file changes, and once a minute.
    pub fn watch(self: Arc<Self>, snapshots: SnapshotReader, tasks: &Tasks) -> TaskGuard {
        let nudge = Arc::clone(&self.nudge);
        let watcher = Arc::new(Mutex::new(FileWatcher::new(Arc::clone(&nudge))));
        tasks.periodic("catalog_sync", SCHEDULE, nudge, move || {
            let (sync, snapshots, watcher) =
                (Arc::clone(&self), snapshots.clone(), Arc::clone(&watcher));
            async move {
                tokio::time::sleep(DEBOUNCE).await;
                let reload = tokio::task::spawn_blocking(move || {
                    // watched before it is read, so that no change falls between
                    sync.watch_files(&watcher);
                    sync.reload_once(&snapshots);
                    sync.watch_files(&watcher);
                });
                Ok(reload.await?)
            }
        })
    }

    /// What makes the task look at everything soon, when it is notified.
    #[must_use]
    pub fn nudger(&self) -> Arc<Notify> {
        Arc::clone(&self.nudge)
    }

    /// What is known now.
    #[must_use]
    pub fn status(&self) -> CatalogStatus {
        self.status.borrow().clone()
    }

    /// What is known, now and after each look.
    #[must_use]
    pub fn subscribe(&self) -> channel::Receiver<CatalogStatus> {
        self.status.subscribe()
    }

    fn watch_files(&self, watcher: &Mutex<FileWatcher>) {
        let places = self
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .watched_places();
        watcher
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .watch(places);
    }
}

#[cfg(test)]
mod tests;
