//! The upstream: a service that tells what reached it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::json;

use super::background::Background;
use super::http::{self, Answer, Request};

/// An HTTP/1.1 server that answers every request with what it received, as JSON:
/// `{"method", "path", "headers": [[name, value], …]}`. A websocket upgrade is accepted and echoed.
#[derive(Debug)]
pub(crate) struct Upstream {
    background: Background,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Debug, Default)]
struct Seen {
    count: usize,
    last: Option<Request>,
}

impl Upstream {
    /// Starts it.
    pub(crate) fn start() -> Self {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let shared = Arc::clone(&seen);
        let background = Background::serve("upstream", move |stream| {
            let seen = Arc::clone(&shared);
            async move {
                http::serve(stream, |request| std::future::ready(answer(&seen, request))).await
            }
        });
        Self { background, seen }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.background.address()
    }

    /// How many requests reached it.
    pub(crate) fn count(&self) -> usize {
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .count
    }

    /// The request that reached it last.
    pub(crate) fn last(&self) -> Option<Request> {
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .last
            .clone()
    }
}

fn answer(seen: &Mutex<Seen>, request: Request) -> Answer {
    let body =
        json!({ "method": request.method, "path": request.target, "headers": request.headers })
            .to_string();
    let upgrade = request.values("upgrade").contains(&"websocket");
    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    seen.count += 1;
    seen.last = Some(request);
    if upgrade {
        Answer::Upgrade
    } else {
        Answer::json(200, body)
    }
}
