//! Stand-ins for sections that others write; each goes when its own type is there.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::findings::Findings;
use crate::config::value::SecretSource;
use crate::header::HeaderName;

/// A stand-in.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(tag = "type")]
pub enum AuthenticatorConfig {
    /// Tokens.
    Jwt(JwtConfig),
    /// Keys.
    ApiKey(KeyConfig),
}

/// A stand-in.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct JwtConfig {
    /// Who issues the tokens.
    pub issuer: String,
    /// The audiences.
    #[serde(default)]
    pub audiences: Vec<String>,
    /// Where its keys are.
    #[serde(default)]
    pub keys: Option<String>,
    /// A shared secret.
    #[serde(default)]
    pub secret: Option<SecretSource>,
}

/// A stand-in.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KeyConfig {
    /// The places.
    #[serde(default)]
    pub credentials: Vec<BTreeMap<String, String>>,
}

impl AuthenticatorConfig {
    /// Finds what is wrong.
    pub fn check(&self, findings: &mut Findings) {
        if let Self::Jwt(jwt) = self
            && !jwt.issuer.starts_with("https://")
        {
            findings.wrong("issuer", "must be https");
        }
    }

    /// The headers that it reads.
    #[must_use]
    pub fn credential_headers(&self) -> Vec<HeaderName> {
        let names: Vec<&str> = match self {
            Self::Jwt(_) => vec!["authorization"],
            Self::ApiKey(key) => key
                .credentials
                .iter()
                .filter_map(|place| place.get("header").map(String::as_str))
                .collect(),
        };
        names
            .into_iter()
            .filter_map(|name| HeaderName::parse(name).ok())
            .collect()
    }
}

/// A stand-in.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(tag = "type")]
pub enum ListenerConfig {
    /// Checks.
    Check(PlainListener),
    /// Admin.
    Admin(PlainListener),
    /// Observe.
    Observe(PlainListener),
}

/// A stand-in.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PlainListener {
    /// Where.
    pub address: String,
    /// A token.
    #[serde(default)]
    pub token: Option<SecretSource>,
}

impl ListenerConfig {
    /// Finds what is wrong.
    pub fn check(&self, _: &mut Findings) {}

    /// Where.
    #[must_use]
    pub fn address(&self) -> &str {
        match self {
            Self::Check(listener) | Self::Admin(listener) | Self::Observe(listener) => {
                &listener.address
            }
        }
    }
}

/// The listeners of a configuration that names none.
#[must_use]
pub fn default_listeners() -> BTreeMap<String, ListenerConfig> {
    let listener = |port: u16| PlainListener {
        address: format!("127.0.0.1:{port}"),
        token: None,
    };
    BTreeMap::from([
        ("inbound".to_owned(), ListenerConfig::Check(listener(9001))),
        ("admin".to_owned(), ListenerConfig::Admin(listener(9002))),
        (
            "observe".to_owned(),
            ListenerConfig::Observe(listener(9090)),
        ),
    ])
}

/// A stand-in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct DecisionLogConfig {
    /// Where it goes.
    pub output: Option<String>,
}

impl DecisionLogConfig {
    /// Finds what is wrong.
    pub fn check(&self, _: &mut Findings) {}
}

/// A stand-in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct TelemetryConfig {
    /// Whether.
    pub quiet: bool,
}

impl TelemetryConfig {
    /// Finds what is wrong.
    pub fn check(&self, _: &mut Findings) {}
}
