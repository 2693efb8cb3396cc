//! A check listener: the gRPC server that Envoy asks.
//
// INVARIANT: everything that a client can make us hold is bounded: connections, streams of one,
// header bytes, windows, resets that wait.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};
use std::time::Duration;

use anyhow::Context as _;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, StreamExt as _};
use http::{Request, Response};
use http_body_util::Either;
use hyper::body::Incoming as IncomingBody;
use hyper::rt::Executor;
use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::body::Body;
use tonic::service::Routes;
use tower::ServiceExt as _;

use crate::check::codec::Unary;
use crate::check::service::{AuthorizationService, CHECK_PATH};
use crate::descriptor::FILE_DESCRIPTOR_SET;
use crate::listener::CheckListener;
use crate::listener::accept::{AcceptLimits, Incoming};
use crate::listener::connection::{Connection, Patience};
use crate::listener::health::Health;
use crate::task::Tasks;
use crate::tls::Tenure;
use crate::tls::leaf::Named;

/// Envoy opens one connection per worker and sends every check of that worker over it; what it may
/// not open it refuses to its client, so the cap on checks is ours ([`crate::check::service`]).
const MAX_STREAMS: u32 = 4096;
/// h2's default of 20 ends the connection, and every check on it, when many clients hang up at once.
const MAX_PENDING_RESETS: usize = 4096;
/// Over the life of a connection: h2's default of 1024 ends it, and every check on it, after as many
/// checks that are too long.
const MAX_ERROR_RESETS: usize = 64 * 1024;
const MAX_HEADER_BYTES: u32 = 16 * 1024;
const STREAM_WINDOW: u32 = 512 * 1024;
const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;
const PING_INTERVAL: Duration = Duration::from_secs(30);
/// The part of the greatest age by which one connection may end before another, so that not all of
/// them, opened at one time, end at one time.
const SPREAD: f64 = 0.2;
const PING_TIMEOUT: Duration = Duration::from_secs(10);

impl CheckListener {
    /// What it takes.
    #[must_use]
    pub fn accept_limits(&self) -> AcceptLimits {
        AcceptLimits {
            max_connections: self.max_connections,
            patience: Patience::http2(self.handshake_timeout.0),
        }
    }
}

/// The gRPC server of one check listener.
//
// hyper and not tonic's own transport: that one calls a service only when the runtime comes to the
// task of a request, so that nobody could tell how long the request has waited for that.
#[derive(Debug)]
pub struct CheckServer {
    /// The listener.
    pub listener: CheckListener,
    /// Answers checks.
    pub checks: AuthorizationService,
    /// Answers those who ask how we are.
    pub health: Health,
    /// Where connections run.
    pub tasks: Tasks,
}

impl CheckServer {
    /// Serves the connections of `incoming` until `stop`; then says so to each (GOAWAY) and waits
    /// for the checks that are under way.
    ///
    /// # Errors
    /// Where the server cannot run.
    pub async fn serve(self, incoming: Incoming, stop: CancellationToken) -> anyhow::Result<()> {
        let name = incoming.name().clone();
        let others = others(&self.listener, &self.health)
            .with_context(|| format!("listener `{name}` failed"))?;
        tracing::info!(listener = %name, address = %incoming.address(), "answers checks");
        let open = TaskTracker::new();
        {
            let mut incoming = pin!(incoming.into_stream());
            while let Some(connection) = stop.run_until_cancelled(incoming.next()).await.flatten() {
                let Ok(connection) = connection else { continue };
                let services = Services {
                    checks: self.checks.clone(),
                    others: others.clone(),
                    refused: Refused::default(),
                };
                let life = Life::new(&self.listener, stop.clone());
                let served = life.begin(connection, services);
                self.tasks.detached(open.track_future(served));
            }
            // the port closes here, so that nobody connects any more
        }
        self.health.close().await;
        open.close();
        open.wait().await;
        Ok(())
    }
}

/// How long a connection lives.
struct Life {
    age: Duration,
    grace: Duration,
    stop: CancellationToken,
}

impl Life {
    fn new(listener: &CheckListener, stop: CancellationToken) -> Self {
        Self {
            age: listener
                .connection_age()
                .mul_f64(1.0 - SPREAD * fastrand::f64()),
            grace: listener.max_connection_age_grace.0,
            stop,
        }
    }

    /// Serves one connection to its end, once it is known whose it is.
    async fn begin(self, mut connection: Connection, mut services: Services) {
        if let Err(error) = connection.open().await {
            tracing::debug!(%error, "a connection was not opened");
            return;
        }
        let client = connection.client();
        let tenure = connection.tenure(&client);
        if client != Named::Nobody {
            services.checks = services.checks.for_client(client);
        }
        self.serve(connection, tenure, services).await;
    }

