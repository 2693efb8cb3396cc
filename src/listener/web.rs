//! A listener that speaks HTTP/1.1, for the admin API and for monitoring.

use std::io;

use anyhow::Context as _;
use axum::Router;
use axum::serve::Listener;

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
    axum::serve(incoming, router)
        .await
        .with_context(|| format!("listener `{name}` failed"))
}

impl Listener for Incoming {
    type Io = Connection;
    type Addr = ListenAddress;

    async fn accept(&mut self) -> (Connection, ListenAddress) {
        let connection = self.next().await;
        (connection, self.address().clone())
    }

    fn local_addr(&self) -> io::Result<ListenAddress> {
        Ok(self.address().clone())
    }
}
