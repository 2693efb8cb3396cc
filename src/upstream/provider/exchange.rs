//! Providers `tokenExchange` (RFC 8693) and `jwtBearer` (RFC 7523 section 2.1): the caller's own
//! verified token becomes one that the upstream takes.

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Want;
use super::answer::Given;
use super::config::{ProviderContext, check_text};
use super::life::CacheConfig;
use super::oauth::client::ClientConfig;
use super::oauth::own_token::{OwnToken, OwnTokenConfig};
use super::oauth::{EndpointConfig, Form, TokenEndpoint, Usual};
use super::workloads::{
    self, Per, WorkloadEntry, WorkloadEntryConfig, Workloads, apart, both, push_target_of,
};
use crate::authentication::credential::{CredentialPlace, Found};
use crate::authorization::Permit;
use crate::check::request::DownstreamRequest;
use crate::config::findings::Findings;
use crate::fetch::{FailureKind, FetchError};
use crate::http_client::config::HttpConfig;
use crate::routing::Route;
use crate::secret::sha256;

const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";

/// Exchanges the caller's verified token for another.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TokenExchangeConfig {
    /// The address of the token endpoint.
    pub token_url: String,
    /// Who we are for it.
    pub client: ClientConfig,
    /// Whose token is exchanged, instead of the caller's: ours, such as `svid`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<OwnTokenConfig>,
    /// A token that says who acts for the caller: `svid`, or one that Kubernetes renews in a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<OwnTokenConfig>,
    /// The type of `actor`; left out, a JWT.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor_type: Option<String>,
    /// The type of the token that is exchanged; left out, an access token where it is the caller's,
    /// else a JWT.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject_type: Option<String>,
    /// The type of the token that is asked for; left out, it is the server's to choose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requested_type: Option<String>,
    /// The scopes that are asked for, separated by spaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// For whom the token is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
    /// Where the token is to be used (RFC 8707).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// Whose its tokens are.
    #[serde(default, skip_serializing_if = "Per::is_default")]
    pub per: Per,
    /// With `per: workload`, as whom tokens are asked for which callers, the first that matches;
    /// others get none. Left out, all are asked for as the same client.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub workloads: Vec<WorkloadEntryConfig>,
    /// Further fields of the form, for servers that ask for more.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: BTreeMap<String, String>,
    /// How the server is reached.
    #[serde(default, skip_serializing_if = "HttpConfig::is_default")]
    pub http: HttpConfig,
    /// How long tokens are kept.
    #[serde(default, skip_serializing_if = "CacheConfig::is_default")]
    pub cache: CacheConfig,
    /// The proxies that may be given its tokens, as patterns of SPIFFE IDs; left out, whoever may ask.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub peers: Vec<String>,
}

/// Gives the caller's verified token as an authorization grant.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct JwtBearerConfig {
    /// The address of the token endpoint.
    pub token_url: String,
    /// Who we are for it.
    pub client: ClientConfig,
    /// The scopes that are asked for, separated by spaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// For whom the token is, where the server takes that parameter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
    /// Where the token is to be used (RFC 8707).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// Further fields of the form, for servers that ask for more.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: BTreeMap<String, String>,
    /// How the server is reached.
    #[serde(default, skip_serializing_if = "HttpConfig::is_default")]
    pub http: HttpConfig,
    /// How long tokens are kept.
    #[serde(default, skip_serializing_if = "CacheConfig::is_default")]
    pub cache: CacheConfig,
    /// The proxies that may be given its tokens, as patterns of SPIFFE IDs; left out, whoever may ask.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub peers: Vec<String>,
}

/// A token endpoint that takes callers' tokens.
#[derive(Debug)]
pub(super) struct Exchange {
    endpoint: TokenEndpoint,
    usual: Usual,
    form: Grant,
    /// Our token that is exchanged instead of the caller's.
    subject: Option<OwnToken>,
    workloads: Option<Workloads>,
}

