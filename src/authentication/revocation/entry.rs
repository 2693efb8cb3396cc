//! What is revoked, and until when that must be known.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::catalog::model::ApplicationId;
use crate::secret::{KeyedDigest, hexadecimal, sha256};

/// How long a token may be taken beyond its `exp`: the greatest leeway of an authenticator. No entry
/// is forgotten before that.
pub const LEEWAY_SECONDS: i64 = 120;
/// The `until` of what is never forgotten, in seconds since 1970: the end of the year 9999.
pub const NEVER: i64 = 253_402_300_799;

/// What an entry is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Kind {
    /// One token, by the SHA-256 digest of all of it, or of its signed part.
    Token,
    /// One token, by its issuer and `jti`.
    Jti,
    /// The tokens of a subject, of one issuer or of any.
    Subject,
    /// The tokens of an OAuth client of an issuer.
    Client,
    /// The tokens of a session (`sid`) of an issuer.
    Session,
    /// All tokens of an issuer.
    Issuer,
    /// All credentials of an application of the catalog.
    Application,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 7] = [
        Self::Token,
        Self::Jti,
        Self::Subject,
        Self::Client,
        Self::Session,
        Self::Issuer,
        Self::Application,
    ];

    /// The name in documents, metrics and logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Jti => "jti",
            Self::Subject => "subject",
            Self::Client => "client",
            Self::Session => "session",
            Self::Issuer => "issuer",
            Self::Application => "application",
        }
    }

    /// Whether it is about one token, whenever that was issued.
    #[must_use]
    pub const fn is_one_token(self) -> bool {
        match self {
            Self::Token | Self::Jti => true,
            Self::Subject | Self::Client | Self::Session | Self::Issuer | Self::Application => {
                false
            }
        }
    }
}

/// Who or what is revoked.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct About {
    /// What it is.
    pub(super) kind: Kind,
    /// Whose it is, where it is an issuer's.
    pub(super) issuer: Option<Arc<str>>,
    /// Which it is: the digest of a token in hexadecimal digits, a `jti`, a subject, a client, a
    /// session, or the id of an application; empty for a whole issuer.
    pub(super) value: Arc<str>,
}

impl About {
    /// The session `sid` of an issuer.
    #[must_use]
    pub fn session(issuer: Arc<str>, sid: &str) -> Self {
        Self {
            kind: Kind::Session,
            issuer: Some(issuer),
            value: sid.into(),
        }
    }

    /// A subject of an issuer.
    #[must_use]
    pub fn subject(issuer: Arc<str>, subject: &str) -> Self {
        Self {
            kind: Kind::Subject,
            issuer: Some(issuer),
            value: subject.into(),
        }
    }

    /// The token whose bytes, or the bytes of whose signed part, have this digest.
    pub(super) fn token(digest: &[u8; 32]) -> Self {
        Self {
            kind: Kind::Token,
            issuer: None,
            value: hexadecimal(digest).into(),
        }
    }

    /// The application of this id; without a namespace, it is in `default`.
    pub(super) fn application(id: &str) -> Self {
        Self {
            kind: Kind::Application,
            issuer: None,
            value: Arc::clone(ApplicationId::parse(id).as_arc()),
        }
    }

    /// What kind of thing it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The key under which a request finds it.
    pub(super) fn key(&self) -> KeyedDigest {
        key(self.kind, self.issuer.as_deref(), self.value.as_bytes())
    }
}

/// The key under which a request finds what is revoked.
pub(super) fn key(kind: Kind, issuer: Option<&str>, value: &[u8]) -> KeyedDigest {
    let issuer = issuer.unwrap_or_default().as_bytes();
    KeyedDigest::of(&[kind.name().as_bytes(), issuer, value])
}

/// Who said that it is revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Entered {
    /// Somebody at the admin API.
    Admin,
    /// An issuer, by a logout token.
    Logout,
    /// A file.
    File,
}

impl Entered {
    /// The name in documents and logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Logout => "logout",
            Self::File => "file",
        }
    }
}

/// What an entry is called: a digest of what it is about, and of whether it stands in a file. The same
/// thing revoked twice is one entry.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EntryId([u8; 16]);

impl EntryId {
    /// The id of what `by` revoked.
    pub(super) fn new(about: &About, by: Entered) -> Self {
        let place = match by {
            Entered::Admin | Entered::Logout => "entered",
            Entered::File => "file",
        };
        let issuer = about.issuer.as_deref().unwrap_or_default();
        let parts = [place, about.kind.name(), issuer, &about.value];
        let mut digested = Vec::new();
        for part in parts {
            digested.extend(sha256(part.as_bytes()));
        }
        let mut id = [0; 16];
        id.copy_from_slice(sha256(&digested).first_chunk::<16>().unwrap_or(&[0; 16]));
        Self(id)
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hexadecimal(&self.0))
    }
}

impl fmt::Debug for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is no id of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an id has 32 hexadecimal digits")]
pub struct NoEntryId;

impl FromStr for EntryId {
    type Err = NoEntryId;

    fn from_str(text: &str) -> Result<Self, NoEntryId> {
        bytes_of_hexadecimal(text).map(Self).ok_or(NoEntryId)
    }
}

/// The bytes that `text` has in hexadecimal digits.
pub(super) fn bytes_of_hexadecimal<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * N || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, at) in bytes.iter_mut().zip((0..text.len()).step_by(2)) {
        *byte = u8::from_str_radix(text.get(at..at + 2)?, 16).ok()?;
    }
    Some(bytes)
}

