//! What is revoked: tokens, sessions, subjects, clients, issuers and applications whose credentials
//! are refused although they hold.
//!
//! Looked at on every request, after the credential was verified, also where that was remembered.
//! Where nothing is revoked that costs one read of a number. Entries come from the admin API, from
//! logout tokens, from a file and from other replicas; [`keeper`] brings them here and keeps them.
//
// INVARIANT: a request takes no lock here. INVARIANT: an entry is never dropped to make room for
// another, nor before the last token that it is about has ended.

pub mod config;
pub mod document;
pub mod entry;
pub mod file;
mod index;
pub mod keeper;
pub mod shared;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;

use crate::authentication::credential::{CredentialPlace, Found};
use crate::authentication::principal::{Identity, Principal};
use crate::authentication::revocation::entry::{Entered, Entry, EntryId, Kind, key};
use crate::authentication::revocation::index::{Flags, Index};
use crate::authentication::workload::Workload;
use crate::authentication::{Authenticator, mtls};
use crate::check::decision::{Denial, Fault, FaultReason, Reason, Stop};
use crate::check::request::DownstreamRequest;
use crate::secret::{KeyedDigest, sha256};
use crate::spiffe::SpiffeId;
use crate::usage::CallerRecord;

/// Which part of all entries those of one issuer's logout tokens may be.
const LOGOUT_SHARE: usize = 4;

/// What is revoked. Clones share it.
#[derive(Debug, Clone)]
pub struct Revocations(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    index: Index,
    /// What is written, and what the admin API lists; no request takes it.
    entries: Mutex<Entries>,
    max_entries: usize,
}

#[derive(Debug, Default)]
struct Entries {
    by_id: BTreeMap<EntryId, Arc<Entry>>,
    of_kind: BTreeMap<Kind, usize>,
    of_any_subject: usize,
    /// Those that issuers entered by logout tokens, by issuer.
    of_logouts: BTreeMap<Arc<str>, usize>,
    /// Those that stand in a file of this replica, by file.
    files: BTreeMap<Arc<str>, BTreeSet<EntryId>>,
}

/// There are as many entries as there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    /// Of all.
    #[error(
        "there are as many entries as `revocation.maxEntries` allows: remove some, or allow more"
    )]
    All,
    /// Of those that one issuer entered by logout tokens: what it says must not keep others from it.
    #[error(
        "the issuer's logout tokens entered as many entries as one may, a quarter of `revocation.maxEntries`"
    )]
    OfIssuer,
}

/// What a file changed.
#[derive(Debug, Default)]
pub struct Changes {
    /// What is new, or says something else than before.
    pub added: Vec<Arc<Entry>>,
    /// What no longer stands in any file here.
    pub removed: Vec<EntryId>,
}

impl Revocations {
    /// Nothing is revoked. There may be so many entries.
    #[must_use]
    pub fn new(max_entries: usize) -> Self {
        Self(Arc::new(Inner {
            index: Index::new(),
            entries: Mutex::default(),
            max_entries,
        }))
    }

    /// Says whether what is revoked is known. As long as it is not, no credential is taken.
    pub fn set_known(&self, known: bool) {
        self.0.index.set_flag(Flags::UNKNOWN, !known);
    }

    /// Refuses `principal` where the credential is revoked by which `authenticator` verified it in
    /// `request`.
    ///
    /// # Errors
    /// `token_revoked`; a fault where what is revoked is not known yet.
    pub(super) fn check(
        &self,
        principal: &Principal<'_>,
        authenticator: &Authenticator,
        request: &DownstreamRequest,
    ) -> Result<(), Stop> {
        let flags = self.0.index.flags();
        if flags.is_empty() {
            return Ok(());
        }
        if flags.has(Flags::UNKNOWN) {
            return Err(unknown());
        }
        let identity = principal.identity();
        let kind = self
            .find(flags, identity)
            .or_else(|| self.find_token(flags, authenticator, request));
        kind.map_or(Ok(()), |kind| Err(refused(kind, principal).into()))
    }

    /// Refuses `workload`, whom no credential but its certificate names.
    ///
    /// # Errors
    /// `token_revoked`; a fault where what is revoked is not known yet.
    pub fn check_workload(&self, workload: &Workload<'_>) -> Result<(), Stop> {
        let flags = self.0.index.flags();
        if flags.is_empty() {
            return Ok(());
        }
        if flags.has(Flags::UNKNOWN) {
            return Err(unknown());
        }
        if self.find(flags, &mtls::identity_of(workload)).is_some() {
            let why = "the workload that calls, or its trust domain, is revoked";
            return Err(Denial::new(Reason::TokenRevoked, why).into());
        }
        Ok(())
    }

