//! Keeps the published snapshot in step with its files: the catalog's documents, the
//! `authenticators` and `providers` of the configuration and every file that these read are one revision.
//!
//! A revision is built whole and published once. What is wrong is refused with the old kept: each
//! source by itself, and the configuration by itself. Where two sources contradict, the one that
//! the configuration names later keeps its last good documents.
//
// INVARIANT: nothing is published that `catalog::build` has not accepted; a missing or empty
// source or file never means "no rules". INVARIANT: no reload publishes what two looks did not find
// the same.

mod pace;
mod parts;
mod revision;
mod state;
mod status;
pub(crate) mod watch;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{Notify, watch as channel};
use tokio::time::Instant;

use crate::catalog::admission::Inadmissible;
use crate::catalog::source::store::StoreSource;
use crate::catalog::sync::pace::Pace;
use crate::catalog::sync::state::{Look, State};
pub use crate::catalog::sync::status::{
    CatalogStatus, ConfigurationStatus, Failure, ReloadOutcome, SourceStatus,
};
use crate::catalog::sync::watch::FileWatcher;
use crate::config::Config;
use crate::config::findings::Findings;
use crate::config::load::Loaded;
use crate::config::reader::Reader;
use crate::problem::Problems;
use crate::snapshot::{Configured, Snapshot, SnapshotReader};
use crate::store::endpoint::Endpoint;
use crate::task::{Schedule, TaskGuard, Tasks};

/// Builds what the reloadable sections of a configuration say: the authenticators, `anonymous`
/// among them, and the providers. It reads files and the environment through the reader alone, and
/// puts what is wrong into the findings, with paths that begin with the section; none means that
/// something is wrong.
pub type BuildConfigured =
    Box<dyn Fn(&Config, &mut Reader, &mut Findings) -> Option<Configured> + Send + Sync>;

/// What is published was read twice, this far apart, and was the same: a file that is being written
/// in place, or a folder half way through a swap, is not what anybody meant.
pub(crate) const DEBOUNCE: Duration = Duration::from_millis(300);

/// How often files may have changed between two looks before a run gives up, to be tried again.
const MAX_LOOKS: usize = 100;

/// How often files are looked at although no event came.
pub(crate) const SCHEDULE: Schedule = Schedule {
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
    hurry: Arc<Notify>,
    config: ArcSwap<Config>,
}

impl CatalogSync {
    /// Reads everything for the first time; `store` is what a source of type store reads.
    ///
    /// # Errors
    /// Everything that is wrong: at the start nothing is kept, so nothing may be.
    pub fn load_first(
        loaded: Loaded,
        build: BuildConfigured,
        store: Option<StoreSource>,
    ) -> Result<(Self, Snapshot), Problems> {
        let (state, snapshot) = State::load_first(loaded, build, store)?;
        let status = state.status();
        tracing::info!(
            revision = status.revision,
            apis = status.apis,
            applications = status.applications,
            "catalog loaded"
        );
        let sync = Self {
            config: ArcSwap::new(state.config()),
            status: channel::Sender::new(status),
            state: Mutex::new(state),
            nudge: Arc::default(),
            hurry: Arc::default(),
        };
        Ok((sync, snapshot))
    }

    /// Publishes a new revision where something changed and holds; none where the files are not as
    /// `look` found them.
    fn reload_if_settled(&self, look: &Look, snapshots: &SnapshotReader) -> Option<ReloadOutcome> {
        let mut state = self.state_locked();
        let (outcome, snapshot) = state.reload(look)?;
        if let Some(snapshot) = snapshot {
            snapshots.publish(snapshot);
        }
        snapshots.sweep();
        self.config.store(state.config());
        self.status.send_replace(state.status());
        Some(outcome)
    }

    /// Reads everything and remembers only what it was. Reads files, as `reload_if_settled` does:
    /// not for the threads of requests.
    fn look(&self) -> Look {
        self.state_locked().look()
    }

