//! Readiness that waits for our identity.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::readiness::{Latch, Readiness};

/// What `/readyz` says while there is no identity.
const REASON: &str = "workload_api: we have no SVID";

/// Holds readiness back while there is no identity.
#[derive(Debug)]
pub(super) struct Waiting {
    readiness: Readiness,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    is_insisted_on: bool,
    has_svid: bool,
    latch: Option<Latch>,
}

impl Waiting {
    pub(super) fn new(readiness: Readiness) -> Self {
        Self {
            readiness,
            state: Mutex::default(),
        }
    }

    /// Something waits for the first identity, for as long as the start may take.
    pub(super) fn begin(&self) {
        let mut state = self.locked();
        if !state.has_svid && state.latch.is_none() {
            state.latch = Some(self.readiness.hold(REASON));
        }
    }

    /// Something cannot do without.
    pub(super) fn insist(&self) {
        let mut state = self.locked();
        state.is_insisted_on = true;
        self.settle(&mut state);
    }

    /// Whether there is an identity now.
    pub(super) fn set(&self, has_svid: bool) {
        let mut state = self.locked();
        state.has_svid = has_svid;
        self.settle(&mut state);
    }

    fn settle(&self, state: &mut State) {
        if state.has_svid {
            state.latch = None;
        } else if state.is_insisted_on {
            // one that was for the start alone gives way, before the new one takes its reason
            state.latch = None;
            state.latch = Some(self.readiness.insist(REASON));
        }
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s2_readiness_waits_for_an_identity_that_is_insisted_on() {
        let readiness = Readiness::new();
        let waiting = Waiting::new(readiness.clone());
        let is_ready = || readiness.reasons().is_empty();
        waiting.begin();
        assert!(!is_ready());
        readiness.waive();
        assert!(is_ready(), "nothing insists on it");
        waiting.insist();
        readiness.waive();
        assert!(!is_ready());
        waiting.set(true);
        assert!(is_ready());
        waiting.set(false);
        assert!(!is_ready(), "it is over");
    }
}
