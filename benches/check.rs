//! The time and the allocations of a check, from its bytes to the encoded answer and the record, in
//! process and without a socket.
//!
//! `cargo bench --bench check` prints what divan measured; with `--write` a table of it goes into
//! `docs/PERFORMANCE.md`. What counts is the number of allocations, and how the rows relate: 10 Apis
//! against 100,000, a denial against an allow.

#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a benchmark: what fails ends it"
)]

mod bed;

use std::hint::black_box;
use std::process::Command;
use std::sync::OnceLock;

use bytes::Bytes;
use divan::{AllocProfiler, Bencher};
use envoy_types::pb::envoy::service::auth::v3::CheckResponse;
use prost::Message as _;

use bed::client::Expected;
use bed::document::{Table, is_asked};
use bed::gate::Others;
use bed::line::Line;
use bed::pair::ALLOW;
use bed::proc;
use bed::tree::{self, Measured};

/// As in the program, and counting.
#[global_allocator]
static ALLOCATOR: AllocProfiler<mimalloc::MiMalloc> = AllocProfiler::new(mimalloc::MiMalloc);

/// How many Apis, applications and subscriptions there are.
const SIZES: [usize; 2] = [10, 100_000];
/// How many checks are timed together.
const SAMPLE: u32 = 100;
/// The lines of these sizes.
static LINES: [OnceLock<Line>; 2] = [const { OnceLock::new() }; 2];

fn main() {
    if is_asked("--write") {
        let program = std::env::current_exe().expect("the path of this program");
        let output = Command::new(program).arg("--bench").output();
        let output = output.expect("this program starts");
        let text = String::from_utf8_lossy(&output.stdout);
        println!("{text}");
        assert!(output.status.success(), "the benchmarks run to their end");
        table(&tree::read(&text)).publish("line");
    } else {
        divan::main();
    }
}

fn table(measured: &[Measured]) -> Table {
    let note = format!(
        "The fastest of many samples of {SAMPLE} checks, {}: what else runs only adds. Allocations are all \
         of a check: decision, answer and record.",
        proc::machine()
    );
    let columns = [
        "a check in process",
        "allocations",
        "µs, 10 Apis",
        "µs, 100,000 Apis",
        "ratio",
    ];
    assert!(
        measured.iter().all(|row| row.allocations > 0.0),
        "an answer cannot be made without an allocation: {measured:?}"
    );
    let mut table = Table::new(&note, &columns);
    for few in measured.iter().filter(|row| row.argument == "10") {
        let many = measured
            .iter()
            .find(|row| row.name == few.name && row.argument != "10")
            .expect("the same with more Apis");
        let figures = [
            format!("{:.0}", few.allocations),
            format!("{:.2}", few.micros),
            format!("{:.2}", many.micros),
            format!("{:.2}", many.micros / few.micros),
        ];
        table.row(&few.name.replace('_', " "), figures);
    }
    table
}

#[divan::bench(args = SIZES, sample_size = SAMPLE)]
fn allow_by_token_seen_before(bencher: Bencher<'_, '_>, apis: usize) {
    let line = line(apis);
    measure(bencher, line, &line.by_token(), ALLOW);
}

#[divan::bench(args = SIZES, sample_size = SAMPLE)]
fn allow_by_key(bencher: Bencher<'_, '_>, apis: usize) {
    let line = line(apis);
    measure(bencher, line, &line.by_key(Some(&line.good_key())), ALLOW);
}

#[divan::bench(args = SIZES, sample_size = SAMPLE)]
fn denial_without_credential(bencher: Bencher<'_, '_>, apis: usize) {
    let line = line(apis);
    let refused = Expected::Refusal { status: 401 };
    measure(bencher, line, &line.by_key(None), refused);
}

#[divan::bench(args = SIZES, sample_size = SAMPLE)]
fn denial_of_an_unknown_key(bencher: Bencher<'_, '_>, apis: usize) {
    let line = line(apis);
    let refused = Expected::Refusal { status: 401 };
    measure(bencher, line, &line.by_key(Some("unknown")), refused);
}

/// The line with as many Apis, made on the first use.
fn line(apis: usize) -> &'static Line {
    let place = SIZES.iter().position(|size| *size == apis);
    LINES[place.expect("a known size")].get_or_init(|| Line::new(Others(apis)))
}

/// Measures the check, once it is found to be answered as expected.
fn measure(bencher: Bencher<'_, '_>, line: &Line, message: &Bytes, expected: Expected) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let answer = runtime.block_on(line.check(message.clone()));
    let answer = CheckResponse::decode(answer.message()).expect("a CheckResponse");
    assert!(expected.is(&answer), "expected {expected:?}: {answer:?}");
    bencher.bench_local(|| runtime.block_on(line.check(black_box(message).clone())));
}
