//! Brings entries into force, and keeps them beyond the process: the one way by which the admin API
//! and logout tokens revoke.
//
// INVARIANT: an entry is in force here before anything is written, and stays so where that fails.

use std::sync::Arc;

use crate::authentication::revocation::document::Reading;
use crate::authentication::revocation::entry::{About, Entered, Entry, EntryId, Kind, NEVER};
use crate::authentication::revocation::shared::SharedEntries;
use crate::authentication::revocation::{Full, Revocations};
use crate::clock::Clock;
use crate::config::value::HumanDuration;
use crate::redis::RedisUnavailable;
use crate::store::Store;
use crate::store::error::StoreError;
use crate::task::Tasks;
use crate::telemetry::metrics::Metrics;

/// Keeps what is revoked. Clones are the same one.
#[derive(Debug, Clone)]
pub struct Keeper(Arc<KeeperParts>);

/// What a [`Keeper`] is made of.
#[derive(Debug)]
pub struct KeeperParts {
    /// What requests read.
    pub revocations: Revocations,
    /// How other replicas are told.
    pub shared: Option<SharedEntries>,
    /// Where entries outlive the process.
    pub store: Option<Store>,
    /// How long entries are kept that do not say.
    pub keep: HumanDuration,
    /// Whether tokens are taken whose end nothing here bounds.
    pub is_open_ended: bool,
    /// The time of day.
    pub clock: Clock,
    /// Where files are written.
    pub tasks: Tasks,
    /// Where it is counted.
    pub metrics: Metrics,
}

/// Where an entry is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// In Redis: all replicas know.
    Redis,
    /// Not in Redis yet, which is away: it is written there when it is back.
    Pending,
    /// In the store.
    Store,
    /// In memory: the end of the process ends it.
    Memory,
}

impl Kept {
    /// The name in answers.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Redis => "redis",
            Self::Pending => "pending",
            Self::Store => "store",
            Self::Memory => "memory",
        }
    }
}

/// Why an entry is not kept.
#[derive(Debug, thiserror::Error)]
pub enum NotKept {
    /// There are too many.
    #[error(transparent)]
    Full(#[from] Full),
    /// It is in force, and the store does not have it.
    #[error("it is in force here until the process ends, and could not be kept: {0}")]
    Store(StoreError),
    /// The process ends.
    #[error("it is in force here; the process ends")]
    Ending,
}

/// Why an entry is not removed.
#[derive(Debug, thiserror::Error)]
pub enum NotRemoved {
    /// There is none.
    #[error("there is no such entry")]
    Missing,
    /// It stands in a file.
    #[error("it stands in a file: remove it there")]
    InFile,
    /// Redis still has it, so that it stays in force.
    #[error("it could not be removed from redis, and stays in force: {0}")]
    Shared(RedisUnavailable),
    /// The store still has it, so that it stays in force.
    #[error("it could not be removed, and stays in force: {0}")]
    Store(StoreError),
    /// The process ends.
    #[error("the process ends")]
    Ending,
}

impl Keeper {
    /// Keeps entries by these parts.
    #[must_use]
    pub fn new(parts: KeeperParts) -> Self {
        Self(Arc::new(parts))
    }

    /// What requests read.
    #[must_use]
    pub fn revocations(&self) -> &Revocations {
        &self.0.revocations
    }

    /// What entries are read with that `by` enters now.
    #[must_use]
    pub fn reading(&self, by: Entered) -> Reading {
        Reading {
            by,
            now: self.0.clock.unix_seconds(),
            keep: self.0.keep,
            is_open_ended: self.0.is_open_ended,
        }
    }

    /// That an issuer said in the second `issued` that something is over: a session with all its
    /// tokens, as there is no other of its name; of a subject, what was issued until now.
    #[must_use]
    pub fn logged_out(&self, about: About, issued: i64) -> Entry {
        let reading = self.reading(Entered::Logout);
        let (by, now) = (reading.by, reading.now);
        let keep = i64::try_from(reading.keep.0.as_secs()).unwrap_or(NEVER);
        // what was issued in the very second of the logout is over too, by whichever clock
        let last = issued.max(now).saturating_add(1);
        Entry {
            before: (about.kind() != Kind::Session).then_some(last),
            about,
            until: last.saturating_add(keep).min(NEVER),
            note: None,
            by,
            at: now,
        }
    }

