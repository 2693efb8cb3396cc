//! What a request costs in a real Envoy that asks Portcullis, beside the same Envoy that asks a
//! server that only answers OK.
//!
//! h2load sends a browser's GET request with a token over HTTP/2. Envoy has one worker and answers
//! by itself what passes, so that no upstream hides what the check costs. Both are measured in turn,
//! round by round; figures are medians, ratios the median of the ratios round by round. An answer
//! other than 200 ends the benchmark, and so does a check that was not allowed. Then Portcullis stands
//! beside an Envoy that verifies the token by itself.
//!
//! `cargo bench --bench envoy [-- --rounds 5 --requests 20000 --rate 1000]` prints the tables; with
//! `--write` they go into `docs/PERFORMANCE.md`.

#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a benchmark: what fails ends it"
)]

mod bed;

use std::time::Duration;

use bed::baseline::Role;
use bed::document::{Table, number};
use bed::gate::{self, PATH, TOKEN_HOST};
use bed::h2load::{self, Amount, H2load, Report};
use bed::pair::Pair;
use bed::requests::BROWSER;
use bed::support::envoy::Envoy;
use bed::target::{Round, Target, in_turn};
use bed::{front, proc};

/// How the requests come: as from four browsers or one proxy.
const CONNECTIONS: usize = 4;
const STREAMS: usize = 8;

/// An Envoy with the server that it asks, where it asks one.
struct Gateway {
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

/// A figure of a round, with its name.
type Figure<'a> = (&'a str, &'a dyn Fn(&Measured) -> f64);

fn main() {
    if Role::play() {
        return;
    }
    h2load::assert_installed();
    let pair = Pair::start();
    let (ours, theirs) = pair.targets();
    let by_portcullis = Gateway {
        envoy: front::asking(ours.address),
        authz: Some(ours),
    };
    let by_empty = Gateway {
        envoy: front::asking(theirs.address),
        authz: Some(theirs),
    };
    let by_itself = Gateway {
        envoy: front::verifying(&pair.issuer),
        authz: None,
    };
    assert_guarded(&by_portcullis.envoy);
    assert_guarded(&by_itself.envoy);
    let bearer = format!("Bearer {}", gate::token(&pair.issuer).sign());
    let (requests, rate) = (number("--requests", 20_000), number("--rate", 1000));
    // connections are made, and the token is known
    for gateway in [&by_portcullis, &by_empty, &by_itself] {
        gateway.measure(&bearer, requests / 4, rate);
    }
    let rounds = pair.counted(requests + steady_requests(rate), |target| {
        let gateway = [&by_portcullis, &by_empty][usize::from(target.id == theirs.id)];
        gateway.measure(&bearer, requests, rate)
    });
    table(&rounds, "`empty`", rate).publish("envoy");
    let rounds = in_turn(
        pair.rounds,
        || by_portcullis.measure(&bearer, requests, rate),
        || by_itself.measure(&bearer, requests, rate),
    );
    table(&rounds, "`jwt_authn`", rate).publish("envoy by itself");
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

fn table(rounds: &[(Measured, Measured)], other: &str, rate: usize) -> Table {
    let note = format!(
        "HTTP/2, {CONNECTIONS} connections with {STREAMS} streams, {} rounds, {}; CPU in \
         microseconds per request, latencies in microseconds at {rate} requests/s.",
        rounds.len(),
        proc::machine()
    );
    let figures: [Figure<'_>; 6] = [
        ("requests/s", &|measured| measured.fast.per_second),
        ("CPU of Envoy and server", &|measured| {
            measured.envoy + measured.authz
        }),
        ("CPU of Envoy", &|measured| measured.envoy),
        ("CPU of the server", &|measured| measured.authz),
        ("latency p50", &|measured| {
            measured.steady.latencies.micros(0.5)
        }),
        ("latency p99", &|measured| {
            measured.steady.latencies.micros(0.99)
        }),
    ];
    let mut table = Table::new(&note, &["through Envoy", "Portcullis", other, "ratio"]);
    for (name, figure) in figures {
        let rounds = rounds.iter().map(|(ours, theirs)| Round {
            ours: figure(ours),
            theirs: figure(theirs),
        });
        let (ours, theirs, ratio) = Round::medians(&rounds.collect::<Vec<_>>());
        let ratio = if ratio.is_finite() {
            format!("{ratio:.2}")
        } else {
            "–".to_owned()
        };
        table.row(name, [format!("{ours:.1}"), format!("{theirs:.1}"), ratio]);
    }
    table
}
