//! A client of gRPC that is made by others, ghz, at full speed: every call is answered, and the
//! counters say what was asked. What it measures is nobody's business here.

use std::fs;
use std::path::Path;
use std::process::Command;

use portcullis::descriptor::FILE_DESCRIPTOR_SET;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::gate::{Gate, SHOP_KEY};

/// How many checks are asked, half of them with a key.
const CHECKS: u64 = 2_000;

#[tokio::test]
async fn checks_by_ghz_are_all_answered_and_all_counted() {
    let gate = Gate::start();
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("protoset"), FILE_DESCRIPTOR_SET).unwrap();
    let requests = json!([check(&json!({ "x-api-key": SHOP_KEY })), check(&json!({}))]);
    fs::write(path("requests.json"), requests.to_string()).unwrap();
    let installed = Path::new(env!("CARGO_MANIFEST_DIR")).join(".tools/bin/ghz");
    assert!(
        installed.exists(),
        "ghz is not installed; this installs it: make .tools/bin/ghz"
    );
    let output = Command::new(installed)
        .args([
            "--insecure",
            "--format=json",
            "--timeout=20s",
            "--concurrency=20",
        ])
        .args([
            "--connections=4",
            "--disable-template-functions",
            "--disable-template-data",
        ])
        .arg("--call=envoy.service.auth.v3.Authorization/Check")
        .arg(format!("--protoset={}", path("protoset").display()))
        .arg(format!("--data-file={}", path("requests.json").display()))
        .arg(format!("--total={CHECKS}"))
        .arg(gate.server.check_address().to_string())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{said}"));
    assert_eq!(
        report["statusCodeDistribution"],
        json!({ "OK": CHECKS }),
        "{}",
        report["errorDistribution"]
    );
    assert_eq!(counted(&gate, "allow"), CHECKS / 2);
    assert_eq!(counted(&gate, "deny"), CHECKS / 2);
    assert_eq!(counted(&gate, ""), CHECKS);
}

fn check(headers: &Value) -> Value {
    json!({ "attributes": {
        "source": { "address": { "socketAddress": { "address": "192.0.2.7", "portValue": 4000 } } },
        "request": { "http": {
            "id": "7", "method": "GET", "host": "api.example", "path": "/orders/7", "scheme": "https",
            "protocol": "HTTP/1.1", "headers": headers,
        } },
    } })
}

/// The checks that were counted with this decision, or with any.
fn counted(gate: &Gate, decision: &str) -> u64 {
    let metrics = gate.server.metrics();
    let lines = metrics
        .lines()
        .filter(|line| line.starts_with("portcullis_checks_total{"));
    let wanted = format!("decision=\"{decision}");
    let of_decision = lines.filter(|line| line.contains(&wanted));
    of_decision
        .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
        .sum()
}
