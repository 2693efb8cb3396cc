//! What a request costs in a real Envoy that asks Portcullis, beside the same Envoy that asks a
//! server that only answers OK.
//!
//! h2load sends a browser's GET request with a token over HTTP/2. Envoy has one worker and answers
//! by itself what passes, so that no upstream hides what the check costs. Both are measured in turn,
//! round by round; figures are medians, ratios the median of the ratios round by round. An answer
//! other than 200 ends the benchmark, and so does a check that was not allowed.
//!
//! `cargo bench --bench envoy [-- --rounds 5 --requests 20000 --rate 1000]` prints the table; with
//! `--write` it goes into `docs/PERFORMANCE.md`.

#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a benchmark: what fails ends it"
)]

mod bed;

use bed::baseline::Role;
use bed::document::{Table, number};
use bed::gate::{self, PATH, TOKEN_HOST};
use bed::h2load::{self, Amount, H2load, Report};
use bed::pair::Pair;
use bed::requests::BROWSER;
use bed::support::envoy::Envoy;
use bed::target::{Round, Spent, Target};
use bed::{front, proc};

/// How the requests come: as from four browsers or one proxy.
const CONNECTIONS: usize = 4;
const STREAMS: usize = 8;

/// An Envoy with the server that it asks.
struct Gateway {
    envoy: Envoy,
    authz: Target,
}

/// What one round gave.
struct Measured {
    /// As fast as answers came.
    fast: Report,
    envoy: Spent,
    authz: Spent,
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
    let gateways = [ours, theirs].map(|authz| Gateway {
        envoy: front::envoy(authz.address),
        authz,
    });
    assert_guarded(&gateways[0].envoy);
    let bearer = format!("Bearer {}", gate::token(&pair.issuer).sign());
    let (requests, rate) = (number("--requests", 20_000), number("--rate", 1000));
    let measure = |target: Target| {
        let at = usize::from(target.id == theirs.id);
        gateways[at].measure(&bearer, requests, rate)
    };
    // connections are made, and the token is known
    measure(ours);
    measure(theirs);
    let rounds = pair.counted(requests + steady_requests(rate), measure);
    table(&rounds, rate).publish("envoy");
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
        let mut fast = None;
        let mut authz = None;
        let spent = envoy.spend(|| {
            let inner = self
                .authz
                .spend(|| fast = Some(client.run(amount(requests))));
            authz = Some(inner);
        });
        Measured {
            fast: fast.expect("it ran"),
            envoy: spent,
            authz: authz.expect("it ran"),
            steady: client.run_at(amount(steady_requests(rate)), rate),
        }
    }
}

fn table(rounds: &[(Measured, Measured)], rate: usize) -> Table {
    let note = format!(
        "HTTP/2, {CONNECTIONS} connections with {STREAMS} streams, {} rounds, {}; CPU in \
         microseconds per request, latencies in microseconds at {rate} requests/s.",
        rounds.len(),
        proc::machine()
    );
    let requests = number("--requests", 20_000) as f64;
    let cpu = |spent: &Spent| spent.cpu.as_secs_f64() * 1e6 / requests;
    let figures: [Figure<'_>; 6] = [
        ("requests/s", &|measured| measured.fast.per_second),
        ("CPU of Envoy and server", &|measured| {
            cpu(&measured.envoy) + cpu(&measured.authz)
        }),
        ("CPU of Envoy", &|measured| cpu(&measured.envoy)),
        ("CPU of the server", &|measured| cpu(&measured.authz)),
        ("latency p50", &|measured| {
            measured.steady.latencies.micros(0.5)
        }),
        ("latency p99", &|measured| {
            measured.steady.latencies.micros(0.99)
        }),
    ];
    let mut table = Table::new(&note, &["through Envoy", "Portcullis", "`empty`", "ratio"]);
    for (name, figure) in figures {
        let rounds = rounds.iter().map(|(ours, theirs)| Round {
            ours: figure(ours),
            theirs: figure(theirs),
        });
        let (ours, theirs, ratio) = Round::medians(&rounds.collect::<Vec<_>>());
        let figures = [
            format!("{ours:.1}"),
            format!("{theirs:.1}"),
            format!("{ratio:.2}"),
        ];
        table.row(name, figures);
    }
    table
}
