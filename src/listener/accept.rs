//! Accepts connections: as many as a listener may have, and with patience for none that is silent.
//!
//! tonic and axum have no cap on connections and wait for ever for the first bytes of one.

use std::fs;
use std::io;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use futures_util::stream::{self, Stream as FuturesStream};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;

use crate::listener::address::ListenAddress;
use crate::listener::connection::{Connection, Patience, Place, Stream};
use crate::telemetry::metrics::{Metrics, Refusal};
use crate::tls::ServerTls;

/// How long accepting rests after the system refused to hand a connection over: it does so for
/// want of file descriptors or memory, which come back when connections end.
const REST: Duration = Duration::from_millis(100);

/// What a listener takes.
#[derive(Debug, Clone, Copy)]
pub struct AcceptLimits {
    /// How many connections there may be at once.
    pub max_connections: usize,
    /// How long each may be silent.
    pub patience: Patience,
}

/// Accepts the connections of one listener.
#[derive(Debug)]
pub struct Incoming {
    socket: Socket,
    address: ListenAddress,
    name: Arc<str>,
    places: Arc<Semaphore>,
    patience: Patience,
    metrics: Metrics,
    tls: Option<ServerTls>,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener),
    Unix {
        listener: UnixListener,
        _file: SocketFile,
    },
}

/// The file of a Unix socket, removed when it is dropped.
#[derive(Debug)]
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.0) {
            tracing::debug!(%error, path = %self.0.display(), "the socket file is gone already");
        }
    }
}

impl Incoming {
    /// Listens at `address`, for the listener called `name`.
    ///
    /// # Errors
    /// Where the address cannot be had.
    pub async fn bind(
        name: &Arc<str>,
        address: &ListenAddress,
        limits: AcceptLimits,
        metrics: &Metrics,
    ) -> anyhow::Result<Self> {
        let bound = match address {
            ListenAddress::Tcp { host, port } => bind_tcp(host, *port).await,
            ListenAddress::Unix(path) => bind_unix(path),
        };
        let (socket, address) =
            bound.with_context(|| format!("listener `{name}` cannot listen at `{address}`"))?;
        // the gauge is there from the start
        metrics.connections(name);
        Ok(Self {
            socket,
            address,
            name: Arc::clone(name),
            places: Arc::new(Semaphore::new(
                limits.max_connections.min(Semaphore::MAX_PERMITS),
            )),
            patience: limits.patience,
            metrics: metrics.clone(),
            tls: None,
        })
    }

    /// The same, where those who connect begin with a TLS handshake.
    #[must_use]
    pub fn with_tls(self, tls: Option<ServerTls>) -> Self {
        Self { tls, ..self }
    }

    /// Where it listens, with the port that the system chose.
    #[must_use]
    pub fn address(&self) -> &ListenAddress {
        &self.address
    }

    /// The listener's name.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The next connection that is served; those beyond the cap are closed at once.
    pub async fn next(&mut self) -> Connection {
        loop {
            let stream = match self.socket.accept().await {
                Ok(stream) => stream,
                Err(error) => {
                    self.failed(&error).await;
                    continue;
                }
            };
            if let Ok(permit) = Arc::clone(&self.places).try_acquire_owned() {
                return self.admit(stream, permit);
            }
            self.metrics
                .connection_refused(&self.name, Refusal::MaxConnections);
            tracing::debug!(listener = %self.name, "as many connections as allowed: one was closed");
        }
    }

    /// Every connection from now on.
    pub fn into_stream(self) -> impl FuturesStream<Item = io::Result<Connection>> + Send {
        stream::unfold(self, |mut incoming| async move {
            let connection = incoming.next().await;
            Some((Ok(connection), incoming))
        })
    }

    fn admit(&self, stream: Stream, permit: tokio::sync::OwnedSemaphorePermit) -> Connection {
        let open = self.metrics.connections(&self.name);
        open.inc();
        let place = Place {
            _permit: permit,
            open,
        };
        let (metrics, name) = (self.metrics.clone(), Arc::clone(&self.name));
        let connection = Connection::new(stream, place, self.patience, metrics, name);
        match &self.tls {
            Some(tls) => connection.secured(tls),
            None => connection,
        }
    }

    /// A client that left before it was accepted is no reason to rest.
    async fn failed(&self, error: &io::Error) {
        let left = [
            io::ErrorKind::ConnectionAborted,
            io::ErrorKind::ConnectionReset,
            io::ErrorKind::ConnectionRefused,
            io::ErrorKind::Interrupted,
        ];
        if left.contains(&error.kind()) {
            return;
        }
        self.metrics
            .connection_refused(&self.name, Refusal::AcceptFailed);
        tracing::warn!(%error, listener = %self.name, "a connection cannot be accepted");
        tokio::time::sleep(REST).await;
    }
}

impl Socket {
    async fn accept(&self) -> io::Result<Stream> {
        match self {
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                // answers are small and urgent; without it each may wait for an acknowledgement
                stream.set_nodelay(true)?;
                Ok(Stream::Tcp(stream))
            }
            Self::Unix { listener, .. } => {
                let (stream, _) = listener.accept().await?;
                Ok(Stream::Unix(stream))
            }
        }
    }
}

async fn bind_tcp(host: &str, port: u16) -> anyhow::Result<(Socket, ListenAddress)> {
    let listener = TcpListener::bind((host, port)).await?;
    let bound = listener.local_addr()?;
    let address = ListenAddress::Tcp {
        host: host.into(),
        port: bound.port(),
    };
    Ok((Socket::Tcp(listener), address))
}

fn bind_unix(path: &Path) -> anyhow::Result<(Socket, ListenAddress)> {
    remove_stale(path)?;
    let listener = UnixListener::bind(path)?;
    let socket = Socket::Unix {
        listener,
        _file: SocketFile(path.to_owned()),
    };
    Ok((socket, ListenAddress::Unix(path.to_owned())))
}

/// Removes the socket of a process that is gone. Anything else at `path` stays, and is an error.
fn remove_stale(path: &Path) -> anyhow::Result<()> {
    let Ok(metadata) = fs::symlink_metadata(path) else {
        return Ok(());
    };
    if !metadata.file_type().is_socket() {
        anyhow::bail!("there is a file that is no socket");
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Ok(_) => anyhow::bail!("another process listens there"),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).context("the socket of a former process cannot be removed")
        }
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests;
