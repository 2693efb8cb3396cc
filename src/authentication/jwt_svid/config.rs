//! The configuration of a [`super::JwtSvidAuthenticator`]: what may be written, what is wrong with it,
//! and what becomes of it.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::JwtSvidAuthenticator;
use crate::authentication::claims::rules::{
    DEFAULT_MAX_TOKEN, RulesConfig, check_max_token, check_path, whole_seconds,
};
use crate::authentication::claims::{ClaimPath, ClaimRules, IssuerRule};
use crate::authentication::config::{
    BuildContext, CredentialPlaceConfig, build_places, check_places,
};
use crate::authentication::jwt::config::{ClaimsConfig, SubscriptionsConfig};
use crate::authentication::proof::config::BindingConfig;
use crate::config::findings::Findings;
use crate::config::value::{ByteSize, HumanDuration};
use crate::spiffe::TrustDomain;
use crate::spiffe::config::SpiffeConfig;

const MAX_LEEWAY: Duration = Duration::from_secs(60);

/// Takes JWT-SVIDs, by the keys that the Workload API says of their trust domains.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct JwtSvidConfig {
    /// A token must name one of these in `aud`.
    pub audiences: Vec<String>,
    /// The trust domains whose workloads count; left out, the mesh's own, its other names, and those
    /// that it is federated with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trust_domains: Option<Vec<String>>,
    /// Where the token sits in a request; left out, `authorization: Bearer …`, and with `binding.dpop`
    /// `authorization: DPoP …` too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<Vec<CredentialPlaceConfig>>,
    /// How far our clock and the issuer's may lie apart: 5s, at most 60s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leeway: Option<HumanDuration>,
    /// The longest time from a token's `iat` to its `exp`; left out, it is not looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_lifetime: Option<HumanDuration>,
    /// Claims that a token must have, as names or dotted paths.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub required_claims: Vec<String>,
    /// The longest token: 8KiB, at most 16KiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_token: Option<ByteSize>,
    /// What is asked of tokens that are bound to a key or certificate, and of others.
    #[serde(default, skip_serializing_if = "BindingConfig::is_default")]
    pub binding: BindingConfig,
}

impl JwtSvidConfig {
    /// Finds what is wrong, without reading anything else.
    pub fn check(&self, findings: &mut Findings) {
        let claims = ClaimsConfig::default();
        self.rules(&claims).check(findings);
        if self.leeway.is_some_and(|leeway| leeway.0 > MAX_LEEWAY) {
            findings.wrong("leeway", "at most 60s");
        }
        match &self.trust_domains {
            Some(names) if names.is_empty() => {
                findings.wrong("trustDomains", "name one at least: nobody would be taken");
            }
            Some(names) => {
                for (at, name) in names.iter().enumerate() {
                    if let Err(error) = TrustDomain::parse(name) {
                        let why = format!("`{name}`: {error}");
                        findings.wrong(&format!("trustDomains[{at}]"), why);
                    }
                }
            }
            None => {}
        }
        let places = self.places();
        check_places("credentials", &places, findings);
        findings.within("binding", |findings| self.binding.check(&places, findings));
        for (at, path) in self.required_claims.iter().enumerate() {
            check_path(&format!("requiredClaims[{at}]"), path, findings);
        }
        if self.max_lifetime.is_some_and(|most| most.0.is_zero()) {
            findings.wrong("maxLifetime", "no token lives so short");
        }
        check_max_token(self.max_token, findings);
    }

    /// Finds what is wrong between it and the `spiffe` section.
    pub fn check_mesh(&self, spiffe: &SpiffeConfig, findings: &mut Findings) {
        if self.trust_domains.is_none()
            && spiffe.trust_domain.is_none()
            && spiffe.federated.is_empty()
        {
            let why = "name the trust domains that count, here or as `spiffe.trustDomain`";
            findings.wrong("trustDomains", why);
        }
    }

    /// Where tokens are looked for.
    pub(in crate::authentication) fn places(&self) -> Vec<CredentialPlaceConfig> {
        self.binding.places(self.credentials.as_deref())
    }

    /// Makes the authenticator called `name`.
    pub(in crate::authentication) fn build(
        &self,
        name: &str,
        context: &mut BuildContext<'_>,
    ) -> Option<JwtSvidAuthenticator> {
        let lasting = context.lasting;
        let names = self.trust_domains.as_ref().map(|names| {
            let names = names.iter().map(|name| TrustDomain::parse(name).ok());
            names.collect::<Option<Vec<_>>>()
        });
        if let Some(agent) = &lasting.workload_api {
            agent.follow_jwt_bundles();
        } else if !lasting.key_sources.are_offline() {
            let why = "needs the Workload API: set `spiffe.endpoint`, or SPIFFE_ENDPOINT_SOCKET in \
                       the environment";
            context.findings.wrong("", why);
            return None;
        }
        let places = build_places(&self.places())?;
        let claims = ClaimsConfig::default();
        Some(JwtSvidAuthenticator {
            name: name.into(),
            proofs: self.binding.build(&places, lasting),
            places,
            max_token: self.max_token.map_or(DEFAULT_MAX_TOKEN, |size| size.0),
            trust_domains: match names {
                None => None,
                Some(names) => Some(names?),
            },
            agent: lasting.workload_api.clone(),
            rules: ClaimRules {
                issuer_rule: IssuerRule::Any,
                max_lifetime_seconds: self.max_lifetime.map(|most| whole_seconds(most.0)),
                required: self
                    .required_claims
                    .iter()
                    .map(|path| ClaimPath::new(path))
                    .collect(),
                client_id: Vec::new(),
                ..self.rules(&claims).build()
            },
            seen: lasting.verified_tokens.of_next_authenticator(),
            clock: lasting.clock.clone(),
            failures: lasting.failures.clone(),
        })
    }

    /// What is asked of claims, as far as it is asked of tokens of every kind.
    fn rules<'c>(&'c self, claims: &'c ClaimsConfig) -> RulesConfig<'c> {
        RulesConfig {
            issuer: "",
            audiences: Some(&self.audiences),
            audience: None,
            claims,
            leeway: self.leeway,
            subscriptions: SubscriptionsConfig::Catalog,
        }
    }
}