/// That something is revoked. It is kept and told to other replicas in this form, of which a later
/// version may say more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// What is revoked.
    pub(super) about: About,
    /// Tokens that were issued before this time, in seconds since 1970, are refused; none for one
    /// token, which is refused whenever it was issued.
    pub(super) before: Option<i64>,
    /// When the last token that it is about has ended, in seconds since 1970.
    pub(super) until: i64,
    /// Why, for people.
    pub(super) note: Option<Arc<str>>,
    /// Who said so.
    pub(super) by: Entered,
    /// When that was, in seconds since 1970.
    pub(super) at: i64,
}

impl Entry {
    /// What it is called.
    #[must_use]
    pub fn id(&self) -> EntryId {
        EntryId::new(&self.about, self.by)
    }

    /// What is revoked.
    #[must_use]
    pub fn about(&self) -> &About {
        &self.about
    }

    /// Who said so.
    #[must_use]
    pub fn by(&self) -> Entered {
        self.by
    }

    /// The issuer that entered it by a logout token.
    pub(super) fn logged_out_by(&self) -> Option<&Arc<str>> {
        let issuer = self.about.issuer.as_ref();
        issuer.filter(|_| self.by == Entered::Logout)
    }

    /// Whether it was entered so late that a removal of what was entered before `at` is not of it.
    pub(super) fn is_entered_after(&self, at: i64) -> bool {
        // what a file said is in force as long as it stands in one
        self.by != Entered::File && self.at >= at
    }

    /// Tokens that were issued before this second are refused.
    pub(super) fn refuses_before(&self) -> i64 {
        match (self.about.kind.is_one_token(), self.before) {
            (false, Some(before)) => before,
            // where nothing says from when on tokens are good again, none is
            (true, _) | (false, None) => i64::MAX,
        }
    }

    /// Whether no token that it is about can be taken any more.
    pub(super) fn is_over(&self, now: i64) -> bool {
        self.until < NEVER && self.until.saturating_add(LEEWAY_SECONDS) < now
    }

    /// What both say: nothing that either refuses is taken, for as long as either says.
    pub(super) fn merged(&self, newer: &Self) -> Self {
        Self {
            before: match (self.before, newer.before) {
                (Some(one), Some(other)) => Some(one.max(other)),
                (None, _) | (_, None) => None,
            },
            until: self.until.max(newer.until),
            note: newer.note.clone().or_else(|| self.note.clone()),
            ..newer.clone()
        }
    }

    /// Whether it refuses the same for as long, for the same reason, whoever said so and when.
    pub(super) fn says_the_same(&self, other: &Self) -> bool {
        self.before == other.before && self.until == other.until && self.note == other.note
    }

    /// The entry for people: no token and nothing that could be used as one.
    #[must_use]
    pub fn view(&self) -> EntryView<'_> {
        let time = |seconds: i64| Timestamp::from_second(seconds).ok();
        EntryView {
            id: self.id().to_string(),
            kind: self.about.kind,
            value: &self.about.value,
            issuer: self.about.issuer.as_deref(),
            before: self.before.and_then(time),
            until: time(self.until).filter(|_| self.until < NEVER),
            note: self.note.as_deref(),
            by: self.by,
            at: time(self.at),
        }
    }
}

/// An entry as the admin API tells it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EntryView<'e> {
    id: String,
    kind: Kind,
    #[serde(skip_serializing_if = "str::is_empty")]
    value: &'e str,
    issuer: Option<&'e str>,
    before: Option<Timestamp>,
    /// None where it is never forgotten.
    until: Option<Timestamp>,
    note: Option<&'e str>,
    by: Entered,
    at: Option<Timestamp>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(before: Option<i64>, until: i64) -> Entry {
        Entry {
            about: About::subject("https://idp.example".into(), "alice"),
            before,
            until,
            note: None,
            by: Entered::Admin,
            at: 0,
        }
    }

    #[test]
    fn an_id_is_of_what_is_revoked_and_of_the_place_where_that_stands() {
        let one = entry(Some(1), 2);
        let mut again = entry(Some(7), 9);
        again.by = Entered::Logout;
        assert_eq!(one.id(), again.id());
        again.by = Entered::File;
        assert_ne!(one.id(), again.id());
        let id = one.id().to_string();
        assert_eq!(id.parse(), Ok(one.id()));
        for wrong in ["", "xyz", &id[1..], &format!("{id}0"), &"g".repeat(32)] {
            assert_eq!(wrong.parse::<EntryId>(), Err(NoEntryId), "{wrong}");
        }
    }

    #[test]
    fn merged_entries_refuse_all_that_either_does() {
        let merged = entry(Some(5), 100).merged(&entry(Some(3), 200));
        assert_eq!((merged.before, merged.until), (Some(5), 200));
        let merged = entry(None, 100).merged(&entry(Some(3), 50));
        assert_eq!((merged.before, merged.until), (None, 100));
        assert_eq!(merged.refuses_before(), i64::MAX);
    }

    #[test]
    fn what_is_entered_after_a_removal_is_not_removed_by_it() {
        let mut entry = entry(Some(1), 2);
        entry.at = 50;
        assert!(entry.is_entered_after(50) && !entry.is_entered_after(51));
        entry.by = Entered::File;
        assert!(!entry.is_entered_after(50));
    }

    #[test]
    fn an_entry_outlives_its_tokens_by_the_greatest_leeway() {
        let entry = entry(Some(1), 1000);
        assert!(!entry.is_over(1000) && !entry.is_over(1120) && entry.is_over(1121));
        let always = Entry {
            until: NEVER,
            ..entry
        };
        assert!(!always.is_over(i64::MAX));
    }
}
