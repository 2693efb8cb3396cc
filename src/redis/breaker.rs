//! The circuit breaker of Redis: after failures in a row it is not asked, until a task has seen that
//! it answers again. The path only reads whether it is open.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

/// How many failures in a row open it.
const FAILURES: u32 = 5;
/// The pause before the server is asked again, which doubles each time that it fails soon after.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause.
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// After this long without opening, pauses begin anew.
const CALM: Duration = Duration::from_secs(10);

/// Whether Redis is asked.
#[derive(Debug)]
pub(super) struct Breaker {
    failures: AtomicU32,
    open: watch::Sender<bool>,
    history: Mutex<History>,
}

#[derive(Debug, Default)]
struct History {
    openings: u32,
    closed: Option<Instant>,
}

impl Breaker {
    pub(super) fn new() -> Self {
        Self {
            failures: AtomicU32::new(0),
            open: watch::Sender::new(false),
            history: Mutex::default(),
        }
    }

    /// Whether Redis is not to be asked now.
    pub(super) fn is_open(&self) -> bool {
        self.failures.load(Ordering::Relaxed) >= FAILURES
    }

    /// Tells whenever it opens or closes.
    pub(super) fn watch(&self) -> watch::Receiver<bool> {
        self.open.subscribe()
    }

    /// A call succeeded. One that began before the breaker opened does not close it.
    pub(super) fn succeeded(&self) {
        let failures = self.failures.load(Ordering::Relaxed);
        if failures != 0 && failures < FAILURES {
            // lost against another call that ends now, the next success does it
            let _ =
                self.failures
                    .compare_exchange(failures, 0, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// A call failed by the server's fault.
    pub(super) fn failed(&self) {
        let counted = |failures: u32| Some(failures.saturating_add(1));
        let before = self
            .failures
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, counted);
        if before == Ok(FAILURES - 1) {
            let mut history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
            let calm = history.closed.is_none_or(|closed| closed.elapsed() > CALM);
            history.openings = if calm { 1 } else { history.openings + 1 };
            self.open.send_replace(true);
            tracing::warn!("redis is not asked now, after {FAILURES} failures in a row");
        }
    }

    /// How long the server is left alone before it is asked to see.
    pub(super) fn pause(&self) -> Duration {
        let history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        backoff(history.openings.saturating_sub(1))
    }

    /// The server answers again.
    pub(super) fn close(&self) {
        let mut history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_open() {
            history.closed = Some(Instant::now());
            tracing::info!("redis is asked again");
        }
        self.failures.store(0, Ordering::Relaxed);
        self.open.send_replace(false);
    }
}

/// The wait after a failure that `before` others came before: it doubles, with up to half of it
/// more at random, so that replicas do not ask together.
pub(super) fn backoff(before: u32) -> Duration {
    let pause = FIRST_PAUSE
        .saturating_mul(1_u32 << before.min(16))
        .min(LONGEST_PAUSE);
    pause + pause.mul_f64(fastrand::f64() / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fail(breaker: &Breaker) {
        for _ in 0..FAILURES {
            breaker.failed();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn it_opens_after_failures_in_a_row_and_only_a_task_closes_it() {
        let breaker = Breaker::new();
        for _ in 0..100 {
            breaker.failed();
            breaker.failed();
            breaker.succeeded();
        }
        assert!(!breaker.is_open());
        fail(&breaker);
        assert!(breaker.is_open() && *breaker.watch().borrow());
        breaker.succeeded();
        assert!(breaker.is_open(), "a late success");
        breaker.close();
        assert!(!breaker.is_open() && !*breaker.watch().borrow());
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_while_it_opens_again_and_again() {
        let breaker = Breaker::new();
        for _ in 0..10 {
            fail(&breaker);
            breaker.close();
        }
        assert!(breaker.pause() >= LONGEST_PAUSE);
        tokio::time::advance(CALM * 2).await;
        fail(&breaker);
        assert!(breaker.pause() < FIRST_PAUSE * 2);
    }
}
