//! App ids and their keys.

use serde_json::json;

use crate::gate::{Gate, SHOP_APP_ID, SHOP_APP_KEY, allowed, get_order, refused};
use crate::support::check::headers;

#[tokio::test]
async fn an_app_id_with_its_key_names_its_application() {
    let gate = Gate::start();
    let response = gate
        .ask(
            get_order()
                .header("app-id", SHOP_APP_ID)
                .header("app-key", SHOP_APP_KEY),
        )
        .await;
    let ok = allowed(&response);
    assert_eq!(headers(&ok.headers)["x-application"], "shop");
    for gone in ["app-id", "app-key"] {
        assert!(
            ok.headers_to_remove.contains(&gone.to_owned()),
            "{gone} stays"
        );
    }
}

#[tokio::test]
async fn an_app_id_without_keys_is_enough() {
    let gate = Gate::start();
    allowed(&gate.ask(get_order().header("app-id", "keyless-app")).await);
}

#[tokio::test]
async fn a_wrong_or_missing_key_and_an_unknown_id_are_credential_invalid() {
    let gate = Gate::start();
    for check in [
        get_order()
            .header("app-id", SHOP_APP_ID)
            .header("app-key", "wrong"),
        get_order().header("app-id", SHOP_APP_ID),
        get_order()
            .header("app-id", "unknown")
            .header("app-key", SHOP_APP_KEY),
        get_order()
            .header("app-id", SHOP_APP_ID)
            .header("app-key", format!("wrong,{SHOP_APP_KEY}")),
    ] {
        refused(&gate.ask(check).await, "credential_invalid");
    }
}

#[tokio::test]
async fn a_key_without_an_app_id_is_credential_invalid() {
    let gate = Gate::start();
    let check = get_order().header("app-key", SHOP_APP_KEY);
    refused(&gate.ask(check).await, "credential_invalid");
}

#[tokio::test]
async fn basic_credentials_can_carry_both() {
    use base64::Engine as _;
    let gate = Gate::with(|builder, _| {
        let basic =
            json!({ "type": "appId", "id": [{ "basic": true }], "key": [{ "basic": true }] });
        builder.authenticator("apps", basic)
    });
    let basic = |pair: String| {
        format!(
            "Basic {}",
            base64::engine::general_purpose::STANDARD.encode(pair)
        )
    };
    let good = get_order().header(
        "authorization",
        basic(format!("{SHOP_APP_ID}:{SHOP_APP_KEY}")),
    );
    let response = gate.ask(good).await;
    assert!(
        allowed(&response)
            .headers_to_remove
            .contains(&"authorization".to_owned())
    );
    let wrong = get_order().header("authorization", basic(format!("{SHOP_APP_ID}:wrong")));
    refused(&gate.ask(wrong).await, "credential_invalid");
    refused(
        &gate
            .ask(get_order().header("authorization", "Basic !!!"))
            .await,
        "credential_invalid",
    );
}
