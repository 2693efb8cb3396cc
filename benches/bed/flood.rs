//! A client that asks at a rate of its own, whether it is answered or not, and notes what becomes
//! of each check. It speaks HTTP/2 itself, so that it can ask for more than the server can do.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::{BufMut as _, Bytes, BytesMut};
use envoy_types::pb::envoy::service::auth::v3::CheckResponse;
use envoy_types::pb::envoy::service::auth::v3::check_response::HttpResponse;
use h2::client::SendRequest;
use prost::Message as _;
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::task::LocalSet;

/// As many as an Envoy with as many workers opens.
const CONNECTIONS: usize = 4;
/// How many checks are asked at a time where capacity is measured.
const CLOSED_STREAMS: usize = 64;
const WINDOW: u32 = 64 * 1024 * 1024;
const CHECK_URL: &str = "http://portcullis/envoy.service.auth.v3.Authorization/Check";

/// What became of one check.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Told {
    /// When it was due, after the begin.
    pub(crate) due: Duration,
    /// From when it was due to its answer.
    pub(crate) since_due: Duration,
    /// From when it was sent to its answer.
    pub(crate) since_sent: Duration,
    /// The HTTP status for the client: 200 for an allow, 0 where there was no answer.
    pub(crate) status: u16,
}

/// What became of all that were asked in a while.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) told: Vec<Told>,
    pub(crate) took: Duration,
}

/// Gives the message of check number `0`, `1`, …
pub(crate) type Messages = Rc<dyn Fn(usize) -> Bytes>;

/// Connections to one server.
pub(crate) struct Flood {
    runtime: Runtime,
    local: LocalSet,
    connections: Vec<SendRequest<Bytes>>,
}

type Notes = Rc<RefCell<Vec<Told>>>;

impl Flood {
    /// A client of the server at `address`.
    pub(crate) fn new(address: SocketAddr) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let local = LocalSet::new();
        let connections = local.block_on(&runtime, async {
            let mut connections = Vec::new();
            for _ in 0..CONNECTIONS {
                connections.push(connect(address).await);
            }
            connections
        });
        Self {
            runtime,
            local,
            connections,
        }
    }

    /// Asks [`CLOSED_STREAMS`] checks at a time for as long as `length`.
    pub(crate) fn closed(&self, messages: &Messages, length: Duration) -> Outcome {
        let notes = Notes::default();
        let begin = Instant::now();
        let streams = (0..CLOSED_STREAMS).map(|stream| {
            let (connections, notes) = (self.connections.clone(), Rc::clone(&notes));
            let messages = Rc::clone(messages);
            async move {
                let mut number = stream;
                while begin.elapsed() < length {
                    let connection = &connections[number % CONNECTIONS];
                    let due = begin.elapsed();
                    note(connection.clone(), messages(number), (begin, due), &notes).await;
                    number += CLOSED_STREAMS;
                }
            }
        });
        let all = futures_util::future::join_all(streams);
        self.local.block_on(&self.runtime, all);
        Outcome {
            told: notes.take(),
            took: begin.elapsed(),
        }
    }

    /// Asks `rate` checks a second for as long as `length`, then waits for the last answers.
    pub(crate) fn open(&self, messages: &Messages, rate: f64, length: Duration) -> Outcome {
        let notes = Notes::default();
        let begin = Instant::now();
        self.local.block_on(&self.runtime, async {
            let mut asked = Vec::new();
            loop {
                let now = begin.elapsed();
                let due = (now.min(length).as_secs_f64() * rate) as usize;
                while asked.len() < due {
                    let number = asked.len();
                    let due = Duration::from_secs_f64(number as f64 / rate);
                    let (connection, notes) = (
                        self.connections[number % CONNECTIONS].clone(),
                        Rc::clone(&notes),
                    );
                    let message = messages(number);
                    asked.push(tokio::task::spawn_local(async move {
                        note(connection, message, (begin, due), &notes).await;
                    }));
                }
                if now >= length {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            for one in asked {
                one.await.expect("no check panics");
            }
        });
        Outcome {
            told: notes.take(),
            took: length,
        }
    }
}

async fn connect(address: SocketAddr) -> SendRequest<Bytes> {
    let stream = TcpStream::connect(address).await.expect("the server");
    stream.set_nodelay(true).expect("no delay");
    let (client, connection) = h2::client::Builder::new()
        .initial_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .handshake(stream)
        .await
        .expect("HTTP/2");
    tokio::task::spawn_local(async move {
        connection.await.expect("the connection stays");
    });
    client
}

/// Asks one check that was due at `due` after `begin`, and notes what became of it.
async fn note(
    connection: SendRequest<Bytes>,
    message: Bytes,
    (begin, due): (Instant, Duration),
    notes: &Notes,
) {
    let (sent, status) = match connection.ready().await {
        Err(_) => (begin.elapsed(), 0),
        Ok(connection) => {
            let sent = begin.elapsed();
            (sent, ask(connection, message).await.unwrap_or(0))
        }
    };
    let answered = begin.elapsed();
    notes.borrow_mut().push(Told {
        due,
        since_due: answered.saturating_sub(due),
        since_sent: answered.saturating_sub(sent),
        status,
    });
}

async fn ask(mut connection: SendRequest<Bytes>, message: Bytes) -> Option<u16> {
    let request = http::Request::post(CHECK_URL)
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .ok()?;
    let (response, mut body) = connection.send_request(request, false).ok()?;
    let mut framed = BytesMut::with_capacity(5 + message.len());
    framed.put_u8(0);
    framed.put_u32(message.len().try_into().ok()?);
    framed.put_slice(&message);
    body.send_data(framed.freeze(), true).ok()?;
    let mut body = response.await.ok()?.into_body();
    let mut received = BytesMut::new();
    while let Some(data) = body.data().await {
        let data = data.ok()?;
        body.flow_control().release_capacity(data.len()).ok()?;
        received.extend_from_slice(&data);
    }
    status(received.get(5..)?)
}

/// The status that Envoy gives its client, or 200 where it lets the request pass.
fn status(answer: &[u8]) -> Option<u16> {
    let answer = CheckResponse::decode(answer).ok()?;
    match answer.http_response? {
        HttpResponse::OkResponse(_) => Some(200),
        HttpResponse::DeniedResponse(denied) => denied.status?.code.try_into().ok(),
        HttpResponse::ErrorResponse(_) => None,
    }
}
