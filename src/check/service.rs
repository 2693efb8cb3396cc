//! The gRPC service `envoy.service.auth.v3.Authorization`: decode, check, respond, record.
//!
//! Nothing else of the line sees tonic. Every answer is a `CheckResponse` in a successful RPC, also
//! "overloaded", "out of time" and "panicked": a gRPC error is an allow where Envoy fails open.

use std::convert::Infallible;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::FutureExt as _;
use http::{HeaderMap, Request, Response};
use tokio::sync::Semaphore;
use tonic::body::Body;
use tonic::server::NamedService;
use tower::Service;

use crate::catalog::model::Enforcement;
use crate::check::decision::{Decision, Denial, Fault, FaultReason, Reason};
use crate::check::request::{Decoded, DownstreamRequest, Unreadable, decode};
use crate::check::response::{Reply, respond, respond_shadowed};
use crate::check::{Checked, Checker, codec};
use crate::header::HeaderName;
use crate::snapshot::{ListenerRules, Snapshot, SnapshotReader};
use crate::upstream::headers;
use crate::usage::{Record, Recorder};

/// The path of the one method.
pub const CHECK_PATH: &str = "/envoy.service.auth.v3.Authorization/Check";

/// What is kept of the caller's own deadline for the answer to reach it.
const DEADLINE_MARGIN: Duration = Duration::from_millis(10);

/// The service, as one listener offers it.
#[derive(Debug, Clone)]
pub struct AuthorizationService {
    shared: Arc<Shared>,
    listener: Arc<str>,
    rules: ListenerRules,
}

/// What the services of all listeners share.
#[derive(Debug)]
pub struct Shared {
    /// Decides.
    pub checker: Checker,
    /// What is decided by.
    pub snapshots: SnapshotReader,
    /// Takes the records.
    pub recorder: Recorder,
    /// The checks that may be under way at once.
    pub permits: Semaphore,
    /// The limits of each check.
    pub limits: CheckLimits,
}

/// The limits of each check.
#[derive(Debug, Clone)]
pub struct CheckLimits {
    /// How long a check may take.
    pub deadline: Duration,
    /// How many bytes it may have.
    pub max_message: usize,
    /// The header that tells the decision's id.
    pub decision_header: Option<HeaderName>,
}

impl AuthorizationService {
    /// The service of the listener called `listener`.
    #[must_use]
    pub fn new(shared: Arc<Shared>, listener: Arc<str>, rules: ListenerRules) -> Self {
        Self {
            shared,
            listener,
            rules,
        }
    }

    /// Answers one check. Whatever happens on the way, there is an answer.
    async fn answer(self, request: Request<Body>) -> Response<Body> {
        let started = Instant::now();
        let budget = budget(request.headers(), self.shared.limits.deadline);
        let snapshot = self.shared.snapshots.current();
        let answer = match self.shared.permits.try_acquire() {
            Ok(_permit) => {
                let judged = self.judge(&snapshot, request.into_body(), budget, started);
                self.guarded(judged, started).await
            }
            Err(_) => self.failed(
                FaultReason::Overloaded,
                "too many checks are under way",
                started,
            ),
        };
        codec::write_message(&answer)
    }

    /// Turns a panic of a stage into a fault.
    async fn guarded(&self, judged: impl Future<Output = Bytes>, started: Instant) -> Bytes {
        let judged = AssertUnwindSafe(judged).catch_unwind().await;
        judged.unwrap_or_else(|_| self.failed(FaultReason::Internal, "a stage panicked", started))
    }

