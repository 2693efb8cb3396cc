//! What is revoked as people write it, in a file or to the admin API, read strictly.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use crate::authentication::revocation::entry::{
    About, Entered, Entry, Kind, LEEWAY_SECONDS, NEVER, bytes_of_hexadecimal,
};
use crate::config::value::HumanDuration;
use crate::secret::sha256;
use crate::spiffe::SpiffeId;
use crate::spiffe::config::Mesh;

/// The longest text that names someone, in bytes.
const MAX_NAME_BYTES: usize = 1024;
/// The longest note, in bytes.
const MAX_NOTE_BYTES: usize = 512;
/// The longest token, in bytes.
const MAX_TOKEN_BYTES: usize = 16 * 1024;

/// One entry, as it is written. What does not stand there has a value that follows from the rest.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EntryDocument {
    /// What is revoked.
    pub kind: Kind,
    /// Which one.
    #[serde(default)]
    pub value: Option<String>,
    /// The token itself in place of its digest; for the admin API alone.
    #[serde(default)]
    pub token: Option<String>,
    /// Whose it is.
    #[serde(default)]
    pub issuer: Option<String>,
    /// From when on tokens are good again.
    #[serde(default)]
    pub before: Option<Timestamp>,
    /// When the last of the tokens ends.
    #[serde(default)]
    pub until: Option<Timestamp>,
    /// Why, for people.
    #[serde(default)]
    pub note: Option<String>,
}

/// What an entry is read with.
#[derive(Debug, Clone, Copy)]
pub struct Reading {
    /// Who says it.
    pub by: Entered,
    /// Now, in whole seconds since 1970.
    pub now: i64,
    /// The longest that a token lasts.
    pub keep: HumanDuration,
    /// Whether tokens are taken that may last longer, as nothing here bounds how long they do.
    pub is_open_ended: bool,
}

/// Why an entry is none: where, and what is wrong. It never holds a value of the entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {why}")]
pub struct Wrong {
    /// The key.
    pub place: &'static str,
    /// What is wrong.
    pub why: &'static str,
}

fn wrong<T>(place: &'static str, why: &'static str) -> Result<T, Wrong> {
    Err(Wrong { place, why })
}

impl std::fmt::Debug for EntryDocument {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EntryDocument")
            .field("kind", &self.kind)
            .field("issuer", &self.issuer)
            .finish_non_exhaustive()
    }
}

impl EntryDocument {
    /// The entry. Workloads of `mesh` are in it by the one name that requests look for.
    ///
    /// # Errors
    /// What is wrong first.
    pub fn read(self, reading: &Reading, mesh: &Mesh) -> Result<Entry, Wrong> {
        let (about, expires) = self.about(reading)?;
        check_names(&about, mesh)?;
        let before = self.read_before(reading)?;
        let until = self.read_until(reading, before, expires)?;
        if let Some(note) = &self.note
            && (note.len() > MAX_NOTE_BYTES || note.chars().any(char::is_control))
        {
            return wrong("note", "is longer than 512 bytes or has control characters");
        }
        Ok(Entry {
            about,
            before,
            until,
            note: self.note.map(Into::into),
            by: reading.by,
            at: reading.now,
        })
    }

    /// What it is about, and when that ends where the token says so.
    fn about(&self, reading: &Reading) -> Result<(About, Option<i64>), Wrong> {
        let issuer = match (self.kind, &self.issuer) {
            (Kind::Token | Kind::Application, Some(_)) => {
                return wrong("issuer", "is not for this kind");
            }
            (Kind::Token | Kind::Application | Kind::Subject, None) => None,
            (Kind::Jti | Kind::Client | Kind::Session | Kind::Issuer, None) => {
                return wrong("issuer", "is needed");
            }
            (
                Kind::Jti | Kind::Subject | Kind::Client | Kind::Session | Kind::Issuer,
                Some(issuer),
            ) => Some(name("issuer", issuer)?),
        };
        if let Some(token) = &self.token {
            return self.whole_token(token, reading);
        }
        let value = match (self.kind, &self.value) {
            (Kind::Issuer, None) => "",
            (Kind::Issuer, Some(_)) => {
                return wrong("value", "is not for this kind: all tokens of the issuer");
            }
            (_, None) => return wrong("value", "is needed"),
            (_, Some(value)) => name("value", value)?,
        };
        let about = match self.kind {
            Kind::Token => About::token(&digest(value)?),
            Kind::Application => About::application(value),
            Kind::Jti | Kind::Subject | Kind::Client | Kind::Session | Kind::Issuer => About {
                kind: self.kind,
                issuer: issuer.map(Into::into),
                value: value.into(),
            },
        };
        Ok((about, None))
    }

