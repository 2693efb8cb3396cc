//! The rules for the claims of a token that its issuer vouches for, by its signature or by its answer
//! about it, and the [`Identity`] that they give.
//
// INVARIANT: a claim of the wrong type is a denial, never as if it were absent.

pub(super) mod rules;

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::authentication::principal::{ClaimedApplication, ClaimedSubscription, Identity};
use crate::authentication::proof::Confirmation;
use crate::authentication::verified_tokens::Times;
use crate::check::decision::Reason;

/// The event that a logout token tells of (OpenID Connect Back-Channel Logout 1.0 section 2.4).
pub(super) const LOGOUT_EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";
/// The longest text of a claim that names someone, in bytes.
const MAX_NAME_BYTES: usize = 1024;
/// The greatest NumericDate (RFC 7519 section 2), exact in every reader of JSON.
const MAX_DATE: f64 = 9_007_199_254_740_992.0;

/// Why the claims of a token are not enough. No text here has a value of the token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum ClaimError {
    #[error("the token is of another issuer")]
    Issuer,
    #[error("the token has expired")]
    Expired,
    #[error("the token's `{0}` lies in the future")]
    NotYetValid(&'static str),
    #[error("the token is for another audience")]
    Audience,
    #[error("claim `{0}` is {1}")]
    Claim(Box<str>, &'static str),
}

impl ClaimError {
    /// The reason for which the token is refused.
    pub(super) fn reason(&self) -> Reason {
        match self {
            Self::Issuer => Reason::IssuerUntrusted,
            Self::Expired => Reason::TokenExpired,
            Self::NotYetValid(_) => Reason::TokenNotYetValid,
            Self::Audience => Reason::AudienceMismatch,
            Self::Claim(..) => Reason::CredentialInvalid,
        }
    }
}

/// What an authenticator asks of claims, and where it reads what.
#[derive(Debug)]
pub(super) struct ClaimRules {
    pub issuer: Arc<str>,
    pub issuer_rule: IssuerRule,
    pub audience: AudienceRule,
    pub leeway_seconds: i64,
    pub max_lifetime_seconds: Option<i64>,
    pub required: Vec<ClaimPath>,
    pub client_id: Vec<ClaimPath>,
    pub subject: ClaimPath,
    pub scopes: Vec<ClaimPath>,
    /// Where the token lists its subscriptions, if that counts.
    pub subscriptions: Option<ClaimPath>,
    /// Where the token describes its application, if that counts.
    pub application: Option<ClaimPath>,
}

/// What a token must say of its issuer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum IssuerRule {
    /// That it is ours.
    Named,
    /// That, or nothing, as whoever answered is the issuer's.
    NamedOrAbsent,
    /// Anything: another claim says whose keys verify it.
    Any,
}

/// Whom a token must be for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum AudienceRule {
    /// One of these.
    AnyOf(Vec<Box<str>>),
    /// The client, and nobody else.
    ClientId,
    /// Anybody.
    Any,
}

/// The place of a claim: a name, or names of objects in each other, joined by dots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ClaimPath(Box<str>);

impl ClaimPath {
    pub(super) fn new(path: &str) -> Self {
        Self(path.into())
    }

    pub(super) fn is_valid(path: &str) -> bool {
        !path.split('.').any(str::is_empty)
    }

    fn find<'c>(&self, claims: &'c Map<String, Value>) -> Option<&'c Value> {
        claim_at(claims, &self.0)
    }

    fn text(&self, claims: &Map<String, Value>) -> Result<Option<Arc<str>>, ClaimError> {
        let Some(value) = self.find(claims) else {
            return Ok(None);
        };
        let text = value.as_str().ok_or_else(|| self.wrong("no text"))?;
        checked(&self.0, text).map(Some)
    }

    fn wrong(&self, why: &'static str) -> ClaimError {
        ClaimError::Claim(self.0.clone(), why)
    }
}

/// The claim at the dotted `path`. A claim may have dots in its own name
/// (`https://tenant.example/id`): the whole path is looked for first.
pub(crate) fn claim_at<'c>(claims: &'c Map<String, Value>, path: &str) -> Option<&'c Value> {
    if let Some(value) = claims.get(path) {
        return Some(value);
    }
    let (first, rest) = path.split_once('.')?;
    rest.split('.')
        .try_fold(claims.get(first)?, |value, name| value.get(name))
}

