//! An Api in shadow mode: decided, logged and counted, and allowed.

use crate::gate::{Gate, allowed, metadata};
use crate::support::check::{CheckBuilder, assert_allowed};
use crate::support::eventually;

#[tokio::test]
async fn a_refusal_is_recorded_and_the_request_passes_stripped() {
    let gate = Gate::start();
    let response = gate
        .ask(CheckBuilder::new("GET", "watched.example", "/").header("x_user", "mallory"))
        .await;
    let ok = assert_allowed(&response);
    assert!(
        ok.headers.is_empty() && ok.headers_to_remove.contains(&"x_user".to_owned()),
        "{ok:?}"
    );
    assert_eq!(metadata(&response, "decision").as_deref(), Some("deny"));
    assert_eq!(
        metadata(&response, "reason").as_deref(),
        Some("credential_missing")
    );
    assert_eq!(
        metadata(&response, "enforcement").as_deref(),
        Some("shadow")
    );
    let decision_id = metadata(&response, "decision_id").unwrap();
    let line = eventually("the decision to be logged", || {
        gate.server
            .stdout()
            .lines()
            .find(|line| line.contains(&decision_id))
            .map(str::to_owned)
    });
    assert!(
        line.contains("credential_missing") && line.contains("shadow"),
        "{line}"
    );
    let metrics = gate.server.metrics();
    let counted = metrics.lines().find(|line| {
        line.starts_with("portcullis_checks_total") && line.contains("credential_missing")
    });
    assert!(
        counted.is_some_and(|line| line.contains("default/watched") && line.ends_with(" 1")),
        "{counted:?}"
    );
}

#[tokio::test]
async fn a_request_that_would_be_allowed_is_allowed_as_ever() {
    let gate = Gate::with(|builder, issuer| {
        let subscribed = crate::gate::applications(issuer.url()).replace(
            "subscriptions: [{ api: orders, plan: gold }]",
            "subscriptions: [{ api: orders, plan: gold }, { api: watched }]",
        );
        builder.catalog("applications.yaml", &subscribed)
    });
    let token = gate.token().sign();
    let check = CheckBuilder::new("GET", "watched.example", "/").bearer(&token);
    let response = gate.ask(check).await;
    assert!(
        allowed(&response)
            .headers_to_remove
            .contains(&"authorization".to_owned())
    );
    assert_eq!(metadata(&response, "reason").as_deref(), Some("permitted"));
}

#[tokio::test]
async fn an_operation_that_the_api_does_not_have_passes_too() {
    let gate = Gate::with(|builder, _| {
        let api = crate::gate::APIS.replace("  enforcement: shadow\n  authenticators: [partners]\n  unmatchedOperation: allow", "  enforcement: shadow\n  authenticators: [partners]\n  operations: [{ methods: [GET], path: /one }]");
        builder.catalog("apis.yaml", &api)
    });
    let response = gate
        .ask(CheckBuilder::new("GET", "watched.example", "/two"))
        .await;
    assert_allowed(&response);
    assert_eq!(
        metadata(&response, "reason").as_deref(),
        Some("operation_not_found")
    );
}
