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
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener, SocketFile),
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
        })
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
        Connection::new(stream, place, self.patience, metrics, name)
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
            Self::Unix(listener, _) => {
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
    let file = SocketFile(path.to_owned());
    Ok((
        Socket::Unix(listener, file),
        ListenAddress::Unix(path.to_owned()),
    ))
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
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpStream, UnixStream};

    use super::*;

    fn limits(max_connections: usize) -> AcceptLimits {
        AcceptLimits {
            max_connections,
            patience: Patience::http2(Duration::from_millis(50)),
        }
    }

    async fn bound(address: &ListenAddress, limits: AcceptLimits) -> (Incoming, Metrics) {
        let metrics = Metrics::new(jiff::Timestamp::UNIX_EPOCH);
        let incoming = Incoming::bind(&"l".into(), address, limits, &metrics)
            .await
            .unwrap();
        (incoming, metrics)
    }

    async fn connect(incoming: &Incoming) -> TcpStream {
        TcpStream::connect(incoming.address().to_string())
            .await
            .unwrap()
    }

    #[tokio::test]
    async fn a_silent_connection_is_ended() {
        let (mut incoming, metrics) = bound(&ListenAddress::loopback(0), limits(9)).await;
        let mut silent = connect(&incoming).await;
        // one byte short of the preface
        silent.write_all(&[b'P'; 23]).await.unwrap();
        let mut connection = incoming.next().await;
        let mut bytes = [0; 64];
        assert_eq!(connection.read(&mut bytes).await.unwrap(), 23);
        let error = connection.read(&mut bytes).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        let text = metrics.render().unwrap();
        assert!(text.contains(r#"refused_total{listener="l",reason="handshake_timeout"} 1"#));
    }

    #[tokio::test]
    async fn a_connection_that_opened_properly_may_be_silent() {
        let (mut incoming, _) = bound(&ListenAddress::loopback(0), limits(9)).await;
        let mut client = connect(&incoming).await;
        client.write_all(&[b'P'; 24]).await.unwrap();
        let mut connection = incoming.next().await;
        let mut bytes = [0; 24];
        connection.read_exact(&mut bytes).await.unwrap();
        let silence = tokio::time::timeout(Duration::from_millis(150), connection.read(&mut bytes));
        assert!(silence.await.is_err());
    }

    #[tokio::test]
    async fn http1_connections_may_not_be_silent_for_ever() {
        let mut patience = Patience::http1();
        patience.idle = Some(Duration::from_millis(50));
        let limits = AcceptLimits {
            max_connections: 1,
            patience,
        };
        let (mut incoming, _) = bound(&ListenAddress::loopback(0), limits).await;
        let mut client = connect(&incoming).await;
        client.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
        let mut connection = incoming.next().await;
        let mut bytes = Vec::new();
        let error = connection.read_to_end(&mut bytes).await.unwrap_err();
        assert_eq!((error.kind(), bytes.len()), (io::ErrorKind::TimedOut, 16));
    }

    #[tokio::test]
    async fn connections_beyond_the_cap_are_closed_until_one_ends() {
        let (mut incoming, metrics) = bound(&ListenAddress::loopback(0), limits(1)).await;
        let _first = connect(&incoming).await;
        let first = incoming.next().await;
        assert!(
            metrics
                .render()
                .unwrap()
                .contains(r#"connections{listener="l"} 1"#)
        );
        let mut second = connect(&incoming).await;
        let waiting = tokio::time::timeout(Duration::from_millis(50), incoming.next());
        assert!(waiting.await.is_err());
        assert_eq!(second.read(&mut [0; 1]).await.unwrap_or(0), 0);
        drop(first);
        let _third = connect(&incoming).await;
        incoming.next().await;
        let text = metrics.render().unwrap();
        assert!(text.contains(r#"refused_total{listener="l",reason="max_connections"} 1"#));
        assert!(text.contains(r#"portcullis_connections{listener="l"} 0"#));
    }

    #[tokio::test]
    async fn a_stale_socket_is_replaced_and_removed_at_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let address = ListenAddress::Unix(path.clone());
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let (mut incoming, metrics) = bound(&address, limits(1)).await;
        let client = UnixStream::connect(&path).await.unwrap();
        incoming.next().await;
        drop(client);
        let again = Incoming::bind(&"m".into(), &address, limits(1), &metrics).await;
        let error = format!("{:#}", again.unwrap_err());
        assert!(error.contains("another process listens there"), "{error}");
        drop(incoming);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_file_that_is_no_socket_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        fs::write(&path, "precious").unwrap();
        let metrics = Metrics::new(jiff::Timestamp::UNIX_EPOCH);
        let address = ListenAddress::Unix(path.clone());
        assert!(
            Incoming::bind(&"l".into(), &address, limits(1), &metrics)
                .await
                .is_err()
        );
        assert_eq!(fs::read_to_string(path).unwrap(), "precious");
    }
}
