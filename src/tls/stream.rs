//! A connection under TLS, whose handshake goes on whenever it is polled: nobody waits for another's.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustls::Error;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::server::TlsStream;
use tokio_rustls::{Accept, TlsAcceptor};

use crate::telemetry::metrics::Handshake;
use crate::tls::leaf::{self, Named};
use crate::tls::{ServerTls, Tenure};

/// A connection under TLS.
#[derive(Debug)]
pub(crate) struct Secured<IO> {
    stage: Stage<IO>,
    tls: ServerTls,
}

enum Stage<IO> {
    Handshaking(Accept<IO>),
    Open(TlsStream<IO>),
    Failed,
}

impl<IO> std::fmt::Debug for Stage<IO> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Handshaking(_) => "Handshaking",
            Self::Open(_) => "Open",
            Self::Failed => "Failed",
        })
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Secured<IO> {
    /// Begins a handshake on `stream` with what is in force now.
    pub(crate) fn new(tls: &ServerTls, stream: IO) -> Self {
        let stage = match tls.config() {
            Some(config) => Stage::Handshaking(TlsAcceptor::from(config).accept(stream)),
            None => {
                tls.tell(Handshake::NoCertificate);
                Stage::Failed
            }
        };
        Self {
            stage,
            tls: tls.clone(),
        }
    }

    /// Goes on with the handshake until it is done.
    pub(crate) fn poll_open(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<&mut TlsStream<IO>>> {
        if let Stage::Handshaking(accept) = &mut self.stage {
            match ready!(Pin::new(accept).poll(context)) {
                Ok(stream) => {
                    self.tls.tell(Handshake::Completed);
                    self.stage = Stage::Open(stream);
                }
                Err(error) => {
                    tracing::debug!(%error, listener = %self.tls.listener(), "a handshake failed");
                    self.tls.tell(outcome(&error));
                    self.stage = Stage::Failed;
                    return Poll::Ready(Err(error));
                }
            }
        }
        Poll::Ready(match &mut self.stage {
            Stage::Open(stream) => Ok(stream),
            Stage::Handshaking(_) | Stage::Failed => Err(io::ErrorKind::ConnectionAborted.into()),
        })
    }

    /// Whom the client's certificate names; nobody before the handshake is done, or without one.
    pub(crate) fn client(&self) -> Named {
        let Stage::Open(stream) = &self.stage else {
            return Named::Nobody;
        };
        let (_, connection) = stream.get_ref();
        let leaf = connection.peer_certificates().and_then(<[_]>::first);
        // it has been verified, so it can be read
        leaf.map_or(Named::Nobody, |leaf| {
            leaf::read(leaf).unwrap_or(Named::Nobody)
        })
    }

    /// Whether the client whom `client` names is still taken, now and later.
    pub(crate) fn tenure(&self, client: &Named) -> Tenure {
        self.tls.tenure(client)
    }
}

/// One that ends in the middle ran out of time, or the client went away.
impl<IO> Drop for Secured<IO> {
    fn drop(&mut self) {
        if matches!(self.stage, Stage::Handshaking(_)) {
            self.tls.tell(Handshake::Unfinished);
        }
    }
}

fn outcome(error: &io::Error) -> Handshake {
    let error = error.get_ref().and_then(|error| error.downcast_ref());
    match error {
        Some(Error::NoCertificatesPresented) => Handshake::ClientCertificateMissing,
        Some(Error::InvalidCertificate(_)) => Handshake::ClientCertificateRefused,
        Some(_) => Handshake::Failed,
        None => Handshake::Unfinished,
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncRead for Secured<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let stream = ready!(self.poll_open(context))?;
        Pin::new(stream).poll_read(context, buffer)
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Secured<IO> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let stream = ready!(self.poll_open(context))?;
        Pin::new(stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let stream = ready!(self.poll_open(context))?;
        Pin::new(stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stage {
            Stage::Open(stream) => Pin::new(stream).poll_shutdown(context),
            Stage::Handshaking(_) | Stage::Failed => Poll::Ready(Ok(())),
        }
    }
}
