//! What mutual TLS costs on the Check port, and whether renewing our SVID costs a check.
//!
//! One Portcullis, with an SVID of a Workload API of the tests, answers on a port with TLS and on one
//! without. Measured in one run: handshakes one after another, each to the first answer of the server;
//! the processor time of the server for a check over TLS and in plain text, in turn, so that both meet
//! the same machine; and checks at 1,000 a second while the SVID is renewed fifty times.
//!
//! `cargo bench --bench mesh` prints the table; `-- --write` puts it into `docs/PERFORMANCE.md`;
//! `-- --short` only shows that it works. It needs `.tools/bin/wlapid`: `make workload-api`.

#![expect(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    reason = "a benchmark: what fails ends it"
)]

mod bed;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::task::JoinSet;

use bed::document::{Table, is_asked};
use bed::support::check::{CheckBuilder, CheckClient, assert_allowed};
use bed::support::portcullis::{Portcullis, PortcullisBuilder};
use bed::support::tls::TlsClient;
use bed::support::workload_api::{TRUST_DOMAIN, WorkloadApi};

const GATEWAY: &str = "spiffe://cluster.local/ns/istio-system/sa/gateway";
/// How often the SVID is renewed.
const RENEWALS: u64 = 50;
/// How many checks a second are asked meanwhile.
const RATE: u64 = 1000;

const OPEN: &str = r#"
apiVersion: portcullis.dev/v1alpha1
kind: Api
metadata: { name: open }
spec:
  title: open
  version: 1.0.0
  hosts: [open.example]
  authenticators: [anonymous]
  subscription: none
  unmatchedOperation: allow
"#;

/// How much is done.
struct Amounts {
    handshakes: u32,
    checks: u32,
    rounds: u32,
    between_renewals: Duration,
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let amounts = if is_asked("--short") {
        Amounts {
            handshakes: 20,
            checks: 200,
            rounds: 2,
            between_renewals: Duration::from_millis(50),
        }
    } else {
        Amounts {
            handshakes: 2000,
            checks: 20_000,
            rounds: 5,
            between_renewals: Duration::from_millis(200),
        }
    };
    let agent = WorkloadApi::start();
    let server = server(&agent);
    let tls = TlsClient::of(&agent.sign(GATEWAY));
    let mut table = Table::new(
        "One core's worth of Portcullis answers one client on the same machine.",
        &["mutual TLS with SVIDs", "figure"],
    );
    handshakes(&server, &tls, amounts.handshakes, &mut table).await;
    checks(&server, &tls, &amounts, &mut table).await;
    renewals(&server, &agent, &tls, amounts.between_renewals, &mut table).await;
    table.publish("mesh");
}

fn server(agent: &WorkloadApi) -> Portcullis {
    PortcullisBuilder::new()
        .catalog("open.yaml", OPEN)
        .set(&["decisionLog"], json!({ "output": "stdout", "allows": 0.0 }))
        .set(&["spiffe", "endpoint"], json!(agent.endpoint()))
        .set(&["spiffe", "trustDomain"], json!(TRUST_DOMAIN))
        .set(&["listeners", "secured"], json!({
            "type": "check", "address": "127.0.0.1:0", "tls": { "spiffe": {} }, "peers": { "allow": [GATEWAY] },
        }))
        .environment("TOKIO_WORKER_THREADS", "1")
        .start()
}

/// Handshakes, one after another.
async fn handshakes(server: &Portcullis, tls: &TlsClient, count: u32, table: &mut Table) {
    let address = server.address("secured");
    let (start, used) = (Instant::now(), processor_seconds(server));
    for _ in 0..count {
        tls.open(address).await.expect("a handshake");
    }
    let took = start.elapsed().as_secs_f64();
    let used = processor_seconds(server) - used;
    let count = f64::from(count);
    table.row(
        "handshakes a second, one after another",
        [format!("{:.0}", count / took)],
    );
    table.row(
        "processor time of the server for one",
        [format!("{:.0} µs", used / count * 1e6)],
    );
}

