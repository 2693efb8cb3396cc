//! Clients that ask checks and fail on a wrong answer.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use envoy_types::pb::envoy::service::auth::v3::CheckResponse;
use envoy_types::pb::envoy::service::auth::v3::check_response::HttpResponse;
use prost::Message as _;
use tokio::runtime::Runtime;

use super::support::check::CheckClient;

/// How many checks a connection has under way at a time.
pub(crate) const STREAMS: usize = 16;

/// What the answer must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expected {
    /// An allow that sets as many headers.
    Allow { headers: usize },
    /// A refusal with this HTTP status.
    Refusal { status: i32 },
}

impl Expected {
    /// Whether `answer` is what is expected.
    pub(crate) fn is(self, answer: &CheckResponse) -> bool {
        let code = answer.status.as_ref().map(|status| status.code);
        match (self, &answer.http_response) {
            (Self::Allow { headers }, Some(HttpResponse::OkResponse(ok))) => {
                code == Some(0) && ok.headers.len() == headers
            }
            (Self::Refusal { status }, Some(HttpResponse::DeniedResponse(denied))) => {
                code != Some(0) && denied.status.as_ref().map(|found| found.code) == Some(status)
            }
            _ => false,
        }
    }
}

/// One connection with [`STREAMS`] streams, each of which asks again once it has its answer.
#[derive(Debug)]
pub(crate) struct ClosedLoop {
    runtime: Runtime,
    client: CheckClient,
}

impl ClosedLoop {
    /// A client of the server at `address`.
    pub(crate) fn new(address: SocketAddr) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let client = runtime.block_on(async { CheckClient::new(address) });
        Self { runtime, client }
    }

    /// Asks `checks` times, with the messages in turn.
    ///
    /// # Panics
    /// Where an answer is another one than expected.
    pub(crate) fn ask(&self, messages: &[Bytes], checks: usize, expected: Expected) {
        let next = Arc::new(AtomicUsize::new(0));
        let messages: Arc<[Bytes]> = messages.into();
        let streams = (0..STREAMS).map(|_| {
            let (client, next) = (self.client.clone(), Arc::clone(&next));
            let messages = Arc::clone(&messages);
            async move {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= checks {
                        return;
                    }
                    let message = messages[number % messages.len()].clone();
                    let answer = client.check_bytes(message).await.expect("an answer");
                    let answer = CheckResponse::decode(answer).expect("a CheckResponse");
                    assert!(expected.is(&answer), "expected {expected:?}: {answer:?}");
                }
            }
        });
        let all = futures_util::future::join_all(streams);
        self.runtime.block_on(all);
    }
}
