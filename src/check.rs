//! The request path: one straight line from the bytes of a check to its [`Answer`].
//!
//! | stage | file |
//! |---|---|
//! | decode | [`request`] |
//! | route | [`crate::routing`] |
//! | authenticate | [`crate::authentication`] |
//! | authorize | [`crate::authorization`] |
//! | augment | [`crate::upstream`] |
//! | respond | [`answer`], [`response`] |
//!
//! [`service`] stands around it: bytes in, bytes out, limits, the record.

pub mod answer;
pub mod codec;
pub mod decision;
pub mod exemption;
pub mod overload;
pub mod peer;
pub mod request;
pub mod response;
pub mod service;

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::poll;

use crate::authentication::authenticate;
use crate::authorization::Authorization;
use crate::check::answer::Answer;
use crate::check::decision::{Decision, Fault, FaultReason, Stop};
use crate::check::exemption::without_http;
use crate::check::peer::{Asker, PeerRefusal};
use crate::check::request::{Decoded, DownstreamRequest, Unreadable, decode};
use crate::header::HeaderName;
use crate::routing::{ListenerRules, Route, Routed, Unrouted, route};
use crate::snapshot::Snapshot;
use crate::upstream::{Grant, augment};
use crate::usage::Recorder;

/// Decides checks.
#[derive(Debug)]
pub struct Checker {
    authorization: Authorization,
    decision_header: Option<HeaderName>,
    recorder: Recorder,
}

/// By whom a check is asked, and how long the answer may take.
#[derive(Debug, Clone)]
pub struct Asking {
    /// The listener.
    pub listener: Arc<str>,
    /// Its rules.
    pub rules: ListenerRules,
    /// Who asks.
    pub asker: Arc<Asker>,
    /// When the check began to arrive.
    pub started: Instant,
    /// How long it may take from then on.
    pub budget: Duration,
}

impl Asking {
    /// How much of the time is left.
    fn left(&self) -> Duration {
        self.budget.saturating_sub(self.started.elapsed())
    }

    /// Until when a stage may wait for something: what it says then is still told in time.
    fn until(&self) -> Instant {
        self.started + self.budget.mul_f32(0.9)
    }
}

/// A decision about a request, and the route that it was made for where one was found.
#[derive(Debug)]
struct Judged<'s> {
    decision: Decision<'s>,
    route: Option<Route<'s>>,
}

impl Checker {
    /// Decides by these stages, and gives `recorder` a record of each decision. Answers tell the
    /// decision's id in `decision_header`.
    #[must_use]
    pub fn new(
        authorization: Authorization,
        decision_header: Option<HeaderName>,
        recorder: Recorder,
    ) -> Self {
        Self {
            authorization,
            decision_header,
            recorder,
        }
    }

    /// Answers the check in `frame` by what is in `snapshot`.
    pub async fn check(&self, snapshot: &Snapshot, frame: Bytes, asking: &Asking) -> Answer {
        if let Err(denial) = asking.asker.may_ask() {
            return self.unread(Decision::Deny(denial), false, asking);
        }
        let request = match decode(frame) {
            Ok(Decoded::Http(request)) => request.asked_by(&asking.asker),
            Ok(Decoded::NoHttp) => return self.unread(without_http(&asking.rules), false, asking),
            Err(Unreadable { denial, grpc }) => {
                return self.unread(Decision::Deny(denial), grpc, asking);
            }
        };
        let judged = match find(snapshot, &request, asking) {
            Ok(Routed::To(route)) => Judged {
                decision: self.in_time(&route, &request, asking).await,
                route: Some(route),
            },
            Ok(Routed::Exempt(exemption, route)) => Judged {
                decision: exemption.into_decision(snapshot, route.as_ref(), &request),
                route,
            },
            Err(unrouted) => Judged {
                decision: Decision::Deny(unrouted.denial),
                route: unrouted.route,
            },
        };
        self.respond(snapshot, &request, &judged, asking)
    }

    async fn line<'s>(
        &self,
        route: &Route<'s>,
        request: &DownstreamRequest,
        asking: &Asking,
    ) -> Result<Grant<'s>, Stop> {
        let revoked = self.authorization.revocations();
        let until = || asking.until();
        let caller = authenticate(route, request, revoked, until).await?;
        let permit = self.authorization.authorize(route, request, caller).await?;
        augment(route, request, permit, until).await
    }

    async fn in_time<'s>(
        &self,
        route: &Route<'s>,
        request: &DownstreamRequest,
        asking: &Asking,
    ) -> Decision<'s> {
        match within(asking.left(), pin!(self.line(route, request, asking))).await {
            Some(Ok(grant)) => Decision::Allow(grant),
            Some(Err(stop)) => stop.into(),
            None => {
                let why = format!("not decided within {:?}", asking.budget);
                Decision::Fail(Fault::new(FaultReason::Timeout, why))
            }
        }
    }
}

/// Finds where a request belongs, about which whoever asks may ask.
fn find<'s>(
    snapshot: &'s Snapshot,
    request: &DownstreamRequest,
    asking: &Asking,
) -> Result<Routed<'s>, Unrouted<'s>> {
    let asker = &asking.asker;
    tracing::trace!(
        target: "portcullis::explain",
        stage = "peer",
        found = asker.name().unwrap_or("nobody is named"),
        source = request.named_principal(),
        believed = request.believes_naming(request.named_principal()),
        writes_xfcc = asker.writes_xfcc(),
    );
    let own = asker.may_ask_for(request.destination_principal());
    own.map_err(|denial| Unrouted {
        denial,
        route: None,
    })?;
    let routed = route(snapshot, request, &asking.rules)?;
    let (Routed::To(route) | Routed::Exempt(_, Some(route))) = &routed else {
        return Ok(routed);
    };
    let refused = |denial| Unrouted {
        denial,
        route: Some(*route),
    };
    asker
        .may_ask_as(&route.api.peers, PeerRefusal::Api)
        .map_err(refused)?;
    for credential in route.credentials() {
        let peers = credential.provider().peers();
        asker
            .may_ask_as(peers, PeerRefusal::Provider)
            .map_err(refused)?;
    }
    Ok(routed)
}

/// What `work` gives; none where it has to wait for longer than `limit`. Where it need not wait,
/// no timer is made.
async fn within<F: Future>(limit: Duration, mut work: Pin<&mut F>) -> Option<F::Output> {
    match poll!(work.as_mut()) {
        Poll::Ready(done) => Some(done),
        Poll::Pending => tokio::time::timeout(limit, work).await.ok(),
    }
}
