//! How the process ends: not ready, a delay in which Envoy learns it, GOAWAY, the checks that are
//! under way, the decision log, the tasks.

use std::future::Future;
use std::io;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::authorization::quota::Quota;
use crate::readiness::Readiness;
use crate::task::Tasks;
use crate::usage::Recorder;

/// The reason that `/readyz` shows while the process ends.
pub const SHUTTING_DOWN: &str = "shutting down";

/// How long tasks may take after everything else has ended.
const TASK_GRACE: Duration = Duration::from_secs(1);
/// How long the decision log may take for what is queued.
const FLUSH_GRACE: Duration = Duration::from_secs(5);

/// How long shares of limits may take to be given back.
const GIVE_BACK_GRACE: Duration = Duration::from_secs(1);

/// The signals that the process takes: those that end it, and SIGHUP.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    /// Takes SIGTERM, SIGINT and SIGHUP from now on.
    ///
    /// # Errors
    /// Where the system does not give them.
    pub fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for the next one that ends the process and gives its name. Until then, each SIGHUP
    /// asks for a look at all files, as those who know other servers expect.
    pub async fn next(&mut self, reload: &Notify) -> &'static str {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return "SIGTERM",
                _ = self.interrupt.recv() => return "SIGINT",
                _ = self.hangup.recv() => {
                    tracing::info!(signal = "SIGHUP", "looking at all files");
                    reload.notify_one();
                }
            }
        }
    }
}

/// The servers that are waited for when the process ends.
#[derive(Debug, Clone, Default)]
pub struct Servers {
    stop: CancellationToken,
    running: TaskTracker,
}

impl Servers {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Cancelled when servers are to take nothing more and finish what is under way.
    #[must_use]
    pub fn stop(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Runs `server` as the task `listener/<name>`. One that ends before it is told to ends the process.
    pub fn run(
        &self,
        tasks: &Tasks,
        name: &str,
        server: impl Future<Output = anyhow::Result<()>> + Send + 'static,
    ) {
        let running = self.running.token();
        let stop = self.stop.clone();
        let listener = name.to_owned();
        let task = async move {
            let result = server.await;
            drop(running);
            if let Err(error) = result {
                tracing::error!(listener, error = format!("{error:#}"), "listener ended");
            }
            if stop.is_cancelled() {
                // a task that returns counts as failed; this one has done what it was to do
                std::future::pending::<()>().await;
            }
        };
        tasks.streaming(&format!("listener/{name}"), task).keep();
    }

    /// Tells every server to stop and waits until each has; whether they all did within `grace`.
    pub async fn finish(&self, grace: Duration) -> bool {
        self.stop.cancel();
        self.running.close();
        let finished = tokio::time::timeout(grace, self.running.wait()).await;
        finished.is_ok()
    }
}

/// What takes part in the end of the process.
#[derive(Debug)]
pub struct Shutdown {
    /// Says that it is over.
    pub readiness: Readiness,
    /// Finish what is under way.
    pub servers: Servers,
    /// Is written to its end.
    pub recorder: Recorder,
    /// Gives back what was taken ahead.
    pub quota: Quota,
    /// Stop last.
    pub tasks: Tasks,
    /// How long checks are still answered after the process has said that it is not ready, so that
    /// Envoy sends them elsewhere before its connections are told to end.
    pub drain_delay: Duration,
    /// How long checks that are under way may take after that.
    pub grace: Duration,
}

impl Shutdown {
    /// Ends everything in order. To end at once, stop waiting for it.
    pub async fn run(self) {
        let _not_ready = self.readiness.hold(SHUTTING_DOWN);
        tracing::info!(delay = ?self.drain_delay, "draining");
        tokio::time::sleep(self.drain_delay).await;
        if !self.servers.finish(self.grace).await {
            tracing::warn!(grace = ?self.grace, "some connections did not end in time");
        }
        self.recorder.flush(FLUSH_GRACE).await;
        // what does not come back in time comes back by itself, or is lost
        let given = tokio::time::timeout(GIVE_BACK_GRACE, self.quota.store().close());
        let _ = given.await;
        self.tasks.stop(TASK_GRACE).await;
        tracing::info!("stopped");
    }
}
