//! Where upstream credentials come from: a [`Provider`] answers `(upstream host, path, caller)`
//! with headers and how long they last.
//!
//! Providers are the operator's: an Api only names one. What a provider gave is kept in the one
//! [`crate::upstream::token_cache`] and fetched by [`crate::fetch`], never by a check; only what we
//! sign ourselves is made by the check that needs it.
//
// INVARIANT: what was given for one host, path, audience, scope or caller is never given for
// another. INVARIANT: no value of a header, token, key or assertion reaches a log, an error or `Debug`.

pub mod answer;
mod auth_provider;
mod client_credentials;
pub mod config;
mod exchange;
mod fixed;
mod header_map;
mod header_service;
pub mod ishare;
pub mod life;
pub(crate) mod oauth;
pub mod service;
pub mod signed;
pub mod token_urls;
pub mod workloads;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use url::Url;

use crate::authorization::Permit;
use crate::catalog::model::HostPattern;
use crate::check::request::DownstreamRequest;
use crate::fetch::{FailureKind, FetchError};
use crate::header::HeaderName;
use crate::routing::Route;
use crate::secret::{KeyedDigest, Secret};
use crate::spiffe::SpiffeIdPattern;
use crate::upstream::provider::answer::{CredentialHeader, Given};
use crate::upstream::provider::auth_provider::AuthProvider;
use crate::upstream::provider::client_credentials::ClientCredentials;
use crate::upstream::provider::exchange::Exchange;
use crate::upstream::provider::fixed::FixedHeaders;
use crate::upstream::provider::header_service::HeaderService;
use crate::upstream::provider::ishare::Ishare;
use crate::upstream::provider::life::CachePolicy;
use crate::upstream::provider::service::ProviderService;
use crate::upstream::provider::signed::Signed;

/// The providers of a configuration, by name.
pub type Providers = BTreeMap<Arc<str>, Arc<Provider>>;

/// A configured place that upstream credentials come from.
#[derive(Debug)]
pub struct Provider {
    name: Arc<str>,
    kind: Kind,
    policy: CachePolicy,
    /// Whether it is asked before anybody needs it, and readiness waits for that.
    required: bool,
    /// The proxies that may be given its tokens; empty: whoever may ask.
    peers: Box<[SpiffeIdPattern]>,
    /// What outlives this revision of the configuration.
    service: Arc<ProviderService>,
}

/// The kinds of providers.
#[derive(Debug)]
enum Kind {
    /// RFC 6749 section 4.4.
    ClientCredentials(Box<ClientCredentials>),
    /// RFC 8693, and RFC 7523 section 2.1.
    Exchange(Box<Exchange>),
    /// iSHARE.
    Ishare(Box<Ishare>),
    /// FIWARE's auth-provider API.
    AuthProvider(Box<AuthProvider>),
    /// A map of headers that is polled.
    HeaderService(Box<HeaderService>),
    /// Assertions that we sign.
    Signed(Box<Signed>),
    /// Headers from files.
    Fixed(FixedHeaders),
}

/// What an Api wants of its provider, whoever calls.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Target {
    /// The base path of the Api; `/` where it has none.
    pub path: Arc<str>,
    /// For whom the token is.
    pub audience: Option<Arc<str>>,
    /// What it may do, separated by spaces.
    pub scope: Option<Arc<str>>,
    /// Where it is for (RFC 8707).
    pub resource: Option<Arc<str>>,
    /// Where it is asked for.
    pub token_url: Option<Url>,
    /// For which party.
    pub party: Option<Arc<str>>,
    /// By which grant.
    pub grant_type: Option<Arc<str>>,
    /// The header that it is put into; none where the provider gives whole headers.
    pub header: Option<HeaderName>,
    /// What stands before it, where anything does.
    pub scheme: Option<Arc<str>>,
}

/// What one check wants.
#[derive(Debug)]
pub struct Need<'a> {
    /// What it is kept under.
    pub key: KeyedDigest,
    /// The upstream's host, in normal form.
    pub host: &'a str,
    /// What the answer depends on of the caller, where it does. Secret.
    pub caller: Option<Cow<'a, str>>,
}

/// The same, for a flight that outlives the check.
#[derive(Debug)]
pub struct Want {
    /// What the Api wants.
    pub target: Arc<Target>,
    /// The upstream's host, in normal form.
    pub host: Box<str>,
    /// What the answer depends on of the caller.
    pub caller: Option<Secret<String>>,
}

