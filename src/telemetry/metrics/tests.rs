//! Tests of the metrics.

use super::declaration::ALL;
use super::*;
use crate::authorization::quota::testing::limit;
use crate::catalog::model::limit::Window;
use crate::upstream::token_cache::TokenCache;
use crate::usage::{CallerRecord, DecisionId};

fn record(
    api: Option<&'static str>,
    verdict: Verdict,
    reason: &'static str,
) -> Record<&'static str> {
    Record {
        decision_id: DecisionId::new(Timestamp::UNIX_EPOCH),
        listener: "inbound",
        verdict,
        reason,
        detail: None,
        api,
        operation: None,
        caller: CallerRecord::default(),
        limit: None,
        token: None,
        shadow: false,
        request: None,
        duration: Duration::from_micros(300),
    }
}

fn metrics() -> Metrics {
    Metrics::new(Timestamp::from_second(1_700_000_000).unwrap())
}

/// One task that failed so far, and one that has not ended a run.
fn tasks() -> Tasks {
    let tasks = Tasks::new();
    tasks.streaming("failed", std::future::pending()).keep();
    tasks.streaming("runs", std::future::pending()).keep();
    tasks.record("failed", Err(anyhow::anyhow!("no")));
    tasks
}

/// Metrics with a value in every family.
fn filled() -> Metrics {
    let metrics = metrics();
    let name: Arc<str> = "n".into();
    let permits = PermitCounter::default();
    let allow = record(Some("default/pets"), Verdict::Allow, "permitted");
    metrics.check_done(&allow, Some(&permits));
    metrics.check_done(&allow, Some(&permits));
    metrics.check_done(&record(None, Verdict::Deny, "api_not_found"), None);
    metrics.connections(&name).inc();
    metrics.connection_refused(&name, Refusal::MaxConnections);
    metrics.handshake_done(&name, Handshake::Completed);
    metrics.peers_refused(&name, "not_listed").inc();
    metrics.set_catalog_age(&name, Duration::from_secs(5));
    metrics.set_catalog_refused(&name, true);
    metrics.catalog_reloaded(&name, ReloadResult::Published);
    metrics.set_catalog_revision("abc");
    metrics.set_key_sets([(&name, Some(Duration::from_secs(7)), 2)]);
    metrics.provider_tokens(&name, "hit").inc();
    metrics.provider_fetched(&name, "given");
    metrics.provider_refused(&name, "invalid_client");
    metrics.set_providers([(&name, false)]);
    metrics.set_provider_cache(&TokenCache::new(1024));
    metrics.quota_exceeded(&limit(1, Window::Day), true);
    metrics.set_quota_counters(1, 0);
    metrics.redis_requests("quota", "answered").inc();
    let _durations = metrics.redis_durations("quota");
    metrics.set_redis_connected("quota", 2);
    metrics.follow_tasks(tasks());
    metrics.set_svid_expiry(None);
    metrics.svid_updated();
    metrics.set_workload_api_connected("t", true);
    metrics.set_trust_bundles("t", 1);
    metrics.set_revocations([("token", 1)]);
    metrics.set_revocation_age(&name, Duration::from_secs(3));
    metrics
}

#[tokio::test]
async fn checks_are_counted_with_every_label_present() {
    let text = filled().render().unwrap();
    for line in [
        r#"portcullis_checks_total{api="default/pets",decision="allow",reason="permitted"} 2"#,
        r#"portcullis_checks_total{api="",decision="deny",reason="api_not_found"} 1"#,
        r#"portcullis_check_duration_seconds_bucket{le="0.0005",decision="deny"} 1"#,
        r#"portcullis_check_duration_seconds_count{decision="fail"} 0"#,
        r#"portcullis_connections{listener="n"} 1"#,
        r#"portcullis_connections_refused_total{listener="n",reason="max_connections"} 1"#,
        r#"portcullis_connections_refused_total{listener="n",reason="accept_failed"} 0"#,
        r#"portcullis_catalog_reloads_total{source="n",result="published"} 1"#,
        r#"portcullis_catalog_reloads_total{source="n",result="refused"} 0"#,
        r#"portcullis_catalog_refused{source="n"} 1"#,
        r#"portcullis_key_set_keys{issuer="n"} 2"#,
        r#"portcullis_task_last_success_timestamp_seconds{task="failed"} 0.0"#,
        "portcullis_usage_dropped_total 0",
        "process_start_time_seconds 1700000000.0",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    assert!(text.ends_with("# EOF\n") && !text.contains(r#"task="runs""#));
}

#[tokio::test]
async fn each_metric_is_told_as_declared() {
    let text = filled().render().unwrap();
    for declared in ALL {
        let name = declared.name;
        let family = name.strip_suffix("_total").unwrap_or(name);
        assert!(
            text.contains(&format!("# HELP {family} {}", declared.help)),
            "{name}"
        );
        assert!(
            text.contains(&format!("# TYPE {family} {}\n", declared.kind)),
            "{name}"
        );
        let told = text
            .lines()
            .find(|line| line.starts_with(name))
            .unwrap_or_else(|| panic!("{name} has no value"));
        for label in declared.labels {
            assert!(
                told.contains(&format!("{label}=\"")),
                "{told} lacks {label}"
            );
        }
        assert_eq!(told.contains('{'), !declared.labels.is_empty(), "{told}");
    }
    let types = text.lines().filter(|line| line.starts_with("# TYPE"));
    assert_eq!(types.count(), ALL.len(), "a metric is not declared");
}

#[tokio::test]
async fn what_is_gone_is_told_no_longer() {
    let metrics = filled();
    metrics.set_catalog_revision("def");
    metrics.set_key_sets([]);
    let text = metrics.render().unwrap();
    assert!(text.contains(r#"revision="def""#) && !text.contains(r#"revision="abc""#));
    assert!(!text.contains("issuer="));
}

#[test]
fn samplers_run_before_each_scrape() {
    let metrics = metrics();
    metrics.before_each_scrape(|metrics| metrics.set_checks_in_flight(3));
    let text = metrics.render().unwrap();
    assert!(text.contains("portcullis_checks_in_flight 3"));
}
