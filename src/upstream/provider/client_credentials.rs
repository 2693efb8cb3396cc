//! Provider `clientCredentials`: tokens for ourselves (RFC 6749 section 4.4).

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Want;
use super::answer::Given;
use super::config::{ProviderContext, check_text};
use super::life::CacheConfig;
use super::oauth::client::ClientConfig;
use super::oauth::{EndpointConfig, TokenEndpoint, Usual};
use super::workloads::{self, Per, WorkloadEntry, WorkloadEntryConfig, Workloads, push_target_of};
use crate::authorization::Permit;
use crate::config::findings::Findings;
use crate::fetch::{FailureKind, FetchError};
use crate::http_client::config::HttpConfig;

/// Asks a token endpoint for tokens for ourselves.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClientCredentialsConfig {
    /// The address of the token endpoint.
    pub token_url: String,
    /// Who we are for it.
    pub client: ClientConfig,
    /// The scopes that are asked for, separated by spaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// The audience that is asked for, where the server takes that parameter.
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
    /// Whether tokens are asked for at the start, before a check needs them, and kept; readiness
    /// waits until that was tried.
    #[serde(default)]
    pub required: bool,
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

/// A token endpoint that gives tokens for ourselves.
#[derive(Debug)]
pub(super) struct ClientCredentials {
    endpoint: TokenEndpoint,
    usual: Usual,
    workloads: Option<Workloads>,
}

impl ClientCredentialsConfig {
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
        self.per.check(&self.workloads, &self.client, findings);
        if self.required && self.per == Per::Workload {
            findings.wrong(
                "required",
                "is not for `per: workload`: nobody calls at the start",
            );
        }
        check_text("scope", self.scope.as_deref(), findings);
        check_text("audience", self.audience.as_deref(), findings);
        check_text("resource", self.resource.as_deref(), findings);
    }

    pub(super) fn build(&self, context: &mut ProviderContext<'_>) -> Option<ClientCredentials> {
        Some(ClientCredentials {
            workloads: self.per.build(&self.workloads, context),
            endpoint: self.endpoint().build(context)?,
            usual: Usual::of(&self.scope, &self.audience, &self.resource),
        })
    }
}

impl ClientCredentials {
    /// What the answer depends on of the caller: its identity, or nothing.
    pub(super) fn caller(
        &self,
        permit: &Permit<'_>,
    ) -> Result<Option<Cow<'static, str>>, &'static str> {
        match &self.workloads {
            None => Ok(None),
            Some(_) => {
                let id = workloads::caller(permit)?;
                Ok(Some(Cow::Owned(id.to_string())))
            }
        }
    }

    /// Whether what it gives depends on who calls.
    pub(super) fn is_per_caller(&self) -> bool {
        self.is_per_workload()
    }

    /// Whether it gives each calling workload its own.
    pub(super) fn is_per_workload(&self) -> bool {
        self.workloads.is_some()
    }

    pub(super) async fn fetch(&self, want: &Want) -> Result<Given, FetchError> {
        let entry = match (&self.workloads, &want.caller) {
            (None, _) => None,
            (Some(workloads), Some(id)) => workloads.find(id.expose())?,
            (Some(_), None) => {
                let why = "the caller has no verified SPIFFE ID";
                return Err(FetchError::new(FailureKind::NotAsked, why));
            }
        };
        let mut form = vec![("grant_type", Cow::Borrowed("client_credentials"))];
        push_target_of(&mut form, &want.target, &self.usual, entry);
        let id = entry.and_then(WorkloadEntry::client_id);
        self.endpoint.ask_as(id, form).await?.into_given(want)
    }
}