/// What an Api may ask of a provider, and must tell it.
#[derive(Debug, Clone, Default)]
pub struct Abilities {
    /// Whether it gives one token, which the Api says where to put, and not whole headers.
    pub gives_token: bool,
    /// Whether it needs the caller's own token.
    pub needs_token: bool,
    /// Whether the Api may name audience, scope and resource.
    pub takes_audience: bool,
    /// Whether, of these, it may name the audience alone.
    pub only_audience: bool,
    /// Which token addresses the Api may name; none where it may name none.
    pub token_urls: Option<token_urls::TokenUrls>,
    /// Who names the party.
    pub party: PartyRule,
    /// Whether the provider knows whom to ask where the Api names no audience and address.
    pub has_audience: bool,
    /// The same of the address.
    pub has_token_url: bool,
    /// The headers that it may set, as far as they are known.
    pub headers: Vec<HeaderName>,
    /// Whether a token may be used beyond its end.
    pub may_be_stale: bool,
    /// Whether it needs to know who calls.
    pub needs_caller: bool,
    /// The hosts that it gives anything for; none where it does for all.
    pub hosts: Option<Vec<HostPattern>>,
}

/// Who names the party that a token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PartyRule {
    /// Nobody: there is none.
    #[default]
    None,
    /// The provider.
    Provider,
    /// The Api.
    Api,
}

impl Provider {
    /// The proxies that may be given its tokens; empty: whoever may ask.
    #[must_use]
    pub fn peers(&self) -> &[SpiffeIdPattern] {
        &self.peers
    }