    /// Refuses the application called `id`, for which `principal` calls.
    ///
    /// # Errors
    /// `token_revoked`.
    pub fn check_application(&self, id: &str, principal: &Principal<'_>) -> Result<(), Denial> {
        if !self.0.index.flags().has(Flags::of(Kind::Application)) {
            return Ok(());
        }
        let key = key(Kind::Application, None, id.as_bytes());
        if self.0.index.refuses(key, issued(principal.identity())) {
            return Err(refused(Kind::Application, principal));
        }
        Ok(())
    }

    /// Why `identity` is refused, if it is.
    fn find(&self, flags: Flags, identity: &Identity) -> Option<Kind> {
        let refuses = |kind, issuer, value: &str| {
            flags.has(Flags::of(kind)) && {
                let key = key(kind, issuer, value.as_bytes());
                self.0.index.refuses(key, issued(identity))
            }
        };
        let subjects = || {
            // what is told apart by another claim has the one that its issuer knows it by, too
            let own = identity.claims.get("sub").and_then(Value::as_str);
            let named = identity.subject.as_deref();
            named
                .into_iter()
                .chain(own.filter(move |own| Some(*own) != named))
        };
        if flags.has(Flags::SUBJECT_OF_ANY)
            && subjects().any(|subject| refuses(Kind::Subject, None, subject))
        {
            return Some(Kind::Subject);
        }
        let issuer = Some(identity.issuer.as_deref()?);
        let claim = |kind, name: &str| {
            flags.has(Flags::of(kind))
                && identity.claims.get(name).is_some_and(|value| match value {
                    Value::String(text) => refuses(kind, issuer, text),
                    Value::Null
                    | Value::Bool(_)
                    | Value::Number(_)
                    | Value::Array(_)
                    | Value::Object(_) => refuses(kind, issuer, &value.to_string()),
                })
        };
        let is_refused = |kind: &Kind| match kind {
            Kind::Session => claim(Kind::Session, "sid"),
            Kind::Jti => claim(Kind::Jti, "jti"),
            Kind::Subject => subjects().any(|subject| refuses(Kind::Subject, issuer, subject)),
            Kind::Client => {
                let client = identity.client_id.as_deref();
                client.is_some_and(|client| refuses(Kind::Client, issuer, client))
            }
            Kind::Issuer => refuses(Kind::Issuer, issuer, ""),
            // looked for by the digest of the credential, and where the application is known
            Kind::Token | Kind::Application => false,
        };
        Kind::ALL.into_iter().find(is_refused)
    }

    /// Whether the token itself is revoked: its digest is made where any is revoked by it.
    fn find_token(
        &self,
        flags: Flags,
        authenticator: &Authenticator,
        request: &DownstreamRequest,
    ) -> Option<Kind> {
        if !flags.has(Flags::of(Kind::Token)) {
            return None;
        }
        let Found::One(credential) = CredentialPlace::find(authenticator.token_places()?, request)
        else {
            return None;
        };
        let token = credential.single()?;
        self.refuses_token(token).then_some(Kind::Token)
    }

    /// Whether all of `token` is revoked by its digest, or what its signature is over: that can be
    /// written in several ways that hold.
    fn refuses_token(&self, token: &str) -> bool {
        let mut texts = std::iter::once(token).chain(document::signed_part(token));
        texts.any(|text| {
            let digest = crate::secret::hexadecimal(&sha256(text.as_bytes()));
            let key = key(Kind::Token, None, digest.as_bytes());
            self.0.index.refuses(key, None)
        })
    }

    /// Adds `entry`, to what there is about the same thing; gives what holds then.
    ///
    /// # Errors
    /// Where it would be one too many.
    pub fn add(&self, entry: Entry) -> Result<Arc<Entry>, Full> {
        let mut entries = self.entries_locked();
        let is_known = entries.by_id.contains_key(&entry.id());
        if !is_known && entries.by_id.len() >= self.0.max_entries {
            return Err(Full::All);
        }
        if !is_known && !self.has_room_for_logout(&entries, &entry) {
            return Err(Full::OfIssuer);
        }
        Ok(self.insert(&mut entries, entry))
    }

