//! A client that asks at a rate, whether answers come or not, and fails on a wrong one.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use envoy_types::pb::envoy::service::auth::v3::CheckResponse;
use prost::Message as _;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::client::Expected;
use super::statistics::Latencies;
use super::support::check::CheckClient;

/// How long before the first check the schedule is made.
const AHEAD: Duration = Duration::from_millis(20);

/// One connection that takes as many checks as are due.
#[derive(Debug)]
pub(crate) struct OpenLoop {
    runtime: Runtime,
    client: CheckClient,
}

/// How fast is asked, and for how long.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// Checks a second.
    pub(crate) rate: f64,
    /// For how long.
    pub(crate) length: Duration,
}

impl Pace {
    /// How many checks that is.
    pub(crate) fn checks(self) -> usize {
        (self.rate * self.length.as_secs_f64()) as usize
    }

    /// Tells when each check is due. Times count from the start, so that a late one delays no other.
    fn tell(self, start: Instant, due: &mpsc::UnboundedSender<Instant>) {
        for number in 0..self.checks() {
            let at = start + Duration::from_secs_f64(number as f64 / self.rate);
            let wait = at.saturating_duration_since(Instant::now());
            if !wait.is_zero() {
                std::thread::sleep(wait);
            }
            if due.send(at).is_err() {
                return;
            }
        }
    }
}

impl OpenLoop {
    /// A client of the server at `address`.
    pub(crate) fn new(address: SocketAddr) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let client = runtime.block_on(async { CheckClient::new(address) });
        Self { runtime, client }
    }

    /// Asks with the messages in turn. Each latency counts from when the check was due, so that what
    /// waited for a slow answer, in the server or in this client, counts in full.
    ///
    /// # Panics
    /// Where an answer is another one than expected.
    pub(crate) fn ask(&self, messages: &[Bytes], pace: Pace, expected: Expected) -> Latencies {
        let (sender, due) = mpsc::unbounded_channel();
        let start = Instant::now() + AHEAD;
        let latencies = std::thread::scope(|scope| {
            scope.spawn(move || pace.tell(start, &sender));
            self.runtime.block_on(self.follow(messages, due, expected))
        });
        assert_eq!(latencies.len(), pace.checks(), "every check is answered");
        Latencies::of(latencies)
    }

    async fn follow(
        &self,
        messages: &[Bytes],
        mut due: mpsc::UnboundedReceiver<Instant>,
        expected: Expected,
    ) -> Vec<Duration> {
        let mut under_way = JoinSet::new();
        let mut messages = messages.iter().cycle();
        while let Some(at) = due.recv().await {
            let message = messages.next().expect("a message").clone();
            under_way.spawn(one(self.client.clone(), message, at, expected));
        }
        under_way.join_all().await
    }
}

async fn one(client: CheckClient, message: Bytes, at: Instant, expected: Expected) -> Duration {
    let answer = client.check_bytes(message).await.expect("an answer");
    let took = at.elapsed();
    let answer = CheckResponse::decode(answer).expect("a CheckResponse");
    assert!(expected.is(&answer), "expected {expected:?}: {answer:?}");
    took
}
