//! One connection: TCP or Unix, counted while it lives, and ended where it says too little.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use prometheus_client::metrics::gauge::Gauge;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep, sleep};
use tonic::transport::server::Connected;

use crate::check::request::PeerAddress;
use crate::telemetry::metrics::{Metrics, Refusal};
use crate::tls::leaf::Named;
use crate::tls::stream::Secured;
use crate::tls::{ServerTls, Tenure};

/// How long a connection may take to say something.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// How many bytes it must have sent before it is served, not counting a TLS handshake.
    pub opening_bytes: usize,
    /// How long it may take for them, and for the handshake.
    pub opening: Duration,
    /// How long it may be silent after that, where that is limited.
    pub idle: Option<Duration>,
}

impl Patience {
    /// For HTTP/2: its preface (RFC 9113 section 3.4). What follows is watched by HTTP/2's own pings.
    #[must_use]
    pub fn http2(opening: Duration) -> Self {
        Self {
            opening_bytes: 24,
            opening,
            idle: None,
        }
    }

    /// For HTTP/1: the shortest request line, and no more than a minute of silence.
    #[must_use]
    pub fn http1() -> Self {
        Self {
            opening_bytes: 16,
            opening: Duration::from_secs(5),
            idle: Some(Duration::from_secs(60)),
        }
    }
}

/// A connection that was accepted.
pub struct Connection {
    stream: Channel,
    peer: PeerAddress,
    /// What was written and is not flushed yet, of which so many bytes are gone.
    waiting: Vec<u8>,
    gone: usize,
    watch: Option<Watch>,
    /// Whether it ends by itself once its client is taken no longer, and when that is.
    ends_itself: bool,
    lost: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    _place: Place,
}

#[derive(Debug)]
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// A stream, with TLS or without.
#[derive(Debug)]
enum Channel {
    Plain(Stream),
    Secured(Box<Secured<Stream>>),
}

/// Waits for what is due.
#[derive(Debug)]
struct Watch {
    patience: Patience,
    /// How many bytes are due before the connection is served.
    due: usize,
    deadline: Pin<Box<Sleep>>,
    metrics: Metrics,
    listener: Arc<str>,
}

/// The place that a connection takes at its listener, free again when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) _permit: OwnedSemaphorePermit,
    pub(super) open: Gauge,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.open.dec();
    }
}

/// What waits may hold a credential for an upstream: `Debug` tells its length only.
impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("stream", &self.stream)
            .field("waiting", &self.waiting.len())
            .finish_non_exhaustive()
    }
}

impl Connection {
    pub(super) fn new(
        stream: Stream,
        place: Place,
        patience: Patience,
        metrics: Metrics,
        listener: Arc<str>,
    ) -> Self {
        let watch = Watch {
            patience,
            due: patience.opening_bytes,
            deadline: Box::pin(sleep(patience.opening)),
            metrics,
            listener,
        };
        Self {
            peer: stream.peer(),
            stream: Channel::Plain(stream),
            waiting: Vec::new(),
            gone: 0,
            watch: Some(watch),
            ends_itself: false,
            lost: None,
            _place: place,
        }
    }
}

impl Connection {
    /// The same, where its client begins with a TLS handshake.
    pub(super) fn secured(mut self, tls: &ServerTls) -> Self {
        if let Channel::Plain(stream) = self.stream {
            self.stream = Channel::Secured(Box::new(Secured::new(tls, stream)));
        }
        self
    }

    /// The same, which ends by itself once its client is taken no longer: for servers that cannot
    /// be asked to end one connection.
    pub(super) fn ending_itself(mut self) -> Self {
        self.ends_itself = true;
        self
    }

    /// The address of its far end.
    pub(super) fn peer(&self) -> PeerAddress {
        self.peer
    }

    /// Waits until the TLS handshake is done, where there is one.
    ///
    /// # Errors
    /// Where it fails, or takes too long.
    pub(super) async fn open(&mut self) -> io::Result<()> {
        std::future::poll_fn(|context| self.poll_open(context)).await
    }

    fn poll_open(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Channel::Secured(stream) = &mut self.stream else {
            return Poll::Ready(Ok(()));
        };
        match (stream.poll_open(context), &mut self.watch) {
            (Poll::Ready(opened), _) => Poll::Ready(opened.map(drop)),
            (Poll::Pending, Some(watch)) => watch.poll_deadline(context).map(Err),
            (Poll::Pending, None) => Poll::Pending,
        }
    }

