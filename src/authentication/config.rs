//! The `authenticators` section: each authenticator's configuration, and what holds for all of
//! them together.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::authentication::api_key::{ApiKeyAuthenticator, ApiKeyConfig};
use crate::authentication::app_id::{AppIdAuthenticator, AppIdConfig};
use crate::authentication::credential::CredentialPlace;
use crate::authentication::failures::FailureBudget;
use crate::authentication::introspection::config::IntrospectionConfig;
use crate::authentication::jwt::config::{JwtConfig, SubscriptionsConfig};
use crate::authentication::jwt_svid::config::JwtSvidConfig;
use crate::authentication::key_refresh::KeySources;
use crate::authentication::mtls::{MtlsAuthenticator, MtlsConfig};
use crate::authentication::proof::config::BindingConfig;
use crate::authentication::proof::replay::Replays;
use crate::authentication::verified_tokens::VerifiedTokens;
use crate::authentication::{ANONYMOUS, Authenticator};
use crate::clock::Clock;
use crate::config::findings::Findings;
use crate::config::reader::Reader;
use crate::config::value::SecretSource;
use crate::header::{HeaderName, is_token_byte};
use crate::secret::MacKey;
use crate::snapshot::Authenticators;
use crate::spiffe::config::SpiffeConfig;
use crate::upstream::provider::ishare::Parties;
use crate::upstream::provider::service::ProviderServices;
use crate::workload_api::WorkloadApi;

/// The `authenticators` section, by name.
pub type AuthenticatorConfigs = BTreeMap<String, AuthenticatorConfig>;

/// A way to find out who calls. Its `type` is read first ([`crate::config::tagged`]).
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(tag = "type")]
pub enum AuthenticatorConfig {
    /// JSON Web Tokens of an issuer.
    Jwt(Box<JwtConfig>),
    /// Tokens that their issuer is asked about (RFC 7662), whatever they look like.
    Introspection(Box<IntrospectionConfig>),
    /// API keys of the catalog's applications.
    ApiKey(ApiKeyConfig),
    /// App ids of the catalog's applications, with a key where they have one.
    AppId(AppIdConfig),
    /// Workloads, by the certificates of their connections.
    Mtls(MtlsConfig),
    /// Workloads, by their JWT-SVIDs.
    JwtSvid(Box<JwtSvidConfig>),
}

/// A place where a credential may sit: exactly one of `header`, `cookie`, `query` and `basic`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CredentialPlaceConfig {
    /// This header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<String>,
    /// The scheme that stands before the credential in `header`, such as `Bearer`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheme: Option<String>,
    /// This cookie.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cookie: Option<String>,
    /// This parameter of the query.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    /// `authorization: Basic`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub basic: Option<bool>,
}

/// What building an authenticator needs beside its configuration.
#[derive(Debug)]
pub struct BuildContext<'c> {
    /// Reads key files and secrets.
    pub reader: &'c mut Reader,
    /// Takes what is wrong.
    pub findings: &'c mut Findings,
    /// What outlives them.
    pub lasting: &'c Lasting,
}

/// What the authenticators and providers of all revisions share.
#[derive(Debug, Clone)]
pub struct Lasting {
    /// The time of day.
    pub clock: Clock,
    /// Where keys are fetched from.
    pub key_sources: KeySources,
    /// Tokens that were seen before.
    pub verified_tokens: VerifiedTokens,
    /// How many signatures may fail.
    pub failures: FailureBudget,
    /// What outlives the providers of a revision.
    pub providers: ProviderServices,
    /// The iSHARE parties that the credentials API wrote.
    pub parties: Parties,
    /// Which DPoP proofs were used.
    pub replays: Replays,
    /// Who gives us our identity, and the keys of JWT-SVIDs; none where the process serves nobody,
    /// or knows no endpoint.
    pub workload_api: Option<WorkloadApi>,
}

impl Lasting {
    /// For commands that judge without serving: nothing is fetched and nothing is remembered.
    #[must_use]
    pub fn offline(clock: Clock) -> Self {
        Self {
            key_sources: KeySources::offline(),
            verified_tokens: VerifiedTokens::new(0),
            failures: FailureBudget::default(),
            providers: ProviderServices::offline(clock.clone()),
            parties: Parties::default(),
            replays: Replays::default(),
            workload_api: None,
            clock,
        }
    }
}

