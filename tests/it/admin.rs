//! The admin and observe ports.

use serde_json::json;

use crate::gate::{Gate, SHOP_KEY, get_order};
use crate::support::http;

#[tokio::test]
async fn the_catalog_is_shown_without_secrets() {
    let gate = Gate::start();
    let summary = gate.server.admin("/v1/catalog").json();
    assert_eq!(summary["counts"]["apis"], 4);
    assert_eq!(summary["counts"]["applications"], 7);
    assert!(
        summary["revision"]
            .as_str()
            .is_some_and(|revision| revision.len() == 64),
        "{summary}"
    );
    let api = gate.server.admin("/v1/apis/default/orders").json();
    assert_eq!(
        (&api["title"], &api["version"]),
        (&json!("ordersAPI"), &json!("1.0.0"))
    );
    let application = gate.server.admin("/v1/applications/default/shop").text();
    assert!(
        application.contains("default/orders") && application.contains("default/gold"),
        "{application}"
    );
    assert!(
        !application.contains(&crate::support::signing::key_digest(SHOP_KEY)[10..]),
        "{application}"
    );
    let plans = gate.server.admin("/v1/plans").text();
    assert!(plans.contains("10000"), "{plans}");
    assert_eq!(gate.server.admin("/v1/apis/default/nowhere").status, 404);
    assert_eq!(gate.server.admin("/v1/nowhere").status, 404);
}

#[tokio::test]
async fn key_sets_and_tasks_are_shown() {
    let gate = Gate::start();
    let key_sets = gate.server.admin("/v1/key-sets").text();
    assert!(key_sets.contains(gate.issuer.url()), "{key_sets}");
    let tasks = gate.server.admin("/v1/tasks").text();
    for task in ["catalog", "key", "decision"] {
        assert!(tasks.contains(task), "{task} is not in {tasks}");
    }
}

#[tokio::test]
async fn a_page_in_a_browser_cannot_reach_the_admin_port_by_another_name() {
    let gate = Gate::start();
    let answer = http::get(
        gate.server.address("admin"),
        "evil.example",
        "/v1/catalog",
        &[],
    );
    assert_eq!(answer.status, 403, "{}", answer.text());
}

#[tokio::test]
async fn a_token_is_asked_for_where_one_is_configured() {
    let gate = Gate::with(|builder, _| {
        builder.file("admin-token", "hunter2-hunter2-hunter2").set(
            &["listeners", "admin", "token"],
            json!({ "file": "admin-token" }),
        )
    });
    let get = |headers: &[(&str, &str)]| {
        http::get(
            gate.server.address("admin"),
            "localhost",
            "/v1/catalog",
            headers,
        )
        .status
    };
    assert_eq!(get(&[]), 401);
    assert_eq!(get(&[("authorization", "Bearer wrong")]), 401);
    assert_eq!(
        get(&[("authorization", "Bearer hunter2-hunter2-hunter2")]),
        200
    );
}

#[tokio::test]
async fn metrics_count_decisions_by_closed_labels() {
    let gate = Gate::start();
    gate.ask(get_order().header("x-api-key", SHOP_KEY)).await;
    for number in 0..20 {
        gate.ask(get_order().header("x-api-key", format!("random-{number}")))
            .await;
    }
    let metrics = gate.server.metrics();
    let checks: Vec<&str> = metrics
        .lines()
        .filter(|line| line.starts_with("portcullis_checks_total{"))
        .collect();
    assert_eq!(checks.len(), 2, "{checks:?}");
    assert!(
        checks.iter().any(|line| line.contains("decision=\"deny\"")
            && line.contains("credential_invalid")
            && line.ends_with(" 20")),
        "{checks:?}"
    );
    assert!(!metrics.contains("random-"), "{metrics}");
}

#[tokio::test]
async fn the_health_service_says_what_readyz_says() {
    let gate = Gate::start();
    // grpc.health.v1.HealthCheckRequest without a service, and HealthCheckResponse with status 1
    let answer = gate
        .client
        .call("/grpc.health.v1.Health/Check", Vec::new())
        .await
        .unwrap();
    assert_eq!(answer.get_ref().as_ref(), [8, 1]);
    assert_eq!(gate.server.observe("/readyz").status, 200);
    let service = b"envoy.service.auth.v3.Authorization";
    let request = [&[0x0a, u8::try_from(service.len()).unwrap()], &service[..]].concat();
    let answer = gate
        .client
        .call("/grpc.health.v1.Health/Check", request)
        .await
        .unwrap();
    assert_eq!(answer.get_ref().as_ref(), [8, 1]);
}
