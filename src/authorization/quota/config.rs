//! The `quota` section.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::authorization::quota::CounterStore;
use crate::authorization::quota::local::LocalCounters;
use crate::config::findings::Findings;

/// How limits are counted, and what clients are told of them.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct QuotaConfig {
    /// What clients are told.
    pub headers: QuotaHeadersConfig,
    /// How many counters there may be whose keys callers choose (subjects, addresses, claims); all
    /// further ones of a limit share one.
    pub max_counters: usize,
}

/// What clients are told of their limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct QuotaHeadersConfig {
    /// Which headers a refusal has, beside `Retry-After`.
    pub names: HeaderNames,
    /// Whether the answers to requests that pass have them too.
    pub on_allow: bool,
}

/// Which headers tell of limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum HeaderNames {
    /// `RateLimit` and `RateLimit-Policy`, by the draft of the IETF.
    #[default]
    Standard,
    /// `X-RateLimit-Limit`, `X-RateLimit-Remaining` and `X-RateLimit-Reset`.
    Legacy,
    /// All of them.
    Both,
    /// None.
    None,
}

impl Default for QuotaConfig {
    fn default() -> Self {
        Self {
            headers: QuotaHeadersConfig::default(),
            max_counters: 100_000,
        }
    }
}

impl QuotaConfig {
    /// Finds what is wrong.
    pub fn check(&self, findings: &mut Findings) {
        if self.max_counters > 100_000_000 {
            findings.wrong("maxCounters", "must be 100000000 at most");
        }
    }

    /// Where limits are counted.
    #[must_use]
    pub fn store(&self) -> CounterStore {
        CounterStore::Local(LocalCounters::new(self.max_counters))
    }
}
