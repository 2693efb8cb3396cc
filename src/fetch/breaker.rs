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
    /// Until when it is left alone, by our own rule.
    until: Option<Instant>,
    /// Until when it asked to be left alone.
    asked: Option<Instant>,
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

/// Leave to ask a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leave {
    /// As every other.
    Usual,
    /// To see whether it answers again.
    Probe,
}

impl Breaker {
    /// Whether the server may be asked now; where it may, a flight has begun.
    pub(super) fn begin(&mut self, now: Instant) -> Result<Leave, FetchError> {
        let Some(until) = self.asked.max(self.until) else {
            return Ok(Leave::Usual);
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
        Ok(Leave::Probe)
    }

    /// A flight that began with `leave` ended, with this error if any.
    pub(super) fn landed(&mut self, leave: Leave, error: Option<&FetchError>, now: Instant) {
        if leave == Leave::Probe {
            self.probing = false;
        }
        let kind = error.map(|error| error.kind);
        match (kind, error) {
            // nobody was asked
            (Some(FailureKind::NotAsked), _) => {}
            (Some(FailureKind::Unavailable), Some(error)) => self.failed(error.retry_after, now),
            (Some(FailureKind::Unavailable), None) => self.failed(None, now),
            // whatever it said, the server answers; but a flight that began before a pause does not
            // end it
            (Some(FailureKind::Refused | FailureKind::Unusable) | None, _) => {
                if self.asked.max(self.until).is_none_or(|until| until <= now) {
                    *self = Self {
                        probing: self.probing,
                        ..Self::default()
                    };
                }
            }
        }
    }

    fn failed(&mut self, asked: Option<Duration>, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        let asked = asked.map(|asked| now + asked.min(LONGEST_ASKED));
        self.asked = asked.max(self.asked);
        let ours = self.failures.checked_sub(FAILURES).map(|more| {
            now + FIRST_PAUSE
                .saturating_mul(1_u32 << more.min(16))
                .min(LONGEST_PAUSE)
        });
        self.until = ours.max(self.until);
    }

    /// The pause that lasts now.
    pub(super) fn pause(&self, now: Instant) -> Option<Pause> {
        let until = self.asked.max(self.until)?;
        let left = until.saturating_duration_since(now);
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
            let leave = breaker.begin(now).unwrap();
            breaker.landed(leave, Some(&failed(FailureKind::Unavailable)), now);
        }
        assert!(breaker.begin(now).is_err());
        assert_eq!(breaker.pause(now).unwrap().left, FIRST_PAUSE);
        let later = now + FIRST_PAUSE;
        assert_eq!(breaker.begin(later).unwrap(), Leave::Probe);
        breaker.landed(Leave::Usual, Some(&failed(FailureKind::NotAsked)), later);
        assert!(breaker.begin(later).is_err(), "one at a time");
        breaker.landed(Leave::Probe, Some(&failed(FailureKind::Unavailable)), later);
        assert_eq!(breaker.pause(later).unwrap().left, FIRST_PAUSE * 2);
        let later = later + FIRST_PAUSE * 2;
        assert!(breaker.begin(later).is_ok());
        breaker.landed(Leave::Probe, None, later);
        assert!(breaker.begin(later).is_ok() && breaker.pause(later).is_none());
    }

    #[test]
    fn what_was_not_asked_says_nothing_of_the_server() {
        let mut breaker = Breaker::default();
        let now = Instant::now();
        for _ in 0..FAILURES {
            breaker.landed(Leave::Usual, Some(&failed(FailureKind::Unavailable)), now);
            breaker.landed(Leave::Usual, Some(&failed(FailureKind::NotAsked)), now);
        }
        assert!(breaker.begin(now).is_err());
    }

    #[test]
    fn a_server_that_refuses_is_not_broken() {
        let mut breaker = Breaker::default();
        let now = Instant::now();
        for _ in 0..100 {
            breaker.landed(Leave::Usual, Some(&failed(FailureKind::Refused)), now);
        }
        assert!(breaker.begin(now).is_ok());
    }

    #[test]
    fn a_pause_that_the_server_asks_for_is_kept_and_bounded() {
        let mut breaker = Breaker::default();
        let now = Instant::now();
        let mut busy = failed(FailureKind::Unavailable);
        busy.retry_after = Some(Duration::from_secs(7));
        breaker.landed(Leave::Usual, Some(&busy), now);
        breaker.landed(Leave::Usual, None, now);
        assert!(
            breaker.begin(now + Duration::from_secs(6)).is_err(),
            "it asked"
        );
        assert!(breaker.begin(now + Duration::from_secs(7)).is_ok());
        busy.retry_after = Some(Duration::from_secs(86_400));
        breaker.landed(Leave::Probe, Some(&busy), now);
        assert_eq!(breaker.pause(now).unwrap().left, LONGEST_ASKED);
    }

    #[test]
    fn a_flight_that_began_before_a_pause_does_not_end_it() {
        let mut breaker = Breaker::default();
        let now = Instant::now();
        assert!(breaker.begin(now).is_ok() && breaker.begin(now).is_ok());
        let mut busy = failed(FailureKind::Unavailable);
        busy.retry_after = Some(Duration::from_secs(7));
        breaker.landed(Leave::Usual, Some(&busy), now);
        breaker.landed(Leave::Usual, None, now);
        assert!(breaker.begin(now + Duration::from_secs(6)).is_err());
        assert!(breaker.begin(now + Duration::from_secs(7)).is_ok());
        breaker.landed(Leave::Probe, None, now + Duration::from_secs(7));
        assert!(breaker.pause(now + Duration::from_secs(7)).is_none());
    }
}
