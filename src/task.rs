//! Background loops: each has a name, is listed, supervised and stopped in order.
//!
//! This is the only place that spawns. A body runs once and returns; the loop around it owns
//! interval, jitter, back-off, time-out and the record of its last success. A body that panics
//! counts as failed; a loop that ends although nobody stopped it ends the process.

use std::collections::BTreeMap;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use jiff::Timestamp;
use serde::Serialize;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Every background loop of the process.
#[derive(Debug, Clone)]
pub struct Tasks {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    stop: CancellationToken,
    tracker: TaskTracker,
    ended: Notify,
    ended_names: Mutex<Vec<Arc<str>>>,
    statuses: Mutex<BTreeMap<Arc<str>, TaskStatus>>,
}

/// How a periodic task runs.
#[derive(Debug, Clone, Copy)]
pub struct Schedule {
    /// From the end of one run to the start of the next; up to a tenth more is added at random.
    pub interval: Duration,
    /// After this long a run counts as failed.
    pub timeout: Duration,
    /// The wait after the first failure; it doubles with each further one, up to `interval`.
    pub retry: Duration,
}

/// What is known of a task.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TaskStatus {
    /// When it last succeeded.
    pub last_success: Option<Timestamp>,
    /// When it last failed.
    pub last_failure: Option<Timestamp>,
    /// How often it failed since it last succeeded.
    pub failures: u32,
    /// Why it last failed.
    pub error: Option<String>,
}

/// Stops its task when dropped.
#[derive(Debug)]
pub struct TaskGuard {
    stop: CancellationToken,
    name: Arc<str>,
    tasks: Tasks,
}

impl Drop for TaskGuard {
    fn drop(&mut self) {
        self.stop.cancel();
        self.tasks
            .statuses_locked(|statuses| statuses.remove(&self.name));
    }
}

impl TaskGuard {
    /// Lets the task run until the process stops.
    pub fn keep(self) {
        std::mem::forget(self);
    }
}

impl Tasks {
    /// No task yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            inner: Arc::new(Inner {
                stop: CancellationToken::new(),
                tracker: TaskTracker::new(),
                ended: Notify::new(),
                ended_names: Mutex::new(Vec::new()),
                statuses: Mutex::new(BTreeMap::new()),
            }),
        }
    }

    /// Starts a task that runs `run_once` at once, then by `schedule`, and whenever `nudge` is notified.
    pub fn periodic<F, Fut>(
        &self,
        name: &str,
        schedule: Schedule,
        nudge: Arc<Notify>,
        mut run_once: F,
    ) -> TaskGuard
    where
        F: FnMut() -> Fut + Send + 'static,
        Fut: Future<Output = anyhow::Result<()>> + Send,
    {
        let name: Arc<str> = name.into();
        let tasks = self.clone();
        let task_name = Arc::clone(&name);
        self.start(name, async move {
            let mut failures = 0;
            loop {
                let run = AssertUnwindSafe(tokio::time::timeout(schedule.timeout, run_once()))
                    .catch_unwind()
                    .await;
                let result = match run {
                    Ok(Ok(result)) => result,
                    Ok(Err(_)) => Err(anyhow::anyhow!("it took more than {:?}", schedule.timeout)),
                    Err(_) => Err(anyhow::anyhow!("it panicked")),
                };
                failures = if result.is_ok() { 0 } else { failures + 1 };
                tasks.record(&task_name, result);
                tokio::select! {
                    () = tokio::time::sleep(schedule.wait(failures)) => {}
                    () = nudge.notified() => {}
                }
            }
        })
    }

    /// Starts a task that runs until the process stops.
    pub fn streaming(
        &self,
        name: &str,
        body: impl Future<Output = ()> + Send + 'static,
    ) -> TaskGuard {
        self.start(name.into(), body)
    }

    /// Runs `work` beside the caller, for as long as it takes; it is not listed. For connections
    /// and other short-lived work that belongs to a listed task.
    pub fn detached(&self, work: impl Future<Output = ()> + Send + 'static) {
        #[expect(clippy::disallowed_methods, reason = "this is the place that spawns")]
        tokio::spawn(self.inner.tracker.track_future(work));
    }

    /// Runs `work`, which reads files or computes for long, on a thread where it keeps nobody
    /// waiting. A stop waits for it.
    ///
    /// # Errors
    /// Where it panicked, or the process ends.
    pub async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> anyhow::Result<T> {
        Ok(self.inner.tracker.spawn_blocking(work).await?)
    }

    fn start(&self, name: Arc<str>, body: impl Future<Output = ()> + Send + 'static) -> TaskGuard {
        self.statuses_locked(|statuses| statuses.insert(Arc::clone(&name), TaskStatus::default()));
        let stop = self.inner.stop.child_token();
        let guard = TaskGuard {
            stop: stop.clone(),
            name: Arc::clone(&name),
            tasks: self.clone(),
        };
        let inner = Arc::clone(&self.inner);
        self.detached(async move {
            let ended = tokio::select! {
                biased;
                () = stop.cancelled() => false,
                result = AssertUnwindSafe(body).catch_unwind() => {
                    tracing::error!(task = %name, panicked = result.is_err(), "task ended by itself");
                    true
                }
            };
            if ended {
                inner.ended_names.lock().unwrap_or_else(PoisonError::into_inner).push(name);
                inner.ended.notify_waiters();
            }
        });
        guard
    }

    /// Waits until a task ended although nobody stopped it, and gives its name.
    pub async fn ended(&self) -> Arc<str> {
        loop {
            let notified = self.inner.ended.notified();
            if let Some(name) = self
                .inner
                .ended_names
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .first()
            {
                return Arc::clone(name);
            }
            notified.await;
        }
    }

    /// Every task and what is known of it.
    #[must_use]
    pub fn statuses(&self) -> BTreeMap<Arc<str>, TaskStatus> {
        self.statuses_locked(|statuses| statuses.clone())
    }

    /// A token that is cancelled when the tasks are told to stop.
    #[must_use]
    pub fn stopping(&self) -> CancellationToken {
        self.inner.stop.clone()
    }

    /// Tells every task to stop and waits for all of them, for `grace` at most.
    pub async fn stop(&self, grace: Duration) {
        self.inner.stop.cancel();
        self.inner.tracker.close();
        if tokio::time::timeout(grace, self.inner.tracker.wait())
            .await
            .is_err()
        {
            tracing::warn!(
                left = self.inner.tracker.len(),
                "some tasks did not stop in time"
            );
        }
    }

    /// Records the end of a run, for tasks whose loop is their own.
    pub fn record(&self, name: &str, result: anyhow::Result<()>) {
        if let Err(error) = &result {
            tracing::warn!(task = %name, error = format!("{error:#}"), "task failed");
        }
        self.statuses_locked(|statuses| {
            let Some(status) = statuses.get_mut(name) else {
                return;
            };
            match result {
                Ok(()) => {
                    *status = TaskStatus {
                        last_success: Some(Timestamp::now()),
                        last_failure: status.last_failure,
                        ..TaskStatus::default()
                    };
                }
                Err(error) => {
                    status.last_failure = Some(Timestamp::now());
                    status.failures = status.failures.saturating_add(1);
                    status.error = Some(format!("{error:#}"));
                }
            }
        });
    }

    fn statuses_locked<T>(&self, with: impl FnOnce(&mut BTreeMap<Arc<str>, TaskStatus>) -> T) -> T {
        with(
            &mut self
                .inner
                .statuses
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }
}