    async fn judge(
        &self,
        snapshot: &Snapshot,
        body: Body,
        budget: Duration,
        started: Instant,
    ) -> Bytes {
        let message = match tokio::time::timeout(
            budget,
            codec::read_message(body, self.shared.limits.max_message),
        )
        .await
        {
            Err(_) => {
                return self.failed(
                    FaultReason::Timeout,
                    "the check did not arrive in time",
                    started,
                );
            }
            Ok(Err(error)) => {
                return self.unread(Decision::Deny(malformed(error.to_string())), false, started);
            }
            Ok(Ok(message)) => message,
        };
        match decode(message) {
            Err(Unreadable { denial, grpc }) => self.unread(Decision::Deny(denial), grpc, started),
            Ok(Decoded::NoHttp) => {
                let decision = self.shared.checker.without_http(&self.rules);
                self.unread(decision, false, started)
            }
            Ok(Decoded::Http(request)) => {
                let left = budget.saturating_sub(started.elapsed());
                let checked = self
                    .shared
                    .checker
                    .check(snapshot, &request, &self.rules, left)
                    .await;
                self.reply(snapshot, &request, &checked, started)
            }
        }
    }

    /// Responds to and records a decision about an HTTP request. This is where an Api in shadow
    /// mode turns a refusal into an allow.
    fn reply(
        &self,
        snapshot: &Snapshot,
        request: &DownstreamRequest,
        checked: &Checked<'_>,
        started: Instant,
    ) -> Bytes {
        let Checked { decision, route } = checked;
        let route = route.as_ref();
        let shadow = route.is_some_and(|route| route.api.enforcement == Enforcement::Shadow);
        let mut record = Record::new(decision, Arc::clone(&self.listener), route, Some(request));
        record.shadow = shadow;
        record.duration = started.elapsed();
        let reply = Reply {
            answers: route.map(|route| route.answers()),
            grpc: request.is_grpc(),
            decision_header: self.shared.limits.decision_header.as_ref(),
            record: &record,
        };
        let answer = match decision {
            Decision::Deny(_) | Decision::Fail(_) if shadow => {
                respond_shadowed(&headers::strip(route, snapshot, request), &reply)
            }
            Decision::Allow(_) | Decision::Deny(_) | Decision::Fail(_) => respond(decision, &reply),
        };
        self.shared.recorder.record(record);
        answer
    }

    fn failed(&self, reason: FaultReason, why: &'static str, started: Instant) -> Bytes {
        self.unread(
            Decision::Fail(Fault::new(reason, anyhow::anyhow!(why))),
            false,
            started,
        )
    }

    /// Responds to and records a decision that was made without a request.
    fn unread(&self, decision: Decision, grpc: bool, started: Instant) -> Bytes {
        let mut record = Record::new(&decision, Arc::clone(&self.listener), None, None);
        record.duration = started.elapsed();
        let decision_header = self.shared.limits.decision_header.as_ref();
        let answer = respond(
            &decision,
            &Reply {
                answers: None,
                grpc,
                decision_header,
                record: &record,
            },
        );
        self.shared.recorder.record(record);
        answer
    }
}

impl Service<Request<Body>> for AuthorizationService {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let service = self.clone();
        Box::pin(async move {
            if request.uri().path() == CHECK_PATH {
                Ok(service.answer(request).await)
            } else {
                Ok(tonic::Status::unimplemented("no such method").into_http())
            }
        })
    }
}

impl NamedService for AuthorizationService {
    const NAME: &'static str = "envoy.service.auth.v3.Authorization";
}

/// The time for a check: what is configured, or what `grpc-timeout` leaves where that is less.
fn budget(headers: &HeaderMap, configured: Duration) -> Duration {
    let asked = headers
        .get("grpc-timeout")
        .and_then(|value| grpc_timeout(value.to_str().ok()?));
    asked.map_or(configured, |asked| {
        asked.saturating_sub(DEADLINE_MARGIN).min(configured)
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

fn malformed(detail: impl Into<std::borrow::Cow<'static, str>>) -> Denial {
    Denial::new(Reason::RequestMalformed, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(budget_for("200m"), Duration::from_millis(190));
        assert_eq!(budget_for("1S"), configured);
        assert_eq!(budget_for("5m"), Duration::ZERO);
        for odd in ["", "m", "x1m", "-1S", "123456789m", "1s", "1"] {
            assert_eq!(budget_for(odd), configured, "{odd}");
        }
    }
}
