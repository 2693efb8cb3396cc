//! What is told about a decision once it was made: the [`Record`], off the request's path.
//!
//! Recording never waits: a full queue drops the record and counts it.

pub mod decision_log;

use std::fmt;
use std::sync::OnceLock;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot};
use uuid::Builder;

use crate::check::decision::Decision;
use crate::check::request::DownstreamRequest;
use crate::clock::Clock;
use crate::routing::Route;
use crate::spiffe;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::sharded::ShardedCounter;
use crate::upstream::Ground;
use crate::upstream::provider::service::TokenOutcome;
use crate::usage::decision_log::{DecisionLog, DecisionLogConfig};

/// The id of one decision: in a header of the answer, in Envoy's metadata and in the decision log.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct DecisionId([u8; 36]);

impl DecisionId {
    /// A fresh id for a decision at `time` (a version 7 UUID, RFC 9562 section 5.7: they sort by
    /// time). It tells decisions apart and is no secret.
    #[must_use]
    pub fn new(time: Timestamp) -> Self {
        let millis = u64::try_from(time.as_millisecond()).unwrap_or(0);
        let random = fastrand::u128(..).to_le_bytes();
        let mut bytes = [0; 10];
        for (to, from) in bytes.iter_mut().zip(random) {
            *to = from;
        }
        let uuid = Builder::from_unix_timestamp_millis(millis, &bytes).into_uuid();
        let mut text = [0; 36];
        uuid.hyphenated().encode_lower(&mut text);
        Self(text)
    }

    /// The id.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Debug for DecisionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What is told about one decision. It holds no credential and no claim. Its texts stand where they
/// were found while the check is answered, and are its own while it waits for the log.
#[derive(Debug, Clone)]
pub struct Record<T> {
    /// The decision's id.
    pub decision_id: DecisionId,
    /// The listener that was asked.
    pub listener: T,
    /// How it ended.
    pub verdict: Verdict,
    /// The reason of a denial or fault, or the exemption of an allow; `permitted` for any other allow.
    pub reason: &'static str,
    /// The private explanation of a denial or fault.
    pub detail: Option<T>,
    /// The Api, where one was found.
    pub api: Option<T>,
    /// The path template of the operation, where one was found.
    pub operation: Option<T>,
    /// Who called, where that was verified.
    pub caller: CallerRecord<T>,
    /// The limit that refused, or of which least is left, and what is left of it.
    pub limit: Option<LimitRecord<T>>,
    /// How the need for a provider's token was met, where there was one.
    pub token: Option<TokenOutcome>,
    /// Whether the Api only watches and the answer was an allow.
    pub shadow: bool,
    /// What was asked about.
    pub request: Option<RequestRecord<T>>,
    /// How long the decision took.
    pub duration: Duration,
}

/// What is told about a caller, where that was verified.
#[derive(Debug, Clone, Default)]
pub struct CallerRecord<T> {
    /// The name of the authenticator that verified the caller.
    pub authenticator: Option<T>,
    /// The verified subject.
    pub subject: Option<T>,
    /// The SPIFFE ID of the workload that calls, where it was looked at.
    pub source: Option<T>,
    /// The application that the caller acts for.
    pub application: Option<T>,
    /// The plan of its subscription.
    pub plan: Option<T>,
}

/// What is told about a limit.
#[derive(Debug, Clone)]
pub struct LimitRecord<T> {
    /// Its id.
    pub id: T,
    /// What is left.
    pub remaining: u64,
}

/// What is told about a request: never its query, which may hold a credential, nor any header.
#[derive(Debug, Clone)]
pub struct RequestRecord<T> {
    /// The method.
    pub method: T,
    /// The host, in normal form.
    pub host: T,
    /// The path, in normal form, without query.
    pub path: T,
    /// Envoy's id of the stream.
    pub id: T,
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

impl<'a> Record<&'a str> {
    /// The record of `decision`, before it is known how long it took.
    #[must_use]
    pub fn new(
        decision_id: DecisionId,
        decision: &'a Decision<'_>,
        route: Option<&Route<'a>>,
        listener: &'a str,
    ) -> Self {
        let (verdict, reason, detail, caller) = match decision {
            Decision::Allow(grant) => {
                let reason = match grant.ground() {
                    Ground::Permit => PERMITTED,
                    Ground::Exempt(exemption) => exemption.name(),
                };
                (Verdict::Allow, reason, None, grant.caller())
            }
            Decision::Deny(denial) => {
                let caller = denial.caller().map(CallerRecord::as_texts);
                let caller = caller.unwrap_or_default();
                let detail = Some(denial.detail());
                (Verdict::Deny, denial.reason().name(), detail, caller)
            }
            Decision::Fail(fault) => (
                Verdict::Fail,
                fault.reason().name(),
                Some(fault.detail()),
                CallerRecord::default(),
            ),
        };
        let operation = route.and_then(|route| route.operation);
        Self {
            decision_id,
            listener,
            verdict,
            reason,
            detail,
            api: route.map(|route| route.api.id.as_str()),
            operation: operation.map(|operation| &*operation.path.text),
            caller,
            limit: match decision {
                Decision::Allow(grant) => grant.allowance().map(|allowance| LimitRecord {
                    id: &*allowance.limit().id,
                    remaining: allowance.remaining(),
                }),
                Decision::Deny(denial) => denial.quota().map(|quota| LimitRecord {
                    id: &*quota.limit,
                    remaining: quota.remaining,
                }),
                Decision::Fail(_) => None,
            },
            token: match decision {
                Decision::Allow(grant) => grant.token(),
                Decision::Deny(_) => None,
                Decision::Fail(fault) => fault.token(),
            },
            shadow: false,
            request: None,
            duration: Duration::ZERO,
        }
    }

