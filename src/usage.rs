//! What is told about a decision once it was made: the [`Record`], off the request's path.
//!
//! Recording never waits: a full queue drops the record and counts it.

pub mod decision_log;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use crate::catalog::model::ApiId;
use crate::check::decision::{CallerSummary, Decision, Fault};
use crate::check::request::DownstreamRequest;
use crate::clock::Clock;
use crate::routing::Route;
use crate::telemetry::metrics::Metrics;
use crate::upstream::Ground;
use crate::usage::decision_log::{DecisionLog, DecisionLogConfig};

/// The id of one decision: in a header of the answer, in Envoy's metadata and in the decision log.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct DecisionId(Box<str>);

impl DecisionId {
    /// A fresh id (a version 7 UUID, RFC 9562 section 5.7: they sort by time).
    #[must_use]
    pub fn new() -> Self {
        Self(Uuid::now_v7().to_string().into())
    }

    /// The id.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for DecisionId {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for DecisionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What is told about one decision. It holds no credential and no claim.
#[derive(Debug, Clone)]
pub struct Record {
    /// The decision's id.
    pub decision_id: DecisionId,
    /// The listener that was asked.
    pub listener: Arc<str>,
    /// How it ended.
    pub verdict: Verdict,
    /// The reason of a denial or fault, or the exemption of an allow; `permitted` for any other allow.
    pub reason: &'static str,
    /// The private explanation of a denial or fault.
    pub detail: Option<Box<str>>,
    /// The Api, where one was found.
    pub api: Option<ApiId>,
    /// The path template of the operation, where one was found.
    pub operation: Option<Arc<str>>,
    /// Who called, where that was verified.
    pub caller: Option<Arc<CallerSummary>>,
    /// Whether the Api only watches and the answer was an allow.
    pub shadow: bool,
    /// What was asked about.
    pub request: Option<RequestSummary>,
    /// How long the decision took.
    pub duration: Duration,
}

/// What is told about a request: never its query, which may hold a credential, nor any header.
#[derive(Debug, Clone)]
pub struct RequestSummary {
    /// The method.
    pub method: Box<str>,
    /// The host, in normal form.
    pub host: Box<str>,
    /// The path, in normal form, without query.
    pub path: Box<str>,
    /// Envoy's id of the stream.
    pub id: Box<str>,
}

/// How a decision ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verdict {
    /// [`Decision::Allow`].
    Allow,
    /// [`Decision::Deny`].
    Deny,
    /// [`Decision::Fail`].
    Fail,
}

impl Verdict {
    /// The name in logs and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::Fail => "fail",
        }
    }
}

impl Record {
    /// The record of `decision`, before it is known how long it took.
    #[must_use]
    pub fn new(
        decision: &Decision,
        listener: Arc<str>,
        route: Option<&Route<'_>>,
        request: Option<&DownstreamRequest>,
    ) -> Self {
        let (verdict, reason, detail, caller) = match decision {
            Decision::Allow(grant) => {
                let reason = match grant.ground() {
                    Ground::Permit => "permitted",
                    Ground::Exempt(exemption) => exemption.name(),
                };
                (Verdict::Allow, reason, None, grant.caller().cloned())
            }
            Decision::Deny(denial) => (
                Verdict::Deny,
                denial.reason().name(),
                Some(denial.detail().into()),
                denial.caller().cloned(),
            ),
            Decision::Fail(fault) => (
                Verdict::Fail,
                fault.reason().name(),
                Some(Fault::detail(fault).into()),
                None,
            ),
        };
        Self {
            decision_id: DecisionId::new(),
            listener,
            verdict,
            reason,
            detail,
            api: route.map(|route| route.api.id.clone()),
            operation: route
                .and_then(|route| route.operation)
                .map(|operation| Arc::clone(&operation.path.text)),
            caller,
            shadow: false,
            request: request.map(RequestSummary::of),
            duration: Duration::ZERO,
        }
    }

