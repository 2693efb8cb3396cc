//! How soon after a look the next one may follow.
//!
//! Any event in a watched folder is a reason to look, also one of a file that is none of ours, such
//! as a log that is written there. Where looks find nothing new, the next one waits, longer each
//! time, up to a second; a change that comes after a rest is looked at at once.

use std::time::Duration;

use tokio::time::Instant;

/// The wait after the first look that found nothing; it doubles with each further one.
const FIRST: Duration = Duration::from_millis(50);
/// The longest wait.
const LONGEST: Duration = Duration::from_secs(1);

/// What the last looks found.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// How many in a row found nothing new.
    in_vain: u32,
    /// When the last one ended.
    ended: Option<Instant>,
}

impl Pace {
    /// How long a look that is asked for `now` has to wait.
    pub(super) fn wait(&self, now: Instant) -> Duration {
        let (Some(ended), Some(doublings)) = (self.ended, self.in_vain.checked_sub(1)) else {
            return Duration::ZERO;
        };
        let pause = FIRST.saturating_mul(1 << doublings.min(16)).min(LONGEST);
        (ended + pause).saturating_duration_since(now)
    }

    /// A look ended.
    pub(super) fn looked(&mut self, found_something: bool, now: Instant) {
        self.in_vain = if found_something {
            0
        } else {
            self.in_vain.saturating_add(1)
        };
        self.ended = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn looks_in_vain_come_ever_slower() {
        let (mut pace, mut now) = (Pace::default(), Instant::now());
        let waits = [0, 50, 100, 200, 400, 800, 1000, 1000];
        for wait in waits {
            assert_eq!(pace.wait(now), ms(wait));
            now += ms(wait) + ms(300);
            pace.looked(false, now);
        }
        for _ in 0..1000 {
            pace.looked(false, now);
        }
        assert_eq!(pace.wait(now), LONGEST);
    }

    #[test]
    fn a_change_after_a_rest_is_looked_at_at_once() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        for _ in 0..100 {
            pace.looked(false, now);
        }
        assert_eq!(pace.wait(now + ms(400)), ms(600));
        assert_eq!(pace.wait(now + ms(1000)), Duration::ZERO);
        assert_eq!(pace.wait(now + ms(60_000)), Duration::ZERO);
    }

    #[test]
    fn after_a_look_that_found_something_there_is_no_wait() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        for _ in 0..100 {
            pace.looked(false, now);
        }
        pace.looked(true, now);
        assert_eq!(pace.wait(now), Duration::ZERO);
        pace.looked(false, now);
        assert_eq!(pace.wait(now), FIRST);
    }
}
