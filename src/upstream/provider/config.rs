//! The `providers` section: each provider's configuration, and how it becomes a [`Provider`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::auth_provider::AuthProviderConfig;
use super::client_credentials::ClientCredentialsConfig;
use super::exchange::{JwtBearerConfig, TokenExchangeConfig};
use super::fixed::StaticConfig;
use super::header_service::HeaderServiceConfig;
use super::ishare::{IshareConfig, Parties};
use super::life::{CacheConfig, CachePolicy};
use super::service::ProviderServices;
use super::signed::SignedConfig;
use super::{Abilities, Kind, Provider, Providers};
use crate::check::peer::config::{check_patterns, patterns};
use crate::config::findings::Findings;
use crate::config::reader::Reader;
use crate::header::HeaderName;
use crate::http_client::config::HttpConfig;
use crate::secret::sha256;
use crate::spiffe::Aliases;
use crate::workload_api::WorkloadApi;

/// The `providers` section, by name.
pub type ProviderConfigs = BTreeMap<String, ProviderConfig>;

/// A place that upstream credentials come from. Its `type` is read first
/// ([`crate::config::tagged`]).
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(tag = "type")]
pub enum ProviderConfig {
    /// Tokens for ourselves, by the OAuth 2.0 client credentials grant (RFC 6749 section 4.4).
    ClientCredentials(Box<ClientCredentialsConfig>),
    /// The caller's own token, exchanged for one that the upstream takes (RFC 8693).
    TokenExchange(Box<TokenExchangeConfig>),
    /// The caller's own token as an authorization grant (RFC 7523 section 2.1).
    JwtBearer(Box<JwtBearerConfig>),
    /// Tokens of iSHARE identity providers.
    Ishare(Box<IshareConfig>),
    /// Headers of a provider that speaks FIWARE's auth-provider API.
    AuthProvider(Box<AuthProviderConfig>),
    /// Headers of a service that is polled.
    HeaderService(Box<HeaderServiceConfig>),
    /// Assertions about the caller that we sign.
    Signed(Box<SignedConfig>),
    /// Headers whose values stand in files.
    Static(StaticConfig),
}

/// What building a provider needs beside its configuration.
#[derive(Debug)]
pub struct ProviderContext<'c> {
    /// Reads key files and secrets.
    pub reader: &'c mut Reader,
    /// Takes what is wrong.
    pub findings: &'c mut Findings,
    /// What outlives the providers.
    pub services: &'c ProviderServices,
    /// The parties that the credentials API wrote.
    pub parties: &'c Parties,
    /// Who we are in the mesh.
    pub ours: Ours<'c>,
}

/// Who we are in the mesh, as providers need it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ours<'c> {
    /// Who gives us our identity; none where it is not known where it answers.
    pub workload_api: Option<&'c WorkloadApi>,
    /// The names of the mesh's trust domain.
    pub aliases: Option<&'c Aliases>,
}

impl<'c> Ours<'c> {
    /// The Workload API for what stands at `path` and cannot do without; inner none where nothing is
    /// fetched in this process.
    pub(super) fn workload_api(
        self,
        path: &str,
        services: &ProviderServices,
        findings: &mut Findings,
    ) -> Option<Option<&'c WorkloadApi>> {
        if self.workload_api.is_none() && services.tasks().is_some() {
            let why = "needs `spiffe.endpoint`, or the environment variable SPIFFE_ENDPOINT_SOCKET";
            findings.wrong(path, why);
            return None;
        }
        Some(self.workload_api)
    }
}

/// Finds what is wrong with each provider, without reading anything else. Paths are relative to the
/// section.
pub fn check_all(configs: &ProviderConfigs, findings: &mut Findings) {
    for (name, config) in configs {
        findings.within(name, |findings| config.check(findings));
    }
}

/// Builds all of them. Only for configurations in which [`check_all`] finds nothing wrong. `None`
/// where something is wrong, which `context` is told.
#[must_use]
pub fn build_all(
    configs: &ProviderConfigs,
    context: &mut ProviderContext<'_>,
) -> Option<Providers> {
    let mut built = Providers::new();
    for (name, config) in configs {
        // what is wrong is told below the provider's name
        let mut findings = std::mem::take(context.findings);
        let provider = findings.within(name, |findings| {
            let before = findings.count();
            let mut context = ProviderContext {
                reader: context.reader,
                findings,
                services: context.services,
                parties: context.parties,
                ours: context.ours,
            };
            let provider = config.build(name, &mut context);
            if provider.is_none() && findings.count() == before {
                findings.wrong("", "it cannot be built, and nothing says why");
            }
            provider
        });
        *context.findings = findings;
        if let Some(provider) = provider {
            built.insert(name.as_str().into(), Arc::new(provider));
        }
    }
    (built.len() == configs.len()).then_some(built)
}

impl ProviderConfig {
    /// Finds what is wrong, without reading anything else.
    pub fn check(&self, findings: &mut Findings) {
        match self {
            Self::ClientCredentials(config) => config.check(findings),
            Self::TokenExchange(config) => config.check(findings),
            Self::JwtBearer(config) => config.check(findings),
            Self::Ishare(config) => config.check(findings),
            Self::AuthProvider(config) => config.check(findings),
            Self::HeaderService(config) => config.check(findings),
            Self::Signed(config) => config.check(findings),
            Self::Static(config) => config.check(findings),
        }
        let (http, cache) = self.common();
        findings.within("http", |findings| http.check(findings));
        findings.within("cache", |findings| cache.check(findings));
        check_patterns("peers", self.peers(), findings);
    }

