//! The decision log: one JSON line for each denial and fault, and for a sample of the allows.
//!
//! Lines are made and written off the request's path. They hold no query, no header and no
//! credential ([`Record`] has none).

use std::fs::File;
use std::os::fd::AsFd;
use std::path::PathBuf;

use anyhow::Context as _;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;

use crate::config::findings::Findings;
use crate::telemetry::escape::escape;
use crate::telemetry::metrics::Metrics;
use crate::upstream::provider::service::TokenOutcome;
use crate::usage::{Entry, Record};

/// The decision log.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct DecisionLogConfig {
    /// Where its lines go: `stdout`, `stderr`, or `{ file: … }`, which is appended to.
    pub output: DecisionLogOutput,
    /// The share of the allows that is logged, from 0 (none) to 1 (each). Denials and faults are
    /// logged always, also those that an Api in shadow mode does not enforce.
    pub allows: f64,
    /// How many records may wait to be written; those beyond are dropped and counted.
    pub queue: usize,
}

/// Where the lines of the decision log go.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum DecisionLogOutput {
    /// To standard output.
    Stdout,
    /// To standard error.
    Stderr,
    /// To this file, at its end.
    File(PathBuf),
}

/// The largest queue: about a gigabyte of records.
const MAX_QUEUE: usize = 1_000_000;
/// Written at once when there is more to write than this many bytes.
const BATCH_BYTES: usize = 64 * 1024;

impl Default for DecisionLogConfig {
    fn default() -> Self {
        Self {
            output: DecisionLogOutput::Stdout,
            allows: 0.01,
            queue: 8192,
        }
    }
}

impl DecisionLogConfig {
    /// Finds what is wrong.
    pub fn check(&self, findings: &mut Findings) {
        if !(0.0..=1.0).contains(&self.allows) {
            findings.wrong("allows", "must lie between 0 and 1");
        }
        if !(1..=MAX_QUEUE).contains(&self.queue) {
            findings.wrong("queue", format!("must lie between 1 and {MAX_QUEUE}"));
        }
    }
}

/// Writes what a [`crate::usage::Recorder`] queues.
pub struct DecisionLog {
    entries: mpsc::Receiver<Entry>,
    metrics: Metrics,
    output: Box<dyn AsyncWrite + Send + Unpin>,
}

impl DecisionLog {
    pub(super) fn open(
        output: &DecisionLogOutput,
        entries: mpsc::Receiver<Entry>,
        metrics: Metrics,
    ) -> anyhow::Result<Self> {
        let file = match output {
            DecisionLogOutput::Stdout => duplicate(std::io::stdout()),
            DecisionLogOutput::Stderr => duplicate(std::io::stderr()),
            DecisionLogOutput::File(path) => File::options()
                .create(true)
                .append(true)
                .open(path)
                .with_context(|| format!("`{}`", path.display())),
        };
        let file = file.context("the decision log cannot be opened")?;
        Ok(Self {
            entries,
            metrics,
            output: Box::new(tokio::fs::File::from_std(file)),
        })
    }

    /// Writes until no recorder is left: in batches while there is much, at once while there is little.
    pub async fn run(mut self) {
        let mut batch = Batch::default();
        while let Some(entry) = self.entries.recv().await {
            let mut next = Some(entry);
            while let Some(entry) = next {
                match entry {
                    Entry::Record(time, record) => batch.add(time, &record),
                    Entry::Flush(written) => {
                        self.write(&mut batch).await;
                        // whoever asked may have stopped waiting
                        let _ = written.send(());
                    }
                }
                if batch.bytes.len() >= BATCH_BYTES {
                    self.write(&mut batch).await;
                }
                next = self.entries.try_recv().ok();
            }
            self.write(&mut batch).await;
        }
    }

    /// Writes the batch, or counts it as lost; the next one is tried again.
    async fn write(&mut self, batch: &mut Batch) {
        if batch.bytes.is_empty() {
            return;
        }
        let output = &mut self.output;
        let written = async {
            output.write_all(&batch.bytes).await?;
            output.flush().await
        };
        match written.await {
            Ok(()) => self.metrics.decision_log_written(batch.lines),
            Err(error) => {
                self.metrics.usage_dropped(batch.lines);
                tracing::warn!(%error, lines = batch.lines, "the decision log cannot be written");
            }
        }
        batch.bytes.clear();
        batch.lines = 0;
    }
}

/// Another handle of a standard stream, whose writes do not take its lock.
fn duplicate(stream: impl AsFd) -> anyhow::Result<File> {
    Ok(File::from(stream.as_fd().try_clone_to_owned()?))
}

impl std::fmt::Debug for DecisionLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DecisionLog")
    }
}

/// Lines that wait to be written together.
#[derive(Debug, Default)]
struct Batch {
    bytes: Vec<u8>,
    lines: u64,
}

impl Batch {
    fn add(&mut self, time: Timestamp, record: &Record<Box<str>>) {
        write_line(&mut self.bytes, time, record);
        self.bytes.push(b'\n');
        self.lines += 1;
    }
}

/// Writes one line as JSON; what is not known is left out.
//
// By hand, because a flood of denials makes many lines, and names and most values need no look.
fn write_line(out: &mut Vec<u8>, time: Timestamp, record: &Record<Box<str>>) {
    let (caller, request) = (&record.caller, record.request.as_ref());
    out.extend_from_slice(b"{\"time\":\"");
    out.extend_from_slice(time.to_string().as_bytes());
    out.push(b'"');
    let texts = [
        ("decision.id", Some(record.decision_id.as_str())),
        ("decision", Some(record.verdict.name())),
        ("reason", Some(record.reason)),
        ("detail", record.detail.as_deref()),
        ("api.id", record.api.as_deref()),
        ("operation", record.operation.as_deref()),
        ("application.id", caller.application.as_deref()),
        ("principal.subject", caller.subject.as_deref()),
        ("source.spiffe_id", caller.source.as_deref()),
        ("principal.authenticator", caller.authenticator.as_deref()),
        ("plan", caller.plan.as_deref()),
        ("limit", record.limit.as_ref().map(|limit| &*limit.id)),
        ("provider_token", record.token.map(TokenOutcome::name)),
        ("method", request.map(|request| &*request.method)),
        ("host", request.map(|request| &*request.host)),
        ("path", request.map(|request| &*request.path)),
        ("http.id", request.map(|request| &*request.id)),
        ("listener", Some(&*record.listener)),
    ];
    for (name, text) in texts {
        if let Some(text) = text {
            out.extend_from_slice(b",\"");
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b"\":");
            write_text(out, text);
        }
    }
    if let Some(limit) = &record.limit {
        out.extend_from_slice(b",\"remaining\":");
        out.extend_from_slice(limit.remaining.to_string().as_bytes());
    }
    let micros = record.duration.as_micros();
    let duration = format!("{}.{:03}", micros / 1000, micros % 1000);
    out.extend_from_slice(b",\"duration_ms\":");
    out.extend_from_slice(duration.as_bytes());
    out.extend_from_slice(b",\"shadow\":");
    out.extend_from_slice(if record.shadow { b"true" } else { b"false" });
    out.push(b'}');
}

/// Writes a text as JSON.
fn write_text(out: &mut Vec<u8>, text: &str) {
    let plain = |byte: u8| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\';
    if text.bytes().all(plain) {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
        return;
    }
    // JSON itself lets DEL and the C1 control characters stand, which terminals obey
    let quoted = serde_json::Value::from(text).to_string();
    out.extend_from_slice(escape(&quoted).as_bytes());
}

#[cfg(test)]
mod tests;
