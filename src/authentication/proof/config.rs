//! The `binding` section of authenticators of tokens: what is asked of bound tokens.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::dpop::DpopRules;
use super::{DPOP_SCHEME, ProofRules, is_dpop};
use crate::authentication::algorithm::Algorithm;
use crate::authentication::claims::rules::whole_seconds;
use crate::authentication::config::{CredentialPlaceConfig, Lasting, build_places};
use crate::authentication::credential::CredentialPlace;
use crate::config::findings::Findings;
use crate::config::value::HumanDuration;
use crate::header::HeaderName;

const MIN_AGE: Duration = Duration::from_secs(1);
const MAX_AGE: Duration = Duration::from_secs(10 * 60);
const MAX_LEEWAY: Duration = Duration::from_secs(60);

/// What is asked of tokens that are bound to a key or a certificate, and of those that are not. What
/// a token says by `cnf` is enforced whatever stands here.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct BindingConfig {
    /// To what a token must be bound.
    pub required: RequiredBinding,
    /// How proofs are judged (RFC 9449). With it, tokens are taken after `authorization: DPoP` too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dpop: Option<DpopConfig>,
    /// How the client's certificate is found (RFC 8705).
    pub certificate: CertificateConfig,
}

/// To what a token must be bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum RequiredBinding {
    /// To nothing: bearer tokens pass.
    #[default]
    None,
    /// To a key or a certificate.
    Any,
    /// To a key that signs a proof for each request.
    Dpop,
    /// To the certificate of the client's connection.
    Certificate,
}

/// How DPoP proofs are judged (RFC 9449).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct DpopConfig {
    /// The algorithms that proofs may be signed with; left out, every asymmetric one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub algorithms: Option<Vec<Algorithm>>,
    /// How old a proof may be by its `iat`: at most 10m.
    pub max_age: HumanDuration,
    /// How far our clock and the client's may lie apart: at most 60s.
    pub leeway: HumanDuration,
    /// Where it is remembered which proofs were used.
    pub replay: ReplayConfig,
    /// What the client sees, where TLS ends before Envoy; left out, what Envoy says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheme: Option<UrlScheme>,
}

/// Where it is remembered which proofs were used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ReplayConfig {
    /// In this process: of each proof, every replica takes one use.
    #[default]
    Local,
    /// In the Redis of `quota.store`, for all replicas together.
    Redis,
}

/// The scheme of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum UrlScheme {
    /// Without TLS.
    Http,
    /// With TLS.
    Https,
}

/// How the client's certificate is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct CertificateConfig {
    /// Whether the `Hash` of the last element of `x-forwarded-client-cert` counts beside Envoy's own
    /// peer certificate; only from peers with
    /// `requestXfcc`.
    pub xfcc: bool,
}

impl Default for DpopConfig {
    fn default() -> Self {
        Self {
            algorithms: None,
            max_age: HumanDuration(Duration::from_secs(60)),
            leeway: HumanDuration(Duration::from_secs(5)),
            replay: ReplayConfig::default(),
            scheme: None,
        }
    }
}

impl BindingConfig {
    /// Whether nothing is said.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Where tokens are looked for: in `credentials`, or in the usual places where none are named.
    #[must_use]
    pub fn places(
        &self,
        credentials: Option<&[CredentialPlaceConfig]>,
    ) -> Vec<CredentialPlaceConfig> {
        let authorization = |scheme: &str| CredentialPlaceConfig {
            header: Some("authorization".to_owned()),
            scheme: Some(scheme.to_owned()),
            ..CredentialPlaceConfig::default()
        };
        match credentials {
            Some(credentials) => credentials.to_vec(),
            None if self.takes_proofs() => {
                vec![authorization("Bearer"), authorization(DPOP_SCHEME)]
            }
            None => vec![authorization("Bearer")],
        }
    }

    /// Whether it needs the Redis of `quota.store`.
    #[must_use]
    pub fn needs_redis(&self) -> bool {
        let dpop = self.dpop.as_ref();
        dpop.is_some_and(|dpop| dpop.replay == ReplayConfig::Redis)
    }

    fn takes_proofs(&self) -> bool {
        let is_asked_for = match self.required {
            RequiredBinding::Any | RequiredBinding::Dpop => true,
            RequiredBinding::None | RequiredBinding::Certificate => false,
        };
        is_asked_for || self.dpop.is_some()
    }

    /// Finds what is wrong, where tokens are looked for in `credentials`.
    pub fn check(&self, credentials: &[CredentialPlaceConfig], findings: &mut Findings) {
        let places = build_places(credentials).unwrap_or_default();
        if self.takes_proofs() && !places.iter().any(is_dpop) {
            findings.wrong(
                "dpop",
                "tokens with a proof come in a header with `scheme: DPoP`, which `credentials` does not name",
            );
        }
        if let Some(dpop) = &self.dpop {
            findings.within("dpop", |findings| dpop.check(findings));
        }
    }

    /// The rules, and the header of proofs where tokens are taken with one.
    pub(in crate::authentication) fn build(
        &self,
        places: &[CredentialPlace],
        lasting: &Lasting,
    ) -> ProofRules {
        let dpop = self.dpop.clone().unwrap_or_default();
        let rules = dpop.build();
        let header = HeaderName::parse("dpop").ok();
        let header = header.filter(|_| places.iter().any(is_dpop));
        let proof = |name| CredentialPlace::Header { name, scheme: None };
        ProofRules {
            required: self.required,
            replays: {
                // whoever takes no proofs needs none remembered
                let lifetime = header.as_ref().map_or(0, |_| rules.lifetime());
                let now = lasting.clock.unix_seconds();
                lasting.replays.store(dpop.replay, lifetime, now)
            },
            dpop: rules,
            xfcc: self.certificate.xfcc,
            proof_places: header.map(proof).into_iter().collect(),
            failures: lasting.failures.clone(),
            clock: lasting.clock.clone(),
        }
    }
}

impl DpopConfig {
    fn check(&self, findings: &mut Findings) {
        let algorithms = self.algorithms.as_deref();
        if algorithms.is_some_and(<[_]>::is_empty) {
            findings.wrong("algorithms", "name at least one, or leave it out");
        }
        for (at, algorithm) in algorithms.unwrap_or_default().iter().enumerate() {
            if algorithm.is_symmetric() {
                let path = format!("algorithms[{at}]");
                findings.wrong(&path, "a proof is signed with a private key");
            }
        }
        if !(MIN_AGE..=MAX_AGE).contains(&self.max_age.0) {
            findings.wrong("maxAge", "from 1s to 10m");
        }
        if self.leeway.0 > MAX_LEEWAY {
            findings.wrong("leeway", "at most 60s");
        }
    }

    fn build(&self) -> DpopRules {
        let all = || {
            let all = Algorithm::ALL.into_iter();
            all.filter(|algorithm| !algorithm.is_symmetric()).collect()
        };
        let algorithms: Vec<Algorithm> = self.algorithms.clone().unwrap_or_else(all);
        let names: Vec<&str> = algorithms.iter().map(|one| one.name()).collect();
        DpopRules {
            algorithm_names: names.join(" ").into(),
            algorithms,
            max_age_seconds: whole_seconds(self.max_age.0),
            leeway_seconds: whole_seconds(self.leeway.0),
            scheme: self.scheme,
        }
    }
}