/// Finds what is wrong with each authenticator and with all of them together, without reading
/// anything else. Paths are relative to the section.
pub fn check_all(configs: &AuthenticatorConfigs, findings: &mut Findings) {
    for (name, config) in configs {
        findings.within(name, |findings| {
            if name == ANONYMOUS {
                findings.wrong("", "always exists and cannot be declared");
            }
            config.check(findings);
        });
    }
    check_shared_issuers(configs, findings);
}

/// Finds what is wrong between them and the `spiffe` section. Paths are relative to theirs.
pub fn check_mesh(configs: &AuthenticatorConfigs, spiffe: &SpiffeConfig, findings: &mut Findings) {
    for (name, config) in configs {
        findings.within(name, |findings| match config {
            AuthenticatorConfig::Mtls(config) => config.check_mesh(spiffe, findings),
            AuthenticatorConfig::JwtSvid(config) => config.check_mesh(spiffe, findings),
            AuthenticatorConfig::Jwt(_)
            | AuthenticatorConfig::Introspection(_)
            | AuthenticatorConfig::ApiKey(_)
            | AuthenticatorConfig::AppId(_) => {}
        });
    }
}

/// Builds all of them, and `anonymous`. Only for configurations in which [`check_all`] finds
/// nothing wrong. `None` where something is wrong, which `context` is told.
#[must_use]
pub fn build_all(
    configs: &AuthenticatorConfigs,
    context: &mut BuildContext<'_>,
) -> Option<Authenticators> {
    let shared = shared_issuers(configs);
    let before = context.findings.count();
    let mut built = Authenticators::new();
    built.insert(ANONYMOUS.into(), Arc::new(Authenticator::Anonymous));
    for (name, config) in configs {
        // what is wrong is told below the authenticator's name
        let mut findings = std::mem::take(context.findings);
        let authenticator = findings.within(name, |findings| {
            let mut context = BuildContext {
                reader: context.reader,
                findings,
                lasting: context.lasting,
            };
            config.build(name, &shared, &mut context)
        });
        *context.findings = findings;
        if let Some(authenticator) = authenticator {
            built.insert(name.as_str().into(), Arc::new(authenticator));
        }
    }
    (context.findings.count() == before && built.len() == configs.len() + 1).then_some(built)
}

impl AuthenticatorConfig {
    /// Finds what is wrong, without reading anything else.
    pub fn check(&self, findings: &mut Findings) {
        match self {
            Self::Jwt(config) => config.check(findings),
            Self::Introspection(config) => config.check(findings),
            Self::ApiKey(config) => config.check(findings),
            Self::AppId(config) => config.check(findings),
            Self::Mtls(config) => config.check(findings),
            Self::JwtSvid(config) => config.check(findings),
        }
    }

    fn build(
        &self,
        name: &str,
        shared_issuers: &BTreeSet<&str>,
        context: &mut BuildContext<'_>,
    ) -> Option<Authenticator> {
        match self {
            Self::Jwt(config) => {
                let shared = shared_issuers.contains(config.issuer.as_str());
                let built = config.build(name, shared, context)?;
                Some(Authenticator::Jwt(Box::new(built)))
            }
            Self::Introspection(config) => {
                let built = config.build(name, context)?;
                Some(Authenticator::Introspection(Box::new(built)))
            }
            Self::ApiKey(config) => {
                ApiKeyAuthenticator::build(config, name, context).map(Authenticator::ApiKey)
            }
            Self::AppId(config) => {
                AppIdAuthenticator::build(config, name, context).map(Authenticator::AppId)
            }
            Self::Mtls(config) => {
                MtlsAuthenticator::build(config, name, context).map(Authenticator::Mtls)
            }
            Self::JwtSvid(config) => {
                let built = config.build(name, context)?;
                Some(Authenticator::JwtSvid(Box::new(built)))
            }
        }
    }