    fn whole_token(&self, token: &str, reading: &Reading) -> Result<(About, Option<i64>), Wrong> {
        match (self.kind, reading.by) {
            (Kind::Token, Entered::Admin) if self.value.is_none() => {}
            (Kind::Token, Entered::Admin) => return wrong("token", "give `token` or `value`"),
            (Kind::Token, Entered::File | Entered::Logout) => {
                return wrong(
                    "token",
                    "no token stands in a file: write its digest as `value`",
                );
            }
            (
                Kind::Jti
                | Kind::Subject
                | Kind::Client
                | Kind::Session
                | Kind::Issuer
                | Kind::Application,
                _,
            ) => return wrong("token", "is for kind `token` alone"),
        }
        if token.is_empty() || token.len() > MAX_TOKEN_BYTES {
            return wrong("token", "is empty or longer than a token may be");
        }
        let told_apart_by = signed_part(token).unwrap_or(token);
        Ok((
            About::token(&sha256(told_apart_by.as_bytes())),
            unverified_expiry(token),
        ))
    }

    /// Seconds since 1970; a fraction of a second is rounded up, so that what was issued within that
    /// second is refused.
    fn read_before(&self, reading: &Reading) -> Result<Option<i64>, Wrong> {
        match (self.kind.is_one_token(), self.before, reading.by) {
            (true, Some(_), _) => wrong(
                "before",
                "is not for one token: it is refused whenever it was issued",
            ),
            (true, None, _) => Ok(None),
            (false, None, Entered::File) => wrong(
                "before",
                "is needed in a file, which is read again and again: the time of the revocation",
            ),
            (false, None, Entered::Admin | Entered::Logout) => {
                Ok(Some(reading.now.saturating_add(1)))
            }
            (false, Some(before), _) => {
                let before = before
                    .as_second()
                    .saturating_add(i64::from(before.subsec_nanosecond() > 0));
                if before > reading.now.saturating_add(LEEWAY_SECONDS) {
                    return wrong("before", "lies in the future");
                }
                Ok(Some(before))
            }
        }
    }

    fn read_until(
        &self,
        reading: &Reading,
        before: Option<i64>,
        expires: Option<i64>,
    ) -> Result<i64, Wrong> {
        let keep = i64::try_from(reading.keep.0.as_secs()).unwrap_or(NEVER);
        let given = self.until.map(|until| until.as_second().saturating_add(1));
        let until = match (self.kind, given, expires) {
            // its API keys do not end, and would be good again with the end of the entry
            (Kind::Application, None, _) => NEVER,
            (Kind::Token | Kind::Jti, None, None) if reading.by == Entered::File => {
                return wrong("until", "is needed: the token's `exp`");
            }
            // a server says which are active, and those need not end within `keep`, nor at all
            (Kind::Token | Kind::Jti, None, None) if reading.is_open_ended => NEVER,
            (_, Some(given), Some(expires)) => given.max(expires),
            (_, Some(given), None) => given,
            (_, None, Some(expires)) => expires,
            (_, None, None) => before.unwrap_or(reading.now).saturating_add(keep),
        };
        let least = before.map(|before| before.saturating_add(keep));
        if self.kind != Kind::Application && least.is_some_and(|least| until < least) {
            return wrong(
                "until",
                "is before the end of tokens that are issued at `before`: at least `before` and `revocation.keep`",
            );
        }
        Ok(until.min(NEVER))
    }
}

