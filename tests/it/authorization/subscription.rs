//! Applications and their subscriptions.

use serde_json::{Value, json};

use crate::gate::{Gate, allowed, get_order, metadata, refused};
use crate::support::check::{CheckBuilder, headers};

#[tokio::test]
async fn an_unregistered_client_is_application_unknown() {
    let gate = Gate::start();
    refused(
        &gate
            .ask_with(&gate.token().client_id("nobody").sign())
            .await,
        "application_unknown",
    );
    refused(
        &gate.ask_with(&gate.token().without("azp").sign()).await,
        "application_unknown",
    );
}

#[tokio::test]
async fn a_suspended_application_is_application_suspended() {
    let gate = Gate::start();
    let response = gate
        .ask_with(&gate.token().client_id("suspended").sign())
        .await;
    refused(&response, "application_suspended");
    assert_eq!(
        metadata(&response, "application").as_deref(),
        Some("default/suspended")
    );
    let optional = CheckBuilder::new("GET", "optional.example", "/");
    refused(
        &gate
            .ask(optional.bearer(&gate.token().client_id("suspended").sign()))
            .await,
        "application_suspended",
    );
}

#[tokio::test]
async fn an_application_without_subscription_is_subscription_missing() {
    let gate = Gate::start();
    refused(
        &gate
            .ask_with(&gate.token().client_id("stranger").sign())
            .await,
        "subscription_missing",
    );
}

#[tokio::test]
async fn a_subscription_that_does_not_count_is_subscription_inactive() {
    let gate = Gate::start();
    for client in ["onhold", "blocked", "over"] {
        refused(
            &gate.ask_with(&gate.token().client_id(client).sign()).await,
            "subscription_inactive",
        );
    }
}

#[tokio::test]
async fn an_optional_subscription_is_not_needed() {
    let gate = Gate::start();
    let optional = || CheckBuilder::new("GET", "optional.example", "/");
    allowed(
        &gate
            .ask(optional().bearer(&gate.token().client_id("stranger").sign()))
            .await,
    );
    allowed(
        &gate
            .ask(optional().bearer(&gate.token().client_id("nobody").sign()))
            .await,
    );
    refused(&gate.ask(optional()).await, "credential_missing");
}

fn with_source(source: &str) -> Gate {
    let bronze = "kind: Plan\nmetadata: { name: bronze }\nspec: {}\n";
    Gate::with(|builder, _| {
        let path = ["authenticators", "partners", "subscriptions"];
        builder
            .set(&path, json!(source))
            .catalog("bronze.yaml", bronze)
    })
}

fn claimed(name: &str, version: &str) -> Value {
    json!([
        { "name": "otherAPI", "context": "/other", "version": "1.0.0", "publisher": "admin", "subscriptionTier": "Gold", "subscriberTenantDomain": "carbon.super" },
        { "name": name, "context": "/x", "version": version, "publisher": "admin", "subscriptionTier": "Bronze", "subscriberTenantDomain": "carbon.super" },
    ])
}

#[tokio::test]
async fn a_token_can_name_its_subscriptions_and_its_application() {
    let gate = with_source("token");
    let token = gate
        .token()
        .client_id("only-in-the-token")
        .claim("subscribedAPIs", claimed("ORDERSapi", "1.0.0"))
        .claim(
            "application",
            json!({ "id": 2, "name": "App1", "tier": "Unlimited", "owner": "admin" }),
        );
    let response = gate.ask_with(&token.sign()).await;
    let set = headers(&allowed(&response).headers);
    assert_eq!(
        (set["x-application"].as_str(), set["x-plan"].as_str()),
        ("App1", "Bronze")
    );
}

#[tokio::test]
async fn a_token_that_names_another_version_or_nothing_is_refused() {
    let gate = with_source("token");
    for claim in [
        claimed("ordersAPI", "1.0.1"),
        claimed("orders", "1.0.0"),
        json!([]),
    ] {
        let response = gate
            .ask_with(&gate.token().claim("subscribedAPIs", claim).sign())
            .await;
        refused(&response, "subscription_missing");
    }
    refused(
        &gate.ask_with(&gate.token().sign()).await,
        "subscription_missing",
    );
}

#[tokio::test]
async fn a_block_or_hold_in_the_catalog_wins_over_the_token() {
    for source in ["token", "tokenThenCatalog"] {
        let gate = with_source(source);
        for client in ["onhold", "blocked", "over"] {
            let token = gate
                .token()
                .client_id(client)
                .claim("subscribedAPIs", claimed("ordersAPI", "1.0.0"));
            refused(&gate.ask_with(&token.sign()).await, "subscription_inactive");
        }
        let token = gate
            .token()
            .client_id("suspended")
            .claim("subscribedAPIs", claimed("ordersAPI", "1.0.0"));
        refused(&gate.ask_with(&token.sign()).await, "application_suspended");
    }
}

#[tokio::test]
async fn the_catalog_answers_where_the_token_has_no_claim() {
    let gate = with_source("tokenThenCatalog");
    allowed(&gate.ask_with(&gate.token().sign()).await);
    let response = gate
        .ask_with(
            &gate
                .token()
                .claim("subscribedAPIs", claimed("ordersAPI", "1.0.0"))
                .sign(),
        )
        .await;
    assert_eq!(headers(&allowed(&response).headers)["x-plan"], "Bronze");
}

#[tokio::test]
async fn the_claim_is_nothing_where_only_the_catalog_counts() {
    let gate = Gate::start();
    let token = gate
        .token()
        .client_id("stranger")
        .claim("subscribedAPIs", claimed("ordersAPI", "1.0.0"))
        .sign();
    refused(
        &gate.ask(get_order().bearer(&token)).await,
        "subscription_missing",
    );
}
