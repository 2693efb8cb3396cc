//! What Portcullis needs of memory and time as its catalog grows, as tokens pass, and as files
//! change.
//!
//! `cargo bench --bench size [-- --apis 100000 --garbage 1000000 --tokens 50000]` prints the tables;
//! with `--write` they go into `docs/PERFORMANCE.md`. A wrong answer ends the benchmark.

#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a benchmark: what fails ends it"
)]

mod bed;

use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use portcullis::authentication::api_key::KeyDigest;
use serde_json::json;

use bed::change::{change, parse_time};
use bed::client::{ClosedLoop, Expected};
use bed::document::{Table, number};
use bed::gate::{self, Others, TOKEN_HOST};
use bed::open_loop::{OpenLoop, Pace};
use bed::pair::ALLOW;
use bed::proc;
use bed::requests::{browser, encode};
use bed::statistics::median;
use bed::support::issuer::Issuer;
use bed::support::portcullis::{Portcullis, PortcullisBuilder};
use bed::support::signing::Algorithm;

const REFUSED: Expected = Expected::Refusal { status: 401 };
/// How long a large catalog may take to load.
const PATIENCE: Duration = Duration::from_secs(900);
/// How many requests are made ahead of asking with them.
const BATCH: usize = 20_000;
/// How often a start and a reload are measured.
const TIMES: usize = 5;
/// The checks that go on during a reload.
const PACE: Pace = Pace {
    rate: 500.0,
    length: Duration::from_secs(2),
};

fn main() {
    let issuer = Issuer::start();
    let idle = memory_of_tokens(&issuer);
    memory_of_catalog(&issuer, idle);
    start(&issuer);
    reload(&issuer);
}

/// Gives the memory of an idle server with one Api, in KiB.
fn memory_of_tokens(issuer: &Issuer) -> u64 {
    let server = gate::portcullis(issuer, Others(0))
        // every one of them is to be looked at
        .set(&["checks", "failedVerifications"], json!("off"))
        .start();
    let client = ClosedLoop::new(server.check_address());
    let mut table = Table::new(
        "One server with one Api, row after row; anonymous memory.",
        &["after", "MiB", "more than before, KiB"],
    );
    let idle = proc::anonymous_kib(server.id());
    let mut before = idle;
    let mut row = |name: &str| {
        let now = proc::anonymous_kib(server.id());
        let more = i128::from(now) - i128::from(before);
        table.row(name, [mebibytes(now), more.to_string()]);
        before = now;
        more
    };
    row("start");
    client.ask(&[with_token(&gate::token(issuer).sign())], BATCH, ALLOW);
    row(&format!("{BATCH} checks of one token"));
    let garbage = number("--garbage", 1_000_000);
    ask_each(&client, garbage, REFUSED, |number| {
        garbage_token(issuer, number)
    });
    row(&format!("{garbage} tokens that are none, all distinct"));
    let tokens = number("--tokens", 50_000);
    let good = |number| {
        let token = gate::token(issuer).algorithm(Algorithm::Es256);
        token.subject(&format!("user-{number}")).sign()
    };
    ask_each(&client, tokens, ALLOW, good);
    let more = row(&format!("{tokens} good tokens, all distinct"));
    let tokens = i128::try_from(tokens).expect("a small number");
    let each = (more * 10_000 / tokens).to_string();
    table.row("each 10,000 of these", ["–".to_owned(), each]);
    table.publish("memory of tokens");
    idle
}

/// Asks once with each of as many tokens.
fn ask_each(
    client: &ClosedLoop,
    tokens: usize,
    expected: Expected,
    token: impl Fn(usize) -> String,
) {
    for first in (0..tokens).step_by(BATCH) {
        let numbers = first..tokens.min(first + BATCH);
        let messages: Vec<Bytes> = numbers.map(|number| with_token(&token(number))).collect();
        client.ask(&messages, messages.len(), expected);
    }
}

/// Every other one is no token at all; the rest are whole but for their signatures.
fn garbage_token(issuer: &Issuer, number: usize) -> String {
    if number.is_multiple_of(2) {
        let noise = std::iter::repeat_with(fastrand::alphanumeric);
        return noise.take(600).collect();
    }
    let token = gate::token(issuer).subject(&format!("nobody-{number}"));
    let kid = issuer.keys().key_id(Algorithm::Rs256);
    let header = json!({ "alg": "RS256", "typ": "JWT", "kid": kid }).to_string();
    bed::support::signing::compact(&header, &token.claims_text(), |_| {
        let noise = std::iter::repeat_with(|| fastrand::u8(..));
        noise.take(256).collect()
    })
}

fn with_token(token: &str) -> Bytes {
    let bearer = format!("Bearer {token}");
    encode(browser(TOKEN_HOST, Some(("authorization", &bearer))))
}

fn memory_of_catalog(issuer: &Issuer, idle: u64) {
    let apis = number("--apis", 100_000);
    let server = gate::portcullis(issuer, Others(apis))
        .patience(PATIENCE)
        .start();
    let loaded = settled(&server);
    drop(server);
    let subscribed = settled(&with_subscriptions(issuer).patience(PATIENCE).start());
    let each = loaded.saturating_sub(idle) * 10_000 / u64::try_from(apis).expect("a small number");
    let mut table = Table::new(
        "In the last two rows each Api has a host, an operation, five headers for the upstream, an \
         application with a key and its subscription. Anonymous memory of an idle server, 15 s after \
         its start: what reading the documents took has been given back by then.",
        &["a catalog of", "MiB"],
    );
    table.row("1 Api, 1 subscription", [mebibytes(idle)]);
    table.row(
        "1,000 Apis, 10,000 applications with a key and 10 subscriptions each",
        [mebibytes(subscribed)],
    );
    table.row(
        &format!("{apis} Apis, applications and subscriptions"),
        [mebibytes(loaded)],
    );
    table.row("each 10,000 of them", [mebibytes(each)]);
    table.publish("memory of the catalog");
}

