//! Tokens for each workload that calls: whose they are is part of what they are kept under, and a
//! table may say as which client they are asked for.
//
// INVARIANT: what was given for one SPIFFE ID is never given for another, and nothing for nobody.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Target;
use super::config::{ProviderContext, check_text};
use super::oauth::client::ClientConfig;
use super::oauth::{Form, Usual, push_target};
use crate::authorization::Permit;
use crate::config::findings::Findings;
use crate::fetch::{FailureKind, FetchError};
use crate::spiffe::{Aliases, SpiffeId, SpiffeIdPattern};

/// Whose the tokens of a provider are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Per {
    /// Everybody's who may use the provider; with the caller's own token, its alone.
    #[default]
    Provider,
    /// Each calling workload's own, by its verified SPIFFE ID. A caller without one gets none.
    Workload,
}

/// As whom a token is asked for a calling workload.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WorkloadEntryConfig {
    /// For which SPIFFE IDs; `*` is any segment of the path, a last `**` any that follow.
    pub id: String,
    /// The client id that is sent, instead of `client.id`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// The scopes that are asked for, whatever the Api and the provider say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// The audience that is asked for, whatever the Api and the provider say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
}

/// As whom tokens are asked for calling workloads.
#[derive(Debug)]
pub(super) struct Workloads {
    entries: Box<[WorkloadEntry]>,
    aliases: Aliases,
}

/// The same for some of them.
#[derive(Debug)]
pub(super) struct WorkloadEntry {
    pattern: SpiffeIdPattern,
    client_id: Option<Box<str>>,
    asked: Usual,
}

impl Per {
    /// Whether nothing is said.
    pub(super) fn is_default(&self) -> bool {
        *self == Self::default()
    }

    pub(super) fn check(
        self,
        entries: &[WorkloadEntryConfig],
        client: &ClientConfig,
        findings: &mut Findings,
    ) {
        if self == Self::Provider && !entries.is_empty() {
            findings.wrong("workloads", "is for `per: workload` alone");
        }
        for (at, entry) in entries.iter().enumerate() {
            findings.within(&format!("workloads[{at}]"), |findings| {
                if let Err(error) = SpiffeIdPattern::parse(&entry.id) {
                    findings.wrong("id", error.to_string());
                }
                check_text("clientId", entry.client_id.as_deref(), findings);
                check_text("scope", entry.scope.as_deref(), findings);
                check_text("audience", entry.audience.as_deref(), findings);
                if entry.client_id.is_some() && client.secret.is_some() {
                    let why = "`client.secret` is that of `client.id`; use `svid`, `key` or a certificate";
                    findings.wrong("clientId", why);
                }
            });
        }
    }

    pub(super) fn build(
        self,
        entries: &[WorkloadEntryConfig],
        context: &ProviderContext<'_>,
    ) -> Option<Workloads> {
        if self == Self::Provider {
            return None;
        }
        let entries = entries.iter().filter_map(|entry| {
            Some(WorkloadEntry {
                pattern: SpiffeIdPattern::parse(&entry.id).ok()?,
                client_id: entry.client_id.as_deref().map(Into::into),
                asked: Usual::of(&entry.scope, &entry.audience, &None),
            })
        });
        Some(Workloads {
            entries: entries.collect(),
            aliases: context.ours.aliases.cloned().unwrap_or_default(),
        })
    }
}

impl Workloads {
    /// As whom to ask for the workload `id`; none where the table is empty.
    pub(super) fn find(&self, id: &str) -> Result<Option<&WorkloadEntry>, FetchError> {
        if self.entries.is_empty() {
            return Ok(None);
        }
        let not_asked = |why| FetchError::new(FailureKind::NotAsked, why);
        let id = SpiffeId::parse(id).map_err(|_| not_asked("nobody calls"))?;
        let mut entries = self.entries.iter();
        let found = entries.find(|entry| entry.pattern.matches(&id, &self.aliases));
        let found = found.ok_or_else(|| not_asked("no entry of `workloads` is for the caller"))?;
        Ok(Some(found))
    }
}

/// The verified SPIFFE ID of who calls, as `authorize` found it: behind a trusted proxy, at a waypoint,
/// or of the connection itself.
pub(super) fn caller(permit: &Permit<'_>) -> Result<SpiffeId, &'static str> {
    let source = permit.source().cloned();
    source.ok_or("the caller has no verified SPIFFE ID")
}

impl WorkloadEntry {
    /// The client id that is sent.
    pub(super) fn client_id(&self) -> Option<&str> {
        self.client_id.as_deref()
    }
}

/// A workload and its token, as one text.
pub(super) fn both(id: &SpiffeId, token: Option<&str>) -> String {
    // neither has a line feed
    format!("{id}\n{}", token.unwrap_or_default())
}

/// The workload and the token of such a text.
pub(super) fn apart(text: &str) -> (&str, Option<&str>) {
    let (id, token) = text.split_once('\n').unwrap_or((text, ""));
    (id, Some(token).filter(|token| !token.is_empty()))
}

/// Adds what is asked for: what `entry` says, else what `target` says, else what is usual.
pub(super) fn push_target_of<'a>(
    form: &mut Form<'a>,
    target: &'a Target,
    usual: &'a Usual,
    entry: Option<&'a WorkloadEntry>,
) {
    let Some(entry) = entry else {
        return push_target(form, target, usual);
    };
    let first =
        |own: &'a Option<Arc<str>>, asked: &'a Option<Arc<str>>, usual: &'a Option<Arc<str>>| {
            own.as_ref().or(asked.as_ref()).or(usual.as_ref())
        };
    let asked = &entry.asked;
    for (name, value) in [
        ("scope", first(&asked.scope, &target.scope, &usual.scope)),
        (
            "audience",
            first(&asked.audience, &target.audience, &usual.audience),
        ),
        (
            "resource",
            first(&asked.resource, &target.resource, &usual.resource),
        ),
    ] {
        if let Some(value) = value {
            form.push((name, std::borrow::Cow::Borrowed(value)));
        }
    }
}
