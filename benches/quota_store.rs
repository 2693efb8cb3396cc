//! What counting limits costs: none, local, in Redis exactly, in Redis by leases, and beside them
//! Envoy's own rate limit service over the same Redis.
//!
//! Every server runs in a process of its own and is asked in turn by the same client. Figures are
//! medians over the rounds. A wrong answer ends the benchmark.
//!
//! `cargo bench --bench quota_store [-- --rounds 5 --checks 10000]` prints the tables; with `--write`
//! they go into `docs/PERFORMANCE.md`. Without the rate limit service its rows are left out.

#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a benchmark: what fails ends it"
)]

mod bed;

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};

use bytes::Bytes;
use envoy_types::pb::envoy::service::auth::v3::CheckResponse;
use prost::Message;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use bed::client::{Expected, STREAMS};
use bed::document::{Table, number};
use bed::gate::{self, HEADERS_SET, Others};
use bed::proc;
use bed::requests::{browser, encode};
use bed::statistics::median;
use bed::support::check::CheckClient;
use bed::support::eventually;
use bed::support::issuer::Issuer;
use bed::support::portcullis::Portcullis;
use bed::support::process::Process;
use bed::support::redis::RedisServer;
use bed::target::{Spent, Target};

/// Where `make bench-quota` installs Envoy's rate limit service.
const PEER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/.tools/bin/service_cmd");
const CHECK: &str = "/envoy.service.auth.v3.Authorization/Check";
const RATE_LIMIT: &str = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit";
/// More than any run takes.
const AMOUNT: u64 = 1_000_000_000;

/// What is asked for a row.
struct Row {
    name: &'static str,
    target: Target,
    client: CheckClient,
    method: &'static str,
    message: Bytes,
    is_good: fn(&Bytes) -> bool,
    /// Of many at once, and of one after the other.
    spent: [Vec<Spent>; 2],
}

fn main() {
    let issuer = Issuer::start();
    let redis = RedisServer::start();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let store = |mode: &str| {
        let mut store = redis.config();
        store["type"] = json!("redis");
        store["budget"] = json!("1s");
        json!({ "store": store, "mode": mode })
    };
    let servers = [
        ("no limits", server(&issuer, json!({})), "free.example.com"),
        ("local", server(&issuer, json!({})), "limited.example.com"),
        (
            "exact",
            server(&issuer, store("exact")),
            "limited.example.com",
        ),
        (
            "lease",
            server(&issuer, store("lease")),
            "limited.example.com",
        ),
    ];
    let token = format!("Bearer {}", gate::token(&issuer).sign());
    let mut rows: Vec<Row> = servers
        .iter()
        .map(|(name, server, host)| Row {
            name,
            target: Target::portcullis(server),
            client: runtime.block_on(async { CheckClient::new(server.check_address()) }),
            method: CHECK,
            message: encode(browser(host, Some(("authorization", &token)))),
            is_good: is_allow,
            spent: Default::default(),
        })
        .collect();
    let peer = Peer::start(redis.address());
    rows.extend(peer.as_ref().map(|peer| peer.row(&runtime)));
    for row in &rows {
        // until Redis is connected, what has limits is a fault
        eventually("an allow", || {
            let answer = runtime.block_on(row.client.call(row.method, row.message.clone()));
            answer.ok().filter(|answer| (row.is_good)(answer.get_ref()))
        });
    }
    let (rounds, checks) = (number("--rounds", 5), number("--checks", 10_000));
    for round in 0..=rounds {
        let count = rows.len();
        for place in 0..count {
            // who is first changes with each round
            let row = &mut rows[(place + round) % count];
            row.measure(&runtime, checks, round > 0);
        }
    }
    publish(&rows, rounds, checks);
}

fn server(issuer: &Issuer, quota: Value) -> Portcullis {
    gate::portcullis(issuer, Others(0))
        .set(&["quota"], quota)
        .catalog("free.yaml", &api("free", ""))
        .catalog(
            "limited.yaml",
            &api(
                "limited",
                &format!("limits: [{{ amount: {AMOUNT}, per: hour }}]"),
            ),
        )
        .start()
}

fn api(name: &str, limits: &str) -> String {
    format!(
        "kind: Api\nmetadata: {{ name: {name} }}\nspec:\n  title: {name}\n  version: 1.0.0\n  \
         hosts: [{name}.example.com]\n  authenticators: [issuer]\n  subscription: none\n  \
         unmatchedOperation: allow\n  {limits}\n  upstream:\n    headers:\n      \
         x-a: '{{principal.subject}}'\n      x-b: '{{principal.clientId}}'\n      \
         x-c: '{{principal.scopes}}'\n      x-d: '{{api.name}}'\n      x-e: '{{api.version}}'\n"
    )
}

fn is_allow(answer: &Bytes) -> bool {
    let expected = Expected::Allow {
        headers: HEADERS_SET,
    };
    CheckResponse::decode(answer.clone()).is_ok_and(|answer| expected.is(&answer))
}

