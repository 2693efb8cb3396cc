//! How checks per second grow with threads, in process: what threads share on the line, they fight
//! about, and no socket hides it.
//!
//! Each thread has a runtime of its own and checks as fast as it can, record included. One thread and
//! two are measured in turn, round by round; figures are medians. The time for which a thread had no
//! core is left out, so that it shows what threads take from each other and not what other programs
//! take from them; where they have to, two threads meet less often than on cores of their own.
//!
//! `cargo bench --bench threads [-- --rounds 15 --millis 400]` prints the table; with `--write` it
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

/// What one thread has done, and in what time without that for which it had no core.
struct Done {
    checks: usize,
    time: Duration,
}

fn main() {
    let line = Line::new(Others(1000));
    let length = Duration::from_millis(number("--millis", 400) as u64);
    let rounds = number("--rounds", 15);
    let note = format!(
        "{rounds} rounds of {length:?}, {}; time without a core is left out; CPU in microseconds per \
         check.",
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
        let pick = |figure: &dyn Fn(&Measured) -> f64| {
            let rounds = measured.iter().map(|(two, one)| Round {
                ours: figure(two),
                theirs: figure(one),
            });
            Round::medians(&rounds.collect::<Vec<_>>())
        };
        let (two, one, ratio) = pick(&|measured| measured.per_second);
        let (two_cpu, one_cpu, cpu_ratio) = pick(&|measured| measured.cpu);
        let figures = [
            format!("{one:.0}"),
            format!("{two:.0}"),
            format!("{ratio:.2}"),
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
    let cpu = proc::cpu(own);
    let done: Vec<Done> = std::thread::scope(|scope| {
        let threads = (0..threads).map(|_| scope.spawn(|| check(line, message, length, &ready)));
        let threads: Vec<_> = threads.collect();
        let done = threads.into_iter();
        done.map(|thread| thread.join().expect("no panic"))
            .collect()
    });
    let cpu = proc::cpu(own) - cpu;
    let checks: usize = done.iter().map(|done| done.checks).sum();
    let rates = done
        .iter()
        .map(|done| done.checks as f64 / done.time.as_secs_f64());
    Measured {
        per_second: rates.sum(),
        cpu: cpu.as_secs_f64() * 1e6 / checks as f64,
    }
}

/// Checks for `length`, and tells how often and in what time. The last answer of each batch is looked at.
fn check(line: &Line, message: &Bytes, length: Duration, ready: &Barrier) -> Done {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    ready.wait();
    let (started, waited) = (Instant::now(), proc::waited_for_a_core());
    let mut checks = 0;
    runtime.block_on(async {
        while started.elapsed() < length {
            let mut answer = None;
            for _ in 0..BATCH {
                answer = Some(line.check(message.clone()).await);
            }
            let answer = answer.expect("an answer");
            let answer = CheckResponse::decode(answer.message()).expect("a CheckResponse");
            assert!(ALLOW.is(&answer), "no allow: {answer:?}");
            checks += BATCH;
        }
    });
    Done {
        checks,
        time: started.elapsed() - (proc::waited_for_a_core() - waited),
    }
}
