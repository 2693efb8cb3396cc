//! Checks per second and CPU per check of Portcullis, against a tonic server that only answers OK.
//!
//! Both run in processes of their own and are asked in turn, over one connection with 16 streams, by
//! a client that decodes every answer and fails on a wrong one. Figures are medians over the rounds;
//! the ratios are what counts.
//!
//! `cargo bench --bench load [-- --rounds 5 --seconds 2 --apis 1000]`

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    reason = "a benchmark: what fails ends it"
)]

use std::io::Read as _;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::KeyPair as _;
use base64::Engine as _;
use envoy_types::ext_authz::v3::pb::{
    Authorization, AuthorizationServer, CheckRequest, CheckResponse,
};
use envoy_types::pb::envoy::service::auth::v3::attribute_context::{HttpRequest, Request};
use envoy_types::pb::envoy::service::auth::v3::authorization_client::AuthorizationClient;
use envoy_types::pb::envoy::service::auth::v3::check_response::HttpResponse;
use envoy_types::pb::envoy::service::auth::v3::{AttributeContext, OkHttpResponse};
use envoy_types::pb::google::rpc::Status;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::json;

const STREAMS: usize = 16;
const ISSUER: &str = "https://idp.example/realms/bench";

fn main() {
    let mut arguments = std::env::args()
        .skip(1)
        .filter(|argument| argument != "--bench");
    let (mut rounds, mut seconds, mut apis) = (5, 2, 1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--role-baseline" => return serve_baseline(arguments.next().unwrap().parse().unwrap()),
            "--rounds" => rounds = arguments.next().unwrap().parse().unwrap(),
            "--apis" => apis = arguments.next().unwrap().parse().unwrap(),
            "--seconds" => seconds = arguments.next().unwrap().parse().unwrap(),
            _ => {}
        }
    }
    compare(rounds, Duration::from_secs(seconds), apis);
}

fn compare(rounds: usize, length: Duration, apis: usize) {
    let folder = tempfile::tempdir().unwrap();
    let key = KeyPair::generate(KeySize::Rsa2048).unwrap();
    let started = Instant::now();
    let mut portcullis = start_portcullis(folder.path(), &key, apis);
    println!(
        "portcullis ready after {:?}, {} KiB anonymous memory",
        started.elapsed(),
        portcullis.anonymous_kib()
    );
    let mut baseline = start_baseline();
    let request = check_request(&token(&key));
    let mut rows = Vec::new();
    for _ in 0..rounds {
        let ours = portcullis.measure(&request, length, 3);
        let theirs = baseline.measure(&request, length, 0);
        rows.push((ours, theirs));
    }
    let median = |pick: &dyn Fn(&(Measured, Measured)) -> f64| {
        let mut values: Vec<f64> = rows.iter().map(pick).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    println!("| | portcullis | answers OK | ratio |\n|---|---|---|---|");
    let (ours, theirs) = (
        median(&|row| row.0.per_second),
        median(&|row| row.1.per_second),
    );
    println!(
        "| checks per second | {ours:.0} | {theirs:.0} | {:.2} |",
        ours / theirs
    );
    let (ours, theirs) = (
        median(&|row| row.0.cpu_micros),
        median(&|row| row.1.cpu_micros),
    );
    println!(
        "| CPU per check, microseconds | {ours:.1} | {theirs:.1} | {:.2} |",
        ours / theirs
    );
    println!(
        "anonymous memory after the load: {} KiB",
        portcullis.anonymous_kib()
    );
    portcullis.process.kill().unwrap();
    baseline.process.kill().unwrap();
}

struct Server {
    process: Child,
    address: SocketAddr,
}

#[derive(Debug, Clone, Copy)]
struct Measured {
    per_second: f64,
    cpu_micros: f64,
}

impl Server {
    fn measure(&mut self, request: &CheckRequest, length: Duration, headers: usize) -> Measured {
        let before = self.cpu();
        let started = Instant::now();
        let checks = load(self.address, request, length, headers);
        let took = started.elapsed();
        let cpu = self.cpu().checked_sub(before).unwrap();
        Measured {
            per_second: checks as f64 / took.as_secs_f64(),
            cpu_micros: cpu.as_secs_f64() * 1e6 / checks as f64,
        }
    }

    /// User and system time so far (proc(5), `stat`, fields 14 and 15; 100 ticks a second on Linux).
    fn cpu(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process.id())).unwrap();
        let fields: Vec<&str> = stat
            .rsplit(')')
            .next()
            .unwrap()
            .split_whitespace()
            .collect();
        let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        Duration::from_millis(ticks * 10)
    }

    fn anonymous_kib(&self) -> u64 {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status
            .lines()
            .find(|line| line.starts_with("RssAnon"))
            .unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
}

