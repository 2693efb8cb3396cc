//! Answers that no honest server gives: bytes at a crawl, bodies that never end, resets. Not for
//! what [`super::http::Answer`] says by itself.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

/// The pause between two bytes of a drip.
const DRIP: Duration = Duration::from_millis(50);

/// A connection of a fake, plain or TLS.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {
    /// From here on, closing it resets the connection (TCP RST) instead of ending it.
    fn reset_on_close(&self);
}

/// What is written, piece after piece; then the connection is closed.
#[derive(Debug, Clone)]
pub(crate) struct Script(Vec<Piece>);

#[derive(Debug, Clone)]
enum Piece {
    Bytes(Vec<u8>),
    Repeated(Vec<u8>, usize),
    Dripped(Vec<u8>),
    Reset,
}

impl Script {
    /// Begins with the head of a response.
    pub(crate) fn head(status: u16, headers: &[(&str, &str)]) -> Self {
        let mut head = format!("HTTP/1.1 {status} Status\r\n");
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        Self::nothing().bytes(head)
    }

    /// Nothing: the connection is closed.
    pub(crate) fn nothing() -> Self {
        Self(Vec::new())
    }

    /// A reset instead of any answer.
    pub(crate) fn reset() -> Self {
        Self::nothing().then_reset()
    }

    /// Writes these bytes.
    pub(crate) fn bytes(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.0.push(Piece::Bytes(bytes.into()));
        self
    }

    /// Writes these bytes so many times.
    pub(crate) fn repeated(mut self, bytes: impl Into<Vec<u8>>, times: usize) -> Self {
        self.0.push(Piece::Repeated(bytes.into(), times));
        self
    }

    /// Writes these bytes one by one, with a pause after each.
    pub(crate) fn dripped(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.0.push(Piece::Dripped(bytes.into()));
        self
    }

    /// Ends by a reset.
    pub(crate) fn then_reset(mut self) -> Self {
        self.0.push(Piece::Reset);
        self
    }

    /// Writes it all, as far as the other side reads it.
    pub(crate) async fn play(self, mut stream: impl Stream) {
        for piece in self.0 {
            if piece.write(&mut stream).await.is_err() {
                return;
            }
        }
        // The other side may have closed already.
        let _closed = stream.shutdown().await;
    }
}

impl Piece {
    async fn write(self, stream: &mut impl Stream) -> io::Result<()> {
        match self {
            Self::Bytes(bytes) => stream.write_all(&bytes).await?,
            Self::Repeated(bytes, times) => {
                for _ in 0..times {
                    stream.write_all(&bytes).await?;
                }
            }
            Self::Dripped(bytes) => {
                for byte in bytes {
                    stream.write_all(&[byte]).await?;
                    stream.flush().await?;
                    tokio::time::sleep(DRIP).await;
                }
            }
            Self::Reset => {
                stream.flush().await?;
                stream.reset_on_close();
                return Err(io::ErrorKind::ConnectionReset.into());
            }
        }
        stream.flush().await
    }
}

impl Stream for TcpStream {
    fn reset_on_close(&self) {
        self.set_zero_linger().expect("a socket that can be reset");
    }
}

impl Stream for TlsStream<TcpStream> {
    fn reset_on_close(&self) {
        self.get_ref().0.reset_on_close();
    }
}
