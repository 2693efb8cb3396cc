//! Checks per second, CPU per check and latencies of Portcullis, beside a server that only answers
//! OK.
//!
//! Both run in processes of their own and are asked in turn, round by round. Figures are medians
//! over the rounds, ratios the median of the ratios round by round. A wrong answer ends the benchmark.
//!
//! `cargo bench --bench load [-- --rounds 5 --checks 20000 --seconds 4 --tokens 10000]` prints the
//! tables; with `--write` they go into `docs/PERFORMANCE.md`.

#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a benchmark: what fails ends it"
)]

mod bed;

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;

use bed::baseline::Role;
use bed::client::{ClosedLoop, Expected, STREAMS};
use bed::document::{Table, number};
use bed::gate::{self, TOKEN_HOST};
use bed::h2load::{self, Amount, H2load};
use bed::open_loop::{OpenLoop, Pace};
use bed::pair::{ALLOW, EMPTY_ALLOW, OTHERS, Pair};
use bed::requests::{browser, encode, of_100_headers};
use bed::statistics::{Latencies, QUANTILES, median};
use bed::target::{Round, Spent, in_turn};
use bed::{ghz, proc};

/// The rates of the open loop, as shares of what the slower server answers in the closed loop.
const LOADS: [f64; 3] = [0.25, 0.5, 0.75];

/// What is asked to get one row.
struct Scenario {
    name: &'static str,
    messages: Vec<Bytes>,
    expected: Expected,
}

fn main() {
    if Role::play() {
        return;
    }
    h2load::assert_installed();
    let ghz = ghz::program();
    let pair = Pair::start();
    let capacity = closed_loop(&pair);
    open_loop(&pair, capacity);
    by_ghz(&pair, &ghz, capacity);
    by_h2load(&pair);
}

/// The rows of the closed loop.
fn scenarios(pair: &Pair) -> Vec<Scenario> {
    let bearer = format!("Bearer {}", gate::token(&pair.issuer).sign());
    let large = of_100_headers(TOKEN_HOST, ("authorization", &bearer));
    let (key_host, key) = (gate::key_host(OTHERS.0 - 1), gate::key(OTHERS.0 - 1));
    let by_key = browser(&key_host, Some(("x-api-key", &key)));
    let many =
        (0..number("--tokens", 10_000)).map(|number| pair.token_request(&format!("user-{number}")));
    let refused = Expected::Refusal { status: 401 };
    vec![
        Scenario::of("allow: one token", pair.token_request("alice"), ALLOW),
        Scenario {
            name: "allow: many tokens in turn",
            messages: many.collect(),
            expected: ALLOW,
        },
        Scenario::of("allow: API key", encode(by_key), ALLOW),
        Scenario::of(
            "denial: no credential",
            encode(browser(TOKEN_HOST, None)),
            refused,
        ),
        Scenario::of("allow: one token, 100 headers", encode(large), ALLOW),
    ]
}

impl Scenario {
    fn of(name: &'static str, message: Bytes, expected: Expected) -> Self {
        Self {
            name,
            messages: vec![message],
            expected,
        }
    }
}

/// Gives the checks per second of the slower server in the slowest scenario.
fn closed_loop(pair: &Pair) -> f64 {
    let checks = number("--checks", 20_000);
    let note = format!(
        "{STREAMS} streams on one connection, {} rounds of {checks} checks, {}.",
        pair.rounds,
        proc::machine()
    );
    let columns = [
        "a check", "checks/s", "`empty`", "ratio", "CPU, µs", "`empty`", "ratio",
    ];
    let mut table = Table::new(&note, &columns);
    let mut cores = Table::new(
        "By the CPU for a check in the table of the closed loop.",
        &["a check", "checks/s that keep one core busy"],
    );
    let mut capacity = f64::INFINITY;
    for scenario in scenarios(pair) {
        let rounds = asked_in_turn(pair, &scenario, checks);
        let (ours, theirs, ratio) =
            medians(&rounds, |spent| checks as f64 / spent.time.as_secs_f64());
        let (our_cpu, their_cpu, cpu_ratio) = medians(&rounds, |spent| {
            spent.cpu.as_secs_f64() * 1e6 / checks as f64
        });
        capacity = capacity.min(ours).min(theirs);
        let figures = [
            format!("{ours:.0}"),
            format!("{theirs:.0}"),
            format!("{ratio:.2}"),
            format!("{our_cpu:.1}"),
            format!("{their_cpu:.1}"),
            format!("{cpu_ratio:.2}"),
        ];
        table.row(scenario.name, figures);
        cores.row(scenario.name, [format!("{:.0}", 1e6 / our_cpu)]);
    }
    table.publish("load");
    cores.publish("cores");
    capacity
}