    /// Brings `entry` into force and keeps it.
    ///
    /// # Errors
    /// Where there are too many, or it is in force but cannot be kept.
    pub async fn enter(&self, entry: Entry) -> Result<(Arc<Entry>, Kept), NotKept> {
        let entry = self.0.revocations.add(entry).inspect_err(|full| {
            self.0.metrics.revocation_refused();
            tracing::error!(error = %full, "what should be revoked is not");
        })?;
        tracing::info!(
            revocation.id = %entry.id(),
            revocation.kind = entry.about().kind().name(),
            revocation.by = entry.by().name(),
            "revoked"
        );
        let shared = match &self.0.shared {
            Some(shared) => Some(shared.put(&entry).await),
            None => None,
        };
        if let Some(Err(error)) = &shared {
            tracing::warn!(%error, "in force here; other replicas are told when redis is back");
        }
        let is_stored = self.store(&entry).await?;
        let kept = match (shared, is_stored) {
            (Some(Ok(())), _) => Kept::Redis,
            (Some(Err(_)), _) => Kept::Pending,
            (None, true) => Kept::Store,
            (None, false) => Kept::Memory,
        };
        Ok((entry, kept))
    }

    /// Writes the store, where there is one.
    async fn store(&self, entry: &Arc<Entry>) -> Result<bool, NotKept> {
        let Some(store) = self.0.store.clone() else {
            return Ok(false);
        };
        let kept = Arc::clone(entry);
        let put = self.0.tasks.blocking(move || store.put_revocation(&kept));
        match put.await {
            Ok(Ok(())) => Ok(true),
            Ok(Err(error)) => {
                tracing::error!(%error, "an entry is in force and could not be kept");
                Err(NotKept::Store(error))
            }
            Err(_) => Err(NotKept::Ending),
        }
    }

    /// Removes an entry: first where it is kept, so that it does not come back.
    ///
    /// # Errors
    /// Where there is none, it is a file's, or it cannot be removed.
    pub async fn remove(&self, id: EntryId) -> Result<Arc<Entry>, NotRemoved> {
        let revocations = &self.0.revocations;
        let entry = revocations.get(id).ok_or(NotRemoved::Missing)?;
        if revocations.is_in_file(id) {
            return Err(NotRemoved::InFile);
        }
        if let Some(shared) = &self.0.shared {
            shared.remove(&entry).await.map_err(NotRemoved::Shared)?;
            tracing::info!(revocation.id = %id, "no longer revoked");
            return Ok(entry);
        }
        self.forget(vec![id]).await?;
        let removed = revocations.remove(id).unwrap_or(entry);
        tracing::info!(revocation.id = %id, "no longer revoked");
        Ok(removed)
    }

    async fn forget(&self, ids: Vec<EntryId>) -> Result<(), NotRemoved> {
        let Some(store) = self.0.store.clone() else {
            return Ok(());
        };
        let removed = self
            .0
            .tasks
            .blocking(move || store.remove_revocations(&ids));
        match removed.await {
            Ok(removed) => removed.map_err(NotRemoved::Store),
            Err(_) => Err(NotRemoved::Ending),
        }
    }

    /// Forgets what is over.
    ///
    /// # Errors
    /// Where the store cannot be written; it is tried again with what is over next, and at the start.
    pub async fn sweep(&self) -> anyhow::Result<()> {
        let over = self.0.revocations.sweep(self.0.clock.unix_seconds());
        if !over.is_empty() {
            tracing::debug!(entries = over.len(), "what was revoked has ended by itself");
            if let Some(shared) = &self.0.shared {
                shared.forget(&over).await;
            }
            self.forget(over).await?;
        }
        Ok(())
    }
}

/// Lets what `store` held when it was opened be in force.
pub fn load(revocations: &Revocations, store: &Store) {
    for entry in store.take_revocations() {
        // what was accepted once stays in force, whatever the configuration allows now
        revocations.add_accepted(entry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_logout_ends_a_session_for_good_and_a_subject_until_now_by_either_clock() {
        let keeper = Keeper::new(KeeperParts {
            revocations: Revocations::new(10),
            shared: None,
            store: None,
            keep: HumanDuration(std::time::Duration::from_secs(3600)),
            is_open_ended: false,
            clock: Clock::at(1000),
            tasks: Tasks::new(),
            metrics: Metrics::new(jiff::Timestamp::UNIX_EPOCH),
        });
        let session = keeper.logged_out(About::session("i".into(), "s"), 990);
        assert_eq!((session.before, session.until), (None, 1001 + 3600));
        let subject = |issued| {
            let entry = keeper.logged_out(About::subject("i".into(), "s"), issued);
            (entry.before, entry.until)
        };
        assert_eq!(subject(990), (Some(1001), 1001 + 3600));
        assert_eq!(subject(1005), (Some(1006), 1006 + 3600));
    }
}
