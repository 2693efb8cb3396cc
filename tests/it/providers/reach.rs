//! How servers are reached: time-outs, authorities, proxies, and one more try.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{SECRET, Stage, client_credentials, refused};
use crate::support::authority::{Authority, Shown};
use crate::support::background::Background;
use crate::support::providers::Providers;
use crate::support::providers::fault::Fault;

#[tokio::test]
async fn f27_a_server_that_says_nothing_is_waited_for_as_configured() {
    let fake = Providers::start();
    let scene = Stage::new()
        .provider(
            "erp",
            client_credentials(&fake, json!({ "http": { "timeout": "300ms" } })),
        )
        .provider(
            "nobody",
            client_credentials(
                &fake,
                json!({
                    // RFC 5737: nobody answers there
                    "tokenUrl": "http://192.0.2.1:9/token", "http": { "timeout": "300ms" },
                }),
            ),
        )
        .api("erp", "erp.example", "/", json!({ "provider": "erp" }))
        .api(
            "nobody",
            "nobody.example",
            "/",
            json!({ "provider": "nobody" }),
        )
        .start();
    for fault in [Fault::Blackhole, Fault::Drip] {
        fake.recover();
        fake.break_by(fault);
        let start = Instant::now();
        let answer = scene.get("erp.example", "/").await;
        refused(&answer);
        assert!(
            start.elapsed() < Duration::from_millis(1200),
            "{:?}",
            start.elapsed()
        );
        scene.post("/v1/tokens/evict");
    }
    let start = Instant::now();
    refused(&scene.get("nobody.example", "/").await);
    assert!(
        start.elapsed() < Duration::from_millis(1200),
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test]
async fn f27_a_private_authority_is_trusted_where_it_is_configured_and_there_alone() {
    let authority = Authority::new();
    let fake = Providers::start_tls(&authority, Shown::Good);
    let provider = |ca: serde_json::Value| {
        client_credentials(&fake, json!({ "http": { "allowHttp": false, "ca": ca } }))
    };
    let scene = Stage::new()
        .file("ca", &authority.pem())
        .provider("own", provider(json!({ "file": "ca" })))
        .provider("system", provider(json!(null)))
        .api("own", "own.example", "/", json!({ "provider": "own" }))
        .api(
            "system",
            "system.example",
            "/",
            json!({ "provider": "system" }),
        )
        .start();
    refused(&scene.get("system.example", "/").await);
    assert_eq!(fake.count(), 0);
    scene.token("own.example", "/").await;
    assert_eq!(fake.last().basic().unwrap().1, SECRET);
}

#[tokio::test]
async fn f27_a_proxy_is_asked_instead_of_the_server() {
    let authority = Authority::new();
    let fake = Providers::start_tls(&authority, Shown::Good);
    let proxy = Tunnel::start(fake.address());
    let plain = Providers::start();
    let scene = Stage::new()
        .file("ca", &authority.pem())
        // the environment says nothing
        .provider(
            "tunneled",
            client_credentials(
                &fake,
                json!({
                    "tokenUrl": "https://localhost/token",
                    "http": { "allowHttp": false, "ca": { "file": "ca" }, "proxy": proxy.url() },
                }),
            ),
        )
        .provider(
            "plain",
            client_credentials(
                &fake,
                json!({
                    "tokenUrl": "http://idp.test/token", "http": { "proxy": plain.url() },
                }),
            ),
        )
        .api(
            "tunneled",
            "tunneled.example",
            "/",
            json!({ "provider": "tunneled" }),
        )
        .api(
            "plain",
            "plain.example",
            "/",
            json!({ "provider": "plain" }),
        )
        .start();
    scene.token("tunneled.example", "/").await;
    assert_eq!(proxy.asked(), ["CONNECT localhost:443 HTTP/1.1"]);
    assert_eq!(fake.last().basic().unwrap().1, SECRET);
    scene.token("plain.example", "/").await;
    assert_eq!(plain.last().request.target, "http://idp.test/token");
}

#[tokio::test]
async fn f27_a_connection_that_is_cut_is_tried_once_more() {
    let fake = Providers::start();
    let scene = Stage::new()
        .provider("erp", client_credentials(&fake, json!({})))
        .api("all", "*", "/", json!({ "provider": "erp" }))
        .start();
    for (number, fault) in [Fault::Reset, Fault::Close].into_iter().enumerate() {
        let before = fake.count();
        fake.break_once(fault.clone());
        scene.token(&format!("once{number}.org"), "/").await;
        assert_eq!(fake.count() - before, 2, "{fault:?}");
        let before = fake.count();
        fake.break_by(fault.clone());
        refused(&scene.get(&format!("always{number}.org"), "/").await);
        assert_eq!(fake.count() - before, 2, "{fault:?}");
        fake.recover();
    }
    // an answer that has begun is not asked for again
    for (number, fault) in [
        Fault::ResetInBody,
        Fault::CloseInBody,
        Fault::Status(500, String::new()),
    ]
    .into_iter()
    .enumerate()
    {
        let before = fake.count();
        fake.break_once(fault.clone());
        refused(&scene.get(&format!("begun{number}.org"), "/").await);
        assert_eq!(fake.count() - before, 1, "{fault:?}");
    }
}

/// A proxy that tunnels to one address, whatever it is asked for.
struct Tunnel {
    background: Background,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Tunnel {
    fn start(to: SocketAddr) -> Self {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&asked);
        let background = Background::serve("proxy", move |mut stream: TcpStream| {
            let told = Arc::clone(&told);
            async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await.expect("a whole head"));
                }
                let head = String::from_utf8(head).expect("text");
                told.lock()
                    .unwrap()
                    .extend(head.lines().next().map(str::to_owned));
                stream
                    .write_all(b"HTTP/1.1 200 OK\r\n\r\n")
                    .await
                    .expect("a client");
                let mut server = TcpStream::connect(to).await.expect("the server");
                // either side may end it
                let _ended = tokio::io::copy_bidirectional(&mut stream, &mut server).await;
            }
        });
        Self { background, asked }
    }

    fn url(&self) -> String {
        format!("http://{}", self.background.address())
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}
