//! Instructions for one check, counted by callgrind: Portcullis and two servers to compare it with.
//!
//! Each server runs on one worker thread under callgrind and is asked over one connection with 16
//! streams, after enough checks to be in steady state; a wrong answer ends the benchmark. Counts
//! hold for the whole process: HTTP/2, gRPC, the decision, metrics, the decision log.
//!
//! `cargo bench --bench instructions` prints the table; `-- --write` puts it into
//! `docs/PERFORMANCE.md`; `-- --verify` fails where a ratio is more than 3 % above the one there.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    reason = "a benchmark: what fails ends it"
)]

mod bed;

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use tempfile::TempDir;

use bed::baseline::Role;
use bed::callgrind::{self, Callgrind};
use bed::client::{ClosedLoop, Expected};
use bed::gate::{
    self, HEADERS_SET, LIMITED_HOSTS, Others, PROVIDED_HOST, PROVIDED_JWT_HOST, TOKEN_HOST,
};
use bed::requests::{browser, encode, of_100_headers};
use bed::support::issuer::Issuer;
use bed::support::portcullis::Portcullis;
use bed::support::process::Process;
use bed::support::providers::Providers;

/// Where the table stands.
const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/PERFORMANCE.md");
const BEGIN: &str = "<!-- instructions: written by `make bench` -->\n";
const END: &str = "<!-- end of instructions -->\n";
/// How far a ratio may be above the one that is written down.
const TOLERANCE: f64 = 0.03;
const WARM_UP: usize = 400;
const CHECKS: usize = 2000;
/// How many tokens are seen for the first time.
const NEW_TOKENS: usize = 640;
const EXPIRED: Duration = Duration::from_secs(3600);

/// The row of an ordinary check, and the row of the same with a provider's token for the upstream,
/// which may cost this much more at most.
const PLAIN: &str = "allow: token seen before";
const PROVIDED: &str = "allow: token seen before, a provider's token of 64 bytes for the upstream";
const PROVIDED_JWT: &str = "allow: token seen before, a provider's token of 1 KiB for the upstream";
const PROVIDED_MOST: f64 = 1.03;

/// The rows of the same, whose subscription has a plan with this many limits.
const LIMITED: [(usize, &str); 3] = [
    (1, "allow: token seen before, a plan with 1 limit"),
    (3, "allow: token seen before, a plan with 3 limits"),
    (16, "allow: token seen before, a plan with 16 limits"),
];

/// What is asked, and how often, to get one row.
struct Scenario {
    name: &'static str,
    /// What is asked before counting.
    before: Vec<Bytes>,
    messages: Vec<Bytes>,
    checks: usize,
    expected: Expected,
}

/// One row: instructions for one check.
struct Row {
    name: &'static str,
    instructions: u64,
}

fn main() -> ExitCode {
    if Role::play() {
        return ExitCode::SUCCESS;
    }
    callgrind::assert_installed();
    let asked: Vec<String> = std::env::args().skip(1).collect();
    let has = |flag: &str| asked.iter().any(|argument| argument == flag);
    let others = if has("--many") { 100_000 } else { 100 };
    let issuer = Issuer::start();
    let rows = measure(&issuer, Others(others));
    let table = table(&rows);
    println!("{table}");
    if has("--write") {
        write(&table);
    }
    if has("--verify") {
        return verify(&rows);
    }
    ExitCode::SUCCESS
}

