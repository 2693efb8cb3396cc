//! Key sets of an issuer that rotates, stalls, fails and lies.

use serde_json::json;

use crate::gate::{Gate, allowed, refused};
use crate::support::issuer::Issuer;
use crate::support::portcullis::PortcullisBuilder;
use crate::support::signing::SigningKeys;

#[tokio::test]
async fn a_rotated_key_is_found_by_one_fetch() {
    let gate = Gate::with(|builder, _| {
        builder.set(
            &["authenticators", "partners", "unknownKeyCooldown"],
            json!("1s"),
        )
    });
    allowed(&gate.ask_with(&gate.token().sign()).await);
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    let old = gate.token().sign();
    gate.issuer.rotate();
    let before = gate.issuer.key_set_fetches();
    allowed(&gate.ask_with(&gate.token().sign()).await);
    assert_eq!(gate.issuer.key_set_fetches(), before + 1);
    refused(&gate.ask_with(&old).await, "key_unknown");
}

#[tokio::test]
async fn a_flood_of_unknown_keys_is_key_unknown_and_costs_one_fetch_at_most() {
    let gate = Gate::start();
    let before = gate.issuer.key_set_fetches();
    for number in 0..200 {
        let token = gate
            .token()
            .header("kid", format!("unknown-{number}"))
            .sign();
        refused(&gate.ask_with(&token).await, "key_unknown");
    }
    assert!(
        gate.issuer.key_set_fetches() <= before + 1,
        "{} fetches",
        gate.issuer.key_set_fetches() - before
    );
}

#[tokio::test]
async fn a_known_key_is_never_fetched_whatever_its_signature_is_worth() {
    let gate = Gate::start();
    let before = gate.issuer.key_set_fetches();
    let forged = gate.token().keys(&SigningKeys::generate(0)).header(
        "kid",
        gate.issuer
            .keys()
            .key_id(crate::support::signing::Algorithm::Rs256),
    );
    for _ in 0..20 {
        refused(&gate.ask_with(&forged.sign()).await, "signature_invalid");
    }
    assert_eq!(gate.issuer.key_set_fetches(), before);
}

#[tokio::test]
async fn an_outage_is_survived_on_the_last_good_set() {
    let gate = Gate::start();
    gate.issuer.fail(500);
    allowed(&gate.ask_with(&gate.token().sign()).await);
    let unknown = gate.token().header("kid", "unknown").sign();
    refused(&gate.ask_with(&unknown).await, "dependency_unavailable");
    allowed(&gate.ask_with(&gate.token().sign()).await);
}

#[tokio::test]
async fn an_unreachable_issuer_is_dependency_unavailable_and_never_the_callers_fault() {
    let issuer = Issuer::start();
    issuer.fail(503);
    let gate =
        Gate::with(|builder, _| builder.authenticator("partners", issuer.authenticator("orders")));
    let token = issuer.token().audience("orders").client_id("shop").sign();
    let answer = gate.ask_with(&token).await;
    let denied = refused(&answer, "dependency_unavailable");
    assert!(
        !format!("{denied:?}").contains("127.0.0.1"),
        "an address in the answer: {denied:?}"
    );
    issuer.recover();
    let start = std::time::Instant::now();
    while start.elapsed() < crate::support::PATIENCE {
        let answer = gate.ask_with(&token).await;
        // `shop` is a client of the gate's own issuer alone, so a token that holds ends here
        if crate::gate::metadata(&answer, "reason").as_deref() == Some("application_unknown") {
            return;
        }
        refused(&answer, "dependency_unavailable");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("the issuer is back and its tokens are not taken");
}

#[tokio::test]
async fn a_lying_or_spoiled_issuer_is_dependency_unavailable() {
    let lying = Issuer::start();
    lying.lie();
    let spoiled = Issuer::start();
    spoiled.serve_key_set("<html>");
    for issuer in [lying, spoiled] {
        let gate = Gate::with(|builder, _| {
            builder.authenticator("partners", issuer.authenticator("orders"))
        });
        let token = issuer.token().audience("orders").client_id("shop").sign();
        refused(&gate.ask_with(&token).await, "dependency_unavailable");
    }
}

#[tokio::test]
async fn one_unusable_key_does_not_spoil_the_set() {
    let issuer = Issuer::start();
    issuer.add_unusable_key();
    let gate =
        Gate::with(|builder, _| builder.authenticator("partners", issuer.authenticator("orders")));
    let token = issuer.token().audience("orders").client_id("shop").sign();
    refused(&gate.ask_with(&token).await, "application_unknown");
}

#[tokio::test]
async fn a_stalling_issuer_ends_in_time_and_not_ready_is_said_until_it_was_tried() {
    let issuer = Issuer::start();
    issuer.stall();
    let builder = PortcullisBuilder::new()
        .authenticator("partners", issuer.authenticator("orders"))
        .authenticator("keys", json!({ "type": "apiKey", "credentials": [{ "header": "x-api-key" }] }))
        .authenticator("apps", json!({ "type": "appId", "id": [{ "header": "app-id" }], "key": [{ "header": "app-key" }] }))
        .catalog("apis.yaml", crate::gate::APIS);
    let mut server = builder.without_waiting().start();
    let answer = server.observe("/readyz");
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert!(
        answer.text().contains("keys"),
        "the reason is told: {}",
        answer.text()
    );
    assert_eq!(server.observe("/livez").status, 200);
    let client = crate::support::check::CheckClient::new(server.check_address());
    let token = issuer.token().audience("orders").client_id("shop").sign();
    let answer = client.check(crate::gate::get_order().bearer(&token)).await;
    let reason = crate::gate::metadata(&answer, "reason").unwrap();
    assert!(
        ["timeout", "dependency_unavailable"].contains(&reason.as_str()),
        "{reason}"
    );
    server.wait_until_ready();
}