    /// Whether it is an allow to a caller that has a permit.
    #[must_use]
    pub fn is_permitted(&self) -> bool {
        self.verdict == Verdict::Allow && self.reason == PERMITTED
    }

    /// The fields for Envoy's dynamic metadata.
    pub fn metadata(&self) -> impl Iterator<Item = (&'static str, &str)> + Clone {
        let source = self.caller.source;
        let account = source.and_then(spiffe::service_account);
        [
            Some(("decision_id", self.decision_id.as_str())),
            Some(("decision", self.verdict.name())),
            Some(("reason", self.reason)),
            self.shadow.then_some(("enforcement", "shadow")),
            self.api.map(|api| ("api", api)),
            self.operation.map(|operation| ("operation", operation)),
            self.caller
                .application
                .map(|application| ("application", application)),
            self.caller.plan.map(|plan| ("plan", plan)),
            source.map(|source| ("source.spiffe_id", source)),
            account.map(|(namespace, _)| ("source.namespace", namespace)),
            account.map(|(_, account)| ("source.service_account", account)),
            self.token.map(|token| ("provider_token", token.name())),
        ]
        .into_iter()
        .flatten()
    }

    /// The same with texts of its own, as it waits in a queue: those that a client sent are
    /// shortened.
    #[must_use]
    pub fn to_owned(&self) -> Record<Box<str>> {
        let own = |text: Option<&str>| text.map(Into::into);
        Record {
            decision_id: self.decision_id,
            listener: self.listener.into(),
            verdict: self.verdict,
            reason: self.reason,
            detail: own(self.detail),
            api: own(self.api),
            operation: own(self.operation),
            caller: self.caller.to_owned(),
            limit: self.limit.as_ref().map(|limit| LimitRecord {
                id: limit.id.into(),
                remaining: limit.remaining,
            }),
            token: self.token,
            shadow: self.shadow,
            request: self.request.as_ref().map(|request| RequestRecord {
                method: shortened(request.method),
                host: shortened(request.host),
                path: shortened(request.path),
                id: shortened(request.id),
            }),
            duration: self.duration,
        }
    }
}

impl CallerRecord<&str> {
    /// The same with texts of its own.
    #[must_use]
    pub fn to_owned(&self) -> CallerRecord<Box<str>> {
        let own = |text: Option<&str>| text.map(Into::into);
        CallerRecord {
            authenticator: own(self.authenticator),
            subject: own(self.subject),
            source: own(self.source),
            application: own(self.application),
            plan: own(self.plan),
        }
    }
}

impl CallerRecord<Box<str>> {
    fn as_texts(&self) -> CallerRecord<&str> {
        CallerRecord {
            authenticator: self.authenticator.as_deref(),
            subject: self.subject.as_deref(),
            source: self.source.as_deref(),
            application: self.application.as_deref(),
            plan: self.plan.as_deref(),
        }
    }
}

impl<'a> RequestRecord<&'a str> {
    /// What is told about `request`.
    #[must_use]
    pub fn of(request: &'a DownstreamRequest) -> Self {
        Self {
            method: request.method(),
            host: request.host(),
            path: request.path(),
            id: request.id(),
        }
    }
}

/// The reason of an allow to a caller that has a permit.
const PERMITTED: &str = "permitted";

/// The longest text of a client's that a record keeps, in bytes: records wait in a queue.
const MAX_TEXT: usize = 1024;

/// `text`, with its end cut off and marked where it is too long.
fn shortened(text: &str) -> Box<str> {
    if text.len() <= MAX_TEXT {
        return text.into();
    }
    let end = text.floor_char_boundary(MAX_TEXT);
    format!("{}…", text.get(..end).unwrap_or_default()).into()
}

/// Counts the permitted checks of one Api in one snapshot; found among the metrics once.
#[derive(Debug, Default)]
pub struct PermitCounter(OnceLock<ShardedCounter>);

impl PermitCounter {
    pub(crate) fn get_or_find(&self, find: impl FnOnce() -> ShardedCounter) -> &ShardedCounter {
        self.0.get_or_init(find)
    }
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
    Record(Timestamp, Box<Record<Box<str>>>),
    /// Tells when everything before it is written.
    Flush(oneshot::Sender<()>),
}

/// The last record that was taken, for who decides one check at a time.
#[derive(Debug)]
pub struct Collected(mpsc::Receiver<Entry>);

impl Collected {
    /// The record of the last check.
    pub fn take(&mut self) -> Option<Record<Box<str>>> {
        match self.0.try_recv().ok()? {
            Entry::Record(_, record) => Some(*record),
            Entry::Flush(_) => None,
        }
    }
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

    /// A recorder that hands every record out, for decisions that are made without serving.
    #[must_use]
    pub fn collecting(metrics: Metrics, clock: Clock) -> (Self, Collected) {
        let (queue, entries) = mpsc::channel(1);
        let recorder = Self {
            metrics,
            clock,
            queue,
            allows: 1.0,
        };
        (recorder, Collected(entries))
    }

    /// Takes a record; never waits. `permits` is the counter of its Api, where that has one.
    pub fn record(&self, record: &Record<&str>, permits: Option<&PermitCounter>) {
        self.metrics.check_done(record, permits);
        let told = match record.verdict {
            Verdict::Allow => self.allows > 0.0 && fastrand::f64() < self.allows,
            Verdict::Deny | Verdict::Fail => true,
        };
        if told {
            let entry = Entry::Record(self.clock.now(), Box::new(record.to_owned()));
            if self.queue.try_send(entry).is_err() {
                self.metrics.usage_dropped(1);
            }
        }
    }

    /// The time of day.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
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
