//! The time of day, as the line reads it: the system's, or one that a test sets.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use jiff::Timestamp;

/// Where the line reads the time of day.
#[derive(Debug, Clone)]
pub struct Clock(Inner);

#[derive(Debug, Clone)]
enum Inner {
    System,
    Set(Arc<AtomicI64>),
}

impl Clock {
    /// The system's clock.
    #[must_use]
    pub fn system() -> Self {
        Self(Inner::System)
    }

    /// A clock that stands at `unix_seconds` until [`Clock::set`] moves it.
    #[must_use]
    pub fn at(unix_seconds: i64) -> Self {
        Self(Inner::Set(Arc::new(AtomicI64::new(unix_seconds))))
    }

    /// Moves a clock made by [`Clock::at`]; the system's clock is not touched.
    pub fn set(&self, unix_seconds: i64) {
        if let Inner::Set(seconds) = &self.0 {
            seconds.store(unix_seconds, Ordering::Relaxed);
        }
    }

    /// Now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Inner::System => Timestamp::now(),
            Inner::Set(seconds) => {
                Timestamp::from_second(seconds.load(Ordering::Relaxed)).unwrap_or(Timestamp::MAX)
            }
        }
    }

    /// Now, in whole seconds since 1970 (RFC 7519 section 2, NumericDate).
    #[must_use]
    pub fn unix_seconds(&self) -> i64 {
        self.now().as_second()
    }
}