    /// What an Api may ask of it.
    #[must_use]
    pub fn abilities(&self) -> Abilities {
        let (_, cache) = self.common();
        let may_be_stale = cache.max_stale.is_some_and(|most| !most.0.is_zero());
        let abilities = self.own_abilities();
        Abilities {
            may_be_stale,
            ..abilities
        }
    }

    fn own_abilities(&self) -> Abilities {
        let token = Abilities {
            gives_token: true,
            takes_audience: true,
            has_audience: true,
            has_token_url: true,
            ..Abilities::default()
        };
        match self {
            Self::ClientCredentials(_) => token,
            Self::TokenExchange(config) => Abilities {
                needs_token: config.subject.is_none(),
                ..token
            },
            Self::JwtBearer(_) => Abilities {
                needs_token: true,
                ..token
            },
            Self::Ishare(config) => config.abilities(token),
            Self::Signed(config) => config.abilities(token),
            Self::AuthProvider(config) => Abilities {
                headers: names(&config.headers),
                ..Abilities::default()
            },
            Self::HeaderService(config) => Abilities {
                headers: names(&config.headers),
                needs_caller: config.url.contains('{'),
                hosts: Some(config.host_patterns()),
                ..Abilities::default()
            },
            Self::Static(config) => Abilities {
                headers: config.names(),
                ..Abilities::default()
            },
        }
    }

    fn common(&self) -> (HttpConfig, CacheConfig) {
        match self {
            Self::ClientCredentials(config) => (config.http.clone(), config.cache),
            Self::TokenExchange(config) => (config.http.clone(), config.cache),
            Self::JwtBearer(config) => (config.http.clone(), config.cache),
            Self::Ishare(config) => (config.http.clone(), config.cache),
            Self::AuthProvider(config) => (config.http.clone(), config.cache),
            Self::HeaderService(config) => (config.http.clone(), config.cache),
            Self::Signed(_) | Self::Static(_) => (HttpConfig::default(), CacheConfig::default()),
        }
    }

    /// The proxies that may be given its tokens.
    fn peers(&self) -> &[String] {
        match self {
            Self::ClientCredentials(config) => &config.peers,
            Self::TokenExchange(config) => &config.peers,
            Self::JwtBearer(config) => &config.peers,
            Self::Ishare(config) => &config.peers,
            Self::AuthProvider(config) => &config.peers,
            Self::HeaderService(config) => &config.peers,
            Self::Signed(config) => &config.peers,
            Self::Static(config) => &config.peers,
        }
    }

    fn is_required(&self) -> bool {
        match self {
            Self::ClientCredentials(config) => config.required,
            Self::Ishare(config) => config.required,
            Self::AuthProvider(config) => config.required,
            Self::HeaderService(config) => config.required,
            Self::TokenExchange(_) | Self::JwtBearer(_) | Self::Signed(_) | Self::Static(_) => {
                false
            }
        }
    }

    fn policy(&self, cache: CacheConfig) -> CachePolicy {
        match self {
            Self::ClientCredentials(_)
            | Self::TokenExchange(_)
            | Self::JwtBearer(_)
            | Self::Ishare(_)
            | Self::Static(_) => cache.policy(Duration::from_secs(25), Duration::ZERO),
            Self::AuthProvider(_) => cache.policy(Duration::ZERO, Duration::ZERO),
            Self::HeaderService(config) => config.policy(cache),
            Self::Signed(config) => config.policy(),
        }
    }

    fn build(&self, name: &str, context: &mut ProviderContext<'_>) -> Option<Provider> {
        let name: Arc<str> = name.into();
        let (http, cache) = self.common();
        let kind = match self {
            Self::ClientCredentials(config) => {
                Kind::ClientCredentials(Box::new(config.build(context)?))
            }
            Self::TokenExchange(config) => Kind::Exchange(Box::new(config.build(context)?)),
            Self::JwtBearer(config) => Kind::Exchange(Box::new(config.build(context)?)),
            Self::Ishare(config) => Kind::Ishare(Box::new(config.build(context)?)),
            Self::AuthProvider(config) => Kind::AuthProvider(Box::new(config.build(context)?)),
            Self::HeaderService(config) => Kind::HeaderService(Box::new(config.build(context)?)),
            Self::Signed(config) => Kind::Signed(Box::new(config.build(context)?)),
            Self::Static(config) => Kind::Fixed(config.build(context)?),
        };
        // what a provider is asked follows from its configuration; a secret that is renewed does
        // not make other tokens of it
        let written = serde_json::to_vec(self).unwrap_or_default();
        let written = [name.as_bytes(), b"\0", &written].concat();
        Some(Provider {
            policy: self.policy(cache),
            required: self.is_required(),
            peers: patterns(self.peers()),
            service: context
                .services
                .get_or_start(&name, sha256(&written), http.timeout.0),
            name,
            kind,
        })
    }
}

/// Names that have been checked.
fn names(names: &[String]) -> Vec<HeaderName> {
    let parsed = names.iter();
    parsed
        .filter_map(|name| HeaderName::parse(name).ok())
        .collect()
}

/// Finds what is wrong with names of headers at `path`.
pub(super) fn check_names(path: &str, names: &[String], findings: &mut Findings) {
    for (at, name) in names.iter().enumerate() {
        if let Err(error) = HeaderName::parse(name) {
            findings.wrong(&format!("{path}[{at}]"), error.to_string());
        }
    }
}

/// Finds what is wrong with a text that is sent.
pub(super) fn check_text(path: &str, text: Option<&str>, findings: &mut Findings) {
    if text.is_some_and(|text| text.trim().is_empty() || text.chars().any(char::is_control)) {
        findings.wrong(path, "it must be text without control characters");
    }
}