/// How the caller's token is given.
#[derive(Debug)]
enum Grant {
    TokenExchange {
        subject_type: Box<str>,
        requested_type: Option<Box<str>>,
        actor: Option<(OwnToken, Box<str>)>,
    },
    JwtBearer,
}

impl TokenExchangeConfig {
    fn endpoint(&self) -> EndpointConfig<'_> {
        EndpointConfig {
            token_url: &self.token_url,
            client: &self.client,
            parameters: &self.parameters,
            http: &self.http,
        }
    }

    pub(super) fn check(&self, findings: &mut Findings) {
        self.endpoint().check(findings);
        for (path, text) in [
            ("scope", &self.scope),
            ("audience", &self.audience),
            ("resource", &self.resource),
            ("actorType", &self.actor_type),
            ("subjectType", &self.subject_type),
            ("requestedType", &self.requested_type),
        ] {
            check_text(path, text.as_deref(), findings);
        }
        for (path, token) in [("subject", &self.subject), ("actor", &self.actor)] {
            if let Some(token) = token {
                token.check(path, findings);
            }
        }
        self.per.check(&self.workloads, &self.client, findings);
        if self.actor_type.is_some() && self.actor.is_none() {
            findings.wrong("actorType", "is for `actor` alone");
        }
    }

    pub(super) fn build(&self, context: &mut ProviderContext<'_>) -> Option<Exchange> {
        let actor = match &self.actor {
            Some(source) => {
                let token = source.build("actor", &self.token_url, context)?;
                let kind = self.actor_type.as_deref().unwrap_or(JWT);
                Some((token, kind.into()))
            }
            None => None,
        };
        let subject = match &self.subject {
            Some(source) => Some(source.build("subject", &self.token_url, context)?),
            None => None,
        };
        let usual_type = if subject.is_some() { JWT } else { ACCESS_TOKEN };
        Some(Exchange {
            workloads: self.per.build(&self.workloads, context),
            subject,
            endpoint: self.endpoint().build(context)?,
            usual: Usual::of(&self.scope, &self.audience, &self.resource),
            form: Grant::TokenExchange {
                subject_type: self.subject_type.as_deref().unwrap_or(usual_type).into(),
                requested_type: self.requested_type.as_deref().map(Into::into),
                actor,
            },
        })
    }
}

impl JwtBearerConfig {
    fn endpoint(&self) -> EndpointConfig<'_> {
        EndpointConfig {
            token_url: &self.token_url,
            client: &self.client,
            parameters: &self.parameters,
            http: &self.http,
        }
    }

    pub(super) fn check(&self, findings: &mut Findings) {
        self.endpoint().check(findings);
        check_text("scope", self.scope.as_deref(), findings);
        check_text("audience", self.audience.as_deref(), findings);
        check_text("resource", self.resource.as_deref(), findings);
    }

    pub(super) fn build(&self, context: &mut ProviderContext<'_>) -> Option<Exchange> {
        Some(Exchange {
            endpoint: self.endpoint().build(context)?,
            usual: Usual::of(&self.scope, &self.audience, &self.resource),
            form: Grant::JwtBearer,
            subject: None,
            workloads: None,
        })
    }
}