impl Row {
    fn measure(&mut self, runtime: &Runtime, checks: usize, counts: bool) {
        for (streams, checks, place) in [(STREAMS, checks, 0), (1, checks / 10, 1)] {
            let spent = self.target.spend(|| {
                let asking = (0..streams).map(|_| self.ask(checks / streams));
                runtime.block_on(futures_util::future::join_all(asking));
            });
            if counts {
                self.spent[place].push(spent);
            }
        }
    }

    async fn ask(&self, checks: usize) {
        for _ in 0..checks {
            let answer = self.client.call(self.method, self.message.clone()).await;
            let answer = answer.expect("an answer").into_inner();
            assert!((self.is_good)(&answer), "{}: {answer:?}", self.name);
        }
    }

    fn figure(&self, place: usize, figure: impl Fn(&Spent) -> f64) -> f64 {
        median(self.spent[place].iter().map(figure))
    }
}

fn publish(rows: &[Row], rounds: usize, checks: usize) {
    let note = format!(
        "{STREAMS} streams on one connection, {rounds} rounds of {checks} checks; then one check \
         after the other; {}.",
        proc::machine()
    );
    let columns = [
        "counted",
        "checks/s",
        "CPU, µs",
        "one alone, µs",
        "added, µs",
    ];
    let mut table = Table::new(&note, &columns);
    let alone = |row: &Row| {
        row.figure(1, |spent| {
            spent.time.as_secs_f64() * 1e6 / (checks / 10) as f64
        })
    };
    let least = rows.first().map_or(0.0, alone);
    for row in rows {
        let per_second = row.figure(0, |spent| checks as f64 / spent.time.as_secs_f64());
        let cpu = row.figure(0, |spent| spent.cpu.as_secs_f64() * 1e6 / checks as f64);
        let figures = [per_second, cpu, alone(row), alone(row) - least];
        table.row(row.name, figures.map(|figure| format!("{figure:.0}")));
    }
    table.publish("quota");
}

/// Envoy's rate limit service.
struct Peer {
    process: Process,
    address: SocketAddr,
    _folder: TempDir,
}

impl Peer {
    /// Starts it, where it is installed.
    fn start(redis: SocketAddr) -> Option<Self> {
        if !Path::new(PEER).exists() {
            println!("without Envoy's rate limit service: {PEER} is not there");
            return None;
        }
        let folder = TempDir::new().expect("a temporary folder");
        let config = folder.path().join("bench/config");
        fs::create_dir_all(&config).expect("a folder");
        let rules = format!(
            "domain: bench\ndescriptors:\n  - key: api\n    rate_limit: {{ unit: hour, \
             requests_per_unit: {AMOUNT} }}\n"
        );
        fs::write(config.join("bench.yaml"), rules).expect("a file");
        let [address, http, debug] = [(); 3].map(|()| free_address());
        let mut command = Command::new(PEER);
        command
            .env("RUNTIME_ROOT", folder.path())
            .env("RUNTIME_SUBDIRECTORY", "bench")
            .env("RUNTIME_WATCH_ROOT", "false")
            .env("USE_STATSD", "false")
            .env("DISABLE_STATS", "true")
            .env("LOG_LEVEL", "error")
            .env("REDIS_SOCKET_TYPE", "tcp")
            .env("REDIS_URL", redis.to_string())
            .env("GRPC_HOST", "127.0.0.1")
            .env("GRPC_PORT", address.port().to_string())
            .env("PORT", http.port().to_string())
            .env("DEBUG_PORT", debug.port().to_string())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let process = Process::start("ratelimit", command);
        eventually("the rate limit service", || {
            TcpStream::connect(address).ok()
        });
        Some(Self {
            process,
            address,
            _folder: folder,
        })
    }

    fn row(&self, runtime: &Runtime) -> Row {
        let request = RateLimitRequest {
            domain: "bench".to_owned(),
            descriptors: vec![Descriptor {
                entries: vec![Entry {
                    key: "api".to_owned(),
                    value: "limited".to_owned(),
                }],
            }],
        };
        Row {
            name: "Envoy's rate limit service",
            target: Target {
                id: self.process.id(),
                address: self.address,
            },
            client: runtime.block_on(async { CheckClient::new(self.address) }),
            method: RATE_LIMIT,
            message: request.encode_to_vec().into(),
            // overall_code, the first field, is OK
            is_good: |answer| answer.starts_with(&[8, 1]),
            spent: Default::default(),
        }
    }
}

fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address")
}

/// `envoy.service.ratelimit.v3.RateLimitRequest`, as far as it is asked for.
#[derive(Clone, PartialEq, Message)]
struct RateLimitRequest {
    #[prost(string, tag = "1")]
    domain: String,
    #[prost(message, repeated, tag = "2")]
    descriptors: Vec<Descriptor>,
}

#[derive(Clone, PartialEq, Message)]
struct Descriptor {
    #[prost(message, repeated, tag = "1")]
    entries: Vec<Entry>,
}

#[derive(Clone, PartialEq, Message)]
struct Entry {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(string, tag = "2")]
    value: String,
}
