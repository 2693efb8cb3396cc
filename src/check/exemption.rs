//! The three grants without a permit. Each is named, counted and recorded as what it is.

use crate::check::decision::{Decision, Denial, Reason};
use crate::check::request::DownstreamRequest;
use crate::routing::{ListenerRules, NoHttpRule, Route};
use crate::snapshot::Snapshot;
use crate::upstream::mutations::Mutations;
use crate::upstream::{Grant, headers};

/// Why a request passes without being judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Exemption {
    /// A CORS preflight request to an Api that lets those pass.
    Preflight,
    /// A request to a host that no Api claims, on an outbound listener that says so.
    Unmatched,
    /// A check without HTTP attributes, on a listener that says so.
    NoHttp,
}

impl Exemption {
    /// Every exemption.
    pub const ALL: [Self; 3] = [Self::Preflight, Self::Unmatched, Self::NoHttp];

    /// The name in logs and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Preflight => "preflight",
            Self::Unmatched => "unmatched",
            Self::NoHttp => "no_http",
        }
    }
}

impl Exemption {
    /// The decision: an allow that sets nothing. What is ours is stripped from a request that
    /// nobody judges, but for one to a host that no Api claims, which is left as it came.
    #[must_use]
    pub fn into_decision<'s>(
        self,
        snapshot: &'s Snapshot,
        route: Option<&Route<'s>>,
        request: &DownstreamRequest,
    ) -> Decision<'s> {
        let mutations = match self {
            Self::Preflight => headers::strip(route, snapshot, request),
            Self::Unmatched | Self::NoHttp => Mutations::default(),
        };
        Decision::Allow(Grant::exempt(self, mutations))
    }
}

/// Decides a check without HTTP attributes, which came to a listener with `rules`.
#[must_use]
pub fn without_http(rules: &ListenerRules) -> Decision<'static> {
    match rules.no_http {
        NoHttpRule::Allow => {
            Decision::Allow(Grant::exempt(Exemption::NoHttp, Mutations::default()))
        }
        NoHttpRule::Deny => {
            let detail = "the check has no http attributes";
            Decision::Deny(Denial::new(Reason::RequestMalformed, detail))
        }
    }
}