fn measure(issuer: &Issuer, others: Others) -> Vec<Row> {
    let bearer = format!("Bearer {}", gate::token(issuer).sign());
    let token_request = encode(browser(TOKEN_HOST, Some(("authorization", &bearer))));
    let large_request = encode(of_100_headers(TOKEN_HOST, ("authorization", &bearer)));
    println!(
        "requests of {} and {} bytes",
        token_request.len(),
        large_request.len()
    );
    let mut rows = Vec::new();
    let baselines = [
        (Role::Floor, "floor", &token_request),
        (Role::Empty, "empty", &token_request),
        (Role::Empty, "empty, 100 headers", &large_request),
    ];
    for (role, name, request) in baselines {
        let allow = Expected::Allow { headers: 0 };
        rows.push(measure_baseline(
            role,
            Scenario::of(name, request.clone(), allow),
        ));
    }
    let folder = TempDir::new().unwrap();
    let (short, long) = (Providers::start(), Providers::start());
    let server = gate::with_providers(gate::portcullis(issuer, others), &short, &long)
        .under(callgrind::prefix(folder.path()))
        .environment("TOKIO_WORKER_THREADS", "1")
        // under callgrind everything takes some fifty times as long, which is no overload
        .set(&["checks", "maxWait"], "60s".into())
        .patience(Duration::from_secs(900))
        .start();
    rows.extend(measure_portcullis(
        &server,
        folder.path(),
        scenarios(issuer, others, token_request, large_request),
    ));
    rows
}

/// The rows of Portcullis.
fn scenarios(
    issuer: &Issuer,
    others: Others,
    token_request: Bytes,
    large_request: Bytes,
) -> Vec<Scenario> {
    let allow = Expected::Allow {
        headers: HEADERS_SET,
    };
    let refusal = |status| Expected::Refusal { status };
    let asks = |token: &str| {
        let bearer = format!("Bearer {token}");
        encode(browser(TOKEN_HOST, Some(("authorization", &bearer))))
    };
    let expired = asks(&gate::token(issuer).expired_since(EXPIRED).sign());
    let last = others.0 - 1;
    let key_request = |key: &str| {
        let host = gate::key_host(last);
        encode(browser(&host, Some(("x-api-key", key))))
    };
    let first_sight = Scenario {
        name: "allow: token seen for the first time",
        before: vec![token_request.clone()],
        messages: (0..NEW_TOKENS)
            .map(|number| {
                let subject = format!("user-{number}");
                asks(&gate::token(issuer).subject(&subject).sign())
            })
            .collect(),
        checks: NEW_TOKENS,
        expected: allow,
    };
    vec![
        Scenario::of(PLAIN, token_request, allow),
        Scenario::of(
            "allow: token seen before, 100 headers",
            large_request,
            allow,
        ),
        first_sight,
        limited(issuer, LIMITED[0]),
        limited(issuer, LIMITED[1]),
        limited(issuer, LIMITED[2]),
        provided(issuer, PROVIDED, PROVIDED_HOST),
        provided(issuer, PROVIDED_JWT, PROVIDED_JWT_HOST),
        Scenario::of("allow: API key", key_request(&gate::key(last)), allow),
        Scenario::of(
            "denial: no credential",
            encode(browser(TOKEN_HOST, None)),
            refusal(401),
        ),
        Scenario::of("denial: expired token seen before", expired, refusal(401)),
        Scenario::of(
            "denial: unknown API key",
            key_request("unknown"),
            refusal(401),
        ),
        Scenario::of(
            "denial: unknown host",
            encode(browser("nobody.example.com", None)),
            refusal(404),
        ),
    ]
}

/// The ordinary check again, with a provider's token for the upstream.
fn provided(issuer: &Issuer, name: &'static str, host: &str) -> Scenario {
    let bearer = format!("Bearer {}", gate::token(issuer).sign());
    let request = encode(browser(host, Some(("authorization", &bearer))));
    let allow = Expected::Allow {
        headers: HEADERS_SET + 1,
    };
    Scenario::of(name, request, allow)
}

