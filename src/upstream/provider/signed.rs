//! Provider `signed`: assertions about the caller that we sign ourselves, each for one upstream.
//!
//! Keys are files, the same on every replica. Which of them signs follows from their `from` alone,
//! so that replicas agree; all of them are published ahead of that, and one that is taken from the
//! configuration stays published until the last assertion that it signed has ended ([`published`]).

pub mod published;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use jsonwebtoken::jwk::{Jwk, PublicKeyUse, ThumbprintHash};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::answer::{Given, Life};
use super::config::{ProviderContext, check_text};
use super::life::{CacheConfig, CachePolicy};
use super::oauth::{load_key, token_header};
use super::{Abilities, Target, Want};
use crate::authentication::algorithm::Algorithm;
use crate::authorization::Permit;
use crate::clock::Clock;
use crate::config::findings::Findings;
use crate::config::value::{HumanDuration, SecretSource};
use crate::fetch::{FailureKind, FetchError};
use crate::routing::Route;
use crate::signing::SigningKey;
use crate::upstream::template::HeaderTemplate;

const DEFAULT_LIFETIME: HumanDuration = HumanDuration(Duration::from_secs(60));
const LONGEST_LIFETIME: Duration = Duration::from_secs(60 * 60);
/// The claims that are ours to make.
const OWN_CLAIMS: [&str; 6] = ["iss", "aud", "iat", "nbf", "exp", "jti"];

/// Signs assertions about the caller.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SignedConfig {
    /// The issuer that they name: an address of ours.
    pub issuer: String,
    /// The keys. All are published; the one with the latest `from` that is over signs.
    pub keys: Vec<SignedKeyConfig>,
    /// The algorithm of the keys: `ES256` where it is left out, `EdDSA`, or `RS256` for upstreams
    /// that know no other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<Algorithm>,
    /// How long an assertion is valid: 60s.
    #[serde(default = "default_lifetime")]
    pub lifetime: HumanDuration,
    /// Claims by templates such as `{principal.subject}`; one whose value is missing is left out.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub claims: BTreeMap<String, String>,
    /// A set of claims to begin with.
    #[serde(default)]
    pub template: ClaimsTemplate,
    /// The proxies that may be given its tokens, as patterns of SPIFFE IDs; left out, whoever may ask.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub peers: Vec<String>,
}

/// A key that signs.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SignedKeyConfig {
    /// Its `kid`; left out, its thumbprint (RFC 7638).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The private key (PEM, PKCS #8), in this file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// The private key, in this environment variable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env: Option<String>,
    /// From when on it signs; left out, it may sign from the start. Give a new key a time that
    /// lies an hour or more ahead, so that upstreams have it before it is used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub from: Option<Timestamp>,
}

/// A set of claims.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ClaimsTemplate {
    /// `sub`, `idp` (the issuer that `sub` is of), `client_id`, `application`, `plan` and `scope`,
    /// each where it is known.
    #[default]
    Minimal,
    /// Those of WSO2's `X-JWT-Assertion`, under `http://wso2.org/claims/`.
    Wso2,
    /// None but `claims`.
    None,
}

const fn default_lifetime() -> HumanDuration {
    DEFAULT_LIFETIME
}

/// Signs assertions.
#[derive(Debug)]
pub struct Signed {
    issuer: Box<str>,
    keys: Vec<Key>,
    lifetime: Duration,
    claims: Vec<(Box<str>, HeaderTemplate)>,
    clock: Clock,
}

/// A key that signs, and how it is published.
#[derive(Debug)]
struct Key {
    key: SigningKey,
    public: Jwk,
    id: Box<str>,
    thumbprint: Box<str>,
    from: Option<Timestamp>,
}

/// Names of claims with their templates.
type Templates = &'static [(&'static str, &'static str)];

const MINIMAL: Templates = &[
    ("sub", "{principal.subject}"),
    ("idp", "{principal.issuer}"),
    ("client_id", "{principal.clientId}"),
    ("application", "{application.id}"),
    ("plan", "{subscription.plan}"),
    ("scope", "{principal.scopes}"),
];