    /// Whether the issuer of `entry` may enter another, where that is by a logout token.
    fn has_room_for_logout(&self, entries: &Entries, entry: &Entry) -> bool {
        let most = (self.0.max_entries / LOGOUT_SHARE).max(1);
        let issuer = entry.logged_out_by();
        let entered = issuer.and_then(|issuer| entries.of_logouts.get(issuer));
        entered.is_none_or(|entered| *entered < most)
    }

    /// Adds what another replica has accepted, whether or not there is room for it: to leave it out
    /// would be to take what is revoked.
    pub fn add_accepted(&self, entry: Entry) -> Arc<Entry> {
        self.insert(&mut self.entries_locked(), entry)
    }

    fn insert(&self, entries: &mut Entries, entry: Entry) -> Arc<Entry> {
        let id = entry.id();
        let before = entries.by_id.get(&id).cloned();
        let merged = before.as_ref().map(|before| before.merged(&entry));
        let entry = Arc::new(merged.unwrap_or(entry));
        if let Some(before) = before {
            self.count(entries, &before, false);
        }
        self.count(entries, &entry, true);
        entries.by_id.insert(id, Arc::clone(&entry));
        self.publish(entries, entry.about.key(), &entry);
        entry
    }

    /// Removes the entry called `id`.
    pub fn remove(&self, id: EntryId) -> Option<Arc<Entry>> {
        let mut entries = self.entries_locked();
        self.take(&mut entries, id)
    }

    fn take(&self, entries: &mut Entries, id: EntryId) -> Option<Arc<Entry>> {
        let entry = entries.by_id.remove(&id)?;
        self.count(entries, &entry, false);
        self.publish(entries, entry.about.key(), &entry);
        Some(entry)
    }

    /// Makes the entries of the file called `file` these, whole.
    ///
    /// # Errors
    /// Where there are more than there may be: nothing is changed then.
    pub fn replace_file(&self, file: &Arc<str>, entries: Vec<Entry>) -> Result<Changes, Full> {
        let mut now = self.entries_locked();
        let mut new: BTreeMap<EntryId, Entry> = BTreeMap::new();
        for entry in entries {
            let merged = new.get(&entry.id()).map(|known| known.merged(&entry));
            new.insert(entry.id(), merged.unwrap_or(entry));
        }
        let unknown = new.keys().filter(|id| !now.by_id.contains_key(id)).count();
        let ids: BTreeSet<EntryId> = new.keys().copied().collect();
        let before = now.files.get(file).cloned().unwrap_or_default();
        let in_others: BTreeSet<EntryId> = now
            .files
            .iter()
            .filter(|(name, _)| *name != file)
            .flat_map(|(_, ids)| ids.iter().copied())
            .collect();
        let gone: Vec<EntryId> = before
            .difference(&ids)
            .filter(|id| !in_others.contains(id))
            .copied()
            .collect();
        if (now.by_id.len() + unknown).saturating_sub(gone.len()) > self.0.max_entries {
            return Err(Full::All);
        }
        let mut changes = Changes::default();
        for (id, entry) in new {
            let known = now.by_id.get(&id).cloned();
            // what stands in this file alone is what it says now, also where that is less
            if before.contains(&id)
                && !in_others.contains(&id)
                && known
                    .as_ref()
                    .is_some_and(|known| !known.says_the_same(&entry))
            {
                self.take(&mut now, id);
            }
            let entry = self.insert(&mut now, entry);
            if known.is_none_or(|known| !known.says_the_same(&entry)) {
                changes.added.push(entry);
            }
        }
        for id in gone {
            if self.take(&mut now, id).is_some() {
                changes.removed.push(id);
            }
        }
        now.files.insert(Arc::clone(file), ids);
        Ok(changes)
    }

    /// Whether the entry called `id` stands in a file of this replica.
    #[must_use]
    pub fn is_in_file(&self, id: EntryId) -> bool {
        self.entries_locked()
            .files
            .values()
            .any(|ids| ids.contains(&id))
    }

    /// The entry called `id`.
    #[must_use]
    pub fn get(&self, id: EntryId) -> Option<Arc<Entry>> {
        self.entries_locked().by_id.get(&id).cloned()
    }

    /// How many there are, and some of them in the order of their ids.
    #[must_use]
    pub fn list(&self, offset: usize, limit: usize) -> (usize, Vec<Arc<Entry>>) {
        let entries = self.entries_locked();
        let listed = entries.by_id.values().skip(offset).take(limit);
        (entries.by_id.len(), listed.cloned().collect())
    }