    /// Whether it verifies tokens, which can be exchanged for others.
    #[must_use]
    pub fn verifies_tokens(&self) -> bool {
        match self {
            Self::Jwt(_) | Self::Introspection(_) | Self::JwtSvid(_) => true,
            Self::ApiKey(_) | Self::AppId(_) | Self::Mtls(_) => false,
        }
    }

    /// What it asks of bound tokens, where it verifies tokens.
    #[must_use]
    pub fn binding(&self) -> Option<&BindingConfig> {
        match self {
            Self::Jwt(config) => Some(&config.binding),
            Self::Introspection(config) => Some(&config.binding),
            Self::JwtSvid(config) => Some(&config.binding),
            Self::ApiKey(_) | Self::AppId(_) | Self::Mtls(_) => None,
        }
    }

    /// The headers that it reads credentials from.
    #[must_use]
    pub fn credential_headers(&self) -> Vec<HeaderName> {
        let places = match self {
            Self::Jwt(config) => config.places(),
            Self::Introspection(config) => config.places(),
            Self::JwtSvid(config) => config.places(),
            Self::ApiKey(config) => config.credentials.clone(),
            Self::AppId(config) => [&config.id[..], &config.key[..]].concat(),
            Self::Mtls(_) => Vec::new(),
        };
        let parsed = places.iter().filter_map(|place| place.parse().ok());
        let headers = parsed.filter_map(|place| match place {
            CredentialPlace::Header { name, .. } => Some(name),
            CredentialPlace::Basic => HeaderName::parse("authorization").ok(),
            CredentialPlace::Query(_) | CredentialPlace::Cookie(_) => None,
        });
        headers.collect()
    }

    /// Whether subscriptions that a token lists count.
    #[must_use]
    pub fn takes_token_subscriptions(&self) -> bool {
        let source = match self {
            Self::Jwt(config) => config.subscriptions,
            Self::Introspection(config) => config.subscriptions,
            Self::ApiKey(_) | Self::AppId(_) | Self::Mtls(_) | Self::JwtSvid(_) => {
                SubscriptionsConfig::Catalog
            }
        };
        match source {
            SubscriptionsConfig::Token | SubscriptionsConfig::TokenThenCatalog => true,
            SubscriptionsConfig::Catalog => false,
        }
    }

    /// The places whose content it takes for a key of its own, whatever it is: no authenticator
    /// after it would ever be asked about the same place.
    #[must_use]
    pub fn key_places(&self) -> Vec<String> {
        let places = match self {
            Self::Jwt(_) | Self::Mtls(_) | Self::JwtSvid(_) => Vec::new(),
            // it asks about whatever is no JSON Web Token of another issuer
            Self::Introspection(config) => config.places(),
            Self::ApiKey(config) => config.credentials.clone(),
            Self::AppId(config) => config.id.clone(),
        };
        let parsed = places.iter().filter_map(|place| place.parse().ok());
        parsed.map(|place| place.to_string()).collect()
    }

    fn as_jwt(&self) -> Option<&JwtConfig> {
        match self {
            Self::Jwt(config) => Some(config),
            Self::Introspection(_)
            | Self::ApiKey(_)
            | Self::AppId(_)
            | Self::Mtls(_)
            | Self::JwtSvid(_) => None,
        }
    }
}

/// The issuers whose tokens more than one authenticator takes.
fn shared_issuers(configs: &AuthenticatorConfigs) -> BTreeSet<&str> {
    let mut seen = BTreeSet::new();
    let issuers = configs.values().filter_map(AuthenticatorConfig::as_jwt);
    issuers
        .map(|config| config.issuer.as_str())
        .filter(|issuer| !seen.insert(*issuer))
        .collect()
}