/// The processor time of a check, over TLS beside plain text, in turn.
async fn checks(server: &Portcullis, tls: &TlsClient, amounts: &Amounts, table: &mut Table) {
    let secured = CheckClient::secured(server.address("secured"), tls);
    let plain = CheckClient::new(server.check_address());
    let (mut over_tls, mut in_plain) = (0.0, 0.0);
    for _ in 0..amounts.rounds {
        over_tls += cost(server, &secured, amounts.checks).await;
        in_plain += cost(server, &plain, amounts.checks).await;
    }
    let rounds = f64::from(amounts.rounds);
    let (over_tls, in_plain) = (over_tls / rounds, in_plain / rounds);
    table.row(
        "processor time of a check over TLS",
        [format!("{:.1} µs", over_tls * 1e6)],
    );
    table.row(
        "the same in plain text",
        [format!("{:.1} µs", in_plain * 1e6)],
    );
    table.row("ratio", [format!("{:.2}", over_tls / in_plain)]);
}

/// The processor time of the server for one check, in seconds; sixteen are asked at a time.
async fn cost(server: &Portcullis, client: &CheckClient, count: u32) -> f64 {
    let used = processor_seconds(server);
    let mut streams = JoinSet::new();
    for _ in 0..16 {
        let client = client.clone();
        streams.spawn(async move {
            for _ in 0..count / 16 {
                assert_allowed(&client.check(open()).await);
            }
        });
    }
    streams.join_all().await;
    (processor_seconds(server) - used) / f64::from(count)
}

/// Renews the SVID again and again while checks are asked at a fixed rate.
async fn renewals(
    server: &Portcullis,
    agent: &WorkloadApi,
    tls: &TlsClient,
    between: Duration,
    table: &mut Table,
) {
    let address = server.address("secured");
    let (answered, failed) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let asking = tokio::spawn(ask(
        address,
        tls.clone(),
        Arc::clone(&answered),
        Arc::clone(&failed),
    ));
    let (mut before, mut slowest) = (None, Duration::ZERO);
    let start = Instant::now();
    for _ in 0..RENEWALS {
        agent.rotate();
        let renewed = Instant::now();
        loop {
            tls.open(address).await.expect("a handshake");
            if tls.shown() != before {
                before = tls.shown();
                break;
            }
        }
        slowest = slowest.max(renewed.elapsed());
        tokio::time::sleep(between).await;
    }
    let rate = answered.load(Ordering::Relaxed) as f64 / start.elapsed().as_secs_f64();
    asking.abort();
    table.row(
        &format!("checks a second during {RENEWALS} renewals"),
        [format!("{rate:.0}")],
    );
    let failed = failed.load(Ordering::Relaxed);
    table.row("checks that failed", [failed.to_string()]);
    let slowest = slowest.as_millis();
    table.row(
        "the longest until a renewed SVID was shown",
        [format!("{slowest} ms")],
    );
    assert_eq!(failed, 0, "renewing an SVID failed checks");
}

/// Asks at [`RATE`] for ever, over a new connection every second.
async fn ask(
    address: SocketAddr,
    tls: TlsClient,
    answered: Arc<AtomicU64>,
    failed: Arc<AtomicU64>,
) {
    let mut due = tokio::time::interval(Duration::from_millis(10));
    let mut checks = JoinSet::new();
    let mut client = CheckClient::secured(address, &tls);
    for tick in 0_u64.. {
        due.tick().await;
        if tick % 100 == 0 {
            client = CheckClient::secured(address, &tls);
        }
        for _ in 0..RATE / 100 {
            let client = client.clone();
            let (answered, failed) = (Arc::clone(&answered), Arc::clone(&failed));
            checks.spawn(async move {
                let answer = client.try_check(open()).await;
                let is_allow =
                    answer.is_ok_and(|answer| answer.status.is_some_and(|status| status.code == 0));
                let counter = if is_allow { answered } else { failed };
                counter.fetch_add(1, Ordering::Relaxed);
            });
        }
        while checks.try_join_next().is_some() {}
    }
}

fn open() -> CheckBuilder {
    CheckBuilder::new("GET", "open.example", "/")
}

/// The processor time that the server has used.
fn processor_seconds(server: &Portcullis) -> f64 {
    let told = server.metrics();
    let value = told
        .lines()
        .find_map(|line| line.strip_prefix("process_cpu_seconds_total "));
    value
        .and_then(|value| value.parse().ok())
        .expect("the processor time is told")
}
