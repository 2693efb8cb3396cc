//! What holds for every check: its deadline, how many at once, how large.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::authentication::failures::FailedVerifications;
use crate::config::findings::Findings;
use crate::config::value::{ByteSize, HumanDuration};
use crate::header::HeaderName;

/// What holds for every check.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ChecksConfig {
    /// After this time a check is answered as a fault; shorter than the time-out of Envoy's filter.
    pub deadline: HumanDuration,
    /// How many checks may wait at once, for the rest of their message or for a key set; more are
    /// answered as a fault, 503.
    pub max_concurrent: usize,
    /// How many signatures of tokens may fail for each client address; beyond, its new tokens are
    /// denied unseen, 429, so that made-up tokens cost little. `off`, or `perSource`. Where many
    /// clients share an address, such as a gateway's, they share this; raise it there.
    pub failed_verifications: FailedVerifications,
    /// How long a check may wait for its turn while checks come faster than they can be answered;
    /// those that have waited longer, and those for which there is no room, are answered as a
    /// fault, 503, at once. A burst after which there is rest is waited for.
    pub max_wait: HumanDuration,
    /// The largest check; a larger one is denied.
    pub max_message: ByteSize,
    /// How much memory tokens may take that were verified before, so that each signature is
    /// verified once; `0B` remembers none. A token takes some 2 KiB.
    pub verified_tokens: ByteSize,
    /// How much memory the tokens of providers may take; those that were not used for long make
    /// room for new ones. A token takes some 2 KiB.
    pub provider_tokens: ByteSize,
    /// The header of the answer that carries the decision id; `none` leaves it out.
    pub decision_header: String,
    /// How long readiness waits for key sets, and for tokens of required providers, that have not
    /// been had yet.
    pub startup_grace: HumanDuration,
    /// How long checks are still answered after the process was told to stop and says that it is not
    /// ready, so that Envoy sends them elsewhere before its connections end.
    pub drain_delay: HumanDuration,
    /// How long checks that are under way may take after that.
    pub drain_grace: HumanDuration,
}

impl Default for ChecksConfig {
    fn default() -> Self {
        Self {
            deadline: HumanDuration(Duration::from_millis(400)),
            max_concurrent: 10_000,
            failed_verifications: FailedVerifications::default(),
            max_wait: HumanDuration(Duration::from_millis(10)),
            max_message: ByteSize(256 * 1024),
            verified_tokens: ByteSize(32 * 1024 * 1024),
            provider_tokens: ByteSize(32 * 1024 * 1024),
            decision_header: "x-decision-id".to_owned(),
            startup_grace: HumanDuration(Duration::from_secs(30)),
            drain_delay: HumanDuration(Duration::from_secs(5)),
            drain_grace: HumanDuration(Duration::from_secs(10)),
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
        if self.max_wait.0.is_zero() || self.max_wait.0 > Duration::from_secs(60) {
            findings.wrong("maxWait", "it must lie between 1ms and 60s");
        }
        if self.max_concurrent == 0 {
            findings.wrong("maxConcurrent", "it must be one at least");
        }
        findings.within("failedVerifications", |findings| {
            self.failed_verifications.check(findings);
        });
        if !(1024..=64 * 1024 * 1024).contains(&self.max_message.0) {
            findings.wrong("maxMessage", "it must lie between 1KiB and 64MiB");
        }
        if self.provider_tokens.0 < 1024 * 1024 {
            findings.wrong("providerTokens", "it must be 1MiB at least");
        }
        if let Err(error) = HeaderName::parse(&self.decision_header) {
            findings.wrong("decisionHeader", error.to_string());
        }
        for (path, duration) in [
            ("startupGrace", self.startup_grace),
            ("drainDelay", self.drain_delay),
            ("drainGrace", self.drain_grace),
        ] {
            if duration.0 > Duration::from_secs(600) {
                findings.wrong(path, "it must be 10m at most");
            }
        }
    }
}
