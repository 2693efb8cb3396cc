//! Tests of the recorder and its decision log.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::clock::Clock;
use crate::task::Tasks;
use crate::usage::{CallerRecord, DecisionId, Recorder, RequestRecord, Verdict};

fn record(verdict: Verdict) -> Record<&'static str> {
    Record {
        decision_id: DecisionId::new(Timestamp::UNIX_EPOCH),
        listener: "inbound",
        verdict,
        reason: "scope_insufficient",
        detail: Some("needs `orders.write`"),
        api: Some("default/orders"),
        operation: Some("/orders/{id}"),
        caller: CallerRecord {
            authenticator: Some("partners"),
            subject: Some("ann"),
            source: Some("spiffe://td/ns/a/sa/b"),
            application: Some("default/shop"),
            plan: Some("default/gold"),
        },
        limit: None,
        token: None,
        shadow: true,
        request: Some(RequestRecord {
            method: "POST",
            host: "api.example",
            path: "/orders/1\u{7f}\n",
            id: "77",
        }),
        duration: Duration::from_micros(1234),
    }
}

fn metrics() -> Metrics {
    Metrics::new(Timestamp::UNIX_EPOCH)
}

fn config(allows: f64, queue: usize) -> (DecisionLogConfig, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let output = DecisionLogOutput::File(folder.path().join("decisions.log"));
    let config = DecisionLogConfig {
        output,
        allows,
        queue,
    };
    (config, folder)
}

/// Records, flushes, and gives the lines of the file.
async fn logged(allows: f64, records: impl FnOnce(&Recorder)) -> (Vec<Value>, String) {
    let (config, folder) = config(allows, 1000);
    let metrics = metrics();
    let (recorder, log) = Recorder::build(&config, metrics.clone(), Clock::at(0)).unwrap();
    let tasks = Tasks::new();
    tasks.streaming("decision_log", log.run()).keep();
    records(&recorder);
    recorder.flush(Duration::from_secs(5)).await;
    let text = std::fs::read_to_string(folder.path().join("decisions.log")).unwrap();
    assert!(!text.replace('\n', "").contains(char::is_control));
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    (lines.collect(), metrics.render().unwrap())
}

#[tokio::test]
async fn a_denial_is_one_line_with_what_is_known() {
    let (lines, metrics) = logged(0.0, |recorder| {
        recorder.record(&record(Verdict::Deny), None);
        let little = Record {
            detail: None,
            api: None,
            operation: None,
            caller: CallerRecord::default(),
            request: None,
            ..record(Verdict::Fail)
        };
        recorder.record(&little, None);
    })
    .await;
    let id = lines[0]["decision.id"].as_str().unwrap();
    assert_eq!(id.len(), 36);
    assert_eq!(
        lines[0],
        json!({
            "time": "1970-01-01T00:00:00Z", "decision.id": id, "decision": "deny",
            "reason": "scope_insufficient", "detail": "needs `orders.write`",
            "api.id": "default/orders", "operation": "/orders/{id}",
            "application.id": "default/shop", "principal.subject": "ann",
            "source.spiffe_id": "spiffe://td/ns/a/sa/b",
            "principal.authenticator": "partners", "plan": "default/gold",
            "method": "POST", "host": "api.example", "path": "/orders/1\u{7f}\n", "http.id": "77",
            "listener": "inbound", "duration_ms": 1.234, "shadow": true,
        })
    );
    assert_eq!(lines[1].as_object().unwrap().len(), 7);
    assert_eq!(lines.len(), 2);
    assert!(metrics.contains("portcullis_decision_log_written_total 2"));
}

#[tokio::test]
async fn allows_are_sampled_and_all_of_them_are_counted() {
    let allows = |recorder: &Recorder| {
        for _ in 0..400 {
            recorder.record(&record(Verdict::Allow), None);
        }
    };
    let (none, metrics) = logged(0.0, allows).await;
    assert!(none.is_empty());
    assert!(metrics.contains(r#"decision="allow",reason="scope_insufficient"} 400"#));
    let (some, _) = logged(0.5, allows).await;
    assert!((100..300).contains(&some.len()), "{}", some.len());
    assert_eq!(logged(1.0, allows).await.0.len(), 400);
}

#[tokio::test]
async fn what_does_not_fit_into_the_queue_is_dropped_and_counted() {
    let (config, _folder) = config(1.0, 2);
    let metrics = metrics();
    let (recorder, log) = Recorder::build(&config, metrics.clone(), Clock::at(0)).unwrap();
    for _ in 0..5 {
        recorder.record(&record(Verdict::Deny), None);
    }
    let text = metrics.render().unwrap();
    assert!(text.contains("portcullis_usage_dropped_total 3"), "{text}");
    drop(log);
    recorder.flush(Duration::from_secs(5)).await;
}

/// An output whose reader is gone.
struct Broken;

impl AsyncWrite for Broken {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[tokio::test]
async fn what_cannot_be_written_is_counted_and_does_not_end_the_log() {
    let (config, _folder) = config(1.0, 100);
    let metrics = metrics();
    let (recorder, mut log) = Recorder::build(&config, metrics.clone(), Clock::at(0)).unwrap();
    log.output = Box::new(Broken);
    let tasks = Tasks::new();
    tasks.streaming("decision_log", log.run()).keep();
    for _ in 0..2 {
        recorder.record(&record(Verdict::Deny), None);
        recorder.flush(Duration::from_secs(5)).await;
    }
    let text = metrics.render().unwrap();
    assert!(text.contains("portcullis_usage_dropped_total 2"), "{text}");
    assert!(text.contains("portcullis_decision_log_written_total 0"));
}

#[tokio::test(start_paused = true)]
async fn a_flush_does_not_wait_for_ever() {
    let (config, _folder) = config(1.0, 1);
    let (recorder, _log) = Recorder::build(&config, metrics(), Clock::at(0)).unwrap();
    recorder.record(&record(Verdict::Deny), None);
    recorder.flush(Duration::from_secs(5)).await;
}

#[test]
fn a_share_or_queue_out_of_range_is_found() {
    let config: DecisionLogConfig =
        serde_json::from_str(r#"{"output":{"file":"/x"},"allows":1.5,"queue":0}"#).unwrap();
    let mut findings = Findings::new();
    config.check(&mut findings);
    assert_eq!(findings.count(), 2);
    assert!(serde_json::from_str::<DecisionLogConfig>(r#"{"output":"syslog"}"#).is_err());
    let mut findings = Findings::new();
    DecisionLogConfig::default().check(&mut findings);
    assert_eq!(findings.count(), 0);
}

#[test]
fn the_documented_line_has_the_fields_of_a_line() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/OPERATIONS.md");
    let page = std::fs::read_to_string(page).unwrap();
    let documented = page.lines().find(|line| line.starts_with(r#"{"time":"#));
    let documented: Value = serde_json::from_str(documented.unwrap()).unwrap();
    let line = record(Verdict::Deny).to_owned();
    let mut written = Vec::new();
    write_line(&mut written, Timestamp::UNIX_EPOCH, &line);
    let line: Value = serde_json::from_slice(&written).unwrap();
    let names =
        |value: &Value| -> Vec<String> { value.as_object().unwrap().keys().cloned().collect() };
    assert_eq!(names(&documented), names(&line));
}