const WSO2: Templates = &[
    ("sub", "{principal.subject}"),
    ("idp", "{principal.issuer}"),
    ("http://wso2.org/claims/subscriber", "{application.owner}"),
    ("http://wso2.org/claims/applicationid", "{application.id}"),
    ("http://wso2.org/claims/applicationUUId", "{application.id}"),
    (
        "http://wso2.org/claims/applicationname",
        "{application.name}",
    ),
    (
        "http://wso2.org/claims/applicationtier",
        "{subscription.plan}",
    ),
    ("http://wso2.org/claims/tier", "{subscription.plan}"),
    ("http://wso2.org/claims/apiname", "{api.title}"),
    ("http://wso2.org/claims/apicontext", "{api.context}"),
    ("http://wso2.org/claims/version", "{api.version}"),
    ("http://wso2.org/claims/keytype", "PRODUCTION"),
    ("http://wso2.org/claims/usertype", "Application_User"),
    ("http://wso2.org/claims/enduser", "{principal.subject}"),
    ("http://wso2.org/claims/enduserTenantId", "0"),
];

impl ClaimsTemplate {
    const fn templates(self) -> Templates {
        match self {
            Self::Minimal => MINIMAL,
            Self::Wso2 => WSO2,
            Self::None => &[],
        }
    }
}

impl SignedKeyConfig {
    fn source(&self) -> Option<SecretSource> {
        match (&self.file, &self.env) {
            (Some(path), None) => Some(SecretSource::File(path.clone())),
            (None, Some(name)) => Some(SecretSource::Env(name.clone())),
            (Some(_), Some(_)) | (None, None) => None,
        }
    }
}

impl SignedConfig {
    pub(super) fn check(&self, findings: &mut Findings) {
        check_text("issuer", Some(&self.issuer), findings);
        if self.keys.is_empty() {
            findings.wrong("keys", "name a key at least");
        } else if self.keys.iter().all(|key| key.from.is_some()) {
            findings.wrong(
                "keys",
                "one key at least has no `from`, so that there is always one that signs",
            );
        }
        for (at, key) in self.keys.iter().enumerate() {
            check_text(&format!("keys[{at}].id"), key.id.as_deref(), findings);
            if key.source().is_none() {
                findings.wrong(&format!("keys[{at}]"), "write one of `file` and `env`");
            }
        }
        if let Some(algorithm) = self.algorithm
            && !matches!(
                algorithm,
                Algorithm::Es256 | Algorithm::EdDsa | Algorithm::Rs256
            )
        {
            findings.wrong("algorithm", "must be ES256, EdDSA or RS256");
        }
        if self.lifetime.0 < Duration::from_secs(5) || self.lifetime.0 > LONGEST_LIFETIME {
            findings.wrong("lifetime", "must be 5s or more and 1h at most");
        }
        for (name, template) in &self.claims {
            let path = format!("claims.{name}");
            if OWN_CLAIMS.contains(&name.as_str()) {
                findings.wrong(&path, "this claim is made already");
            }
            if let Err(error) = HeaderTemplate::parse(template) {
                findings.wrong(&path, error.to_string());
            }
        }
    }

    pub(super) fn abilities(&self, token: Abilities) -> Abilities {
        Abilities {
            only_audience: true,
            ..token
        }
    }

    pub(super) fn policy(&self) -> CachePolicy {
        let cache = CacheConfig {
            max_lifetime: Some(self.lifetime),
            ..CacheConfig::default()
        };
        cache.policy(self.lifetime.0, Duration::ZERO)
    }

    pub(super) fn build(&self, context: &mut ProviderContext<'_>) -> Option<Signed> {
        let before = context.findings.count();
        let mut keys: Vec<Key> = Vec::with_capacity(self.keys.len());
        for (at, config) in self.keys.iter().enumerate() {
            let path = format!("keys[{at}]");
            let algorithm = self.algorithm.unwrap_or(Algorithm::Es256);
            let source = config.source();
            let key = source.and_then(|source| load_key(&path, &source, Some(algorithm), context));
            let Some(key) = key else {
                continue;
            };
            match Key::new(key, config) {
                Some(key) if keys.iter().any(|other| other.id == key.id) => {
                    context.findings.wrong(&path, "another key has the same id");
                }
                Some(key) => keys.push(key),
                None => context
                    .findings
                    .wrong(&path, "its public key cannot be had"),
            }
        }
        let usual = self.template.templates().iter();
        let usual = usual.filter(|(name, _)| !self.claims.contains_key(*name));
        let own = self.claims.iter();
        let own = own.map(|(name, template)| (name.as_str(), template.as_str()));
        let claims = usual.copied().chain(own).filter_map(|(name, template)| {
            Some((name.into(), HeaderTemplate::parse(template).ok()?))
        });
        (context.findings.count() == before).then(|| Signed {
            issuer: self.issuer.as_str().into(),
            keys,
            lifetime: self.lifetime.0,
            claims: claims.collect(),
            clock: context.services.clock().clone(),
        })
    }
}

