//! Who may ask for a fetch, and when: one for unknown keys in each cool-down, shared by all.

use std::time::Duration;

use tokio::time::Instant;

/// What has been asked for. Fetches are numbered in the order in which they start, from 1.
#[derive(Debug)]
pub(super) struct Asking {
    cooldown: Duration,
    started: u64,
    finished: u64,
    /// The fetch that was last asked for, and when.
    asked: Option<(u64, Instant)>,
    /// Whether a fetch is to be made at the end of the cool-down.
    deferred: bool,
}

/// What a request that asked may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// Wait for a fetch to end.
    Wait {
        /// Which.
        fetch: u64,
        /// Whether the task has to be told.
        wake: bool,
    },
    /// Take what the last fetch gave; another follows at the end of the cool-down.
    Later {
        /// Whether the task has to be told.
        wake: bool,
    },
}

impl Asking {
    pub(super) fn new(cooldown: Duration) -> Self {
        Self {
            cooldown,
            started: 0,
            finished: 0,
            asked: None,
            deferred: false,
        }
    }

    /// Asks for a fetch that begins after `now`.
    pub(super) fn ask(&mut self, now: Instant) -> Answer {
        match self.asked {
            Some((fetch, _)) if self.finished < fetch => Answer::Wait { fetch, wake: false },
            Some((_, at)) if self.deferred || now < at + self.cooldown => {
                let wake = !std::mem::replace(&mut self.deferred, true);
                Answer::Later { wake }
            }
            Some(_) | None => {
                let fetch = self.started + 1;
                self.asked = Some((fetch, now));
                Answer::Wait { fetch, wake: true }
            }
        }
    }

    /// How long the task has to wait before it fetches what was deferred.
    pub(super) fn wait(&self, now: Instant) -> Option<Duration> {
        let (_, at) = self.asked.filter(|_| self.deferred)?;
        Some((at + self.cooldown).saturating_duration_since(now))
    }

    /// A fetch begins; its number.
    pub(super) fn start(&mut self, now: Instant) -> u64 {
        self.started += 1;
        if std::mem::take(&mut self.deferred) {
            self.asked = Some((self.started, now));
        }
        self.started
    }

    /// A fetch ended.
    pub(super) fn finished(&mut self, fetch: u64) {
        self.finished = fetch;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_fetch_in_each_cooldown_is_shared_by_all() {
        let mut asking = Asking::new(Duration::from_secs(10));
        let begin = Instant::now();
        let wait = |fetch, wake| Answer::Wait { fetch, wake };
        assert_eq!(asking.start(begin), 1);
        // one under way was begun too early: the next is what counts
        assert_eq!(asking.ask(begin), wait(2, true));
        asking.finished(1);
        assert_eq!(asking.ask(begin), wait(2, false));
        assert_eq!(asking.start(begin), 2);
        asking.finished(2);
        let soon = begin + Duration::from_secs(4);
        assert_eq!(asking.ask(soon), Answer::Later { wake: true });
        assert_eq!(asking.ask(soon), Answer::Later { wake: false });
        assert_eq!(asking.wait(soon), Some(Duration::from_secs(6)));
        let end = begin + Duration::from_secs(10);
        assert_eq!(asking.wait(end), Some(Duration::ZERO));
        assert_eq!(asking.start(end), 3);
        // who asks while it is under way shares it, and it began a cool-down of its own
        assert_eq!(asking.ask(end), wait(3, false));
        asking.finished(3);
        assert_eq!(asking.ask(end), Answer::Later { wake: true });
        let after = end + Duration::from_secs(11);
        asking.start(after);
        asking.finished(4);
        assert_eq!(asking.ask(after + Duration::from_secs(11)), wait(5, true));
    }
}
