//! The configuration of a [`super::JwtAuthenticator`]: what may be written.

use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::authentication::algorithm::Algorithm;
use crate::authentication::claims::rules::RulesConfig;
use crate::authentication::config::CredentialPlaceConfig;
use crate::authentication::principal::SubscriptionSource;
use crate::authentication::proof::config::BindingConfig;
use crate::config::value::{ByteSize, HumanDuration, SecretSource};

pub(super) const DEFAULT_REFRESH_INTERVAL: HumanDuration =
    HumanDuration(Duration::from_secs(5 * 60));
pub(super) const DEFAULT_MAX_STALE: HumanDuration =
    HumanDuration(Duration::from_secs(24 * 60 * 60));

/// Takes JSON Web Tokens of one issuer.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct JwtConfig {
    /// The issuer, exactly as its tokens name it in `iss`: an `https` address.
    pub issuer: String,
    /// Where the issuer's keys come from.
    #[serde(default)]
    pub keys: KeysConfig,
    /// A token must name one of these in `aud`. Give this or `audience`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audiences: Option<Vec<String>>,
    /// `clientId`: the token's only audience is its client, as some issuers write it. `any`: the
    /// audience is not looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audience: Option<AudienceConfig>,
    /// The signature algorithms that are allowed; left out, every asymmetric one that the key is
    /// for. Needed with `keys: { secret: … }`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub algorithms: Option<Vec<Algorithm>>,
    /// Where the token sits in a request; left out, `authorization: Bearer …`, and with `binding.dpop`
    /// `authorization: DPoP …` too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<Vec<CredentialPlaceConfig>>,
    /// Which claims say what.
    #[serde(default)]
    pub claims: ClaimsConfig,
    /// The `typ` that a token's header must have; left out, none, `JWT` or `at+jwt`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub types: Option<Vec<String>>,
    /// How far our clock and the issuer's may lie apart: 5s, at most 120s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leeway: Option<HumanDuration>,
    /// The longest time from a token's `iat` to its `exp`; left out, it is not looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_lifetime: Option<HumanDuration>,
    /// Claims that a token must have, as names or dotted paths.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub required_claims: Vec<String>,
    /// Where the subscriptions of the token's application are looked up.
    #[serde(default)]
    pub subscriptions: SubscriptionsConfig,
    /// Lets issuer and keys be fetched by plain `http`: whoever is on the way can then make
    /// tokens. For tests.
    #[serde(default)]
    pub allow_http_issuer: bool,
    /// From one fetch of the keys to the next: 5m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh_interval: Option<HumanDuration>,
    /// How long the last good keys are used while the issuer cannot be reached: 24h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_stale: Option<HumanDuration>,
    /// From one fetch for an unknown key to the next: 10s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unknown_key_cooldown: Option<HumanDuration>,
    /// The longest token: 8KiB, at most 16KiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_token: Option<ByteSize>,
    /// What is asked of tokens that are bound to a key or certificate, and of others.
    #[serde(default, skip_serializing_if = "BindingConfig::is_default")]
    pub binding: BindingConfig,
}

/// Where an issuer's keys come from.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum KeysConfig {
    /// From the issuer's discovery document, `/.well-known/openid-configuration`.
    #[default]
    Discovery,
    /// From the JSON Web Key Set at this address.
    JwksUrl(String),
    /// From a JSON Web Key Set in this file.
    JwksFile(PathBuf),
    /// From a public key or certificate in this PEM file; a token's `kid` is ignored.
    PemFile(PathBuf),
    /// From this JSON Web Key Set.
    Jwks(Value),
    /// A secret that the issuer shares with us, for `HS256`, `HS384` or `HS512`.
    Secret(SecretSource),
}

/// Other ways to judge a token's audience.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum AudienceConfig {
    /// `aud` is the client that the token was issued to, and nobody else.
    ClientId,
    /// Any audience, or none: a token made for another service is taken.
    Any,
}

/// Where the subscriptions of a token's application are looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum SubscriptionsConfig {
    /// In the catalog.
    #[default]
    Catalog,
    /// In the token.
    Token,
    /// In the token where it lists them, else in the catalog.
    TokenThenCatalog,
}

impl SubscriptionsConfig {
    /// The same for a principal.
    pub(in crate::authentication) fn source(self) -> SubscriptionSource {
        match self {
            Self::Catalog => SubscriptionSource::Catalog,
            Self::Token => SubscriptionSource::Token,
            Self::TokenThenCatalog => SubscriptionSource::TokenThenCatalog,
        }
    }
}

/// Which claims say what: names, or dotted paths into objects.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClaimsConfig {
    /// The OAuth client: the first there is of `azp`, `client_id` and `consumerKey`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// Whom the token is about: `sub`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The scopes, as one text or a list: the first there is of `scope` and `scp`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scopes: Option<String>,
    /// The subscriptions, where the token's count: `subscribedAPIs`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subscriptions: Option<String>,
    /// The application's description, read where it is named here or the token's subscriptions
    /// count: `application`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub application: Option<String>,
}

impl JwtConfig {
    /// Where tokens are looked for.
    pub(in crate::authentication) fn places(&self) -> Vec<CredentialPlaceConfig> {
        self.binding.places(self.credentials.as_deref())
    }

    /// What is asked of claims, as far as it is asked of tokens of every kind.
    pub(super) fn rules(&self) -> RulesConfig<'_> {
        RulesConfig {
            issuer: &self.issuer,
            audiences: self.audiences.as_deref(),
            audience: self.audience,
            claims: &self.claims,
            leeway: self.leeway,
            subscriptions: self.subscriptions,
        }
    }

    /// The tokens of `issuer` for one of `audiences`, and all else as it is where it is left out.
    #[must_use]
    pub fn new(issuer: String, audiences: Vec<String>) -> Self {
        Self {
            issuer,
            keys: KeysConfig::default(),
            audiences: Some(audiences),
            audience: None,
            algorithms: None,
            credentials: None,
            claims: ClaimsConfig::default(),
            types: None,
            leeway: None,
            max_lifetime: None,
            required_claims: Vec::new(),
            subscriptions: SubscriptionsConfig::default(),
            allow_http_issuer: false,
            refresh_interval: None,
            max_stale: None,
            unknown_key_cooldown: None,
            max_token: None,
            binding: BindingConfig::default(),
        }
    }
}
