//! A proxy of TCP that can be slow, cut, or silent: what a network does to a program that stays up.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::background::Background;

/// What the proxy does with what it is to hand on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Hands it on after half of this, each way.
    Slow(Duration),
    /// Keeps connections open and hands on nothing, for ever.
    Silent,
}

/// The proxy; dropping it closes every connection.
#[derive(Debug)]
pub(crate) struct ChaosProxy {
    background: Background,
    mode: watch::Sender<Mode>,
}

impl ChaosProxy {
    /// Starts one that hands everything on to `target`.
    pub(crate) fn to(target: SocketAddr) -> Self {
        let (mode, modes) = watch::channel(Mode::Slow(Duration::ZERO));
        let background = Background::serve("chaos", move |client| {
            let modes = modes.clone();
            async move {
                if let Ok(server) = TcpStream::connect(target).await {
                    let (from_client, to_client) = client.into_split();
                    let (from_server, to_server) = server.into_split();
                    tokio::select! {
                        () = hand_on(from_client, to_server, modes.clone()) => {}
                        () = hand_on(from_server, to_client, modes) => {}
                    }
                }
            }
        });
        Self { background, mode }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.background.address()
    }

    /// Adds this to every round trip from now on.
    pub(crate) fn slow(&self, round_trip: Duration) {
        self.mode.send_replace(Mode::Slow(round_trip / 2));
    }

    /// Hands on nothing from now on and closes nothing, as where a host vanished; connections that
    /// are open then stay so for ever.
    pub(crate) fn silence(&self) {
        self.mode.send_replace(Mode::Silent);
    }

    /// Closes every connection and takes none.
    pub(crate) fn cut(&self) {
        self.background.refuse();
    }

    /// Takes connections again, and hands everything on.
    pub(crate) fn heal(&self) {
        self.slow(Duration::ZERO);
        self.background.accept();
    }
}

async fn hand_on(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    modes: watch::Receiver<Mode>,
) {
    let (taken, mut given) = mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
    let reading = async {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            match from.read(&mut buffer).await {
                Ok(0) | Err(_) => return,
                Ok(read) => match *modes.borrow() {
                    Mode::Silent => break,
                    Mode::Slow(delay) => {
                        let piece = (Instant::now() + delay, buffer[..read].to_vec());
                        if taken.send(piece).is_err() {
                            return;
                        }
                    }
                },
            }
        }
        std::future::pending::<()>().await;
    };
    let writing = async {
        while let Some((when, piece)) = given.recv().await {
            tokio::time::sleep_until(when).await;
            if to.write_all(&piece).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = reading => {}
        () = writing => {}
    }
}