/// A token must be one authenticator's: those of one issuer have audiences, and no common one.
fn check_shared_issuers(configs: &AuthenticatorConfigs, findings: &mut Findings) {
    let shared = shared_issuers(configs);
    let jwts = configs
        .iter()
        .filter_map(|(name, config)| Some((name, config.as_jwt()?)))
        .filter(|(_, config)| shared.contains(config.issuer.as_str()));
    let jwts: Vec<_> = jwts.collect();
    for (at, (name, config)) in jwts.iter().enumerate() {
        let Some(audiences) = &config.audiences else {
            findings.wrong(
                &format!("{name}.audience"),
                "other authenticators have this issuer too: tell them apart by `audiences`",
            );
            continue;
        };
        for (other_name, other) in jwts.iter().take(at) {
            let both = |audience: &&String| {
                other.issuer == config.issuer
                    && other
                        .audiences
                        .as_ref()
                        .is_some_and(|theirs| theirs.contains(audience))
            };
            if let Some(common) = audiences.iter().find(both) {
                findings.wrong(
                    &format!("{name}.audiences"),
                    format!("`{common}` is an audience of `{other_name}` too, for the same issuer"),
                );
            }
        }
    }
}

impl CredentialPlaceConfig {
    /// The place, or why it is none.
    fn parse(&self) -> Result<CredentialPlace, &'static str> {
        let none = "give one of `header`, `cookie`, `query` and `basic: true`";
        match (&self.header, &self.cookie, &self.query, self.basic) {
            (Some(header), None, None, None) => Ok(CredentialPlace::Header {
                name: HeaderName::parse(header)
                    .map_err(|_| "`header` is no header that a credential may sit in")?,
                scheme: self.scheme.as_deref().map(parse_scheme).transpose()?,
            }),
            (None, ..) if self.scheme.is_some() => Err("`scheme` goes with `header`"),
            (None, Some(cookie), None, None) if is_token(cookie) => {
                Ok(CredentialPlace::Cookie(cookie.as_str().into()))
            }
            (None, Some(_), None, None) => Err("`cookie` is no name of a cookie"),
            (None, None, Some(query), None) if !query.is_empty() => {
                Ok(CredentialPlace::Query(query.as_str().into()))
            }
            (None, None, None, Some(true)) => Ok(CredentialPlace::Basic),
            _ => Err(none),
        }
    }
}

fn parse_scheme(scheme: &str) -> Result<Box<str>, &'static str> {
    if is_token(scheme) {
        Ok(scheme.into())
    } else {
        Err("`scheme` is one word, such as Bearer")
    }
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(is_token_byte)
}

/// Finds what is wrong with a list of places.
pub(super) fn check_places(path: &str, places: &[CredentialPlaceConfig], findings: &mut Findings) {
    if places.is_empty() {
        findings.wrong(path, "name at least one place");
    }
    for (at, place) in places.iter().enumerate() {
        let path = format!("{path}[{at}]");
        match place.parse() {
            Err(why) => findings.wrong(&path, why),
            Ok(_) if places.iter().take(at).any(|other| other == place) => {
                findings.wrong(&path, "stands twice");
            }
            Ok(CredentialPlace::Query(_)) => findings.warn(
                &path,
                "a credential in the query is seen in logs and histories along the way",
            ),
            Ok(_) => {}
        }
    }
}

/// The places, where all of them are ones.
pub(super) fn build_places(places: &[CredentialPlaceConfig]) -> Option<Vec<CredentialPlace>> {
    places.iter().map(|place| place.parse().ok()).collect()
}

/// How many peppers may be in use: the current one and, while it is replaced, the one before.
const MAX_PEPPERS: usize = 2;

/// Finds what is wrong with a list of peppers.
pub(super) fn check_peppers(peppers: &[SecretSource], findings: &mut Findings) {
    if peppers.len() > MAX_PEPPERS {
        findings.wrong("peppers", "at most two: the current one and the one before");
    }
}

/// Reads the peppers.
pub(super) fn build_peppers(
    peppers: &[SecretSource],
    context: &mut BuildContext<'_>,
) -> Option<Vec<MacKey>> {
    let BuildContext {
        reader, findings, ..
    } = context;
    let loaded = peppers.iter().enumerate().map(|(at, pepper)| {
        let secret = pepper.load(reader).map_err(|error| {
            findings.wrong(&format!("peppers[{at}]"), error.to_string());
        });
        secret.ok().map(|secret| MacKey::new(secret.expose()))
    });
    // all of them, so that every problem is told
    loaded.collect::<Vec<_>>().into_iter().collect()
}

#[cfg(test)]
mod tests;
