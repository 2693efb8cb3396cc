//! h2load (nghttp2): a client of HTTP/2 that knows nothing of gRPC and costs little.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use tempfile::TempDir;

use super::statistics::Latencies;

/// What is sent over and over.
#[derive(Debug)]
pub(crate) struct H2load {
    target: String,
    /// A POST request, where there is a body.
    body: Option<Bytes>,
    headers: Vec<String>,
}

/// How often, and over how many connections with how many streams each.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Amount {
    pub(crate) requests: usize,
    pub(crate) connections: usize,
    pub(crate) streams: usize,
}

/// What came of it.
#[derive(Debug, Clone)]
pub(crate) struct Report {
    /// Answers a second.
    pub(crate) per_second: f64,
    /// From when each request was sent.
    pub(crate) latencies: Latencies,
}

/// Ends the benchmark where h2load is missing, with the command that installs it.
pub(crate) fn assert_installed() {
    let found = Command::new("h2load").arg("--version").output();
    assert!(
        found.is_ok_and(|output| output.status.success()),
        "h2load is not installed; this installs it: sudo apt-get install -y nghttp2-client"
    );
}

impl H2load {
    /// A check, framed as gRPC does it (gRPC over HTTP/2, "Length-Prefixed-Message").
    pub(crate) fn check(address: SocketAddr, message: &Bytes) -> Self {
        let mut body = BytesMut::with_capacity(message.len() + 5);
        body.put_u8(0);
        body.put_u32(message.len().try_into().expect("a small message"));
        body.extend_from_slice(message);
        let headers = ["content-type: application/grpc", "te: trailers"];
        Self {
            target: format!("http://{address}/envoy.service.auth.v3.Authorization/Check"),
            body: Some(body.freeze()),
            headers: headers.map(str::to_owned).to_vec(),
        }
    }

    /// A GET request with these headers.
    pub(crate) fn get(target: String, headers: Vec<String>) -> Self {
        Self {
            target,
            body: None,
            headers,
        }
    }

    /// Sends them as fast as answers come.
    ///
    /// # Panics
    /// Where an answer is missing or none of success.
    pub(crate) fn run(&self, amount: Amount) -> Report {
        self.run_with(amount, &[])
    }

    /// Sends as many as `rate` a second, where there are streams left to send them.
    ///
    /// # Panics
    /// As [`H2load::run`].
    pub(crate) fn run_at(&self, amount: Amount, rate: usize) -> Report {
        let each = (rate / amount.connections).max(1);
        self.run_with(amount, &[format!("--rps={each}")])
    }

    fn run_with(&self, amount: Amount, options: &[String]) -> Report {
        let folder = TempDir::new().expect("a temporary folder");
        let log = folder.path().join("log");
        let mut command = Command::new("h2load");
        command
            .arg(format!("--requests={}", amount.requests))
            .arg(format!("--clients={}", amount.connections))
            .arg(format!("--max-concurrent-streams={}", amount.streams))
            .arg(format!("--log-file={}", log.display()))
            .args(options);
        for header in &self.headers {
            command.arg(format!("--header={header}"));
        }
        if let Some(body) = &self.body {
            let file = folder.path().join("body");
            fs::write(&file, body).expect("a file can be written");
            command.arg(format!("--data={}", file.display()));
        }
        let output = command.arg(&self.target).output().expect("h2load starts");
        let text = String::from_utf8_lossy(&output.stdout);
        let good = format!("status codes: {} 2xx, 0 3xx, 0 4xx, 0 5xx", amount.requests);
        assert!(
            output.status.success() && text.contains(&good),
            "h2load: {text}"
        );
        Report {
            per_second: per_second(&text),
            latencies: latencies(&log),
        }
    }
}

/// Reads `finished in 1.25s, 8000.00 req/s, 2.00MB/s`.
fn per_second(text: &str) -> f64 {
    let line = text.lines().find(|line| line.starts_with("finished in"));
    let rate = line.and_then(|line| line.split(", ").nth(1)?.strip_suffix(" req/s"));
    let rate = rate.and_then(|rate| rate.parse().ok());
    rate.unwrap_or_else(|| panic!("no rate: {text}"))
}

/// Reads lines of start, status and duration, times in microseconds.
fn latencies(log: &Path) -> Latencies {
    let log = fs::read_to_string(log).expect("h2load writes its log");
    let times = log.lines().map(|line| {
        let micros = line.split('\t').nth(2).and_then(|text| text.parse().ok());
        Duration::from_micros(micros.expect("a duration"))
    });
    Latencies::of(times.collect())
}