/// Its memory once it has rested for a while.
fn settled(server: &Portcullis) -> u64 {
    std::thread::sleep(Duration::from_secs(15));
    proc::anonymous_kib(server.id())
}

/// 100,000 subscriptions of 10,000 applications to 1,000 Apis.
fn with_subscriptions(issuer: &Issuer) -> PortcullisBuilder {
    const APIS: usize = 1000;
    let mut builder = gate::portcullis(issuer, Others(APIS));
    for part in 0..10 {
        let documents = (0..1000).map(|number| {
            let number = part * 1000 + number;
            let digest = KeyDigest::of_key(&format!("of application {number}")).to_text();
            let apis = (0..10).map(|at| (number * 10 + at) % APIS);
            let subscriptions: Vec<String> = apis
                .map(|api| format!("{{ api: api-{api}, plan: gold }}"))
                .collect();
            format!(
                "---\nkind: Application\nmetadata: {{ name: many-{number} }}\nspec:\n  \
                 apiKeys: [{{ digest: '{digest}' }}]\n  subscriptions: [{}]\n",
                subscriptions.join(", ")
            )
        });
        let documents: String = documents.collect();
        builder = builder.catalog(&format!("many-{part}.yaml"), &documents);
    }
    builder
}

fn start(issuer: &Issuer) {
    let starts: Vec<(f64, f64)> = (0..TIMES)
        .map(|_| {
            let builder = gate::portcullis(issuer, Others(1000));
            let started = Instant::now();
            let server = builder.start();
            let took = started.elapsed();
            (millis(took), millis(proc::cpu(server.id())))
        })
        .collect();
    let mut table = Table::new(
        &format!("1,000 Apis, {TIMES} times; the keys are fetched from an issuer beside it."),
        &["a start", "ms"],
    );
    let of = |pick: fn(&(f64, f64)) -> f64| format!("{:.0}", median(starts.iter().map(pick)));
    table.row("from its beginning to ready", [of(|start| start.0)]);
    table.row("CPU until then", [of(|start| start.1)]);
    table.publish("start");
}

/// What one reload gave, in milliseconds of CPU and microseconds of latency.
struct Reload {
    cpu: f64,
    calm: f64,
    disturbed: f64,
}

fn reload(issuer: &Issuer) {
    let apis = number("--reloaded", 10_000);
    let server = gate::portcullis(issuer, Others(apis))
        .patience(PATIENCE)
        .start();
    let client = OpenLoop::new(server.check_address());
    let message = [with_token(&gate::token(issuer).sign())];
    client.ask(&message, PACE, ALLOW);
    let one = |round| {
        let cpu = reload_cpu(&server, 2 * round);
        let calm = client.ask(&message, PACE, ALLOW).micros(0.99);
        let disturbed = thread::scope(|scope| {
            let change = scope.spawn(|| {
                thread::sleep(PACE.length / 10);
                change(&server, 2 * round + 1);
            });
            let latencies = client.ask(&message, PACE, ALLOW);
            change.join().expect("the change is published");
            latencies.micros(0.99)
        });
        Reload {
            cpu: millis(cpu),
            calm,
            disturbed,
        }
    };
    let reloads: Vec<Reload> = (0..TIMES).map(one).collect();
    let of = |pick: fn(&Reload) -> f64| format!("{:.0}", median(reloads.iter().map(pick)));
    let (all, changed) = parse_time(&server);
    let (all, changed) = (millis(all), millis(changed));
    let mut table = Table::new(
        &format!(
            "{apis} Apis in files of 1,000, of which one file changes; {TIMES} times, {}. The checks go \
             on at {} a second, and are looked at over {:?} with the change in it.",
            proc::machine(),
            PACE.rate,
            PACE.length
        ),
        &["a reload", "ms of CPU", "p99 of checks, µs"],
    );
    let none = || "–".to_owned();
    table.row("reload", [of(|reload| reload.cpu), none()]);
    table.row(
        "parse alone of all files, by the YAML library into plain values",
        [format!("{all:.0}"), none()],
    );
    table.row(
        "the same of the changed file",
        [format!("{changed:.0}"), none()],
    );
    table.row("checks before", [none(), of(|reload| reload.calm)]);
    table.row(
        "checks during the reload",
        [none(), of(|reload| reload.disturbed)],
    );
    table.publish("reload");
}

/// The CPU that the server uses because of a change, while nothing is asked.
fn reload_cpu(server: &Portcullis, round: usize) -> Duration {
    let before = proc::cpu(server.id());
    change(server, round);
    // what goes on after the publication is part of it
    thread::sleep(Duration::from_secs(1));
    proc::cpu(server.id()) - before
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

fn mebibytes(kib: u64) -> String {
    format!("{}.{}", kib / 1024, kib % 1024 * 10 / 1024)
}
