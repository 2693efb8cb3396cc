//! What a request costs in a real Envoy that asks Portcullis, beside the same Envoy that asks another
//! server, or nobody.
//!
//! h2load sends a browser's GET request with a token over HTTP/2. Envoy has one worker and answers
//! by itself what passes, so that no upstream hides what the check costs. All are measured in turn,
//! round by round; figures are medians, ratios the median of the ratios round by round. An answer
//! other than 200 ends the benchmark, and so does a check that was not allowed.
//!
//! `cargo bench --bench envoy [-- --rounds 5 --requests 10000 --rate 1000]` prints the table; with
//! `--write` it goes into `docs/PERFORMANCE.md`.

#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a benchmark: what fails ends it"
)]

mod bed;

use std::time::Duration;

use bytes::Bytes;
use envoy_types::pb::envoy::service::auth::v3::CheckResponse;
use prost::Message as _;

use bed::baseline::Role;
use bed::document::{Table, number};
use bed::gate::{self, PATH, TOKEN_HOST};
use bed::h2load::{self, Amount, H2load, Report};
use bed::pair::{ALLOW, Pair};
use bed::requests::BROWSER;
use bed::statistics::median;
use bed::support::check::CheckClient;
use bed::support::envoy::Envoy;
use bed::target::{Baseline, Target};
use bed::{front, proc};

/// How the requests come: as from four browsers or one proxy.
const CONNECTIONS: usize = 4;
const STREAMS: usize = 8;

/// An Envoy with the server that it asks, where it asks one.
struct Gateway {
    name: &'static str,
    envoy: Envoy,
    authz: Option<Target>,
}

/// What one round gave.
struct Measured {
    /// As fast as answers came.
    fast: Report,
    /// CPU for a request meanwhile, in microseconds.
    envoy: f64,
    authz: f64,
    /// At a rate.
    steady: Report,
}

fn main() {
    if Role::play() {
        return;
    }
    h2load::assert_installed();
    let pair = Pair::start();
    let (ours, empty) = pair.targets();
    let same = Baseline::start_same(&answer(&pair));
    let asking = |name, authz: Target| Gateway {
        name,
        envoy: front::asking(authz.address),
        authz: Some(authz),
    };
    let gateways = [
        asking("Portcullis", ours),
        asking("`empty`", empty),
        asking("`same`", same.target()),
        Gateway {
            name: "nobody: `jwt_authn`",
            envoy: front::verifying(&pair.issuer),
            authz: None,
        },
    ];
    assert_guarded(&gateways[0].envoy);
    assert_guarded(&gateways[3].envoy);
    table(&gateways, &rounds(&pair, &gateways)).publish("envoy");
}

/// What Portcullis answers to the request.
fn answer(pair: &Pair) -> Bytes {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let message = pair.token_request("alice");
    runtime.block_on(async {
        let client = CheckClient::new(pair.portcullis.check_address());
        let answer = client.check_bytes(message).await.expect("an answer");
        let decoded = CheckResponse::decode(answer.clone()).expect("a CheckResponse");
        assert!(ALLOW.is(&decoded), "no allow: {decoded:?}");
        answer
    })
}

/// What was measured of each gateway, round by round; who is first changes with each.
fn rounds(pair: &Pair, gateways: &[Gateway; 4]) -> Vec<[Measured; 4]> {
    let bearer = format!("Bearer {}", gate::token(&pair.issuer).sign());
    let (requests, rate) = (number("--requests", 10_000), number("--rate", 1000));
    for gateway in gateways {
        // connections are made, and the token is known
        gateway.measure(&bearer, requests / 4, rate);
    }
    let before = pair.allows();
    let one = |round: usize| {
        let mut measured = [const { None }; 4];
        for turn in 0..4 {
            let place = (round + turn) % 4;
            measured[place] = Some(gateways[place].measure(&bearer, requests, rate));
        }
        measured.map(|measured| measured.expect("each has its turn"))
    };
    let rounds = (0..pair.rounds).map(one).collect();
    assert_eq!(
        pair.allows() - before,
        pair.rounds * (requests + steady_requests(rate)),
        "every check is allowed"
    );
    rounds
}

/// How many requests are sent at the rate: three seconds of it.
fn steady_requests(rate: usize) -> usize {
    rate * 3
}

/// A request without a token does not pass, so that those that pass have been asked about.
fn assert_guarded(envoy: &Envoy) {
    let answer = envoy.get(TOKEN_HOST, PATH, &[]);
    assert_eq!(answer.status, 401, "{answer:?}");
}

impl Gateway {
    fn measure(&self, bearer: &str, requests: usize, rate: usize) -> Measured {
        let target = format!("http://{}{PATH}", self.envoy.address());
        let headers = BROWSER.map(|(name, value)| format!("{name}: {value}"));
        let mut headers = headers.to_vec();
        headers.push(format!(":authority: {TOKEN_HOST}"));
        headers.push(format!("authorization: {bearer}"));
        let client = H2load::get(target, headers);
        let amount = |requests| Amount {
            requests,
            connections: CONNECTIONS,
            streams: STREAMS,
        };
        let envoy = Target {
            id: self.envoy.id(),
            address: self.envoy.address(),
        };
        let before = self.authz.map(|authz| proc::cpu(authz.id));
        let mut fast = None;
        let spent = envoy.spend(|| fast = Some(client.run(amount(requests))));
        let after = self.authz.map(|authz| proc::cpu(authz.id));
        let micros = |cpu: Duration| cpu.as_secs_f64() * 1e6 / requests as f64;
        Measured {
            fast: fast.expect("it ran"),
            envoy: micros(spent.cpu),
            authz: micros(after.unwrap_or_default() - before.unwrap_or_default()),
            steady: client.run_at(amount(steady_requests(rate)), rate),
        }
    }
}

fn table(gateways: &[Gateway; 4], rounds: &[[Measured; 4]]) -> Table {
    let note = format!(
        "HTTP/2, {CONNECTIONS} connections with {STREAMS} streams, {} rounds, {}; CPU in \
         microseconds per request, latencies in microseconds at {} requests/s.",
        rounds.len(),
        proc::machine(),
        number("--rate", 1000)
    );
    let columns = [
        "Envoy asks",
        "requests/s",
        "p50",
        "p99",
        "CPU",
        "of Envoy",
        "of the server",
        "CPU with Portcullis to this",
    ];
    let mut table = Table::new(&note, &columns);
    for (place, gateway) in gateways.iter().enumerate() {
        let of = |figure: &dyn Fn(&Measured) -> f64| {
            median(rounds.iter().map(|round| figure(&round[place])))
        };
        let ratio = median(
            rounds
                .iter()
                .map(|round| round[0].cpu() / round[place].cpu()),
        );
        let figures = [
            format!("{:.0}", of(&|measured| measured.fast.per_second)),
            format!(
                "{:.0}",
                of(&|measured| measured.steady.latencies.micros(0.5))
            ),
            format!(
                "{:.0}",
                of(&|measured| measured.steady.latencies.micros(0.99))
            ),
            format!("{:.1}", of(&Measured::cpu)),
            format!("{:.1}", of(&|measured| measured.envoy)),
            format!("{:.1}", of(&|measured| measured.authz)),
            format!("{ratio:.2}"),
        ];
        table.row(gateway.name, figures);
    }
    table
}

impl Measured {
    /// CPU for a request, of Envoy and the server that it asks.
    fn cpu(&self) -> f64 {
        self.envoy + self.authz
    }
}
