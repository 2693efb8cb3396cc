//! The configuration of an [`IntrospectionAuthenticator`], and how it becomes one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::places::SourcePlaces;
use super::server::{Keeping, Server};
use super::{Asked, IntrospectionAuthenticator};
use crate::authentication::claims::rules::{DEFAULT_MAX_TOKEN, RulesConfig, check_max_token};
use crate::authentication::claims::{ClaimRules, IssuerRule};
use crate::authentication::config::{
    BuildContext, CredentialPlaceConfig, build_places, check_places,
};
use crate::authentication::jwt::config::{AudienceConfig, ClaimsConfig, SubscriptionsConfig};
use crate::authentication::proof::config::BindingConfig;
use crate::config::findings::Findings;
use crate::config::value::{ByteSize, HumanDuration};
use crate::fetch::Fetches;
use crate::http_client::config::HttpConfig;
use crate::upstream::provider::config::{Ours, ProviderContext};
use crate::upstream::provider::oauth::EndpointConfig;
use crate::upstream::provider::oauth::client::ClientConfig;

const MAX_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);
const MAX_REFUSED: Duration = Duration::from_secs(5 * 60);

/// Asks an authorization server about tokens (RFC 7662).
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct IntrospectionConfig {
    /// The address of the introspection endpoint.
    pub url: String,
    /// Who issued the tokens: subjects and clients are this issuer's. An `iss` in an answer must be
    /// it, and a JSON Web Token that names another is left to other authenticators.
    pub issuer: String,
    /// Who we are for the server.
    pub client: ClientConfig,
    /// How the server is reached.
    #[serde(default, skip_serializing_if = "HttpConfig::is_default")]
    pub http: HttpConfig,
    /// An answer must name one of these in `aud`. Give this or `audience`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audiences: Option<Vec<String>>,
    /// `clientId`: the token's only audience is its client, as some issuers write it. `any`: the
    /// audience is not looked at, as many servers do not tell it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audience: Option<AudienceConfig>,
    /// Where the token sits in a request; left out, `authorization: Bearer …`, and with `binding.dpop`
    /// `authorization: DPoP …` too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<Vec<CredentialPlaceConfig>>,
    /// Which members of an answer say what.
    #[serde(default)]
    pub claims: ClaimsConfig,
    /// How far our clock and the issuer's may lie apart: 5s, at most 120s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leeway: Option<HumanDuration>,
    /// Where the subscriptions of the token's application are looked up.
    #[serde(default)]
    pub subscriptions: SubscriptionsConfig,
    /// The longest token: 8KiB, at most 16KiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_token: Option<ByteSize>,
    /// How long answers count.
    #[serde(default)]
    pub cache: AnswerCacheConfig,
    /// What is asked of tokens that are bound to a key or certificate, and of others.
    #[serde(default, skip_serializing_if = "BindingConfig::is_default")]
    pub binding: BindingConfig,
}

/// How long answers count before the server is asked again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct AnswerCacheConfig {
    /// That a token is active, and never beyond its `exp`. As long may a token that was revoked
    /// still pass.
    pub max_lifetime: HumanDuration,
    /// That it is not, or not for us.
    pub refused: HumanDuration,
}

impl Default for AnswerCacheConfig {
    fn default() -> Self {
        Self {
            max_lifetime: HumanDuration(Duration::from_secs(60)),
            refused: HumanDuration(Duration::from_secs(5)),
        }
    }
}

impl IntrospectionConfig {
    /// Finds what is wrong, without reading anything else.
    pub fn check(&self, findings: &mut Findings) {
        self.http.check_address("url", &self.url, findings);
        if self.issuer.is_empty() {
            findings.wrong("issuer", "cannot be empty");
        }
        findings.within("client", |findings| self.client.check(&self.http, findings));
        findings.within("http", |findings| self.http.check(findings));
        self.rules().check(findings);
        let places = self.places();
        check_places("credentials", &places, findings);
        findings.within("binding", |findings| self.binding.check(&places, findings));
        check_max_token(self.max_token, findings);
        if self.cache.max_lifetime.0 > MAX_LIFETIME {
            findings.wrong("cache.maxLifetime", "at most 24h");
        }
        if self.cache.refused.0 > MAX_REFUSED {
            findings.wrong("cache.refused", "at most 5m");
        }
    }

    /// Where tokens are looked for.
    pub(in crate::authentication) fn places(&self) -> Vec<CredentialPlaceConfig> {
        self.binding.places(self.credentials.as_deref())
    }

    fn rules(&self) -> RulesConfig<'_> {
        RulesConfig {
            issuer: &self.issuer,
            audiences: self.audiences.as_deref(),
            audience: self.audience,
            claims: &self.claims,
            leeway: self.leeway,
            subscriptions: self.subscriptions,
        }
    }

    /// Makes the authenticator called `name`.
    pub(in crate::authentication) fn build(
        &self,
        name: &str,
        context: &mut BuildContext<'_>,
    ) -> Option<IntrospectionAuthenticator> {
        let lasting = context.lasting;
        let parameters = BTreeMap::new();
        let endpoint = EndpointConfig {
            token_url: &self.url,
            client: &self.client,
            parameters: &parameters,
            http: &self.http,
        };
        let endpoint = endpoint.build(&mut ProviderContext {
            reader: context.reader,
            findings: context.findings,
            services: &lasting.providers,
            parties: &lasting.parties,
            ours: Ours {
                workload_api: lasting.workload_api.as_ref(),
                aliases: None,
            },
        })?;
        // as a request that was cut is sent once more
        let flight = self.http.timeout.0.saturating_mul(2) + Duration::from_secs(1);
        let rules = ClaimRules {
            issuer_rule: IssuerRule::NamedOrAbsent,
            ..self.rules().build()
        };
        let keeping = Keeping {
            active: self.cache.max_lifetime.0,
            refused: self.cache.refused.0,
        };
        // a reload asks about no token again, unless it changes what is asked of answers
        let written = serde_json::to_vec(self).ok()?;
        let seen = lasting.verified_tokens.of_authenticator(name, &written);
        let asked = Asked::new(
            Server::new(endpoint, rules, lasting.clock.clone()),
            seen,
            keeping,
        );
        let places = build_places(&self.places())?;
        Some(IntrospectionAuthenticator {
            name: name.into(),
            proofs: self.binding.build(&places, lasting),
            places,
            max_token: self.max_token.map_or(DEFAULT_MAX_TOKEN, |size| size.0),
            subscriptions: self.subscriptions.source(),
            asked: Arc::new(asked),
            fetches: Fetches::new(lasting.providers.tasks().cloned(), flight),
            sources: SourcePlaces::new(),
            failures: lasting.failures.clone(),
        })
    }
}
