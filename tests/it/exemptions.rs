//! The three grants without a permit, and that there are no others.

use serde_json::json;

use crate::gate::{Gate, allowed, metadata, refused};
use crate::support::check::{CheckBuilder, CheckClient};

fn preflight(host: &str, path: &str) -> CheckBuilder {
    CheckBuilder::new("OPTIONS", host, path)
        .header("origin", "https://shop.example")
        .header("access-control-request-method", "POST")
}

#[tokio::test]
async fn a_preflight_request_passes_where_the_api_says_so() {
    let gate = Gate::start();
    let response = gate
        .ask(preflight("open.example", "/").header("x-open_user", "mallory"))
        .await;
    let ok = allowed(&response);
    assert_eq!(metadata(&response, "reason").as_deref(), Some("preflight"));
    assert!(
        ok.headers.is_empty() && ok.headers_to_remove.contains(&"x-open_user".to_owned()),
        "{ok:?}"
    );
    refused(
        &gate.ask(preflight("api.example", "/orders/7")).await,
        "operation_not_found",
    );
    refused(
        &gate.ask(preflight("optional.example", "/")).await,
        "credential_missing",
    );
}

#[tokio::test]
async fn only_a_whole_preflight_request_is_one() {
    let gate = Gate::start();
    let bad = |check: CheckBuilder| check.bearer("spoiled");
    for check in [
        CheckBuilder::new("OPTIONS", "open.example", "/"),
        CheckBuilder::new("OPTIONS", "open.example", "/").header("origin", "https://shop.example"),
        CheckBuilder::new("GET", "open.example", "/")
            .header("origin", "x")
            .header("access-control-request-method", "POST"),
    ] {
        refused(&gate.ask(bad(check)).await, "credential_invalid");
    }
}

#[tokio::test]
async fn an_unclaimed_host_passes_untouched_on_an_outbound_listener_that_says_so() {
    let gate = Gate::with(|builder, _| {
        let outbound = json!({ "type": "check", "address": "127.0.0.1:0", "direction": "outbound", "unmatched": "allow" });
        let closed = json!({ "type": "check", "address": "127.0.0.1:0", "direction": "outbound" });
        builder.set(&["listeners", "outbound"], outbound).set(&["listeners", "closed"], closed).catalog(
            "partner.yaml",
            "apiVersion: portcullis.dev/v1alpha1\nkind: Api\nmetadata: { name: partner }\nspec:\n  title: partner\n  version: 1.0.0\n  direction: outbound\n  hosts: [partner.example]\n  basePath: /v1\n  authenticators: [partners]\n  subscription: none\n  unmatchedOperation: allow\n",
        )
    });
    let outbound = CheckClient::new(gate.server.address("outbound"));
    let get = |host, path| CheckBuilder::new("GET", host, path).header("x-user", "kept");
    let response = outbound.check(get("elsewhere.example", "/")).await;
    let ok = allowed(&response);
    assert_eq!(metadata(&response, "reason").as_deref(), Some("unmatched"));
    assert!(
        ok.headers.is_empty() && ok.headers_to_remove.is_empty(),
        "{ok:?}"
    );
    refused(
        &outbound.check(get("partner.example", "/v2")).await,
        "api_not_found",
    );
    refused(
        &outbound.check(get("partner.example", "/v1")).await,
        "credential_missing",
    );
    allowed(&outbound.check(get("api.example", "/orders/7")).await);
    refused(&outbound.check(get("a,b", "/")).await, "request_malformed");
    let named = get("elsewhere.example", "/").context_extension("portcullis.api", "orders");
    refused(&outbound.check(named).await, "api_not_found");
    refused(
        &CheckClient::new(gate.server.address("closed"))
            .check(get("elsewhere.example", "/"))
            .await,
        "api_not_found",
    );
    refused(
        &gate.ask(get("partner.example", "/v1")).await,
        "api_not_found",
    );
}

#[tokio::test]
async fn a_check_without_http_passes_on_a_listener_that_says_so() {
    let gate =
        Gate::with(|builder, _| builder.set(&["listeners", "inbound", "noHttp"], json!("allow")));
    let response = gate
        .ask(CheckBuilder::new("GET", "x", "/").without_http())
        .await;
    allowed(&response);
    assert_eq!(metadata(&response, "reason").as_deref(), Some("no_http"));
    refused(
        &gate
            .ask(CheckBuilder::new("GET", "x", "").header("x", "y"))
            .await,
        "request_malformed",
    );
}
