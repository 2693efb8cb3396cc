//! The gRPC service `envoy.service.auth.v3.Authorization`: decode, check, respond, record.
//!
//! Nothing else of the line sees tonic. Every answer is a `CheckResponse` in a successful RPC, also
//! "overloaded", "out of time" and "panicked": a gRPC error is an allow where Envoy fails open.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{FutureExt as _, poll};
use http::{HeaderMap, Request, Response};
use http_body::Body;
use tokio::sync::Semaphore;

use crate::check::answer::Answer;
use crate::check::codec::{self, Unary};
use crate::check::decision::{Decision, Denial, FaultReason, Reason};
use crate::check::overload::{Arrival, Overload};
use crate::check::peer::{Asker, PeerRules};
use crate::check::{Asking, Checker, within};
use crate::routing::ListenerRules;
use crate::snapshot::SnapshotReader;
use crate::tls::leaf::Named;

/// The path of the one method.
pub const CHECK_PATH: &str = "/envoy.service.auth.v3.Authorization/Check";

/// What is kept of the caller's own deadline for the answer to reach it, beside a twentieth of it.
const DEADLINE_MARGIN: Duration = Duration::from_millis(10);

/// The service, as one listener offers it.
#[derive(Debug, Clone)]
pub struct AuthorizationService {
    shared: Arc<Shared>,
    listener: Arc<str>,
    rules: ListenerRules,
    peers: Arc<PeerRules>,
    /// Who connected.
    asker: Arc<Asker>,
}

/// What the services of all listeners share.
#[derive(Debug)]
pub struct Shared {
    /// Decides.
    pub checker: Checker,
    /// What is decided by.
    pub snapshots: SnapshotReader,
    /// Refuses where more is asked than can be answered.
    pub overload: Overload,
    /// One for each check that may wait, for its message or a key.
    pub slots: Semaphore,
    /// How long a check may take.
    pub deadline: Duration,
    /// How many bytes a check may have.
    pub max_message: usize,
}

impl AuthorizationService {
    /// The name of the service.
    pub const NAME: &'static str = "envoy.service.auth.v3.Authorization";

    /// The service of the listener called `listener`.
    #[must_use]
    pub fn new(
        shared: Arc<Shared>,
        listener: Arc<str>,
        rules: ListenerRules,
        peers: PeerRules,
    ) -> Self {
        Self {
            shared,
            listener,
            rules,
            asker: peers.asker(Named::Nobody),
            peers: Arc::new(peers),
        }
    }

    /// The service for a connection whose certificate names `client`.
    #[must_use]
    pub fn for_client(&self, client: Named) -> Self {
        let mut service = self.clone();
        if client != Named::Nobody {
            service.asker = self.peers.asker(client);
        }
        service
    }

    /// A check arrives: from now on its time counts, also while its answer is not yet polled.
    #[must_use]
    pub fn arrive(&self) -> Arrival {
        self.shared.overload.arrive(Instant::now())
    }

    /// Answers the check in `request`. Whatever happens on the way, there is an answer.
    pub fn answer<B>(
        &self,
        request: Request<B>,
        arrival: Arrival,
    ) -> impl Future<Output = Response<Unary>> + Send + use<B>
    where
        B: Body<Data = Bytes> + Send + 'static,
    {
        let service = self.clone();
        async move {
            let asking = Asking {
                listener: service.listener,
                rules: service.rules,
                asker: service.peers.asker_of(&service.asker, request.headers()),
                started: arrival.at(),
                budget: budget(request.headers(), service.shared.deadline),
            };
            let refused = service.shared.overload.refuses(arrival, Instant::now());
            let body = request.into_body();
            let Answer(message) = service.shared.answer(body, refused, &asking).await;
            message.into_response()
        }
    }
}

impl Shared {
    async fn answer(
        &self,
        body: impl Body<Data = Bytes>,
        refused: bool,
        asking: &Asking,
    ) -> Answer {
        if refused {
            let refusal = async { self.refuse(body, asking) };
            return self.guarded(refusal, asking).await;
        }
        let mut judged = pin!(self.guarded(self.judged(body, asking), asking));
        // mostly it need not wait for anything
        if let Poll::Ready(answer) = poll!(judged.as_mut()) {
            return answer;
        }
        let Ok(_slot) = self.slots.try_acquire() else {
            let why = "too many checks wait";
            return self.checker.failed(FaultReason::Overloaded, why, asking);
        };
        judged.await
    }

    /// Refuses a check. What has come of its message is taken, so that its stream ends in order
    /// where that is all; the rest is not waited for.
    fn refuse(&self, body: impl Body<Data = Bytes>, asking: &Asking) -> Answer {
        let _ = codec::read_message(body, self.max_message).now_or_never();
        let why = "checks come faster than they can be answered";
        self.checker.failed(FaultReason::Overloaded, why, asking)
    }