/// A text that names someone, as those of tokens do.
fn name<'t>(place: &'static str, text: &'t str) -> Result<&'t str, Wrong> {
    if text.is_empty() || text.len() > MAX_NAME_BYTES || text.chars().any(char::is_control) {
        return wrong(place, "is empty, too long, or has control characters");
    }
    Ok(text)
}

/// Refuses other names of what `about` says than the one that requests look for: such an entry would
/// be in force and refuse nobody. What another issuer calls its subjects is that issuer's.
fn check_names(about: &About, mesh: &Mesh) -> Result<(), Wrong> {
    if let Some(issuer) = about.issuer.as_deref().filter(|name| is_spiffe(name)) {
        let name = SpiffeId::parse(issuer).ok();
        let name = name.filter(|name| name.path().is_empty());
        if name.is_none_or(|name| mesh.canonical(name).as_str() != issuer) {
            return wrong(
                "issuer",
                "is no trust domain as workloads have it: `spiffe://`, lower case, and the mesh's own by its first name, `spiffe.trustDomain`",
            );
        }
    }
    let is_workload = about.kind == Kind::Subject
        && is_spiffe(&about.value)
        && about.issuer.as_deref().is_none_or(is_spiffe);
    if is_workload {
        let id = SpiffeId::parse(&about.value).ok();
        let id = id.filter(|id| !id.path().is_empty());
        if id.is_none_or(|id| mesh.canonical(id).as_str() != &*about.value) {
            return wrong(
                "value",
                "is no SPIFFE ID as workloads have it: its trust domain in lower case, and the mesh's own by its first name, `spiffe.trustDomain`; for the subject of another kind of token, name its `issuer`",
            );
        }
    }
    Ok(())
}

/// Whether `name` is meant as SPIFFE's.
fn is_spiffe(name: &str) -> bool {
    let scheme = name.split_once(':').map_or("", |(scheme, _)| scheme);
    scheme.eq_ignore_ascii_case("spiffe")
}

/// A SHA-256 digest in hexadecimal digits, with or without `sha256:`, or in base64url.
fn digest(text: &str) -> Result<[u8; 32], Wrong> {
    let digits = text.strip_prefix("sha256:").unwrap_or(text);
    if let Some(digest) = bytes_of_hexadecimal(digits) {
        return Ok(digest);
    }
    let decoded = URL_SAFE_NO_PAD.decode(text).ok();
    let digest = decoded.and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
    digest.map_or_else(
        || {
            wrong(
                "value",
                "is no SHA-256 digest of a token, in 64 hexadecimal digits or in base64url",
            )
        },
        Ok,
    )
}

/// What the signature of a JSON Web Token is over. Whoever has the token can write its signature
/// in another way that holds too, so that a digest of the whole does not find it again.
pub(super) fn signed_part(token: &str) -> Option<&str> {
    let (signed, _signature) = token.rsplit_once('.')?;
    let (header, claims) = signed.split_once('.')?;
    if claims.contains('.') {
        return None;
    }
    // opaque tokens may have dots too, and theirs are not parts with a meaning
    let header = URL_SAFE_NO_PAD.decode(header).ok()?;
    header
        .trim_ascii_start()
        .starts_with(b"{")
        .then_some(signed)
}

/// When `token` says that it ends, where it says that. Believed for no more than how long its own
/// revocation is kept: one that lies about it is no token of anybody.
fn unverified_expiry(token: &str) -> Option<i64> {
    let claims = token.split('.').nth(1)?;
    let claims = crate::json::parse_object(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()?;
    let expires = claims.get("exp").and_then(Value::as_f64)?;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a number of seconds; what is out of range is cut to what is"
    )]
    let expires = expires as i64;
    Some(expires.clamp(0, NEVER - 1))
}

#[cfg(test)]
mod tests;
