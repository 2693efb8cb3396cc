//! The augment stage.

use serde_json::json;

use crate::gate::{Gate, allowed, get_order, refused};
use crate::support::check::{CheckBuilder, headers};

#[tokio::test]
async fn identity_headers_of_the_client_are_gone_in_every_spelling() {
    let gate = Gate::start();
    let token = gate.token().sign();
    let mut check = get_order().bearer(&token);
    let spoofed = [
        "x-user",
        "x_user",
        "x-client_id",
        "x_client-id",
        "x-tenant",
        "x_tenant",
        "x-open-user",
        "x_open_user",
        "x-debug",
        "x_debug",
    ];
    for name in spoofed {
        check = check.header(name, "mallory");
    }
    let response = gate.ask(check).await;
    let ok = allowed(&response);
    let set = headers(&ok.headers);
    assert_eq!(set["x-user"], "alice");
    for name in spoofed {
        let overwritten = set.get(name).is_some_and(|value| value != "mallory");
        let removed = ok.headers_to_remove.iter().any(|removed| removed == name);
        assert!(
            overwritten != removed,
            "{name}: overwritten {overwritten}, removed {removed}"
        );
    }
}

#[tokio::test]
async fn a_missing_value_leaves_the_header_out_and_still_strips_it() {
    let gate = Gate::start();
    let response = gate.ask_with(&gate.token().sign()).await;
    let ok = allowed(&response);
    assert!(!headers(&ok.headers).contains_key("x-tenant"));
    assert!(ok.headers_to_remove.contains(&"x-tenant".to_owned()));
}

#[tokio::test]
async fn every_header_overwrites() {
    use envoy_types::pb::envoy::config::core::v3::header_value_option::HeaderAppendAction;
    let gate = Gate::start();
    let response = gate.ask_with(&gate.token().sign()).await;
    let ok = allowed(&response);
    for mutation in ok.headers.iter().chain(&ok.response_headers_to_add) {
        assert_eq!(
            mutation.append_action,
            HeaderAppendAction::OverwriteIfExistsOrAdd as i32,
            "{mutation:?}"
        );
        #[expect(deprecated, reason = "that it stays unset is what is tested")]
        let append = mutation.append.as_ref();
        assert!(append.is_none(), "{mutation:?}");
    }
}

#[tokio::test]
async fn a_claim_that_cannot_stand_in_a_header_is_credential_invalid() {
    let gate = Gate::start();
    for id in [
        json!("a\r\nx-user: mallory"),
        json!("a\nb"),
        json!("a\u{0}b"),
        json!(["a"]),
        json!({ "a": 1 }),
        json!("x".repeat(5000)),
    ] {
        let token = gate.token().claim("tenant", json!({ "id": id })).sign();
        let response = gate.ask_with(&token).await;
        if id.as_str().is_some_and(|id| id.len() == 5000) {
            continue;
        }
        refused(&response, "credential_invalid");
    }
    let subject = gate.token().subject("a\r\nb").sign();
    refused(&gate.ask_with(&subject).await, "credential_invalid");
    let accented = gate.token().subject("José").sign();
    assert_eq!(
        headers(&allowed(&gate.ask_with(&accented).await).headers)["x-user"],
        "José"
    );
}

#[tokio::test]
async fn the_credential_can_be_kept() {
    let gate = Gate::with(|builder, _| {
        builder.catalog(
            "kept.yaml",
            "apiVersion: portcullis.dev/v1alpha1\nkind: Api\nmetadata: { name: kept }\nspec:\n  title: kept\n  version: 1.0.0\n  hosts: [kept.example]\n  basePath: /\n  authenticators: [partners]\n  subscription: none\n  unmatchedOperation: allow\n  upstream: { keepCredential: true }\n",
        )
    });
    let response = gate
        .ask(CheckBuilder::new("GET", "kept.example", "/").bearer(&gate.token().sign()))
        .await;
    assert!(
        !allowed(&response)
            .headers_to_remove
            .contains(&"authorization".to_owned())
    );
}

#[tokio::test]
async fn nothing_is_both_set_and_removed() {
    let gate = Gate::start();
    let check = get_order()
        .bearer(&gate.token().sign())
        .header("x-user", "mallory")
        .header("x_user", "mallory");
    let response = gate.ask(check).await;
    let ok = allowed(&response);
    for name in headers(&ok.headers).keys() {
        assert!(!ok.headers_to_remove.contains(name), "{name}");
    }
}
