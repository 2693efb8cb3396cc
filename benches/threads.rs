//! How checks per second grow with threads, in process: what threads share on the line, they fight
//! about, and no socket hides it.
//!
//! Each thread has a runtime of its own and checks as fast as it can, record included. One thread and
//! two are measured in turn, in many short rounds, of which the fastest counts: what else runs on the
//! machine only takes away. CPU per check says how much is a fight about shared memory rather than a
//! lack of cores; it is the median.
//!
//! `cargo bench --bench threads [-- --rounds 40 --millis 200]` prints the table; with `--write` it
//! goes into `docs/PERFORMANCE.md`.

#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a benchmark: what fails ends it"
)]

mod bed;

use std::sync::Barrier;
use std::time::{Duration, Instant};

use bytes::Bytes;
use envoy_types::pb::envoy::service::auth::v3::CheckResponse;
use prost::Message as _;

use bed::document::{Table, number};
use bed::gate::Others;
use bed::line::Line;
use bed::pair::ALLOW;
use bed::proc;
use bed::target::{Round, in_turn};

/// As in the program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How many checks a thread makes between two looks at the time.
const BATCH: usize = 100;

/// Checks per second, and CPU microseconds per check.
#[derive(Debug, Clone, Copy)]
struct Measured {
    per_second: f64,
    cpu: f64,
}

fn main() {
    let line = Line::new(Others(1000));
    let length = Duration::from_millis(number("--millis", 200) as u64);
    let rounds = number("--rounds", 40);
    let note = format!(
        "The fastest of {rounds} rounds of {length:?}, {}; CPU in microseconds per check, the median.",
        proc::machine()
    );
    let columns = [
        "in process",
        "checks/s, 1 thread",
        "2 threads",
        "ratio",
        "CPU, 1 thread",
        "2 threads",
        "ratio",
    ];
    let mut table = Table::new(&note, &columns);
    let key = line.good_key();
    let rows = [
        ("allow: one token", line.by_token()),
        ("allow: API key", line.by_key(Some(&key))),
    ];
    for (name, message) in rows {
        measure(&line, &message, 1, length);
        let measured = in_turn(
            rounds,
            || measure(&line, &message, 2, length),
            || measure(&line, &message, 1, length),
        );
        let fastest = |rates: &mut dyn Iterator<Item = f64>| rates.fold(0.0, f64::max);
        let one = fastest(&mut measured.iter().map(|(_, one)| one.per_second));
        let two = fastest(&mut measured.iter().map(|(two, _)| two.per_second));
        let costs = measured.iter().map(|(two, one)| Round {
            ours: two.cpu,
            theirs: one.cpu,
        });
        let (two_cpu, one_cpu, cpu_ratio) = Round::medians(&costs.collect::<Vec<_>>());
        let figures = [
            format!("{one:.0}"),
            format!("{two:.0}"),
            format!("{:.2}", two / one),
            format!("{one_cpu:.2}"),
            format!("{two_cpu:.2}"),
            format!("{cpu_ratio:.2}"),
        ];
        table.row(name, figures);
    }
    table.publish("threads");
}

/// Lets `threads` threads check for `length`.
fn measure(line: &Line, message: &Bytes, threads: usize, length: Duration) -> Measured {
    let own = std::process::id();
    let ready = Barrier::new(threads);
    let (cpu, started) = (proc::cpu(own), Instant::now());
    let checks: usize = std::thread::scope(|scope| {
        let threads = (0..threads).map(|_| scope.spawn(|| check(line, message, length, &ready)));
        let threads: Vec<_> = threads.collect();
        let counts = threads.into_iter();
        counts.map(|thread| thread.join().expect("no panic")).sum()
    });
    let (cpu, took) = (proc::cpu(own) - cpu, started.elapsed());
    Measured {
        per_second: checks as f64 / took.as_secs_f64(),
        cpu: cpu.as_secs_f64() * 1e6 / checks as f64,
    }
}

/// Checks for `length`, and tells how often. The last answer of each batch is looked at.
fn check(line: &Line, message: &Bytes, length: Duration, ready: &Barrier) -> usize {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    ready.wait();
    let started = Instant::now();
    let mut checks = 0;
    runtime.block_on(async {
        while started.elapsed() < length {
            let mut answer = Bytes::new();
            for _ in 0..BATCH {
                answer = line.check(message.clone()).await;
            }
            let answer = CheckResponse::decode(answer).expect("a CheckResponse");
            assert!(ALLOW.is(&answer), "no allow: {answer:?}");
            checks += BATCH;
        }
    });
    checks
}