/// The ordinary check again, whose subscription has a plan with `count` limits. Each request has an
/// id of its own: one that is asked again is not charged again.
fn limited(issuer: &Issuer, (count, name): (usize, &'static str)) -> Scenario {
    let bearer = format!("Bearer {}", gate::token(issuer).sign());
    let host = LIMITED_HOSTS.iter().find(|(limits, _)| *limits == count);
    let host = host.map(|(_, host)| *host).unwrap();
    let ask = |id: usize| {
        let request = browser(host, Some(("authorization", &bearer)));
        encode(request.http(|http| http.id = format!("1466576076316{id:07}")))
    };
    let allow = Expected::Allow {
        headers: HEADERS_SET,
    };
    Scenario {
        messages: (0..CHECKS).map(|number| ask(WARM_UP + number)).collect(),
        ..Scenario::of(name, ask(0), allow)
    }
}

impl Scenario {
    fn of(name: &'static str, message: Bytes, expected: Expected) -> Self {
        Self {
            name,
            before: vec![message.clone()],
            messages: vec![message],
            checks: CHECKS,
            expected,
        }
    }

    fn count(self, client: &ClosedLoop, callgrind: &mut Callgrind) -> Row {
        client.ask(&self.before, WARM_UP, self.expected);
        callgrind.take("warm-up");
        client.ask(&self.messages, self.checks, self.expected);
        let instructions = callgrind.take(self.name) / self.checks as u64;
        println!("{}: {instructions}", self.name);
        Row {
            name: self.name,
            instructions,
        }
    }
}

fn measure_portcullis(server: &Portcullis, folder: &Path, scenarios: Vec<Scenario>) -> Vec<Row> {
    let client = ClosedLoop::new(server.check_address());
    let mut callgrind = Callgrind::of(server.id(), folder);
    scenarios
        .into_iter()
        .map(|scenario| scenario.count(&client, &mut callgrind))
        .collect()
}

fn measure_baseline(role: Role, scenario: Scenario) -> Row {
    let folder = TempDir::new().unwrap();
    let address = free_address();
    let played = role.command(address, 1);
    let mut words = callgrind::prefix(folder.path()).into_iter();
    let mut command = std::process::Command::new(words.next().unwrap());
    command
        .args(words)
        .arg(played.get_program())
        .args(played.get_args());
    let process = Process::start(role.name(), command);
    bed::support::eventually("the server to listen", || TcpStream::connect(address).ok());
    let client = ClosedLoop::new(address);
    scenario.count(&client, &mut Callgrind::of(process.id(), folder.path()))
}

fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

/// The rows as Markdown: the count, and its ratio to `empty` for the same request.
fn table(rows: &[Row]) -> String {
    let mut text = String::from("| a check | instructions | to `empty` |\n|---|--:|--:|\n");
    for row in rows {
        text.push_str(&format!(
            "| {} | {} | {:.3} |\n",
            row.name,
            row.instructions,
            ratio(rows, row)
        ));
    }
    text
}

fn ratio(rows: &[Row], row: &Row) -> f64 {
    let baseline = if row.name.ends_with("100 headers") {
        "empty, 100 headers"
    } else {
        "empty"
    };
    let empty = rows.iter().find(|row| row.name == baseline).unwrap();
    row.instructions as f64 / empty.instructions as f64
}

fn write(table: &str) {
    let document = fs::read_to_string(DOCUMENT).unwrap();
    let (before, rest) = document.split_once(BEGIN).unwrap();
    let (_, after) = rest.split_once(END).unwrap();
    fs::write(DOCUMENT, format!("{before}{BEGIN}{table}{END}{after}")).unwrap();
}

/// Compares with what is written down.
fn verify(rows: &[Row]) -> ExitCode {
    let document = fs::read_to_string(DOCUMENT).unwrap();
    let mut result = ExitCode::SUCCESS;
    let count = |name: &str| {
        let row = rows.iter().find(|row| row.name == name).unwrap();
        row.instructions as f64
    };
    let provided = count(PROVIDED) / count(PLAIN);
    println!("a provider's token: {provided:.3} times the same check without one");
    if provided > PROVIDED_MOST {
        println!("that is more than {PROVIDED_MOST}");
        result = ExitCode::FAILURE;
    }
    for row in rows {
        let line = document
            .lines()
            .find(|line| line.starts_with(&format!("| {} |", row.name)))
            .expect("every row is written down: make bench");
        let written: f64 = line
            .trim_end_matches(" |")
            .rsplit("| ")
            .next()
            .and_then(|ratio| ratio.parse().ok())
            .expect("a ratio");
        let now = ratio(rows, row);
        if now > written * (1.0 + TOLERANCE) {
            println!(
                "{}: {now:.3} times `empty`, and {written:.3} is written down",
                row.name
            );
            result = ExitCode::FAILURE;
        }
    }
    result
}
