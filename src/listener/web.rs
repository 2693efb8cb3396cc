//! A listener that speaks HTTP/1.1, for the admin API and for monitoring.

use std::io;

use anyhow::Context as _;
use axum::Router;
use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};

use crate::check::request::PeerAddress;
use crate::listener::accept::{AcceptLimits, Incoming};
use crate::listener::address::ListenAddress;
use crate::listener::connection::{Connection, Patience};

/// What a listener for people and monitoring takes.
#[must_use]
pub fn accept_limits() -> AcceptLimits {
    AcceptLimits {
        max_connections: 256,
        patience: Patience::http1(),
    }
}

/// Serves the connections of `incoming`, as long as it is polled.
///
/// # Errors
/// Where the server cannot run.
pub async fn serve(incoming: Incoming, router: Router) -> anyhow::Result<()> {
    let name = incoming.name().clone();
    tracing::info!(listener = %name, address = %incoming.address(), "answers HTTP");
    let service = router.into_make_service_with_connect_info::<Peer>();
    axum::serve(incoming, service)
        .await
        .with_context(|| format!("listener `{name}` failed"))
}

/// The far end of a connection.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub PeerAddress);

impl Connected<IncomingStream<'_, Incoming>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Incoming>) -> Self {
        Self(stream.io().peer())
    }
}

impl Listener for Incoming {
    type Io = Connection;
    type Addr = ListenAddress;

    async fn accept(&mut self) -> (Connection, ListenAddress) {
        let connection = self.next().await.ending_itself();
        (connection, self.address().clone())
    }

    fn local_addr(&self) -> io::Result<ListenAddress> {
        Ok(self.address().clone())
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;

    use super::*;
    use crate::admin::observe;
    use crate::readiness::Readiness;
    use crate::shutdown::Servers;
    use crate::task::Tasks;
    use crate::telemetry::metrics::Metrics;

    #[tokio::test]
    async fn monitoring_is_answered_over_http() {
        let metrics = Metrics::new(jiff::Timestamp::UNIX_EPOCH);
        let (name, loopback) = ("observe".into(), ListenAddress::loopback(0));
        let incoming = Incoming::bind(&name, &loopback, accept_limits(), &metrics);
        let incoming = incoming.await.unwrap();
        let address = incoming.address().to_string();
        let router = observe::router(Readiness::new(), metrics);
        Servers::new().run(&Tasks::new(), "observe", serve(incoming, router));
        let mut client = TcpStream::connect(address).await.unwrap();
        let request = b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        client.write_all(request).await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.contains("application/openmetrics-text"));
        assert!(answer.contains(r#"portcullis_connections{listener="observe"} 1"#));
    }
}