    /// Looks at everything again whenever a file changes, and once a minute. Looks that find nothing
    /// new come ever slower (`sync/pace.rs`).
    pub fn watch(self: Arc<Self>, snapshots: SnapshotReader, tasks: &Tasks) -> TaskGuard {
        let nudge = Arc::clone(&self.nudge);
        let watcher = Arc::new(Mutex::new(FileWatcher::new(Arc::clone(&nudge))));
        let (blocking, pace) = (tasks.clone(), Arc::new(Mutex::new(Pace::default())));
        tasks.periodic("catalog_sync", SCHEDULE, nudge, move || {
            let run = Run {
                sync: Arc::clone(&self),
                snapshots: snapshots.clone(),
                watcher: Arc::clone(&watcher),
                tasks: blocking.clone(),
                pace: Arc::clone(&pace),
            };
            async move { run.reload().await }
        })
    }

    /// What makes the task look at everything soon, when it is notified.
    #[must_use]
    pub fn nudger(&self) -> Arc<Notify> {
        Arc::clone(&self.nudge)
    }

    /// Makes the task look at everything now, whatever the last looks found: for changes that are no
    /// mere suspicion.
    pub fn hurry(&self) {
        self.hurry.notify_one();
        self.nudge.notify_one();
    }

    /// The configuration of what is in force; the sections that do not reload are those of the start.
    #[must_use]
    pub fn config(&self) -> Arc<Config> {
        self.config.load_full()
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

    /// Judges an endpoint before it is registered, beside those that are `stored`, with everything else
    /// that is in force. Builds a catalog: not for the threads of requests.
    ///
    /// # Errors
    /// Says why it would not hold.
    pub fn admit(&self, stored: &[Endpoint], new: &Endpoint) -> Result<(), Inadmissible> {
        self.state_locked().admit(stored, new)
    }

    /// What is allowed in the catalog that is in force, but should be seen.
    #[must_use]
    pub fn warnings(&self) -> Problems {
        self.state_locked().warnings()
    }

    fn state_locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn watch_files(&self, watcher: &Mutex<FileWatcher>) {
        let places = self.state_locked().watched_places();
        watcher
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .watch(places);
    }
}

/// One run of the task.
struct Run {
    sync: Arc<CatalogSync>,
    snapshots: SnapshotReader,
    watcher: Arc<Mutex<FileWatcher>>,
    tasks: Tasks,
    pace: Arc<Mutex<Pace>>,
}

impl Run {
    async fn reload(self) -> anyhow::Result<()> {
        let wait = self.pace_locked().wait(Instant::now());
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = self.sync.hurry.notified() => {}
        }
        let before = self.sync.status();
        self.look_until_settled().await?;
        let now = self.sync.status();
        let found_something =
            now.revision != before.revision || now.problems() != before.problems();
        self.pace_locked().looked(found_something, Instant::now());
        Ok(())
    }

    fn pace_locked(&self) -> MutexGuard<'_, Pace> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn look_until_settled(&self) -> anyhow::Result<()> {
        for _ in 0..MAX_LOOKS {
            let (sync, watcher) = (Arc::clone(&self.sync), Arc::clone(&self.watcher));
            let look = move || {
                // watched before it is read, so that no change falls between
                sync.watch_files(&watcher);
                sync.look()
            };
            let look = self.tasks.blocking(look).await?;
            tokio::time::sleep(DEBOUNCE).await;
            let (sync, watcher) = (Arc::clone(&self.sync), Arc::clone(&self.watcher));
            let snapshots = self.snapshots.clone();
            let reload = move || {
                let is_settled = sync.reload_if_settled(&look, &snapshots).is_some();
                sync.watch_files(&watcher);
                is_settled
            };
            if self.tasks.blocking(reload).await? {
                return Ok(());
            }
        }
        anyhow::bail!("the files change all the time: what was last read twice alike is kept")
    }
}

#[cfg(test)]
mod tests;