fn asked_in_turn(pair: &Pair, scenario: &Scenario, checks: usize) -> Vec<(Spent, Spent)> {
    let (ours, theirs) = pair.targets();
    let our_client = ClosedLoop::new(ours.address);
    let their_client = ClosedLoop::new(theirs.address);
    let messages = &scenario.messages;
    let warm_up = messages.len().max(checks / 4);
    our_client.ask(messages, warm_up, scenario.expected);
    their_client.ask(messages, warm_up, EMPTY_ALLOW);
    in_turn(
        pair.rounds,
        || ours.spend(|| our_client.ask(messages, checks, scenario.expected)),
        || theirs.spend(|| their_client.ask(messages, checks, EMPTY_ALLOW)),
    )
}

fn medians<T>(rounds: &[(T, T)], figure: impl Fn(&T) -> f64) -> (f64, f64, f64) {
    let rounds = rounds.iter().map(|(ours, theirs)| Round {
        ours: figure(ours),
        theirs: figure(theirs),
    });
    Round::medians(&rounds.collect::<Vec<_>>())
}

fn open_loop(pair: &Pair, capacity: f64) {
    let (ours, theirs) = pair.targets();
    let our_client = OpenLoop::new(ours.address);
    let their_client = OpenLoop::new(theirs.address);
    let message = [pair.token_request("alice")];
    let note = format!(
        "One token, one connection, {} rounds of {:?}; latencies in microseconds, from when each \
         check was due.",
        pair.rounds,
        length()
    );
    let names = QUANTILES.map(|(name, _)| name);
    let columns: Vec<&str> = ["at a rate of"].into_iter().chain(names).collect();
    let mut table = Table::new(&note, &columns);
    for load in LOADS {
        let pace = pace(load * capacity);
        let rounds = in_turn(
            pair.rounds,
            || our_client.ask(&message, pace, ALLOW),
            || their_client.ask(&message, pace, EMPTY_ALLOW),
        );
        let (ours, theirs): (Vec<_>, Vec<_>) = rounds.into_iter().unzip();
        table.row(&format!("{}/s: Portcullis", pace.rate), quantiles(&ours));
        table.row(&format!("{}/s: `empty`", pace.rate), quantiles(&theirs));
    }
    table.publish("latency");
}

/// The median of each quantile over the rounds.
fn quantiles(rounds: &[Latencies]) -> impl Iterator<Item = String> {
    QUANTILES.into_iter().map(|(_, quantile)| {
        let micros = rounds.iter().map(|round| round.micros(quantile));
        format!("{:.0}", median(micros))
    })
}

fn by_ghz(pair: &Pair, program: &Path, capacity: f64) {
    let (message, pace) = (pair.token_request("alice"), pace(LOADS[0] * capacity));
    let measured = pair.counted(pace.checks(), |target| {
        ghz::ask(program, target.address, &message, pace)
    });
    let note = format!(
        "Asked for {} checks/s; {} rounds of {:?}; latencies in microseconds, from when each check \
         was sent.",
        pace.rate,
        pair.rounds,
        length()
    );
    let mut table = Table::new(&note, &["server", "checks/s", "p50", "p90", "p99"]);
    let (ours, theirs): (Vec<_>, Vec<_>) = measured.into_iter().unzip();
    for (name, reports) in [("Portcullis", ours), ("`empty`", theirs)] {
        let of =
            |pick: &dyn Fn(&ghz::Report) -> f64| format!("{:.0}", median(reports.iter().map(pick)));
        let latencies = (0..ghz::PERCENTAGES.len()).map(|place| of(&|report| report.micros[place]));
        table.row(
            name,
            [of(&|report| report.per_second)]
                .into_iter()
                .chain(latencies),
        );
    }
    table.publish("ghz");
}

fn by_h2load(pair: &Pair) {
    let message = pair.token_request("alice");
    let amount = Amount {
        requests: number("--checks", 20_000) * 2,
        connections: 1,
        streams: STREAMS,
    };
    let measured = pair.counted(amount.requests, |target| {
        H2load::check(target.address, &message).run(amount)
    });
    let (ours, theirs, ratio) = medians(&measured, |report| report.per_second);
    let note = format!(
        "{STREAMS} streams on one connection, {} rounds of {} checks.",
        pair.rounds, amount.requests
    );
    let mut table = Table::new(&note, &["a check", "checks/s", "`empty`", "ratio"]);
    let figures = [
        format!("{ours:.0}"),
        format!("{theirs:.0}"),
        format!("{ratio:.2}"),
    ];
    table.row("allow: one token", figures);
    table.publish("h2load");
}

fn length() -> Duration {
    Duration::from_secs(number("--seconds", 4) as u64)
}

fn pace(rate: f64) -> Pace {
    Pace {
        rate: rate.round(),
        length: length(),
    }
}