    /// An error once the client is taken no longer, on a connection that ends by itself.
    fn poll_lost(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        if !self.ends_itself {
            return Poll::Pending;
        }
        if self.lost.is_none() {
            ready!(self.poll_open(context)).ok();
            self.lost = self.tenure(&self.client()).map(|mut tenure| {
                let lost: Pin<Box<dyn Future<Output = ()> + Send>> =
                    Box::pin(async move { tenure.lost().await });
                lost
            });
        }
        let Some(lost) = &mut self.lost else {
            return Poll::Pending;
        };
        ready!(lost.as_mut().poll(context));
        Poll::Ready(io::Error::new(
            io::ErrorKind::ConnectionAborted,
            "the peer is taken no longer",
        ))
    }

    /// Whom the client's certificate names; only once it is open.
    pub(super) fn client(&self) -> Named {
        match &self.stream {
            Channel::Secured(stream) => stream.client(),
            Channel::Plain(_) => Named::Nobody,
        }
    }

    /// Whether the client whom `client` names is still taken, where that can change.
    pub(super) fn tenure(&self, client: &Named) -> Option<Tenure> {
        match &self.stream {
            Channel::Secured(stream) => Some(stream.tenure(client)),
            Channel::Plain(_) => None,
        }
    }
}

impl Watch {
    /// An error where what is due did not come in time.
    fn poll_deadline(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        ready!(self.deadline.as_mut().poll(context));
        if self.due > 0 {
            self.metrics
                .connection_refused(&self.listener, Refusal::HandshakeTimeout);
        }
        Poll::Ready(io::Error::new(
            io::ErrorKind::TimedOut,
            "the peer is silent",
        ))
    }

    /// Takes note of bytes that came; false where nothing is to be watched from now on.
    fn received(&mut self, bytes: usize) -> bool {
        self.due = self.due.saturating_sub(bytes);
        if self.due > 0 {
            return true;
        }
        let Some(idle) = self.patience.idle else {
            return false;
        };
        self.deadline.as_mut().reset(Instant::now() + idle);
        true
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Poll::Ready(error) = self.poll_lost(context) {
            return Poll::Ready(Err(error));
        }
        let before = buffer.filled().len();
        let read = match &mut self.stream {
            Channel::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Channel::Secured(stream) => Pin::new(stream).poll_read(context, buffer),
        };
        let Some(watch) = &mut self.watch else {
            return read;
        };
        match read {
            Poll::Ready(Ok(())) => {
                if !watch.received(buffer.filled().len() - before) {
                    self.watch = None;
                }
                read
            }
            Poll::Ready(Err(_)) => read,
            Poll::Pending => watch.poll_deadline(context).map(Err),
        }
    }
}

/// The most bytes that wait until they are flushed.
const MAX_WAITING: usize = 8 * 1024;

impl Stream {
    fn peer(&self) -> PeerAddress {
        match self {
            Self::Tcp(stream) => {
                let address = stream.peer_addr();
                address.map_or(PeerAddress::Other, |peer| PeerAddress::Ip(peer.ip()))
            }
            Self::Unix(_) => PeerAddress::Other,
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Tcp(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Unix(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Tcp(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Unix(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(context),
            Self::Unix(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}

impl Channel {
    fn poll_write(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Secured(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }
}

impl Connection {
    /// Writes what waits.
    fn poll_waiting(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest) = self.waiting.get(self.gone..)
            && !rest.is_empty()
        {
            let written = ready!(self.stream.poll_write(context, rest))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.gone += written;
        }
        self.waiting.clear();
        self.gone = 0;
        Poll::Ready(Ok(()))
    }
}

/// What is written in parts waits until it is flushed, so that a large answer, which h2 writes in
/// two parts, and those around it leave by one call of the system.
impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.waiting.len() + bytes.len() > MAX_WAITING {
            ready!(self.poll_waiting(context))?;
        }
        if bytes.len() >= MAX_WAITING {
            return self.stream.poll_write(context, bytes);
        }
        self.waiting.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    /// No: h2 then copies answers of up to 1 KiB into its buffer and sends many of them by one call
    /// of the system. Else it would send each by a call of its own, which costs far more.
    fn is_write_vectored(&self) -> bool {
        false
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_waiting(context))?;
        match &mut self.stream {
            Channel::Plain(stream) => Pin::new(stream).poll_flush(context),
            Channel::Secured(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_waiting(context))?;
        match &mut self.stream {
            Channel::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Channel::Secured(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}

impl Connected for Connection {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}