    /// Up to `limit` of those whose ids come after `after`.
    #[must_use]
    pub fn after(&self, after: Option<EntryId>, limit: usize) -> Vec<Arc<Entry>> {
        use std::ops::Bound;
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let entries = self.entries_locked();
        entries
            .by_id
            .range((from, Bound::Unbounded))
            .take(limit)
            .map(|(_, entry)| Arc::clone(entry))
            .collect()
    }

    /// How many there are of each kind.
    pub fn counts(&self) -> impl Iterator<Item = (Kind, usize)> + use<> {
        let of_kind = self.entries_locked().of_kind.clone();
        Kind::ALL
            .into_iter()
            .map(move |kind| (kind, of_kind.get(&kind).copied().unwrap_or(0)))
    }

    /// Whether there is no room for another.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.entries_locked().by_id.len() >= self.0.max_entries
    }

    /// Forgets what is over at `now`, in seconds since 1970; gives which.
    pub fn sweep(&self, now: i64) -> Vec<EntryId> {
        let mut entries = self.entries_locked();
        let over = entries.by_id.iter().filter(|(_, entry)| entry.is_over(now));
        let over: Vec<EntryId> = over.map(|(id, _)| *id).collect();
        for id in &over {
            self.take(&mut entries, *id);
        }
        over
    }

    /// Lets requests see what is said about the thing that `entry` is about, by entries of both places.
    fn publish(&self, entries: &Entries, key: KeyedDigest, entry: &Entry) {
        let places = [Entered::Admin, Entered::File];
        let said = places
            .iter()
            .filter_map(|by| entries.by_id.get(&EntryId::new(&entry.about, *by)));
        self.0
            .index
            .set(key, said.map(|entry| entry.refuses_before()).max());
        self.publish_flags(entries);
    }

    fn publish_flags(&self, entries: &Entries) {
        for kind in Kind::ALL {
            let is_set = entries.of_kind.get(&kind).is_some_and(|count| *count > 0);
            self.0.index.set_flag(Flags::of(kind), is_set);
        }
        self.0
            .index
            .set_flag(Flags::SUBJECT_OF_ANY, entries.of_any_subject > 0);
    }

    #[expect(
        clippy::unused_self,
        reason = "one of the steps of a change, beside `publish`"
    )]
    fn count(&self, entries: &mut Entries, entry: &Entry, is_new: bool) {
        let count = entries.of_kind.entry(entry.about.kind).or_default();
        let any = entry.about.kind == Kind::Subject && entry.about.issuer.is_none();
        let step = |count: usize| {
            if is_new {
                count + 1
            } else {
                count.saturating_sub(1)
            }
        };
        *count = step(*count);
        if any {
            entries.of_any_subject = step(entries.of_any_subject);
        }
        if let Some(issuer) = entry.logged_out_by() {
            let count = entries.of_logouts.entry(Arc::clone(issuer)).or_default();
            *count = step(*count);
            if *count == 0 {
                entries.of_logouts.remove(issuer);
            }
        }
    }

    fn entries_locked(&self) -> MutexGuard<'_, Entries> {
        self.0
            .entries
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

fn unknown() -> Stop {
    let why = "what is revoked has not been read from redis yet";
    Fault::new(FaultReason::DependencyUnavailable, why).into()
}

/// When the credential was issued, in seconds since 1970, as far as it says so in a way that can be read.
fn issued(identity: &Identity) -> Option<i64> {
    let issued = identity.claims.get("iat")?.as_f64()?;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "whole seconds are meant, and what is out of range is cut to what is"
    )]
    let seconds = issued as i64;
    Some(seconds)
}

fn refused(kind: Kind, principal: &Principal<'_>) -> Denial {
    let detail = match kind {
        Kind::Token => "the token is revoked",
        Kind::Jti => "the token's `jti` is revoked",
        Kind::Subject => "tokens of the subject that were issued before a time are revoked",
        Kind::Client => "tokens of the client that were issued before a time are revoked",
        Kind::Session => "the session is over: its tokens are revoked",
        Kind::Issuer => "tokens of the issuer that were issued before a time are revoked",
        Kind::Application => "credentials of the application are revoked",
    };
    Denial::new(Reason::TokenRevoked, detail).with_caller(&CallerRecord {
        authenticator: Some(principal.authenticator()),
        subject: principal.identity().subject.as_deref(),
        source: principal.workload().map(SpiffeId::as_str),
        ..CallerRecord::default()
    })
}

#[cfg(test)]
mod tests;