    /// The fields for Envoy's dynamic metadata.
    pub fn metadata(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let caller = self.caller.as_deref();
        [
            Some(("decision_id", self.decision_id.as_str())),
            Some(("decision", self.verdict.name())),
            Some(("reason", self.reason)),
            self.shadow.then_some(("enforcement", "shadow")),
            self.api.as_ref().map(|api| ("api", api.as_str())),
            self.operation
                .as_deref()
                .map(|operation| ("operation", operation)),
            caller
                .and_then(|caller| caller.application.as_ref())
                .map(|application| ("application", application.as_str())),
            caller
                .and_then(|caller| caller.plan.as_deref())
                .map(|plan| ("plan", plan)),
        ]
        .into_iter()
        .flatten()
    }
}

/// The longest text of a client's that a record keeps, in bytes: records wait in a queue.
const MAX_TEXT: usize = 1024;

impl RequestSummary {
    fn of(request: &DownstreamRequest) -> Self {
        Self {
            method: shortened(request.method()),
            host: shortened(request.host()),
            path: shortened(request.path()),
            id: shortened(request.id()),
        }
    }
}

/// `text`, with its end cut off and marked where it is too long.
fn shortened(text: &str) -> Box<str> {
    if text.len() <= MAX_TEXT {
        return text.into();
    }
    let end = text.floor_char_boundary(MAX_TEXT);
    format!("{}…", text.get(..end).unwrap_or_default()).into()
}

/// Takes the records of decisions: counts them, and queues those that the decision log tells.
#[derive(Debug, Clone)]
pub struct Recorder {
    metrics: Metrics,
    clock: Clock,
    queue: mpsc::Sender<Entry>,
    allows: f64,
}

/// What waits for the decision log.
#[derive(Debug)]
enum Entry {
    /// A record, and when it was made.
    Record(Timestamp, Box<Record>),
    /// Tells when everything before it is written.
    Flush(oneshot::Sender<()>),
}

impl Recorder {
    /// A recorder, and the decision log that writes what it queues; run that as a task.
    ///
    /// # Errors
    /// Where the output cannot be opened.
    pub fn build(
        config: &DecisionLogConfig,
        metrics: Metrics,
        clock: Clock,
    ) -> anyhow::Result<(Self, DecisionLog)> {
        let (queue, entries) = mpsc::channel(config.queue.max(1));
        let log = DecisionLog::open(&config.output, entries, metrics.clone())?;
        let recorder = Self {
            metrics,
            clock,
            queue,
            allows: config.allows,
        };
        Ok((recorder, log))
    }

    /// A recorder that only counts, for decisions that are made without serving.
    #[must_use]
    pub fn counting(metrics: Metrics, clock: Clock) -> Self {
        let (queue, _) = mpsc::channel(1);
        Self {
            metrics,
            clock,
            queue,
            allows: 0.0,
        }
    }

    /// Takes a record; never waits.
    pub fn record(&self, record: Record) {
        self.metrics.check_done(&record);
        let told = match record.verdict {
            Verdict::Allow => self.allows > 0.0 && fastrand::f64() < self.allows,
            Verdict::Deny | Verdict::Fail => true,
        };
        if told {
            let entry = Entry::Record(self.clock.now(), Box::new(record));
            if self.queue.try_send(entry).is_err() {
                self.metrics.usage_dropped(1);
            }
        }
    }

    /// Waits until everything that was recorded so far is written, for `wait` at most. The decision
    /// log must be running.
    pub async fn flush(&self, wait: Duration) {
        let (written, wait_for) = oneshot::channel();
        let flushed = async {
            if self.queue.send(Entry::Flush(written)).await.is_ok() {
                // an error means that the log is gone, so that nothing is left to wait for
                let _ = wait_for.await;
            }
        };
        if tokio::time::timeout(wait, flushed).await.is_err() {
            tracing::warn!("the decision log was not written to its end in time");
        }
    }
}
