//! What the process tells about itself: metrics and logs. Decisions are told by [`crate::usage`].

pub(crate) mod escape;
pub mod logging;
pub mod metrics;
pub mod process;
pub mod sharded;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::findings::Findings;
use crate::telemetry::logging::LogConfig;

/// What the process tells about itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct TelemetryConfig {
    /// The log, which goes to standard error.
    pub log: LogConfig,
}

impl TelemetryConfig {
    /// Finds what is wrong.
    pub fn check(&self, findings: &mut Findings) {
        findings.within("log", |findings| self.log.check(findings));
    }
}
