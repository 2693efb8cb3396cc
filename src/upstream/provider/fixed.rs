//! Provider `static`: headers whose values stand in files or in the environment.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::answer::CredentialHeader;
use super::config::ProviderContext;
use crate::config::findings::Findings;
use crate::config::value::SecretSource;
use crate::header::HeaderName;

/// Headers with the values of files; a file is read again when it changes.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StaticConfig {
    /// Each header with where its value is.
    pub headers: BTreeMap<String, SecretSource>,
    /// The proxies that may be given its tokens, as patterns of SPIFFE IDs; left out, whoever may ask.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub peers: Vec<String>,
}

/// Headers that were read with the configuration.
#[derive(Debug)]
pub(super) struct FixedHeaders(Vec<CredentialHeader>);

impl StaticConfig {
    /// Finds what is wrong, without reading anything else.
    pub(super) fn check(&self, findings: &mut Findings) {
        if self.headers.is_empty() {
            findings.wrong("headers", "name a header at least");
        }
        for name in self.headers.keys() {
            if let Err(error) = HeaderName::parse(name) {
                findings.wrong(&format!("headers.{name}"), error.to_string());
            }
        }
    }

    /// The headers that it sets.
    pub(super) fn names(&self) -> Vec<HeaderName> {
        let names = self.headers.keys();
        names
            .filter_map(|name| HeaderName::parse(name).ok())
            .collect()
    }

    pub(super) fn build(&self, context: &mut ProviderContext<'_>) -> Option<FixedHeaders> {
        let before = context.findings.count();
        let mut headers = Vec::with_capacity(self.headers.len());
        for (name, source) in &self.headers {
            let path = format!("headers.{name}");
            let value = match source.load(context.reader) {
                Ok(value) => value,
                Err(error) => {
                    context.findings.wrong(&path, error.to_string());
                    continue;
                }
            };
            let Ok(value) = String::from_utf8(value.expose().clone()) else {
                context.findings.wrong(&path, "it is no UTF-8 text");
                continue;
            };
            let header = HeaderName::parse(name);
            match header.and_then(|name| CredentialHeader::set(name, value)) {
                Ok(header) => headers.push(header),
                Err(error) => context.findings.wrong(&path, error.to_string()),
            }
        }
        (context.findings.count() == before).then_some(FixedHeaders(headers))
    }
}

impl FixedHeaders {
    pub(super) fn headers(&self) -> &[CredentialHeader] {
        &self.0
    }
}
