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
    ] {
        let token = gate.token().claim("tenant", json!({ "id": id })).sign();
        let response = gate.ask_with(&token).await;
        refused(&response, "credential_invalid");
    }
    let long = "x".repeat(5000);
    let token = gate.token().claim("tenant", json!({ "id": long })).sign();
    assert_eq!(
        headers(&allowed(&gate.ask_with(&token).await).headers)["x-tenant"],
        long
    );
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

/// An Api that takes a key, a token in several places, or nobody in particular.
const MIXED: &str = "apiVersion: portcullis.dev/v1alpha1\nkind: Api\nmetadata: { name: mixed }\nspec:\n  title: mixed\n  version: 1.0.0\n  hosts: [mixed.example]\n  basePath: /\n  authenticators: [keys, partners, anonymous]\n  subscription: none\n  unmatchedOperation: allow\n";

fn mixed() -> Gate {
    Gate::with(|builder, _| {
        let places = json!([{ "header": "authorization", "scheme": "Bearer" }, { "cookie": "session" }, { "query": "access_token" }]);
        builder
            .set(&["authenticators", "partners", "credentials"], places)
            .catalog("mixed.yaml", MIXED)
    })
}

#[tokio::test]
async fn a_credential_that_nobody_verified_does_not_pass_beside_one_that_holds() {
    let gate = mixed();
    let forged = gate.token().unsigned();
    let path = format!("/?x=1&access_token={forged}");
    let check = CheckBuilder::new("GET", "mixed.example", &path)
        .header("x-api-key", crate::gate::SHOP_KEY)
        .header("x_api_key", "other")
        .header("authorization", format!("Bearer {forged}"))
        .header("cookie", format!("theme=dark; session={forged}"));
    let response = gate.ask(check).await;
    let ok = allowed(&response);
    for name in ["x-api-key", "x_api_key", "authorization"] {
        assert!(
            ok.headers_to_remove.contains(&name.to_owned()),
            "{name} stays: {ok:?}"
        );
    }
    assert_eq!(headers(&ok.headers)["cookie"], "theme=dark");
    assert_eq!(ok.query_parameters_to_remove, ["access_token"]);
}

#[tokio::test]
async fn what_plainly_belongs_to_the_upstream_stays() {
    let gate = mixed();
    let check = CheckBuilder::new("GET", "mixed.example", "/")
        .header("x-api-key", crate::gate::SHOP_KEY)
        .header("authorization", "Basic dXBzdHJlYW06b25seQ==");
    let response = gate.ask(check).await;
    assert!(
        !allowed(&response)
            .headers_to_remove
            .contains(&"authorization".to_owned())
    );
}

#[tokio::test]
async fn a_scheme_that_some_would_read_is_credential_invalid() {
    let gate = mixed();
    for value in ["Bearer\tx", " Bearer x", "Bearer:x", "bearer,x"] {
        let check = CheckBuilder::new("GET", "mixed.example", "/").header("authorization", value);
        refused(&gate.ask(check).await, "credential_invalid");
    }
}

#[tokio::test]
async fn a_query_credential_under_an_encoded_name_is_credential_invalid() {
    let gate = Gate::start();
    let path = format!("/orders/7?api%5Fkey={}", crate::gate::SHOP_KEY);
    let check = CheckBuilder::new("GET", "api.example", &path);
    refused(&gate.ask(check).await, "credential_invalid");
}

#[tokio::test]
async fn a_cookie_credential_does_not_bring_a_removed_header_back() {
    let gate = Gate::with(|builder, _| {
        let places = json!([{ "cookie": "session" }]);
        builder
            .set(&["authenticators", "partners", "credentials"], places)
            .catalog(
                "nocookie.yaml",
                &MIXED.replace("mixed", "nocookie").replace(
                    "  subscription: none",
                    "  upstream: { removeHeaders: [cookie] }\n  subscription: none",
                ),
            )
    });
    let cookies = format!("session={}; tracking=1", gate.token().sign());
    let check = CheckBuilder::new("GET", "nocookie.example", "/").header("cookie", cookies);
    let response = gate.ask(check).await;
    let ok = allowed(&response);
    assert!(
        ok.headers_to_remove.contains(&"cookie".to_owned()),
        "{ok:?}"
    );
    assert!(!headers(&ok.headers).contains_key("cookie"), "{ok:?}");
}

#[tokio::test]
async fn cookies_that_cannot_be_read_do_not_hide_a_credential() {
    let gate = mixed();
    let cookies = [b"theme=dark; session=forged; odd=".as_slice(), b"\xff"].concat();
    let check = CheckBuilder::new("GET", "mixed.example", "/")
        .header("x-api-key", crate::gate::SHOP_KEY)
        .header("cookie", cookies)
        .raw_headers();
    let response = gate.ask(check).await;
    let ok = allowed(&response);
    assert!(
        ok.headers_to_remove.contains(&"cookie".to_owned()),
        "{ok:?}"
    );
}