    /// Its name in the configuration.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Its type in the configuration.
    #[must_use]
    pub fn type_name(&self) -> &'static str {
        match &self.kind {
            Kind::ClientCredentials(_) => "clientCredentials",
            Kind::Exchange(exchange) => exchange.type_name(),
            Kind::Ishare(_) => "ishare",
            Kind::AuthProvider(_) => "authProvider",
            Kind::HeaderService(_) => "headerService",
            Kind::Signed(_) => "signed",
            Kind::Fixed(_) => "static",
        }
    }

    /// Whether it is asked before anybody needs it, and readiness waits for that.
    #[must_use]
    pub fn is_required(&self) -> bool {
        self.required
    }

    /// How long what it gives is kept.
    #[must_use]
    pub fn policy(&self) -> &CachePolicy {
        &self.policy
    }

    /// What outlives the revision.
    #[must_use]
    pub fn service(&self) -> &Arc<ProviderService> {
        &self.service
    }

    /// The signing keys, where it has any of its own.
    #[must_use]
    pub fn signed(&self) -> Option<&Signed> {
        match &self.kind {
            Kind::Signed(signed) => Some(signed),
            Kind::ClientCredentials(_)
            | Kind::Exchange(_)
            | Kind::Ishare(_)
            | Kind::AuthProvider(_)
            | Kind::HeaderService(_)
            | Kind::Fixed(_) => None,
        }
    }

    /// The digest that begins every key of what it gives for `target`.
    #[must_use]
    pub fn prefix(&self, target: &Target) -> [u8; 16] {
        if !self.is_per_host() {
            return KeyedDigest::of(&[self.name.as_bytes(), self.service.fingerprint()]).to_bytes();
        }
        let text = |text: &Option<Arc<str>>| text.as_deref().unwrap_or_default().to_owned();
        let named = |text: &Option<Arc<str>>| u8::from(text.is_some());
        let url = target.token_url.as_ref().map_or("", Url::as_str);
        let header = target.header.as_ref().map_or("", HeaderName::as_str);
        KeyedDigest::of(&[
            self.name.as_bytes(),
            self.service.fingerprint(),
            &self.variant(),
            target.path.as_bytes(),
            text(&target.audience).as_bytes(),
            text(&target.scope).as_bytes(),
            text(&target.resource).as_bytes(),
            url.as_bytes(),
            text(&target.party).as_bytes(),
            text(&target.grant_type).as_bytes(),
            header.as_bytes(),
            text(&target.scheme).as_bytes(),
            &[
                named(&target.audience),
                named(&target.scope),
                named(&target.resource),
                named(&target.party),
                named(&target.grant_type),
                named(&target.scheme),
            ],
        ])
        .to_bytes()
    }

    /// What else of the provider its answers depend on, beside its configuration.
    fn variant(&self) -> Vec<u8> {
        match &self.kind {
            Kind::Exchange(exchange) => exchange.variant(),
            Kind::Signed(signed) => signed.variant(),
            Kind::ClientCredentials(_)
            | Kind::Ishare(_)
            | Kind::AuthProvider(_)
            | Kind::HeaderService(_)
            | Kind::Fixed(_) => Vec::new(),
        }
    }

    /// Whether what it gives depends on the host that it is for.
    #[must_use]
    pub fn is_per_host(&self) -> bool {
        match &self.kind {
            Kind::HeaderService(_) => false,
            Kind::ClientCredentials(_)
            | Kind::Exchange(_)
            | Kind::Ishare(_)
            | Kind::AuthProvider(_)
            | Kind::Signed(_)
            | Kind::Fixed(_) => true,
        }
    }

    /// Whether what it gives depends on who calls.
    #[must_use]
    pub fn is_per_caller(&self) -> bool {
        match &self.kind {
            Kind::Signed(_) => true,
            Kind::Exchange(exchange) => exchange.is_per_caller(),
            Kind::ClientCredentials(kind) => kind.is_per_caller(),
            Kind::AuthProvider(provider) => provider.is_per_caller(),
            Kind::HeaderService(service) => service.is_per_caller(),
            Kind::Ishare(_) | Kind::Fixed(_) => false,
        }
    }

    /// Whether what it gives is for one calling workload alone.
    #[must_use]
    pub fn is_per_workload(&self) -> bool {
        match &self.kind {
            Kind::Exchange(exchange) => exchange.is_per_workload(),
            Kind::ClientCredentials(kind) => kind.is_per_workload(),
            Kind::AuthProvider(_)
            | Kind::HeaderService(_)
            | Kind::Ishare(_)
            | Kind::Signed(_)
            | Kind::Fixed(_) => false,
        }
    }

    /// Whether it may be asked for `host` at all.
    #[must_use]
    pub fn serves(&self, host: &str) -> bool {
        match &self.kind {
            Kind::HeaderService(service) => service.serves(host),
            Kind::ClientCredentials(_)
            | Kind::Exchange(_)
            | Kind::Ishare(_)
            | Kind::AuthProvider(_)
            | Kind::Signed(_)
            | Kind::Fixed(_) => true,
        }
    }

    /// What the answer depends on of the caller.
    ///
    /// # Errors
    /// What of the caller is missing.
    pub(in crate::upstream) fn caller<'r>(
        &self,
        route: &Route<'r>,
        request: &'r DownstreamRequest,
        permit: &Permit<'_>,
        target: &Target,
    ) -> Result<Option<Cow<'r, str>>, &'static str> {
        match &self.kind {
            Kind::Exchange(exchange) => exchange.caller(route, request, permit),
            Kind::ClientCredentials(kind) => kind.caller(permit),
            Kind::AuthProvider(provider) => Ok(provider.forwarded(request)),
            Kind::HeaderService(service) => service.address_for(route, permit),
            Kind::Signed(signed) => signed.claims(route, permit, target).map(Some),
            Kind::Ishare(_) | Kind::Fixed(_) => Ok(None),
        }
    }

    /// The headers, where they are the same for everybody and always there.
    #[must_use]
    pub fn fixed(&self) -> Option<&[CredentialHeader]> {
        match &self.kind {
            Kind::Fixed(fixed) => Some(fixed.headers()),
            Kind::ClientCredentials(_)
            | Kind::Exchange(_)
            | Kind::Ishare(_)
            | Kind::AuthProvider(_)
            | Kind::HeaderService(_)
            | Kind::Signed(_) => None,
        }
    }

    /// Asks for the headers.
    pub(in crate::upstream) async fn fetch(&self, want: &Want) -> Result<Given, FetchError> {
        match &self.kind {
            Kind::ClientCredentials(kind) => kind.fetch(want).await,
            Kind::Exchange(kind) => kind.fetch(want).await,
            Kind::Ishare(kind) => kind.fetch(want).await,
            Kind::AuthProvider(kind) => kind.fetch(want).await,
            Kind::HeaderService(kind) => kind.fetch(want).await,
            Kind::Signed(kind) => kind.sign(want),
            Kind::Fixed(_) => Err(FetchError::new(FailureKind::NotAsked, "it is always there")),
        }
    }
}

#[cfg(test)]
impl Provider {
    /// A provider `assert` that signs, for tests of what is published.
    fn of_signed(signed: Signed) -> Self {
        let services = service::ProviderServices::offline(crate::clock::Clock::at(0));
        let name: Arc<str> = "assert".into();
        Self {
            peers: Box::default(),
            policy: life::CacheConfig::default().policy(signed.lifetime(), signed.lifetime()),
            required: false,
            service: services.get_or_start(&name, [0; 32], signed.lifetime()),
            name,
            kind: Kind::Signed(Box::new(signed)),
        }
    }
}

impl Need<'_> {
    /// The same for a flight, with what it is kept under.
    #[must_use]
    pub fn to_keyed_want(&self, target: &Arc<Target>) -> (KeyedDigest, Want) {
        (self.key, self.to_want(target))
    }

    /// The same, for a flight.
    #[must_use]
    pub fn to_want(&self, target: &Arc<Target>) -> Want {
        Want {
            target: Arc::clone(target),
            host: self.host.into(),
            caller: self
                .caller
                .as_deref()
                .map(|caller| Secret::new(caller.to_owned())),
        }
    }
}
