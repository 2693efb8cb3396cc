//! API keys.

use serde_json::json;

use crate::gate::{Gate, SHOP_KEY, allowed, get_order, metadata, post_order, refused};
use crate::support::check::{CheckBuilder, header, headers};

#[tokio::test]
async fn a_key_names_its_application() {
    let gate = Gate::start();
    let response = gate.ask(get_order().header("x-api-key", SHOP_KEY)).await;
    let ok = allowed(&response);
    assert_eq!(headers(&ok.headers)["x-application"], "shop");
    assert!(
        ok.headers_to_remove.contains(&"x-api-key".to_owned()),
        "the key goes no further"
    );
    assert_eq!(
        metadata(&response, "application").as_deref(),
        Some("default/shop")
    );
    assert_eq!(metadata(&response, "plan").as_deref(), Some("default/gold"));
}

#[tokio::test]
async fn a_key_in_the_query_is_taken_out_of_it() {
    let gate = Gate::start();
    let path = format!("/orders/7?x=1&api_key={SHOP_KEY}");
    let response = gate
        .ask(CheckBuilder::new("GET", "api.example", &path))
        .await;
    assert_eq!(allowed(&response).query_parameters_to_remove, ["api_key"]);
}

#[tokio::test]
async fn an_unknown_and_an_expired_key_are_credential_invalid_and_look_the_same() {
    let gate = Gate::start();
    let unknown = gate.ask(get_order().header("x-api-key", "unknown")).await;
    let expired = gate
        .ask(get_order().header("x-api-key", "expired-key"))
        .await;
    let challenge = |response| {
        header(
            &refused(response, "credential_invalid").headers,
            "www-authenticate",
        )
    };
    assert_eq!(challenge(&unknown), challenge(&expired));
}

#[tokio::test]
async fn two_keys_are_credential_invalid_and_not_a_guess() {
    let gate = Gate::start();
    for check in [
        get_order().header("x-api-key", format!("{SHOP_KEY},{SHOP_KEY}")),
        get_order()
            .header("x-api-key", SHOP_KEY)
            .header("x-api-key", SHOP_KEY)
            .raw_headers(),
        get_order()
            .header("x-api-key", "other")
            .header("x-api-key", SHOP_KEY)
            .raw_headers(),
        CheckBuilder::new(
            "GET",
            "api.example",
            &format!("/orders/7?api_key={SHOP_KEY}"),
        )
        .header("x-api-key", SHOP_KEY),
        CheckBuilder::new(
            "GET",
            "api.example",
            &format!("/orders/7?api_key={SHOP_KEY}&api%5Fkey={SHOP_KEY}"),
        ),
    ] {
        refused(&gate.ask(check).await, "credential_invalid");
    }
}

#[tokio::test]
async fn a_key_has_no_scopes() {
    let gate = Gate::start();
    refused(
        &gate.ask(post_order().header("x-api-key", SHOP_KEY)).await,
        "scope_insufficient",
    );
}

#[tokio::test]
async fn an_operation_can_refuse_keys_by_its_own_authenticators() {
    let gate = Gate::start();
    let check =
        CheckBuilder::new("DELETE", "api.example", "/orders/7").header("x-api-key", SHOP_KEY);
    refused(&gate.ask(check).await, "credential_missing");
}

#[tokio::test]
async fn a_key_that_people_chose_is_kept_with_a_pepper_and_the_pepper_can_be_rotated() {
    use aws_lc_rs::hmac;
    let digest = |pepper: &[u8]| {
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, pepper), b"summer");
        tag.as_ref()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    };
    let application = |name: &str, pepper: &[u8]| {
        format!(
            "---\napiVersion: portcullis.dev/v1alpha1\nkind: Application\nmetadata: {{ name: {name} }}\nspec:\n  apiKeys: [{{ digest: \"hmac-sha256:{}\" }}]\n  subscriptions: [{{ api: orders }}]\n",
            digest(pepper)
        )
    };
    let gate = Gate::with(|builder, _| {
        let peppers = json!([{ "file": "new-pepper" }, { "file": "old-pepper" }]);
        builder
            .file("new-pepper", "new pepper\n")
            .file("old-pepper", "old pepper\n")
            .set(&["authenticators", "keys", "peppers"], peppers)
            .catalog("peppered.yaml", &application("peppered", b"old pepper"))
    });
    let response = gate.ask(get_order().header("x-api-key", "summer")).await;
    assert_eq!(
        metadata(&response, "application").as_deref(),
        Some("default/peppered")
    );
    allowed(&response);
}