    /// Turns a panic of a stage into a fault.
    //
    // No `async fn`: what that is given it holds twice, and this future is copied for every check.
    fn guarded(
        &self,
        judged: impl Future<Output = Answer>,
        asking: &Asking,
    ) -> impl Future<Output = Answer> {
        let panicked = || {
            self.checker
                .failed(FaultReason::Internal, "a stage panicked", asking)
        };
        let judged = AssertUnwindSafe(judged).catch_unwind();
        judged.map(move |judged| judged.unwrap_or_else(|_| panicked()))
    }

    async fn judged(&self, body: impl Body<Data = Bytes>, asking: &Asking) -> Answer {
        let message = pin!(codec::read_message(body, self.max_message));
        match within(asking.left(), message).await {
            None => {
                let why = "the check did not arrive in time";
                self.checker.failed(FaultReason::Timeout, why, asking)
            }
            Some(Err(error)) => {
                let denial = Denial::new(Reason::RequestMalformed, error.to_string());
                self.checker.unread(Decision::Deny(denial), false, asking)
            }
            Some(Ok(frame)) => {
                let snapshot = self.snapshots.borrow();
                self.checker.check(&snapshot, frame, asking).await
            }
        }
    }
}

/// The time for a check: what is configured, or what `grpc-timeout` leaves where that is less.
fn budget(headers: &HeaderMap, configured: Duration) -> Duration {
    let asked = headers
        .get("grpc-timeout")
        .and_then(|value| grpc_timeout(value.to_str().ok()?));
    asked.map_or(configured, |asked| {
        let kept = DEADLINE_MARGIN + asked / 20;
        asked.saturating_sub(kept).min(configured)
    })
}

/// Reads a `grpc-timeout` (gRPC over HTTP/2, "Timeout"): at most eight digits and a unit.
fn grpc_timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let amount: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(amount * 3600)),
        "M" => Some(Duration::from_secs(amount * 60)),
        "S" => Some(Duration::from_secs(amount)),
        "m" => Some(Duration::from_millis(amount)),
        "u" => Some(Duration::from_micros(amount)),
        "n" => Some(Duration::from_nanos(amount)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_of_a_stage_is_an_internal_fault_and_no_allow() {
        use crate::authentication::revocation::Revocations;
        use crate::authorization::Authorization;
        use crate::clock::Clock;
        use crate::telemetry::metrics::Metrics;
        use crate::usage::{Recorder, Verdict};

        let metrics = Metrics::new(jiff::Timestamp::UNIX_EPOCH);
        let (recorder, mut collected) = Recorder::collecting(metrics.clone(), Clock::at(0));
        let quota = crate::authorization::quota::Quota::offline(metrics);
        let shared = Shared {
            checker: Checker::new(
                Authorization::new(Clock::at(0), Revocations::new(0), quota),
                None,
                recorder,
            ),
            snapshots: SnapshotReader::new(crate::snapshot::Snapshot::new(
                crate::snapshot::Revision::new(&[0]),
                crate::catalog::Catalog::new(crate::catalog::Contents::default()),
                &crate::snapshot::Configured::default(),
            )),
            overload: Overload::of(&tokio::runtime::Handle::current(), Duration::from_secs(1)),
            slots: Semaphore::new(1),
            deadline: Duration::from_secs(1),
            max_message: 1024,
        };
        let rules = ListenerRules {
            direction: crate::catalog::model::Direction::Inbound,
            unmatched: crate::routing::Unmatched::Deny,
            no_http: crate::routing::NoHttpRule::Deny,
        };
        let asking = Asking {
            listener: "inbound".into(),
            rules,
            asker: Asker::anybody(),
            started: Instant::now(),
            budget: Duration::from_secs(1),
        };
        let Answer(answer) = shared.guarded(async { panic!("boom") }, &asking).await;
        let record = collected.take().unwrap();
        assert_eq!((record.verdict, record.reason), (Verdict::Fail, "internal"));
        let response = crate::descriptor::check_response_to_json(answer.message()).unwrap();
        assert_eq!(response["status"]["code"], 13);
        assert_eq!(response["deniedResponse"]["status"]["code"], 500);
    }

    #[test]
    fn the_callers_deadline_shortens_the_budget_and_never_lengthens_it() {
        let configured = Duration::from_millis(400);
        let budget_for = |text: &str| {
            budget(
                &[("grpc-timeout".parse().unwrap(), text.parse().unwrap())]
                    .into_iter()
                    .collect(),
                configured,
            )
        };
        assert_eq!(budget_for("200m"), Duration::from_millis(180));
        assert_eq!(budget_for("1S"), configured);
        assert_eq!(budget_for("5m"), Duration::ZERO);
        for odd in ["", "m", "x1m", "-1S", "123456789m", "1s", "1"] {
            assert_eq!(budget_for(odd), configured, "{odd}");
        }
    }
}
