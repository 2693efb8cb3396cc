//! The request path: one straight line from a request to a [`Decision`].
//!
//! route → authenticate → authorize → augment; each is one call into one file. What stands before
//! (decode) and after (respond, record) is in [`service`].

pub mod codec;
pub mod decision;
pub mod exemption;
pub mod request;
pub mod response;
pub mod service;

use std::time::Duration;

use crate::authentication::authenticate;
use crate::authorization::Authorization;
use crate::check::decision::{Decision, Denial, Fault, FaultReason, Reason, Stop};
use crate::check::exemption::Exemption;
use crate::check::request::DownstreamRequest;
use crate::snapshot::{ListenerRules, NoHttpRule, Route, Routed, Snapshot};
use crate::upstream::mutations::Mutations;
use crate::upstream::{Grant, augment, headers};

/// Decides requests.
#[derive(Debug)]
pub struct Checker {
    authorization: Authorization,
}

/// A decision, and the route that it was made for where one was found.
#[derive(Debug)]
pub struct Checked<'s> {
    /// The decision.
    pub decision: Decision,
    /// Where the request belongs.
    pub route: Option<Route<'s>>,
}

impl Checker {
    /// Decides by these stages.
    #[must_use]
    pub fn new(authorization: Authorization) -> Self {
        Self { authorization }
    }

    /// Decides `request`, which came to a listener with `rules`, within `budget`.
    pub async fn check<'s>(
        &self,
        snapshot: &'s Snapshot,
        request: &DownstreamRequest,
        rules: &ListenerRules,
        budget: Duration,
    ) -> Checked<'s> {
        match snapshot.route(request, rules) {
            Ok(Routed::To(route)) => {
                let line = tokio::time::timeout(budget, self.line(&route, request)).await;
                let decision = match line {
                    Ok(Ok(grant)) => Decision::Allow(grant),
                    Ok(Err(stop)) => stop.into(),
                    Err(_) => Decision::Fail(out_of_time(budget)),
                };
                Checked {
                    decision,
                    route: Some(route),
                }
            }
            Ok(Routed::Exempt(exemption, route)) => Checked {
                decision: exempt(exemption, route.as_ref(), snapshot, request),
                route,
            },
            Err(unrouted) => Checked {
                decision: Decision::Deny(unrouted.denial),
                route: unrouted.route,
            },
        }
    }

    /// Decides a check without HTTP attributes, which came to a listener with `rules`.
    #[must_use]
    pub fn without_http(&self, rules: &ListenerRules) -> Decision {
        match rules.no_http {
            NoHttpRule::Allow => {
                Decision::Allow(Grant::exempt(Exemption::NoHttp, Mutations::default()))
            }
            NoHttpRule::Deny => Decision::Deny(Denial::new(
                Reason::RequestMalformed,
                "the check has no http attributes",
            )),
        }
    }

    async fn line(&self, route: &Route<'_>, request: &DownstreamRequest) -> Result<Grant, Stop> {
        let caller = authenticate(route, request).await?;
        let permit = self.authorization.authorize(route, request, caller).await?;
        augment(route, request, permit).await
    }
}

/// What is ours is stripped from a request that nobody judges, but for one to a host that no Api
/// claims, which is left as it came.
fn exempt(
    exemption: Exemption,
    route: Option<&Route<'_>>,
    snapshot: &Snapshot,
    request: &DownstreamRequest,
) -> Decision {
    let mutations = match exemption {
        Exemption::Preflight | Exemption::NoHttp => headers::strip(route, snapshot, request),
        Exemption::Unmatched => Mutations::default(),
    };
    Decision::Allow(Grant::exempt(exemption, mutations))
}

fn out_of_time(budget: Duration) -> Fault {
    Fault::new(
        FaultReason::Timeout,
        anyhow::anyhow!("not decided within {budget:?}"),
    )
}