impl AudienceRule {
    /// Whether `unverified` or verified claims are for one of the audiences; an `aud` of the wrong
    /// type is for nobody.
    pub(super) fn matches(&self, claims: &Map<String, Value>) -> bool {
        match self {
            Self::AnyOf(allowed) => audiences(claims).is_ok_and(|audiences| {
                audiences
                    .iter()
                    .any(|one| allowed.iter().any(|allowed| **allowed == **one))
            }),
            Self::ClientId => audiences(claims).is_ok_and(|audiences| audiences.len() == 1),
            Self::Any => true,
        }
    }
}

impl Times {
    /// Reads them; a token without `exp` is refused.
    pub(super) fn read(claims: &Map<String, Value>) -> Result<Self, ClaimError> {
        if !claims.contains_key("exp") {
            return Err(ClaimError::Claim("exp".into(), "missing"));
        }
        Self::read_open(claims)
    }

    /// Reads them; a token without `exp` has no end of its own (RFC 7662 section 2.2).
    pub(super) fn read_open(claims: &Map<String, Value>) -> Result<Self, ClaimError> {
        Ok(Self {
            expires: date(claims, "exp")?.unwrap_or(i64::MAX),
            not_before: date(claims, "nbf")?,
            issued: date(claims, "iat")?,
        })
    }
}

impl ClaimRules {
    /// Judges all of the claims of a token that does not change with time.
    pub(super) fn identify(
        &self,
        claims: Map<String, Value>,
        times: Times,
    ) -> Result<Identity, ClaimError> {
        self.judge_lifetime(times)?;
        // RFC 7519 section 4.1.1: one text, equal to the issuer that has the key
        match claims.get("iss") {
            Some(Value::String(issuer)) if *issuer == *self.issuer => {}
            None if self.issuer_rule == IssuerRule::NamedOrAbsent => {}
            Some(_) | None if self.issuer_rule == IssuerRule::Any => {}
            Some(_) | None => return Err(ClaimError::Issuer),
        }
        // RFC 7519 section 4.1.3
        let audiences = audiences(&claims)?;
        if !self.audience.matches(&claims) {
            return Err(ClaimError::Audience);
        }
        for required in &self.required {
            match required.find(&claims) {
                None | Some(Value::Null) => return Err(required.wrong("missing")),
                Some(_) => {}
            }
        }
        // OpenID Connect Back-Channel Logout 1.0 section 4: one that may have any type, and is for us
        if claims
            .get("events")
            .and_then(|events| events.get(LOGOUT_EVENT))
            .is_some()
        {
            return Err(ClaimError::Claim("events".into(), "that of a logout token"));
        }
        let confirmation = Confirmation::read(&claims)?;
        let mut client_id = first_text(&self.client_id, &claims)?;
        if self.audience == AudienceRule::ClientId {
            let audience = audiences.first().copied().ok_or(ClaimError::Audience)?;
            match &client_id {
                None => client_id = Some(checked("aud", audience)?),
                Some(client) if **client == *audience => {}
                Some(_) => return Err(ClaimError::Audience),
            }
        }
        Ok(Identity {
            issuer: Some(Arc::clone(&self.issuer)),
            subject: self.subject.text(&claims)?,
            client_id,
            scopes: self.read_scopes(&claims)?,
            subscribed_apis: match &self.subscriptions {
                None => None,
                Some(path) => read_subscriptions(path, &claims)?,
            },
            claimed_application: match &self.application {
                None => None,
                Some(path) => read_application(path, &claims)?,
            },
            confirmation,
            workload: None,
            claims: Value::Object(claims),
        })
    }

    /// Judges when a token may be used, at `now` (RFC 7519 sections 4.1.4 to 4.1.6); the leeway
    /// counts once, for each of them.
    pub(super) fn judge_times(&self, times: Times, now: i64) -> Result<(), ClaimError> {
        if now.saturating_sub(self.leeway_seconds) >= times.expires {
            return Err(ClaimError::Expired);
        }
        let soon = now.saturating_add(self.leeway_seconds);
        if times.not_before.is_some_and(|begin| begin > soon) {
            return Err(ClaimError::NotYetValid("nbf"));
        }
        if times.issued.is_some_and(|issued| issued > soon) {
            return Err(ClaimError::NotYetValid("iat"));
        }
        Ok(())
    }

    fn judge_lifetime(&self, times: Times) -> Result<(), ClaimError> {
        let Some(most) = self.max_lifetime_seconds else {
            return Ok(());
        };
        let missing = || ClaimError::Claim("iat".into(), "missing");
        if times
            .expires
            .saturating_sub(times.issued.ok_or_else(missing)?)
            > most
        {
            let why = "further from `iat` than allowed";
            return Err(ClaimError::Claim("exp".into(), why));
        }
        Ok(())
    }