fn wait_for(address: SocketAddr) {
    for _ in 0..500 {
        if std::net::TcpStream::connect(address).is_ok() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    println!("nothing listens on {address}");
    std::process::exit(1);
}

fn wait_ready(observe: SocketAddr) {
    wait_for(observe);
    for _ in 0..500 {
        let mut connection = std::net::TcpStream::connect(observe).unwrap();
        std::io::Write::write_all(
            &mut connection,
            b"GET /readyz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n",
        )
        .unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).unwrap();
        if answer.starts_with("HTTP/1.1 200") {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn start_baseline() -> Server {
    let address = free_address();
    let program = std::env::current_exe().unwrap();
    let process = Command::new(program)
        .args(["--role-baseline", &address.to_string()])
        .spawn()
        .unwrap();
    wait_for(address);
    Server { process, address }
}

fn start_portcullis(folder: &Path, key: &KeyPair, apis: usize) -> Server {
    let (check, observe, admin) = (free_address(), free_address(), free_address());
    std::fs::write(folder.join("key.pem"), public_pem(key)).unwrap();
    let config = json!({
        "listeners": {
            "inbound": { "type": "check", "address": check.to_string() },
            "observe": { "type": "observe", "address": observe.to_string() },
            "admin": { "type": "admin", "address": admin.to_string() },
        },
        "authenticators": { "bench": { "type": "jwt", "issuer": ISSUER, "keys": { "pemFile": "key.pem" }, "audiences": ["orders"] } },
        "catalog": { "sources": [{ "name": "main", "type": "file", "path": "catalog" }] },
        "telemetry": { "log": { "level": "warn" } },
    });
    std::fs::write(folder.join("portcullis.yaml"), config.to_string()).unwrap();
    std::fs::create_dir(folder.join("catalog")).unwrap();
    std::fs::write(folder.join("catalog/all.yaml"), catalog(apis)).unwrap();
    let process = Command::new(env!("CARGO_BIN_EXE_portcullis"))
        .args(["serve", "--config"])
        .arg(folder.join("portcullis.yaml"))
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    wait_ready(observe);
    Server {
        process,
        address: check,
    }
}

/// `apis` Apis, of which the first is asked for.
fn catalog(apis: usize) -> String {
    let mut documents: Vec<String> = (1..apis).map(another_api).collect();
    let api = json!({
        "apiVersion": "portcullis.dev/v1alpha1", "kind": "Api", "metadata": { "name": "orders" },
        "spec": {
            "title": "orders", "version": "1.0.0", "hosts": ["api.example.com"], "basePath": "/orders",
            "authenticators": ["bench"],
            "operations": [{ "methods": ["GET"], "path": "/{id}", "scopes": { "anyOf": ["orders.read"] } }],
            "upstream": { "headers": { "x-user": "{principal.subject}", "x-client-id": "{principal.clientId}", "x-plan": "{subscription.plan}" } },
        },
    });
    let plan = json!({
        "apiVersion": "portcullis.dev/v1alpha1", "kind": "Plan", "metadata": { "name": "gold" },
        "spec": { "limits": [{ "amount": 1000, "per": "second" }] },
    });
    let application = json!({
        "apiVersion": "portcullis.dev/v1alpha1", "kind": "Application", "metadata": { "name": "shop" },
        "spec": { "clients": [{ "issuer": ISSUER, "clientId": "shop" }], "subscriptions": [{ "api": "orders", "plan": "gold" }] },
    });
    documents.extend([api, plan, application].map(|document| document.to_string()));
    documents.join("\n---\n") + "\n"
}

fn another_api(number: usize) -> String {
    let api = json!({
        "apiVersion": "portcullis.dev/v1alpha1", "kind": "Api", "metadata": { "name": format!("api-{number}") },
        "spec": {
            "title": format!("api-{number}"), "version": "1.0.0", "hosts": [format!("h{number}.example.com")], "basePath": "/",
            "authenticators": ["bench"], "operations": [{ "methods": ["GET"], "path": "/{id}" }],
        },
    });
    api.to_string()
}

fn pem(label: &str, der: &[u8]) -> String {
    let body = base64::engine::general_purpose::STANDARD.encode(der);
    format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n")
}

fn public_pem(key: &KeyPair) -> String {
    let der: PublicKeyX509Der<'_> = key.public_key().as_der().unwrap();
    pem("PUBLIC KEY", der.as_ref())
}

fn token(key: &KeyPair) -> String {
    let der: Pkcs8V1Der<'_> = key.as_der().unwrap();
    let signing = EncodingKey::from_rsa_pem(pem("PRIVATE KEY", der.as_ref()).as_bytes()).unwrap();
    let claims = json!({
        "iss": ISSUER, "aud": "orders", "sub": "alice", "azp": "shop", "scope": "orders.read orders.write",
        "iat": jsonwebtoken::get_current_timestamp(), "exp": jsonwebtoken::get_current_timestamp() + 3600,
    });
    jsonwebtoken::encode(&Header::new(Algorithm::RS256), &claims, &signing).unwrap()
}

/// A browser-like request of 12 headers, as Envoy sends it.
fn check_request(token: &str) -> CheckRequest {
    let headers = [
        (":authority", "api.example.com"),
        (":path", "/orders/4711?expand=items"),
        (":method", "GET"),
        (":scheme", "https"),
        ("accept", "application/json, text/plain, */*"),
        ("accept-encoding", "gzip, deflate, br"),
        ("accept-language", "en-US,en;q=0.9"),
        (
            "user-agent",
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36",
        ),
        ("x-forwarded-proto", "https"),
        ("x-request-id", "d450d4c6-3f0b-4f5e-9d0f-7f3c1d2e4b5a"),
        ("referer", "https://shop.example.com/cart"),
        ("authorization", &format!("Bearer {token}")),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .collect();
    let http = HttpRequest {
        id: "14665760763168702873".into(),
        method: "GET".into(),
        path: "/orders/4711?expand=items".into(),
        host: "api.example.com".into(),
        scheme: "https".into(),
        protocol: "HTTP/2".into(),
        headers,
        ..HttpRequest::default()
    };
    let attributes = AttributeContext {
        request: Some(Request {
            http: Some(http),
            ..Request::default()
        }),
        ..AttributeContext::default()
    };
    CheckRequest {
        attributes: Some(attributes),
    }
}

/// Asks for `length` and gives the number of answers, each of which must be an allow that sets
/// `headers` headers.
#[tokio::main(flavor = "current_thread")]
async fn load(
    address: SocketAddr,
    request: &CheckRequest,
    length: Duration,
    headers: usize,
) -> u64 {
    let channel = tonic::transport::Endpoint::from_shared(format!("http://{address}"))
        .unwrap()
        .connect()
        .await
        .unwrap();
    let (done, checks) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU64::new(0)),
    );
    let streams = (0..STREAMS).map(|_| {
        let mut client = AuthorizationClient::new(channel.clone());
        let (request, done, checks) = (request.clone(), Arc::clone(&done), Arc::clone(&checks));
        tokio::spawn(async move {
            while !done.load(Ordering::Relaxed) {
                let answer = client.check(request.clone()).await.unwrap().into_inner();
                assert_eq!(answer.status.unwrap().code, 0, "a wrong verdict");
                let Some(HttpResponse::OkResponse(ok)) = answer.http_response else {
                    unreachable!("no ok_response")
                };
                assert_eq!(ok.headers.len(), headers, "a wrong answer");
                checks.fetch_add(1, Ordering::Relaxed);
            }
        })
    });
    let streams: Vec<_> = streams.collect();
    tokio::time::sleep(length).await;
    done.store(true, Ordering::Relaxed);
    for stream in streams {
        stream.await.unwrap();
    }
    checks.load(Ordering::Relaxed)
}

struct AnswersOk;

#[tonic::async_trait]
impl Authorization for AnswersOk {
    async fn check(
        &self,
        _: tonic::Request<CheckRequest>,
    ) -> Result<tonic::Response<CheckResponse>, tonic::Status> {
        Ok(tonic::Response::new(CheckResponse {
            status: Some(Status::default()),
            http_response: Some(HttpResponse::OkResponse(OkHttpResponse::default())),
            ..CheckResponse::default()
        }))
    }
}

#[tokio::main]
async fn serve_baseline(address: SocketAddr) {
    let service = AuthorizationServer::new(AnswersOk);
    tonic::transport::Server::builder()
        .tcp_nodelay(true)
        .add_service(service)
        .serve(address)
        .await
        .unwrap();
}