impl Default for Tasks {
    fn default() -> Self {
        Self::new()
    }
}

impl Schedule {
    fn wait(&self, failures: u32) -> Duration {
        let base = match failures {
            0 => self.interval,
            _ => self
                .retry
                .saturating_mul(1_u32 << failures.min(16).saturating_sub(1))
                .min(self.interval),
        };
        base + base.mul_f64(fastrand::f64() / 10.0)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    fn schedule() -> Schedule {
        Schedule {
            interval: Duration::from_secs(60),
            timeout: Duration::from_secs(5),
            retry: Duration::from_secs(1),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_fails_or_panics_runs_again() {
        let tasks = Tasks::new();
        let runs = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&runs);
        let _guard = tasks.periodic("t", schedule(), Arc::default(), move || {
            let run = counted.fetch_add(1, Ordering::Relaxed);
            async move {
                match run {
                    0 => anyhow::bail!("not yet"),
                    1 => panic!("boom"),
                    _ => Ok(()),
                }
            }
        });
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_eq!(runs.load(Ordering::Relaxed), 3);
        let status = &tasks.statuses()["t"];
        assert!(status.last_success.is_some() && status.failures == 0 && status.error.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_nudge_runs_a_task_early_and_a_dropped_guard_stops_it() {
        let tasks = Tasks::new();
        let runs = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&runs);
        let nudge = Arc::new(Notify::new());
        let guard = tasks.periodic("t", schedule(), Arc::clone(&nudge), move || {
            counted.fetch_add(1, Ordering::Relaxed);
            async { Ok(()) }
        });
        tokio::time::sleep(Duration::from_secs(1)).await;
        nudge.notify_one();
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(runs.load(Ordering::Relaxed), 2);
        drop(guard);
        tokio::time::sleep(Duration::from_secs(600)).await;
        assert_eq!(runs.load(Ordering::Relaxed), 2);
        assert!(tasks.statuses().is_empty());
    }

    #[tokio::test]
    async fn blocking_work_gives_its_result_or_its_panic() {
        let tasks = Tasks::new();
        assert_eq!(tasks.blocking(|| 7).await.unwrap(), 7);
        assert!(tasks.blocking(|| panic!("boom")).await.is_err());
    }

    #[tokio::test]
    async fn a_streaming_task_that_ends_is_reported() {
        let tasks = Tasks::new();
        tasks.streaming("short", async {}).keep();
        assert_eq!(&*tasks.ended().await, "short");
    }
}
