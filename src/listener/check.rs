//! A check listener: the gRPC server that Envoy asks.
//
// INVARIANT: everything that a client can make us hold is bounded: connections, streams of one,
// header bytes, windows, resets that wait.

use std::time::Duration;

use anyhow::Context as _;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tonic::transport::server::Router;

use crate::check::service::AuthorizationService;
use crate::descriptor::FILE_DESCRIPTOR_SET;
use crate::listener::CheckListener;
use crate::listener::accept::{AcceptLimits, Incoming};
use crate::listener::connection::Patience;
use crate::listener::health::Health;

/// Envoy opens one connection per worker and sends every check of that worker over it; what it may
/// not open it refuses to its client, so the cap on checks is ours ([`crate::check::service`]).
const MAX_STREAMS: u32 = 4096;
/// h2's default of 20 ends the connection, and every check on it, when many clients hang up at once.
const MAX_PENDING_RESETS: usize = 4096;
const MAX_HEADER_BYTES: u32 = 16 * 1024;
const STREAM_WINDOW: u32 = 512 * 1024;
const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;
const PING_INTERVAL: Duration = Duration::from_secs(30);
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

/// Serves the connections of `incoming` until `stop`; then says so to each (GOAWAY) and waits for
/// the checks that are under way.
///
/// # Errors
/// Where the server cannot run.
pub async fn serve(
    listener: &CheckListener,
    incoming: Incoming,
    service: AuthorizationService,
    health: Health,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let name = incoming.name().clone();
    tracing::info!(listener = %name, address = %incoming.address(), "answers checks");
    router(listener, service, &health)?
        .serve_with_incoming_shutdown(incoming.into_stream(), async move {
            stop.cancelled().await;
            health.close().await;
        })
        .await
        .with_context(|| format!("listener `{name}` failed"))
}

fn router(
    listener: &CheckListener,
    service: AuthorizationService,
    health: &Health,
) -> anyhow::Result<Router> {
    let mut server = Server::builder()
        .max_concurrent_streams(MAX_STREAMS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .http2_max_header_list_size(MAX_HEADER_BYTES)
        .http2_max_pending_accept_reset_streams(Some(MAX_PENDING_RESETS))
        .http2_keepalive_interval(Some(PING_INTERVAL))
        .http2_keepalive_timeout(Some(PING_TIMEOUT))
        .max_connection_age(listener.max_connection_age.0)
        .max_connection_age_grace(listener.max_connection_age_grace.0);
    let router = server.add_service(service).add_service(health.service());
    if !listener.reflection {
        return Ok(router);
    }
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    // clients of the old version (grpcurl before 1.8.8, Python) know only v1alpha
    Ok(router
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?))
}

#[cfg(test)]
mod tests;
