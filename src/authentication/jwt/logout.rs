//! Logout tokens (OpenID Connect Back-Channel Logout 1.0 section 2.4): by which an issuer says that a
//! session, or all of a subject's, is over.
//
// INVARIANT: a token that is no logout token never counts as one, whoever signed it.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::{JwtAuthenticator, JwtError};
use crate::authentication::claims::LOGOUT_EVENT;
use crate::authentication::failures::FailureBudget;
use crate::authentication::unverified::{TokenTypes, UnverifiedToken};
use crate::check::decision::Stop;
use crate::check::request::PeerAddress;

/// How long ago it may have been issued, in seconds, beside the leeway.
pub const MAX_AGE_SECONDS: i64 = 300;
/// The longest text that names something, in bytes.
const MAX_NAME_BYTES: usize = 1024;

/// What a logout token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logout {
    /// Who says so.
    pub issuer: Arc<str>,
    /// Which message it is.
    pub id: String,
    /// When it was issued, in seconds since 1970.
    pub issued: i64,
    /// What is over.
    pub over: Over,
}

/// What is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Over {
    /// The session of this `sid`.
    Session(String),
    /// Every session of this `sub`.
    Subject(String),
}

/// Why nothing is over. No text has a value of the token.
#[derive(Debug, thiserror::Error)]
pub enum NoLogout {
    /// It is no logout token, or none for us.
    #[error("{0}")]
    Invalid(&'static str),
    /// Its form, key or signature does not hold, or that cannot be told.
    #[error("{0}")]
    Unverified(String),
}

/// Who says that `token` is theirs, before anything of it was verified.
#[must_use]
pub fn unverified_issuer(token: &str) -> Option<String> {
    let token = UnverifiedToken::parse(token).ok()?;
    token.unverified_issuer().map(ToOwned::to_owned)
}

impl JwtAuthenticator {
    /// Whose tokens it verifies.
    #[must_use]
    pub fn issuer(&self) -> &Arc<str> {
        &self.rules.issuer
    }

    /// Verifies a logout token for one of `clients`, sent from `source`. `failures` are those of
    /// senders of logout tokens: clients that share an address with an issuer take nothing of it.
    ///
    /// # Errors
    /// Why it is none.
    pub async fn verify_logout(
        &self,
        token: &str,
        clients: &[String],
        (source, failures): (PeerAddress, &FailureBudget),
    ) -> Result<Logout, NoLogout> {
        if token.len() > self.max_token {
            return Err(NoLogout::Invalid("it is longer than tokens may be"));
        }
        let token = UnverifiedToken::parse(token).map_err(NoLogout::Invalid)?;
        if token.unverified_issuer() != Some(&*self.rules.issuer) {
            return Err(NoLogout::Invalid("its `iss` is another issuer"));
        }
        let signed = self
            .signed(&token, &TokenTypes::Logout, (source, failures))
            .await;
        signed.map_err(|error| NoLogout::Unverified(told(error)))?;
        self.read_logout(&token.unverified_claims, clients)
            .map_err(NoLogout::Invalid)
    }

    /// Section 2.6, after the signature.
    fn read_logout(
        &self,
        claims: &Map<String, Value>,
        clients: &[String],
    ) -> Result<Logout, &'static str> {
        let is_ours = |audience: &Value| {
            let audience = audience.as_str();
            audience.is_some_and(|audience| clients.iter().any(|client| client == audience))
        };
        let for_us = match claims.get("aud") {
            Some(Value::Array(audiences)) => audiences.iter().any(is_ours),
            Some(one) => is_ours(one),
            None => false,
        };
        if !for_us {
            return Err("its `aud` is none of `revocation.logout.clients`");
        }
        let issued = self.judge_logout_times(claims)?;
        let event = claims
            .get("events")
            .and_then(|events| events.get(LOGOUT_EVENT));
        if !event.is_some_and(Value::is_object) {
            return Err("its `events` do not have the logout");
        }
        if claims.contains_key("nonce") {
            return Err("it has a `nonce`, as ID tokens have and logout tokens must not");
        }
        let id = text(claims, "jti", "its `jti` is no text")?.ok_or("it has no `jti`")?;
        let session = text(claims, "sid", "its `sid` is no text")?;
        let subject = text(claims, "sub", "its `sub` is no text")?;
        let over = match (session, subject) {
            (Some(session), _) => Over::Session(session),
            (None, Some(subject)) => Over::Subject(subject),
            (None, None) => return Err("it has neither `sid` nor `sub`"),
        };
        Ok(Logout {
            issuer: Arc::clone(&self.rules.issuer),
            id,
            issued,
            over,
        })
    }

    /// When it was issued. `exp` may be missing, as it is with issuers of before it was asked for: `iat`
    /// bounds its use then, and to refuse it would leave the session in force.
    fn judge_logout_times(&self, claims: &Map<String, Value>) -> Result<i64, &'static str> {
        let (now, leeway) = (self.clock.unix_seconds(), self.rules.leeway_seconds);
        let issued = seconds(claims, "iat")?.ok_or("it has no `iat`")?;
        if issued > now.saturating_add(leeway) {
            return Err("its `iat` lies in the future");
        }
        if issued < now.saturating_sub(MAX_AGE_SECONDS + leeway) {
            return Err("its `iat` is too long ago");
        }
        if seconds(claims, "exp")?.is_some_and(|end| end <= now.saturating_sub(leeway)) {
            return Err("it has expired");
        }
        Ok(issued)
    }
}

fn told(error: JwtError) -> String {
    match Stop::from(error) {
        Stop::Deny(denial) => denial.detail().to_owned(),
        Stop::Fail(fault) => fault.detail().to_owned(),
    }
}

fn text(
    claims: &Map<String, Value>,
    name: &str,
    wrong: &'static str,
) -> Result<Option<String>, &'static str> {
    let Some(value) = claims.get(name) else {
        return Ok(None);
    };
    let text = value.as_str().ok_or(wrong)?;
    if text.is_empty() || text.len() > MAX_NAME_BYTES || text.chars().any(char::is_control) {
        return Err(wrong);
    }
    Ok(Some(text.to_owned()))
}

fn seconds(claims: &Map<String, Value>, name: &str) -> Result<Option<i64>, &'static str> {
    let Some(value) = claims.get(name) else {
        return Ok(None);
    };
    let number = value.as_f64().ok_or("one of its times is no number")?;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "whole seconds are meant, and what is out of range is cut to what is"
    )]
    let seconds = number as i64;
    Ok(Some(seconds))
}
