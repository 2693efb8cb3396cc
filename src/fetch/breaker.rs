//! The circuit breaker of one server: after failures in a row it is left alone for a while, then
//! asked once, to see.

use std::time::Duration;

use tokio::time::Instant;

use super::{FailureKind, FetchError};

/// How many failures in a row open it.
const FAILURES: u32 = 5;
/// The longest pause that a server can ask for.
const LONGEST_ASKED: Duration = Duration::from_secs(5 * 60);
const FIRST_PAUSE: Duration = Duration::from_secs(2);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// What is known of one server.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    failures: u32,
    until: Option<Instant>,
    /// Whether it is being asked, to see.
    probing: bool,
}

/// A pause in which a server is not asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pause {
    /// How many failures in a row led to it.
    pub failures: u32,
    /// How long it still lasts.
    pub left: Duration,
}

impl Breaker {
    /// Whether the server may be asked now; where it may, a flight has begun.
    pub(super) fn begin(&mut self, now: Instant) -> Result<(), FetchError> {
        let Some(until) = self.until else {
            return Ok(());
        };
        if now < until || self.probing {
            let mut error = FetchError::new(
                FailureKind::NotAsked,
                format!("not asked after {} failures in a row", self.failures.max(1)),
            );
            error.retry_after = Some(until.saturating_duration_since(now));
            return Err(error);
        }
        self.probing = true;
        Ok(())
    }

    /// A flight ended, with this error if any.
    pub(super) fn landed(&mut self, error: Option<&FetchError>, now: Instant) {
        self.probing = false;
        let broken = error.filter(|error| error.kind == FailureKind::Unavailable);
        let Some(error) = broken else {
            // whatever it said, the server answers; but a flight that began before a pause does not
            // end it
            let is_paused = self.until.is_some_and(|until| now < until);
            if !is_paused && error.is_none_or(|error| error.retry_after.is_none()) {
                *self = Self::default();
            }
            return;
        };
        self.failures = self.failures.saturating_add(1);
        let asked = error.retry_after.map(|asked| asked.min(LONGEST_ASKED));
        let ours = self.failures.checked_sub(FAILURES).map(|more| {
            FIRST_PAUSE
                .saturating_mul(1_u32 << more.min(16))
                .min(LONGEST_PAUSE)
        });
        let pause = asked.max(ours);
        self.until = pause.map(|pause| now + pause).max(self.until);
    }

    /// The pause that lasts now.
    pub(super) fn pause(&self, now: Instant) -> Option<Pause> {
        let left = self.until?.saturating_duration_since(now);
        (!left.is_zero() || self.probing).then_some(Pause {
            failures: self.failures,
            left,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(kind: FailureKind) -> FetchError {
        FetchError::new(kind, "no")
    }

    #[test]
    fn it_opens_after_failures_in_a_row_and_asks_once_to_see() {
        let mut breaker = Breaker::default();
        let now = Instant::now();
        for _ in 0..FAILURES {
            assert!(breaker.begin(now).is_ok());
            breaker.landed(Some(&failed(FailureKind::Unavailable)), now);
        }
        assert!(breaker.begin(now).is_err());
        assert_eq!(breaker.pause(now).unwrap().left, FIRST_PAUSE);
        let later = now + FIRST_PAUSE;
        assert!(breaker.begin(later).is_ok());
        assert!(breaker.begin(later).is_err(), "one at a time");
        breaker.landed(Some(&failed(FailureKind::Unavailable)), later);
        assert_eq!(breaker.pause(later).unwrap().left, FIRST_PAUSE * 2);
        let later = later + FIRST_PAUSE * 2;
        assert!(breaker.begin(later).is_ok());
        breaker.landed(None, later);
        assert!(breaker.begin(later).is_ok() && breaker.pause(later).is_none());
    }

    #[test]
    fn a_server_that_refuses_is_not_broken() {
        let mut breaker = Breaker::default();
        let now = Instant::now();
        for _ in 0..100 {
            breaker.landed(Some(&failed(FailureKind::Refused)), now);
        }
        assert!(breaker.begin(now).is_ok());
    }

    #[test]
    fn a_pause_that_the_server_asks_for_is_kept_and_bounded() {
        let mut breaker = Breaker::default();
        let now = Instant::now();
        let mut busy = failed(FailureKind::Unavailable);
        busy.retry_after = Some(Duration::from_secs(7));
        breaker.landed(Some(&busy), now);
        assert!(breaker.begin(now + Duration::from_secs(6)).is_err());
        assert!(breaker.begin(now + Duration::from_secs(7)).is_ok());
        busy.retry_after = Some(Duration::from_secs(86_400));
        breaker.landed(Some(&busy), now);
        assert_eq!(breaker.pause(now).unwrap().left, LONGEST_ASKED);
    }
    #[test]
    fn a_flight_that_began_before_a_pause_does_not_end_it() {
        let mut breaker = Breaker::default();
        let now = Instant::now();
        assert!(breaker.begin(now).is_ok() && breaker.begin(now).is_ok());
        let mut busy = failed(FailureKind::Unavailable);
        busy.retry_after = Some(Duration::from_secs(7));
        breaker.landed(Some(&busy), now);
        breaker.landed(None, now);
        assert!(breaker.begin(now + Duration::from_secs(6)).is_err());
        assert!(breaker.begin(now + Duration::from_secs(7)).is_ok());
        breaker.landed(None, now + Duration::from_secs(7));
        assert!(breaker.pause(now + Duration::from_secs(7)).is_none());
    }
}
