//! What becomes of checks where three times as many come as can be answered.
//!
//! Portcullis runs on one worker thread. Its client asks, on one thread of its own, by tokens that
//! are signed with ES256 and whose signature it must verify. First the capacity is measured: 64
//! checks at a time, each asked when another was answered. Then checks are sent at a rate, whether
//! they are answered or not: half the capacity, three times the capacity, and half of it again.
//!
//! `cargo bench --bench overload` prints the table; `-- --write` puts it into
//! `docs/PERFORMANCE.md`; `-- --seconds 10` makes it shorter than a minute for each.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "a benchmark: what fails ends it"
)]

mod bed;

use std::fs;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::json;

use bed::flood::{Flood, Messages, Outcome, Told};
use bed::gate::{self, Others, TOKEN_HOST};
use bed::requests::{browser, encode};
use bed::support::check::socket_address;
use bed::support::issuer::Issuer;
use bed::support::signing::Algorithm;

/// Where the table stands.
const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/PERFORMANCE.md");
const BEGIN: &str = "<!-- overload: written by `make bench-overload` -->\n";
const END: &str = "<!-- end of overload -->\n";
/// How many tokens are signed before; they are used in turn.
const TOKENS: usize = 50_000;
/// From where those come who send garbage.
const HOSTILE: &str = "198.51.100.7";
/// After this long everything is to be as before.
const RECOVERY: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    let asked: Vec<String> = std::env::args().skip(1).collect();
    let seconds = asked
        .iter()
        .position(|argument| argument == "--seconds")
        .map_or(60, |at| asked[at + 1].parse().expect("a number of seconds"));
    let table = measure(Duration::from_secs(seconds));
    println!("{table}");
    if asked.iter().any(|argument| argument == "--write") {
        write(&table);
    }
    ExitCode::SUCCESS
}

fn measure(length: Duration) -> String {
    let issuer = Issuer::start();
    let server = gate::portcullis(&issuer, Others(100))
        // tokens come again, and each is to be verified
        .set(&["checks", "verifiedTokens"], "0B".into())
        .set(&["checks", "deadline"], json!("400ms"))
        .environment("TOKIO_WORKER_THREADS", "1")
        .start();
    let client = Flood::new(server.check_address());
    let tokens: Rc<[String]> = (0..TOKENS)
        .map(|number| {
            let token = gate::token(&issuer).algorithm(Algorithm::Es256);
            token.subject(&format!("user-{number:06}")).sign()
        })
        .collect();
    let valid = valid(&tokens);
    client.closed(&valid, Duration::from_secs(2));
    let told = client.closed(&valid, Duration::from_secs(10));
    let capacity = told.per_second(200);
    println!("capacity: {capacity:.0} checks a second");
    let mut table = Table::new(capacity);
    let calm = length.min(Duration::from_secs(10));
    let late = |outcome: Outcome| outcome.after(RECOVERY);
    table.add("half", &late(client.open(&valid, 0.5 * capacity, calm)));
    table.add("three times", &client.open(&valid, 3.0 * capacity, length));
    let again = late(client.open(&valid, 0.5 * capacity, calm));
    table.add("half again, from 2 s after", &again);
    let garbage = garbage(&tokens);
    table.add(
        "three times, of bad signatures",
        &client.open(&garbage, 3.0 * capacity, length),
    );
    let mixed = one_in_six(&valid, &garbage);
    table.add(
        "half valid, and 2.5 times bad signatures of another source",
        &client.open(&mixed, 3.0 * capacity, length),
    );
    let again = late(client.open(&valid, 0.5 * capacity, calm));
    table.add("half again, from 2 s after", &again);
    table.text
}

/// Checks by each of these tokens in turn. All messages are made before, so that the client has
/// time for more than the server.
fn valid(tokens: &Rc<[String]>) -> Messages {
    let messages: Vec<Bytes> = tokens.iter().map(|token| message(token, None)).collect();
    Rc::new(move |number| messages[number % messages.len()].clone())
}

/// The same with signatures that do not hold: those of the next token.
fn garbage(tokens: &Rc<[String]>) -> Messages {
    let messages: Vec<Bytes> = (0..tokens.len())
        .map(|number| {
            let (signed, _) = tokens[number].rsplit_once('.').unwrap();
            let (_, signature) = tokens[(number + 1) % tokens.len()]
                .rsplit_once('.')
                .unwrap();
            message(&format!("{signed}.{signature}"), Some(HOSTILE))
        })
        .collect();
    Rc::new(move |number| messages[number % messages.len()].clone())
}

fn one_in_six(valid: &Messages, garbage: &Messages) -> Messages {
    let (valid, garbage) = (Rc::clone(valid), Rc::clone(garbage));
    Rc::new(move |number| match number % 6 {
        0 => valid(number / 6),
        _ => garbage(number),
    })
}

fn message(token: &str, source: Option<&str>) -> Bytes {
    let bearer = format!("Bearer {token}");
    let request = browser(TOKEN_HOST, Some(("authorization", &bearer)));
    encode(match source {
        None => request,
        Some(source) => request.source(Some(socket_address(source, 40_000))),
    })
}

impl Outcome {
    fn with(&self, status: u16) -> impl Iterator<Item = &Told> {
        self.told.iter().filter(move |told| told.status == status)
    }

    fn per_second(&self, status: u16) -> f64 {
        self.with(status).count() as f64 / self.took.as_secs_f64()
    }

    /// Without those that were due before `begin`.
    fn after(mut self, begin: Duration) -> Self {
        self.told.retain(|told| told.due >= begin);
        self.took = self.took.saturating_sub(begin);
        self
    }
}

/// The rows as Markdown.
struct Table {
    capacity: f64,
    text: String,
}

impl Table {
    fn new(capacity: f64) -> Self {
        let mut text = format!("Capacity: {capacity:.0} checks a second.\n\n");
        text.push_str("| load, in capacities | answer | a second | of capacity | p50, p99 from when it was due | p50, p99 from when it was sent |\n");
        text.push_str("|---|--:|--:|--:|--:|--:|\n");
        Self { capacity, text }
    }

    fn add(&mut self, load: &str, outcome: &Outcome) {
        let mut statuses: Vec<u16> = outcome.told.iter().map(|told| told.status).collect();
        statuses.sort_unstable();
        statuses.dedup();
        for status in statuses {
            let rate = outcome.per_second(status);
            let due = percentiles(outcome.with(status).map(|told| told.since_due));
            let sent = percentiles(outcome.with(status).map(|told| told.since_sent));
            let share = 100.0 * rate / self.capacity;
            let answer = match status {
                0 => "none".to_owned(),
                status => status.to_string(),
            };
            let row =
                format!("| {load} | {answer} | {rate:.0} | {share:.0} % | {due} | {sent} |\n");
            print!("{row}");
            self.text.push_str(&row);
        }
    }
}

/// The middle one, and the one that 99 of 100 stay below.
fn percentiles(of: impl Iterator<Item = Duration>) -> String {
    let mut all: Vec<Duration> = of.collect();
    all.sort_unstable();
    let at = |share: f64| all[((all.len() - 1) as f64 * share) as usize].as_secs_f64() * 1000.0;
    format!("{:.1}, {:.1} ms", at(0.5), at(0.99))
}

fn write(table: &str) {
    let document = fs::read_to_string(DOCUMENT).unwrap();
    let (before, rest) = document.split_once(BEGIN).unwrap();
    let (_, after) = rest.split_once(END).unwrap();
    fs::write(DOCUMENT, format!("{before}{BEGIN}{table}{END}{after}")).unwrap();
}
