//! Faults of ours: each is an answer in a successful RPC, and none is an allow.

use std::time::Duration;

use serde_json::{Value, json};

use crate::gate::{Gate, SHOP_KEY, get_order, metadata, refused};
use crate::support::check::{CheckClient, header};
use crate::support::eventually;
use crate::support::issuer::Issuer;

/// A gate whose issuer stalls once it is ready, and a token that makes a check wait for it.
fn stalled(checks: Value) -> (Gate, Issuer, String) {
    let issuer = Issuer::start();
    let gate = Gate::with(|builder, _| {
        builder
            .authenticator("partners", issuer.authenticator("orders"))
            .set(&["checks"], checks)
    });
    issuer.stall();
    let token = issuer.token().header("kid", "unknown");
    let token = token.audience("orders").client_id("shop").sign();
    (gate, issuer, token)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_many_checks_that_wait_are_overloaded_and_others_are_not() {
    // the one place is held by a check that waits for a key set that does not come
    let (gate, _issuer, token) = stalled(json!({ "maxConcurrent": 1, "deadline": "2s" }));
    let waiting = {
        let (client, token) = (gate.client.clone(), token.clone());
        tokio::spawn(async move { client.check(get_order().bearer(&token)).await })
    };
    eventually("the one place to be held", || {
        let metrics = gate.server.metrics();
        metrics
            .contains("portcullis_checks_in_flight 1")
            .then_some(())
    });
    let answer = gate.ask_with(&token).await;
    let denied = refused(&answer, "overloaded");
    assert_eq!(header(&denied.headers, "retry-after").as_deref(), Some("1"));
    // one that is decided at once takes no place; now and then its message comes after its headers
    let start = std::time::Instant::now();
    loop {
        let answer = gate.ask(get_order().header("x-api-key", SHOP_KEY)).await;
        if metadata(&answer, "reason").as_deref() == Some("permitted") {
            break;
        }
        refused(&answer, "overloaded");
        assert!(start.elapsed() < Duration::from_secs(1), "never a place");
    }
    assert!(!waiting.is_finished(), "the place was held all the time");
    let answer = waiting.await.unwrap();
    assert_ne!(answer.status.as_ref().unwrap().code, 0);
    // and the place is free again
    let answer = gate.ask_with(&token).await;
    assert_ne!(metadata(&answer, "reason").as_deref(), Some("overloaded"));
}

#[tokio::test]
async fn a_check_that_takes_too_long_is_timeout() {
    let (gate, _issuer, token) = stalled(json!({ "deadline": "100ms" }));
    let start = std::time::Instant::now();
    refused(&gate.ask_with(&token).await, "timeout");
    assert!(start.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn a_grpc_caller_gets_a_grpc_status() {
    let gate = Gate::start();
    let response = gate
        .ask(get_order().header("content-type", "application/grpc+proto"))
        .await;
    let Some(
        envoy_types::pb::envoy::service::auth::v3::check_response::HttpResponse::DeniedResponse(
            denied,
        ),
    ) = &response.http_response
    else {
        panic!("{response:?}")
    };
    assert_eq!(
        header(&denied.headers, "grpc-status").as_deref(),
        Some("16")
    );
    assert_eq!(
        header(&denied.headers, "grpc-message").as_deref(),
        Some("A credential is needed")
    );
    assert!(denied.body.is_empty());
}

#[tokio::test]
async fn other_methods_and_services_are_not_implemented() {
    let gate = Gate::start();
    for path in [
        "/envoy.service.auth.v3.Authorization/Other",
        "/envoy.service.auth.v2.Authorization/Check",
        "/other.Service/Check",
    ] {
        let error = gate.client.call(path, Vec::new()).await.unwrap_err();
        assert_eq!(error.code(), tonic::Code::Unimplemented, "{path}");
    }
}

#[tokio::test]
async fn the_callers_own_deadline_is_kept() {
    let (gate, _issuer, token) = stalled(json!({ "deadline": "10s" }));
    let client = CheckClient::new(gate.server.check_address());
    let answer = client
        .check_within(get_order().bearer(&token), Duration::from_secs(2))
        .await;
    refused(&answer, "timeout");
}