    /// RFC 6749 section 3.3 (one text, parted by spaces), or a list as some issuers write it.
    fn read_scopes(&self, claims: &Map<String, Value>) -> Result<Vec<Box<str>>, ClaimError> {
        let found = self
            .scopes
            .iter()
            .find_map(|path| path.find(claims).map(|value| (path, value)));
        let Some((path, value)) = found else {
            return Ok(Vec::new());
        };
        let wrong = || path.wrong("no text and no list of texts without spaces");
        match value {
            Value::String(text) => Ok(text
                .split(' ')
                .filter(|scope| !scope.is_empty())
                .map(Into::into)
                .collect()),
            Value::Array(items) => items
                .iter()
                .map(|item| {
                    // a space would make two scopes of one wherever they are written in a row
                    let one = item.as_str().filter(|scope| !scope.contains(' '));
                    one.map(Into::into).ok_or_else(wrong)
                })
                .collect(),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => Err(wrong()),
        }
    }
}

/// A text that names someone: it may become a header, a key of an index, a field of a log.
fn checked(claim: &str, text: &str) -> Result<Arc<str>, ClaimError> {
    if text.is_empty() || text.len() > MAX_NAME_BYTES || text.chars().any(char::is_control) {
        let why = "empty, too long, or has control characters";
        return Err(ClaimError::Claim(claim.into(), why));
    }
    Ok(text.into())
}

fn first_text(
    paths: &[ClaimPath],
    claims: &Map<String, Value>,
) -> Result<Option<Arc<str>>, ClaimError> {
    for path in paths {
        if let Some(text) = path.text(claims)? {
            return Ok(Some(text));
        }
    }
    Ok(None)
}

fn audiences(claims: &Map<String, Value>) -> Result<Vec<&str>, ClaimError> {
    let wrong = || ClaimError::Claim("aud".into(), "no text and no list of texts");
    match claims.get("aud") {
        None => Ok(Vec::new()),
        Some(Value::String(one)) => Ok(vec![one]),
        Some(Value::Array(all)) => all
            .iter()
            .map(|one| one.as_str().ok_or_else(wrong))
            .collect(),
        Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_)) => Err(wrong()),
    }
}

/// A NumericDate (RFC 7519 section 2): whole seconds; a fraction is cut off.
pub(super) fn date(
    claims: &Map<String, Value>,
    name: &'static str,
) -> Result<Option<i64>, ClaimError> {
    let wrong = || ClaimError::Claim(name.into(), "no number of seconds");
    let Some(value) = claims.get(name) else {
        return Ok(None);
    };
    let number = value.as_f64().ok_or_else(wrong)?;
    if !(0.0..=MAX_DATE).contains(&number) {
        return Err(wrong());
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "within 0..=2^53, where cutting off the fraction is what is meant"
    )]
    let seconds = number as i64;
    Ok(Some(seconds))
}

/// WSO2's `subscribedAPIs`: a list of objects with `name`, `version` and `subscriptionTier`.
fn read_subscriptions(
    path: &ClaimPath,
    claims: &Map<String, Value>,
) -> Result<Option<Vec<ClaimedSubscription>>, ClaimError> {
    let Some(value) = path.find(claims) else {
        return Ok(None);
    };
    let wrong = || path.wrong("no list of subscriptions with a name and version");
    let list = value.as_array().ok_or_else(wrong)?;
    let subscriptions = list.iter().map(|item| {
        let text = |name| item.get(name).and_then(Value::as_str);
        let plan = match item.get("subscriptionTier") {
            None | Some(Value::Null) => None,
            Some(tier) => Some(tier.as_str().ok_or_else(wrong)?.into()),
        };
        Ok(ClaimedSubscription {
            name: text("name").ok_or_else(wrong)?.into(),
            version: text("version").ok_or_else(wrong)?.into(),
            plan,
        })
    });
    subscriptions.collect::<Result<_, _>>().map(Some)
}

/// WSO2's `application`: an object with `uuid` or `id`, `name` and `owner`.
fn read_application(
    path: &ClaimPath,
    claims: &Map<String, Value>,
) -> Result<Option<ClaimedApplication>, ClaimError> {
    let Some(value) = path.find(claims) else {
        return Ok(None);
    };
    let wrong = || path.wrong("no description of an application");
    let object = value.as_object().ok_or_else(wrong)?;
    let text = |name| ClaimPath::new(name).text(object).map_err(|_| wrong());
    let id = match (object.contains_key("uuid"), object.get("id")) {
        (true, _) => text("uuid")?,
        (false, Some(Value::Number(number))) => Some(number.to_string().into()),
        (false, _) => text("id")?,
    };
    Ok(Some(ClaimedApplication {
        id,
        name: text("name")?,
        owner: text("owner")?,
    }))
}