    async fn serve(self, connection: Connection, tenure: Option<Tenure>, services: Services) {
        let http2 = http2(Answers::new(Arc::clone(&services.refused)));
        let mut serving = pin!(http2.serve_connection(TokioIo::new(connection), services));
        let forced = tokio::select! {
            biased;
            ended = serving.as_mut() => return tell_end(ended),
            () = self.stop.cancelled() => false,
            () = tokio::time::sleep(self.age) => true,
            () = lost(tenure) => true,
        };
        serving.as_mut().graceful_shutdown();
        tokio::select! {
            biased;
            ended = serving => tell_end(ended),
            // at a stop, those who wait for us have a limit of their own
            () = tokio::time::sleep(self.grace), if forced => {
                tracing::debug!("a connection that was asked to end did not");
            }
        }
    }
}

/// Waits until whose connection it is is taken no longer.
async fn lost(tenure: Option<Tenure>) {
    match tenure {
        Some(mut tenure) => tenure.lost().await,
        None => std::future::pending().await,
    }
}

fn tell_end(ended: hyper::Result<()>) {
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection failed");
    }
}

fn http2(answers: Answers) -> http2::Builder<Answers> {
    let mut builder = http2::Builder::new(answers);
    builder
        .timer(TokioTimer::new())
        .auto_date_header(false)
        .max_concurrent_streams(MAX_STREAMS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(MAX_HEADER_BYTES)
        .max_pending_accept_reset_streams(MAX_PENDING_RESETS)
        // what comes for a stream that was answered early, such as one that is too long, must not
        // end the connection and every check on it
        .max_local_error_reset_streams(Some(MAX_ERROR_RESETS))
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT);
    builder
}

/// Everything that is answered on a connection: checks by us, the rest by tonic's services.
#[derive(Debug, Clone)]
struct Services {
    checks: AuthorizationService,
    others: Routes,
    refused: Refused,
}

/// Whether the request that a connection has just taken up is refused.
type Refused = Arc<AtomicBool>;

/// Runs the answers of a connection: each as a task of the runtime, so that they are spread over its
/// workers; but refusals together, because a connection is written once for each task.
#[derive(Clone)]
struct Answers {
    refused: Refused,
    refusals: Arc<Mutex<Vec<BoxFuture<'static, ()>>>>,
}

impl<F> Executor<F> for Answers
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, answer: F) {
        if !self.refused.load(Ordering::Relaxed) {
            return TokioExecutor::new().execute(answer);
        }
        self.refused.store(false, Ordering::Relaxed);
        let mut refusals = self.refusals_locked();
        refusals.push(Box::pin(answer));
        if refusals.len() == 1 {
            drop(refusals);
            let answers = self.clone();
            TokioExecutor::new().execute(async move { answers.refuse() });
        }
    }
}

impl Answers {
    fn new(refused: Refused) -> Self {
        Self {
            refused,
            refusals: Arc::default(),
        }
    }

    /// Gives all refusals; one that cannot be written yet gets a task of its own, which polls it
    /// again and is woken.
    fn refuse(&self) {
        let refusals = std::mem::take(&mut *self.refusals_locked());
        let mut nobody = Context::from_waker(Waker::noop());
        for mut refusal in refusals {
            if refusal.as_mut().poll(&mut nobody).is_pending() {
                TokioExecutor::new().execute(refusal);
            }
        }
    }

    fn refusals_locked(&self) -> MutexGuard<'_, Vec<BoxFuture<'static, ()>>> {
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl hyper::service::Service<Request<IncomingBody>> for Services {
    type Response = Response<Either<Unary, Body>>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn call(&self, request: Request<IncomingBody>) -> Self::Future {
        if request.uri().path() == CHECK_PATH {
            let arrival = self.checks.arrive();
            self.refused.store(arrival.is_refused(), Ordering::Relaxed);
            let answer = self.checks.answer(request, arrival);
            answer.map(|answer| Ok(answer.map(Either::Left))).boxed()
        } else {
            let answer = self.others.clone().oneshot(request.map(Body::new));
            Box::pin(async move { Ok(answer.await?.map(Either::Right)) })
        }
    }
}

fn others(listener: &CheckListener, health: &Health) -> anyhow::Result<Routes> {
    let routes = Routes::new(health.service());
    if !listener.reflection {
        return Ok(routes.prepare());
    }
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    // clients of the old version (grpcurl before 1.8.8, Python) know only v1alpha
    Ok(routes
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?)
        .prepare())
}

#[cfg(test)]
mod tests;
