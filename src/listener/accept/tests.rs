//! Tests of accepting, over real sockets.

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
