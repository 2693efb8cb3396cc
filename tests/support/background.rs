//! A thread with its own runtime, on which a fake serves for as long as its value lives.

use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::mpsc;
use std::thread::JoinHandle;

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc as orders;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How many connections may wait to be accepted.
const BACKLOG: u32 = 1024;

/// A server on a free port of the loopback interface. Dropping it closes the port and every
/// connection.
#[derive(Debug)]
pub(crate) struct Background {
    address: SocketAddr,
    orders: orders::UnboundedSender<Order>,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

/// To open or to close the port, and whom to tell that it was done.
#[derive(Debug)]
struct Order {
    open: bool,
    done: mpsc::Sender<()>,
}

/// A port that stays ours while nothing listens on it: the kernel refuses connections then.
#[derive(Debug)]
struct Port {
    reservation: TcpSocket,
    address: SocketAddr,
}

impl Background {
    /// Accepts connections and gives each to `serve`.
    pub(crate) fn serve<F, S>(name: &str, serve: S) -> Self
    where
        S: Fn(TcpStream) -> F + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let (orders, received) = orders::unbounded_channel();
        let (opened, address) = mpsc::channel();
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .expect("a runtime");
                runtime.block_on(async {
                    let port = Port::reserve().expect("a free port");
                    let listener = port.listen();
                    opened.send(port.address).expect("somebody waits for it");
                    let accepting = accept(port, listener, received, serve);
                    stopped.run_until_cancelled(accepting).await;
                });
            });
        Self {
            thread: Some(thread.expect("a thread")),
            address: address.recv().expect("an address"),
            orders,
            stop,
        }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Closes every connection, and refuses new ones until [`Background::accept`].
    pub(crate) fn refuse(&self) {
        self.order(false);
    }

    /// Takes connections again.
    pub(crate) fn accept(&self) {
        self.order(true);
    }

    fn order(&self, open: bool) {
        let (done, answered) = mpsc::channel();
        let order = Order { open, done };
        self.orders.send(order).expect("the thread of a fake lives");
        answered.recv().expect("the thread of a fake obeys");
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || std::thread::panicking(), "a fake panicked");
        }
    }
}

impl Port {
    fn reserve() -> io::Result<Self> {
        let reservation = Self::socket(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        let address = reservation.local_addr()?;
        Ok(Self {
            reservation,
            address,
        })
    }

    fn socket(address: SocketAddr) -> io::Result<TcpSocket> {
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseport(true)?;
        socket.bind(address)?;
        Ok(socket)
    }

    fn listen(&self) -> TcpListener {
        let socket = Self::socket(self.address).expect("the port is ours");
        socket.listen(BACKLOG).expect("a listener")
    }
}

async fn accept<F>(
    port: Port,
    listener: TcpListener,
    mut orders: orders::UnboundedReceiver<Order>,
    serve: impl Fn(TcpStream) -> F,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let mut listener = Some(listener);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Some(stream) = next(listener.as_ref()) => {
                connections.spawn(serve(stream));
            }
            Some(order) = orders.recv() => {
                listener = order.open.then(|| listener.unwrap_or_else(|| port.listen()));
                if !order.open {
                    connections.shutdown().await;
                }
                // Who gave the order may have gone.
                let _gone = order.done.send(());
            }
            Some(ended) = connections.join_next() => ended.expect("a connection of a fake panicked"),
        }
    }
}

/// The next connection, where there is a listener to take it.
async fn next(listener: Option<&TcpListener>) -> Option<TcpStream> {
    match listener {
        Some(listener) => listener.accept().await.ok().map(|(stream, _)| stream),
        None => std::future::pending().await,
    }
}
