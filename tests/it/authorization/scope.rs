//! Scopes of operations.

use serde_json::json;

use crate::gate::{Gate, allowed, post_order, refused};
use crate::support::check::{CheckBuilder, header};

fn delete_order() -> CheckBuilder {
    CheckBuilder::new("DELETE", "api.example", "/orders/7")
}

#[tokio::test]
async fn one_of_the_scopes_is_enough_where_any_is_asked_for() {
    let gate = Gate::start();
    for scope in ["orders.write", "x orders.admin y"] {
        allowed(
            &gate
                .ask(post_order().bearer(&gate.token().scope(scope).sign()))
                .await,
        );
    }
}

#[tokio::test]
async fn every_scope_is_needed_where_all_are_asked_for() {
    let gate = Gate::start();
    allowed(
        &gate
            .ask(delete_order().bearer(&gate.token().scope("orders.admin orders.write").sign()))
            .await,
    );
    refused(
        &gate
            .ask(delete_order().bearer(&gate.token().scope("orders.admin").sign()))
            .await,
        "scope_insufficient",
    );
}

#[tokio::test]
async fn a_missing_scope_is_scope_insufficient_and_the_challenge_names_it() {
    let gate = Gate::start();
    let response = gate
        .ask(post_order().bearer(&gate.token().scope("orders.read").sign()))
        .await;
    let challenge = header(
        &refused(&response, "scope_insufficient").headers,
        "www-authenticate",
    )
    .unwrap();
    assert!(
        challenge.contains("error=\"insufficient_scope\""),
        "{challenge}"
    );
    assert!(
        challenge.contains("scope=\"orders.write orders.admin\""),
        "{challenge}"
    );
}

#[tokio::test]
async fn scopes_are_compared_whole_and_exactly() {
    let gate = Gate::start();
    for scope in [
        "orders.writer",
        "orders",
        "Orders.Write",
        "orders_write",
        "",
        "xorders.write",
    ] {
        let token = gate.token().scope(scope).sign();
        refused(
            &gate.ask(post_order().bearer(&token)).await,
            "scope_insufficient",
        );
    }
    let without = gate.token().without("scope").sign();
    refused(
        &gate.ask(post_order().bearer(&without)).await,
        "scope_insufficient",
    );
}

#[tokio::test]
async fn scopes_can_be_a_list_in_scp() {
    let gate = Gate::start();
    let token = gate
        .token()
        .without("scope")
        .claim("scp", json!(["orders.read", "orders.write"]))
        .sign();
    allowed(&gate.ask(post_order().bearer(&token)).await);
}