impl Key {
    fn new(key: SigningKey, config: &SignedKeyConfig) -> Option<Self> {
        let mut public = Jwk::from_encoding_key(key.encoding_key(), key.algorithm()).ok()?;
        let thumbprint = public.thumbprint(ThumbprintHash::SHA256).ok()?;
        let id = config.id.clone().unwrap_or_else(|| thumbprint.clone());
        public.common.key_id = Some(id.clone());
        public.common.public_key_use = Some(PublicKeyUse::Signature);
        Some(Self {
            key,
            public,
            id: id.into(),
            thumbprint: thumbprint.into(),
            from: config.from,
        })
    }
}

impl Signed {
    /// How long an assertion is valid.
    #[must_use]
    pub fn lifetime(&self) -> Duration {
        self.lifetime
    }

    /// The public keys, by their thumbprints (RFC 7638).
    pub fn public_keys(&self) -> impl Iterator<Item = (&str, &Jwk)> {
        self.keys.iter().map(|key| (&*key.thumbprint, &key.public))
    }

    /// The key that signs now: of those that may, the one that began last.
    fn key(&self) -> Option<&Key> {
        let now = self.clock.now();
        let may = |key: &&Key| key.from.is_none_or(|from| from <= now);
        // of several that began together, the first
        self.keys
            .iter()
            .rev()
            .filter(may)
            .max_by_key(|key| key.from)
    }

    /// The keys: what others signed are other assertions.
    pub(super) fn variant(&self) -> Vec<u8> {
        let keys = self.keys.iter();
        keys.flat_map(|key| key.thumbprint.bytes()).collect()
    }

    /// What is said about the caller, as JSON.
    pub(super) fn claims(
        &self,
        route: &Route<'_>,
        permit: &Permit<'_>,
        _target: &Target,
    ) -> Result<Cow<'static, str>, &'static str> {
        let mut claims = Map::new();
        for (name, template) in &self.claims {
            let mut value = String::new();
            match template.render(route, permit, &mut value) {
                Ok(true) => {
                    claims.insert(name.to_string(), value.into());
                }
                Ok(false) => {}
                Err(_) => return Err("a claim of the caller's token is no text"),
            }
        }
        Ok(Value::Object(claims).to_string().into())
    }

    /// Signs what is said about the caller.
    pub(super) fn sign(&self, want: &Want) -> Result<Given, FetchError> {
        let not_asked = |why: &str| FetchError::new(FailureKind::NotAsked, why);
        let claims = want.caller.as_ref();
        let claims = claims.ok_or_else(|| not_asked("there is no caller"))?;
        let mut claims: Map<String, Value> = serde_json::from_str(claims.expose())
            .map_err(|_| not_asked("the claims cannot be written"))?;
        let key = self.key().ok_or_else(|| not_asked("no key may sign yet"))?;
        let now = self.clock.unix_seconds();
        let audience = match (&want.target.audience, &*want.target.path) {
            (Some(audience), _) => audience.to_string(),
            (None, "/" | "") => want.host.to_string(),
            // upstreams that share a host must not take each other's assertions
            (None, path) => format!("{}{path}", want.host),
        };
        let lifetime = i64::try_from(self.lifetime.as_secs()).unwrap_or(i64::MAX);
        for (name, value) in [
            ("iss", Value::from(&*self.issuer)),
            ("aud", Value::from(audience)),
            ("iat", Value::from(now)),
            ("exp", Value::from(now.saturating_add(lifetime))),
        ] {
            claims.insert(name.to_owned(), value);
        }
        let token = key
            .key
            .sign(&claims, |header| header.kid = Some(key.id.to_string()))
            .map_err(|error| not_asked(&error.to_string()))?;
        Ok(Given {
            headers: vec![token_header(&want.target, &token)?],
            life: Life {
                lasts: Some(self.lifetime),
                ..Life::default()
            },
        })
    }
}

#[cfg(test)]
mod tests;