impl Exchange {
    pub(super) fn type_name(&self) -> &'static str {
        match self.form {
            Grant::TokenExchange { .. } => "tokenExchange",
            Grant::JwtBearer => "jwtBearer",
        }
    }

    /// The digest of the actor: a token that was given to one is not another's.
    pub(super) fn variant(&self) -> Vec<u8> {
        match &self.form {
            Grant::TokenExchange {
                actor: Some((actor, _)),
                ..
            } => actor
                .fixed()
                .map_or_else(Vec::new, |actor| sha256(actor.expose().as_bytes()).to_vec()),
            Grant::TokenExchange { actor: None, .. } | Grant::JwtBearer => Vec::new(),
        }
    }

    /// What the answer depends on of the caller: its token, its identity, or both.
    pub(super) fn caller<'r>(
        &self,
        route: &Route<'r>,
        request: &'r DownstreamRequest,
        permit: &Permit<'_>,
    ) -> Result<Option<Cow<'r, str>>, &'static str> {
        let workload = match &self.workloads {
            Some(_) => Some(workloads::caller(permit)?),
            None => None,
        };
        let token = match &self.subject {
            Some(_) => None,
            None => Some(subject_token(route, request, permit)?),
        };
        Ok(match (workload, token) {
            (None, token) => token,
            (Some(id), token) => Some(Cow::Owned(both(&id, token.as_deref()))),
        })
    }

    /// Whether what it gives depends on who calls.
    pub(super) fn is_per_caller(&self) -> bool {
        self.subject.is_none() || self.is_per_workload()
    }

    /// Whether it gives each calling workload its own.
    pub(super) fn is_per_workload(&self) -> bool {
        self.workloads.is_some()
    }

    pub(super) async fn fetch(&self, want: &Want) -> Result<Given, FetchError> {
        let caller = want.caller.as_ref().map(|caller| caller.expose().as_str());
        let (workload, token) = match &self.workloads {
            Some(workloads) => {
                let (id, token) = apart(caller.unwrap_or_default());
                (workloads.find(id)?, token)
            }
            None => (None, caller),
        };
        let ours = match &self.subject {
            Some(subject) => Some(subject.get().await?),
            None => None,
        };
        let subject = ours.as_ref().map(|ours| ours.expose().as_str()).or(token);
        let subject = subject.ok_or_else(|| {
            FetchError::new(FailureKind::NotAsked, "there is no token to exchange")
        })?;
        let acting = match &self.form {
            Grant::TokenExchange {
                actor: Some((actor, _)),
                ..
            } => Some(actor.get().await?),
            Grant::TokenExchange { actor: None, .. } | Grant::JwtBearer => None,
        };
        let acting = acting.as_ref().map(|acting| acting.expose().as_str());
        let mut form = self.form.form(subject, acting);
        push_target_of(&mut form, &want.target, &self.usual, workload);
        let id = workload.and_then(WorkloadEntry::client_id);
        self.endpoint.ask_as(id, form).await?.into_given(want)
    }
}

impl Grant {
    fn form<'f>(&'f self, subject: &'f str, acting: Option<&'f str>) -> Form<'f> {
        let subject = Cow::Borrowed(subject);
        let Self::TokenExchange {
            subject_type,
            requested_type,
            actor,
        } = self
        else {
            let grant = Cow::Borrowed("urn:ietf:params:oauth:grant-type:jwt-bearer");
            return vec![("grant_type", grant), ("assertion", subject)];
        };
        // RFC 8693 section 2.1
        let mut form = vec![
            (
                "grant_type",
                Cow::Borrowed("urn:ietf:params:oauth:grant-type:token-exchange"),
            ),
            ("subject_token", subject),
            ("subject_token_type", Cow::Borrowed(&**subject_type)),
        ];
        if let Some(requested) = requested_type {
            form.push(("requested_token_type", Cow::Borrowed(&**requested)));
        }
        if let (Some((_, kind)), Some(acting)) = (actor, acting) {
            form.push(("actor_token", Cow::Borrowed(acting)));
            form.push(("actor_token_type", Cow::Borrowed(&**kind)));
        }
        form
    }
}

/// The token that the caller was verified by.
pub(super) fn subject_token<'r>(
    route: &Route<'r>,
    request: &'r DownstreamRequest,
    permit: &Permit<'_>,
) -> Result<Cow<'r, str>, &'static str> {
    let verified_by = permit.principal().authenticator();
    let mut authenticators = route.authenticators().iter();
    let authenticator = authenticators.find(|one| one.name() == verified_by);
    let places = authenticator.and_then(|one| one.token_places());
    let places = places.ok_or("the caller was not verified by a token")?;
    match CredentialPlace::find(places, request) {
        Found::One(credential) => credential.into_single(),
        Found::Absent | Found::Ambiguous(_) => None,
    }
    .ok_or("the caller's token is gone")
}
