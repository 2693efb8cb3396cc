//! ghz: a client of gRPC that is made by others, and told of the protocol by our descriptors.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use bytes::Bytes;
use portcullis::descriptor::FILE_DESCRIPTOR_SET;
use serde_json::Value;
use tempfile::TempDir;

use super::open_loop::Pace;

/// Where `make` installs it.
const INSTALLED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/.tools/bin/ghz");

/// The quantiles that ghz tells, as it writes them.
pub(crate) const PERCENTAGES: [u64; 3] = [50, 90, 99];

/// What ghz measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Report {
    /// Answers a second.
    pub(crate) per_second: f64,
    /// The latencies at [`PERCENTAGES`], in microseconds.
    pub(crate) micros: [f64; 3],
}

/// The program: the installed one, else the one on the `PATH`.
///
/// # Panics
/// Where it is missing, with the command that installs it.
pub(crate) fn program() -> PathBuf {
    let found = [Path::new(INSTALLED), Path::new("ghz")]
        .into_iter()
        .find(|program| {
            let run = Command::new(program).arg("--version").output();
            run.is_ok_and(|output| output.status.success())
        });
    let found = found.expect("ghz is not installed; this installs it: make .tools/bin/ghz");
    found.to_path_buf()
}

/// Asks at a pace, over one connection, whether answers come or not.
///
/// # Panics
/// Where a call does not succeed. What the answer says, ghz does not look at.
pub(crate) fn ask(program: &Path, address: SocketAddr, message: &Bytes, pace: Pace) -> Report {
    let folder = TempDir::new().expect("a temporary folder");
    let (protoset, body) = (folder.path().join("protoset"), folder.path().join("body"));
    fs::write(&protoset, FILE_DESCRIPTOR_SET).expect("a file can be written");
    fs::write(&body, message).expect("a file can be written");
    let mut command = Command::new(program);
    command.args(["--insecure", "--async", "--connections=1", "--format=json"]);
    command
        .arg("--call=envoy.service.auth.v3.Authorization/Check")
        .arg(format!("--protoset={}", protoset.display()))
        .arg(format!("--binary-file={}", body.display()))
        .arg(format!("--rps={:.0}", pace.rate))
        .arg(format!("--total={}", pace.checks()))
        .arg(address.to_string());
    let output = command.output().expect("ghz starts");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| {
        panic!("ghz: {}", String::from_utf8_lossy(&output.stderr));
    });
    let succeeded = report["statusCodeDistribution"]["OK"].as_u64();
    assert_eq!(
        succeeded,
        u64::try_from(pace.checks()).ok(),
        "every call succeeds: {}",
        report["errorDistribution"]
    );
    Report {
        per_second: report["rps"].as_f64().expect("a rate"),
        micros: PERCENTAGES.map(|percentage| micros(&report, percentage)),
    }
}

fn micros(report: &Value, percentage: u64) -> f64 {
    let all = report["latencyDistribution"].as_array();
    let found = all
        .into_iter()
        .flatten()
        .find(|entry| entry["percentage"].as_u64() == Some(percentage));
    let nanos = found.and_then(|entry| entry["latency"].as_f64());
    nanos.expect("a latency") / 1e3
}
