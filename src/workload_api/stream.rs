//! Follows a stream of the Workload API for as long as the process runs.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, StreamExt as _};
use spiffe::transport::connect;
use tokio::time::{Instant, sleep, timeout};
use tonic::{Code, Status};

use super::{Inner, messages};

/// How long the agent may take to begin a stream and to send its first message.
const FIRST_MESSAGE: Duration = Duration::from_secs(10);
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// How long an agent is left alone that says that we ask wrongly, or that it cannot.
const PAUSE_OF_MISUSE: Duration = Duration::from_secs(60);
/// How long the log does not repeat itself.
const QUIET: Duration = Duration::from_secs(60);

/// What is done with one stream.
pub(super) trait Feed: Send + Sync + 'static {
    /// What the stream brings: each is the complete state.
    type Message: prost::Message + Default + 'static;

    /// The call that brings them.
    const CALL: &'static str;

    /// The name of the task, and of the stream in metrics.
    fn name(&self) -> &'static str;

    /// Takes a message. What it has wrong as a whole, or of our own SVID, is the error; what was known
    /// of that is kept.
    fn take(&self, message: Self::Message) -> Result<(), String>;

    /// The agent says that nothing is for us any more.
    fn take_away(&self);

    /// How long a stream may bring nothing before it is opened anew.
    fn patience(&self) -> Option<Duration>;
}

/// The messages of a stream.
pub(super) type Messages<T> = std::pin::Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Why a stream is no more.
#[derive(Debug)]
enum End {
    /// The agent ended it, or it brought nothing for too long: another is begun at once.
    Well,
    /// Nothing is for us.
    Denied(String),
    /// The agent cannot be reached or does not answer.
    Unavailable(String),
    /// We ask wrongly, or the agent cannot.
    Misused(String),
}

/// When the agent is asked again, and when the log hears of it.
#[derive(Debug, Default)]
struct Retry {
    failures: u32,
    told: Option<Instant>,
}

/// Follows the stream of `feed` without an end.
pub(super) async fn follow(inner: Arc<Inner>, feed: impl Feed) {
    let mut retry = Retry::default();
    loop {
        let end = once(&inner, &feed, &mut retry).await;
        let metrics = &inner.surroundings.metrics;
        metrics.set_workload_api_connected(feed.name(), false);
        if matches!(end, End::Denied(_)) {
            feed.take_away();
        }
        let pause = retry.after(&end);
        if let Some(why) = retry.news(&end, Instant::now()) {
            let result = Err(anyhow::anyhow!("{}: {why}", inner.asked()));
            inner.surroundings.tasks.record(feed.name(), result);
        }
        sleep(pause).await;
    }
}

/// Follows one stream to its end.
async fn once<F: Feed>(inner: &Inner, feed: &F, retry: &mut Retry) -> End {
    let begun = timeout(FIRST_MESSAGE, async {
        let channel = connect(&inner.endpoint).await;
        let channel = channel.map_err(|error| End::Unavailable(causes(&error)))?;
        let begun = messages::open::<F::Message>(channel, F::CALL).await;
        let mut messages = begun.map_err(|status| End::of(&status))?;
        let first = messages.next().await;
        Ok((messages, first))
    });
    let (mut messages, mut message) = match begun.await {
        Ok(Ok(begun)) => begun,
        Ok(Err(end)) => return end,
        Err(_) => return End::Unavailable("no answer in time".to_owned()),
    };
    loop {
        match message {
            // a stream that brings nothing at all is begun again in measured steps
            None if retry.failures > 0 => {
                return End::Unavailable("the stream ended".to_owned());
            }
            None => return End::Well,
            Some(Ok(said)) => match feed.take(said) {
                Ok(()) => retry.taken(inner, feed.name()),
                Err(why) => retry.refused(inner, feed.name(), &why),
            },
            Some(Err(status)) => return End::of(&status),
        }
        let next = messages.next();
        message = match feed.patience() {
            Some(patience) => match timeout(patience, next).await {
                Ok(next) => next,
                Err(_) => return End::Well,
            },
            None => next.await,
        };
    }
}

/// The error with its causes: what cannot be reached says why only there.
pub(super) fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

impl End {
    fn of(status: &Status) -> Self {
        let text = causes(status);
        match status.code() {
            Code::PermissionDenied => Self::Denied(text),
            Code::InvalidArgument | Code::Unimplemented => Self::Misused(text),
            Code::Ok
            | Code::Cancelled
            | Code::Unknown
            | Code::DeadlineExceeded
            | Code::NotFound
            | Code::AlreadyExists
            | Code::ResourceExhausted
            | Code::FailedPrecondition
            | Code::Aborted
            | Code::OutOfRange
            | Code::Internal
            | Code::Unavailable
            | Code::DataLoss
            | Code::Unauthenticated => Self::Unavailable(text),
        }
    }

