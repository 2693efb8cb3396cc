//! Whether the process may be sent checks: latches that parts of it hold until they are ready.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use crate::shutdown::SHUTTING_DOWN;

/// The reasons why the process is not ready; ready without any.
#[derive(Debug, Clone)]
pub struct Readiness {
    reasons: Arc<Mutex<BTreeMap<Arc<str>, Hold>>>,
    ready: watch::Sender<bool>,
}

/// How long a reason holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hold {
    /// Until the time allowed for the start is over, at most.
    ForTheStart,
    /// Until it is gone.
    Always,
}

/// Holds readiness back until it is dropped or released.
#[derive(Debug)]
pub struct Latch {
    readiness: Readiness,
    reason: Arc<str>,
}

impl Readiness {
    /// Ready, until something holds it back.
    #[must_use]
    pub fn new() -> Self {
        Self {
            reasons: Arc::default(),
            ready: watch::Sender::new(true),
        }
    }

    /// Holds readiness back for `reason`, which is shown in `/readyz`.
    #[must_use]
    pub fn hold(&self, reason: impl Into<Arc<str>>) -> Latch {
        self.hold_for(reason.into(), Hold::ForTheStart)
    }

    /// Holds readiness back for `reason` until that is gone, however long it takes.
    #[must_use]
    pub fn insist(&self, reason: impl Into<Arc<str>>) -> Latch {
        self.hold_for(reason.into(), Hold::Always)
    }

    fn hold_for(&self, reason: Arc<str>, hold: Hold) -> Latch {
        self.change(|reasons| {
            reasons.insert(Arc::clone(&reason), hold);
        });
        Latch {
            readiness: self.clone(),
            reason,
        }
    }

    /// Stops waiting for what holds it back now: the time allowed for the start is over.
    pub fn waive(&self) {
        self.change(|reasons| {
            reasons.retain(|reason, hold| {
                let stays = *hold == Hold::Always || **reason == *SHUTTING_DOWN;
                if !stays {
                    tracing::warn!(%reason, "not tried in time; ready without it");
                }
                stays
            });
        });
    }

    /// The reasons why it is not ready.
    #[must_use]
    pub fn reasons(&self) -> Vec<Arc<str>> {
        self.reasons
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .keys()
            .cloned()
            .collect()
    }

    /// Whether nothing holds it back, now and with each change.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<bool> {
        self.ready.subscribe()
    }

    fn change(&self, change: impl FnOnce(&mut BTreeMap<Arc<str>, Hold>)) {
        let mut reasons = self.reasons.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut reasons);
        let ready = reasons.is_empty();
        self.ready
            .send_if_modified(|current| std::mem::replace(current, ready) != ready);
    }
}

impl Default for Readiness {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Latch {
    fn drop(&mut self) {
        self.readiness.change(|reasons| {
            reasons.remove(&self.reason);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_ready_when_the_last_latch_is_gone() {
        let readiness = Readiness::new();
        let watch = readiness.watch();
        let (keys, catalog) = (readiness.hold("keys"), readiness.hold("catalog"));
        assert_eq!(readiness.reasons().len(), 2);
        drop(keys);
        assert!(!*watch.borrow());
        drop(catalog);
        assert!(*watch.borrow() && readiness.reasons().is_empty());
    }

    #[test]
    fn what_is_insisted_on_is_not_waived() {
        let readiness = Readiness::new();
        let (_keys, revoked) = (readiness.hold("keys"), readiness.insist("revoked"));
        readiness.waive();
        assert_eq!(readiness.reasons(), [Arc::from("revoked")]);
        drop(revoked);
        assert!(readiness.reasons().is_empty());
    }
}
