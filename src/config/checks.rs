//! What holds for every check: its deadline, how many at once, how large.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::findings::Findings;
use crate::config::value::{ByteSize, HumanDuration};
use crate::header::HeaderName;

/// What holds for every check.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ChecksConfig {
    /// After this time a check is answered as a fault; shorter than the time-out of Envoy's filter.
    pub deadline: HumanDuration,
    /// How many checks may be under way at once; more are answered as a fault, 503.
    pub max_concurrent: usize,
    /// The largest check; a larger one is denied.
    pub max_message: ByteSize,
    /// The header of the answer that carries the decision id; `none` leaves it out.
    pub decision_header: String,
    /// How long readiness waits for key sets that have not been had yet.
    pub startup_grace: HumanDuration,
}

impl Default for ChecksConfig {
    fn default() -> Self {
        Self {
            deadline: HumanDuration(Duration::from_millis(400)),
            max_concurrent: 10_000,
            max_message: ByteSize(256 * 1024),
            decision_header: "x-decision-id".to_owned(),
            startup_grace: HumanDuration(Duration::from_secs(30)),
        }
    }
}

impl ChecksConfig {
    /// The header of the answer that carries the decision id; none where there is none.
    #[must_use]
    pub fn decision_header(&self) -> Option<HeaderName> {
        if self.decision_header == "none" {
            None
        } else {
            HeaderName::parse(&self.decision_header).ok()
        }
    }

    /// Finds what is wrong.
    pub fn check(&self, findings: &mut Findings) {
        if self.deadline.0.is_zero() || self.deadline.0 > Duration::from_secs(60) {
            findings.wrong("deadline", "it must lie between 1ms and 60s");
        }
        if self.max_concurrent == 0 {
            findings.wrong("maxConcurrent", "it must be one at least");
        }
        if !(1024..=64 * 1024 * 1024).contains(&self.max_message.0) {
            findings.wrong("maxMessage", "it must lie between 1KiB and 64MiB");
        }
        if let Err(error) = HeaderName::parse(&self.decision_header) {
            findings.wrong("decisionHeader", error.to_string());
        }
        if self.startup_grace.0 > Duration::from_secs(600) {
            findings.wrong("startupGrace", "it must be 10m at most");
        }
    }
}
