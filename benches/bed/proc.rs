//! What Linux tells of a process and of the machine (proc(5)).

use std::fs;
use std::time::Duration;

/// The time of one clock tick: Linux tells processes of 100 a second, whatever it uses itself.
const TICK: Duration = Duration::from_millis(10);

/// The CPU time, of the program and of the kernel for it, that the process has used so far.
pub(crate) fn cpu(id: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).expect("the process lives");
    let (_, fields) = stat.rsplit_once(')').expect("a name in parentheses");
    // utime and stime are fields 14 and 15; the first after the name is field 3
    let times = fields.split_whitespace().skip(11).take(2);
    let ticks: u32 = times
        .map(|ticks| ticks.parse::<u32>().expect("ticks"))
        .sum();
    TICK * ticks
}

/// For how long this thread has been ready to run and had no core.
pub(crate) fn waited_for_a_core() -> Duration {
    let times = fs::read_to_string("/proc/thread-self/schedstat").expect("the kernel counts");
    let waited = times.split_whitespace().nth(1);
    let nanos = waited.and_then(|nanos| nanos.parse().ok());
    Duration::from_nanos(nanos.expect("nanoseconds"))
}

/// The memory of the process that is backed by no file, in KiB.
pub(crate) fn anonymous_kib(id: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{id}/status")).expect("the process lives");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"));
    let value = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    value.expect("RssAnon")
}

/// The number of cores, what they are, and how many programs wanted one over the last minute.
pub(crate) fn machine() -> String {
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus.lines().find(|line| line.starts_with("model name"));
    let model = model.and_then(|line| Some(line.split_once(": ")?.1));
    format!(
        "{} cores ({})",
        cores(),
        model.unwrap_or("of unknown model")
    )
}

/// The number of cores.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}
