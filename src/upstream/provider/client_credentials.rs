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
use super::oauth::{EndpointConfig, TokenEndpoint, Usual, push_target};
use crate::config::findings::Findings;
use crate::fetch::FetchError;
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
        check_text("scope", self.scope.as_deref(), findings);
        check_text("audience", self.audience.as_deref(), findings);
        check_text("resource", self.resource.as_deref(), findings);
    }

    pub(super) fn build(&self, context: &mut ProviderContext<'_>) -> Option<ClientCredentials> {
        Some(ClientCredentials {
            endpoint: self.endpoint().build(context)?,
            usual: Usual::of(&self.scope, &self.audience, &self.resource),
        })
    }
}

impl ClientCredentials {
    pub(super) async fn fetch(&self, want: &Want) -> Result<Given, FetchError> {
        let mut form = vec![("grant_type", Cow::Borrowed("client_credentials"))];
        push_target(&mut form, &want.target, &self.usual);
        self.endpoint.ask(form).await?.into_given(want)
    }
}