    /// What to do about it.
    fn advice(&self) -> Option<String> {
        match self {
            Self::Well => None,
            Self::Denied(why) => Some(format!(
                "this pod is not registered ({why}): is the label set, does a ClusterSPIFFEID \
                 select it, is the CSI volume mounted?"
            )),
            Self::Unavailable(why) => Some(format!(
                "the agent cannot be asked ({why}): does it run on this node, is its socket \
                 mounted?"
            )),
            Self::Misused(why) => Some(format!(
                "the agent does not take what we ask ({why}): is it a SPIFFE Workload API, and \
                 is this profile on?"
            )),
        }
    }
}

impl Retry {
    /// How long to wait before the next stream, after one that ended so.
    fn after(&mut self, end: &End) -> Duration {
        let pause = match end {
            End::Well => {
                // counts until a message comes, so that a stream that brings none is no tight loop
                self.failures = 1;
                return Duration::ZERO;
            }
            End::Denied(_) | End::Unavailable(_) => FIRST_PAUSE
                .saturating_mul(1_u32 << self.failures.min(16))
                .min(LONGEST_PAUSE),
            End::Misused(_) => PAUSE_OF_MISUSE,
        };
        self.failures = self.failures.saturating_add(1);
        pause.mul_f64(fastrand::f64().mul_add(0.4, 0.8))
    }

    /// What the log is to hear of such an end, at most once a minute.
    fn news(&mut self, end: &End, now: Instant) -> Option<String> {
        let advice = end.advice()?;
        let is_quiet = self.told.is_some_and(|told| now - told < QUIET);
        if is_quiet {
            return None;
        }
        self.told = Some(now);
        Some(advice)
    }

    /// A message was taken.
    fn taken(&mut self, inner: &Inner, name: &str) {
        if self.told.take().is_some() {
            tracing::info!(stream = name, "the Workload API answers again");
        }
        self.failures = 0;
        inner.surroundings.tasks.record(name, Ok(()));
        let metrics = &inner.surroundings.metrics;
        metrics.set_workload_api_connected(name, true);
    }

    /// A message could not be used.
    fn refused(&mut self, inner: &Inner, name: &str, why: &str) {
        self.failures = 0;
        let metrics = &inner.surroundings.metrics;
        metrics.set_workload_api_connected(name, true);
        let why = anyhow::anyhow!("{}: a message cannot be used: {why}", inner.asked());
        inner.surroundings.tasks.record(name, Err(why));
    }
}

impl Inner {
    /// The agent, for texts.
    pub(super) fn asked(&self) -> String {
        match &self.endpoint {
            spiffe::transport::Endpoint::Unix(path) => {
                format!("Workload API at unix://{}", path.display())
            }
            spiffe::transport::Endpoint::Tcp { host, port } => {
                format!(
                    "Workload API at tcp://{}",
                    std::net::SocketAddr::new(*host, *port)
                )
            }
            _ => "Workload API".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s2_pauses_grow_up_to_ten_seconds_and_misuse_is_not_repeated_soon() {
        let mut retry = Retry::default();
        let mut pauses = Vec::new();
        for _ in 0..12 {
            pauses.push(retry.after(&End::Denied(String::new())).as_secs_f64());
        }
        let base = |at: i32| (0.2 * 2_f64.powi(at)).min(10.0);
        for (at, pause) in (0..).zip(&pauses) {
            assert!(
                (base(at) * 0.8..=base(at) * 1.2).contains(pause),
                "{pauses:?}"
            );
        }
        let misused = retry.after(&End::Misused(String::new()));
        assert!(misused >= PAUSE_OF_MISUSE.mul_f64(0.8));
        assert_eq!(retry.after(&End::Well), Duration::ZERO);
        assert!(
            !retry.after(&End::Unavailable(String::new())).is_zero(),
            "a stream that brings nothing is no tight loop"
        );
    }

    #[test]
    fn s2_the_log_hears_once_a_minute_what_to_do() {
        let mut retry = Retry::default();
        let (now, end) = (Instant::now(), End::Denied("no identity issued".into()));
        let told = retry.news(&end, now).unwrap();
        assert!(told.contains("this pod is not registered") && told.contains("ClusterSPIFFEID"));
        assert_eq!(retry.news(&end, now + Duration::from_secs(59)), None);
        assert!(retry.news(&end, now + QUIET).is_some());
        assert_eq!(retry.news(&End::Well, now + 2 * QUIET), None);
    }
}
