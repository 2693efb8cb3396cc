//! The route stage.

use crate::gate::{Gate, SHOP_KEY, allowed, metadata, refused};
use crate::support::check::CheckBuilder;

fn ask(method: &str, host: &str, path: &str) -> CheckBuilder {
    CheckBuilder::new(method, host, path).header("x-api-key", SHOP_KEY)
}

#[tokio::test]
async fn an_unclaimed_host_or_path_is_api_not_found() {
    let gate = Gate::start();
    for (host, path) in [
        ("nowhere.example", "/orders/7"),
        ("api.example", "/"),
        ("api.example", "/ordersx/7"),
        ("api.example", "/Orders/7"),
    ] {
        refused(&gate.ask(ask("GET", host, path)).await, "api_not_found");
    }
}

#[tokio::test]
async fn an_unknown_method_or_path_is_operation_not_found() {
    let gate = Gate::start();
    for (method, path) in [
        ("PUT", "/orders/7"),
        ("get", "/orders/7"),
        ("HEAD", "/orders/7"),
        ("GET", "/orders/7/items"),
        ("GET", "/orders/7/"),
        ("GET", "/orders"),
        ("POST", "/orders/7"),
        ("POST", "/orders/files/a"),
    ] {
        refused(
            &gate.ask(ask(method, "api.example", path)).await,
            "operation_not_found",
        );
    }
}

#[tokio::test]
async fn hosts_and_paths_are_matched_in_normal_form() {
    let gate = Gate::start();
    for (host, path) in [
        ("API.Example:8443", "/orders/7"),
        ("api.example.", "/orders/7"),
        ("api.example", "//orders//7"),
        ("api.example", "/%6frders/%37"),
        ("api.example", "/orders/7?x=/../.."),
        ("api.example", "/orders/7;v=1"),
        ("api.example", "/orders/files/a/b/c"),
    ] {
        allowed(&gate.ask(ask("GET", host, path)).await);
    }
}

#[tokio::test]
async fn the_operation_and_the_api_are_told() {
    let gate = Gate::start();
    let response = gate.ask(ask("GET", "api.example", "/orders/7")).await;
    assert_eq!(
        metadata(&response, "api").as_deref(),
        Some("default/orders")
    );
    assert_eq!(metadata(&response, "operation").as_deref(), Some("/{id}"));
}

#[tokio::test]
async fn the_envoy_route_can_name_the_api() {
    let gate = Gate::start();
    for name in ["orders", "default/orders"] {
        let named =
            ask("GET", "any.example", "/orders/7").context_extension("portcullis.api", name);
        allowed(&gate.ask(named).await);
    }
    let elsewhere =
        ask("GET", "open.example", "/elsewhere").context_extension("portcullis.api", "orders");
    refused(&gate.ask(elsewhere).await, "api_not_found");
    let unknown = ask("GET", "open.example", "/").context_extension("portcullis.api", "unknown");
    refused(&gate.ask(unknown).await, "api_not_found");
}

#[tokio::test]
async fn path_parameters_must_not_change_the_operation() {
    let gate = Gate::with(|builder, _| {
        builder.catalog(
            "pages.yaml",
            "apiVersion: portcullis.dev/v1alpha1\nkind: Api\nmetadata: { name: pages }\nspec:\n  title: pages\n  version: 1.0.0\n  hosts: [pages.example]\n  basePath: /\n  authenticators: [anonymous]\n  subscription: none\n  operations:\n    - { methods: [GET], path: /admin, authenticators: [partners], scopes: { anyOf: [admin] } }\n    - { methods: [GET], path: '/{page}' }\n",
        )
    });
    let get = |path| CheckBuilder::new("GET", "pages.example", path);
    allowed(&gate.ask(get("/news")).await);
    allowed(&gate.ask(get("/news;v=1")).await);
    refused(&gate.ask(get("/admin")).await, "credential_missing");
    refused(&gate.ask(get("/admin;v=1")).await, "request_malformed");
    refused(&gate.ask(get("/;x/admin")).await, "request_malformed");
    refused(&gate.ask(get("/%61dmin")).await, "credential_missing");
}

#[tokio::test]
async fn variants_of_an_operation_do_not_pass_as_unmatched() {
    let api = |name: &str, precedence: u32, spec: &str| {
        format!(
            "---\napiVersion: portcullis.dev/v1alpha1\nkind: Api\nmetadata: {{ name: {name} }}\nspec:\n  title: {name}\n  version: 1.0.0\n  hosts: [two.example]\n  basePath: /\n  precedence: {precedence}\n  subscription: none\n{spec}\n"
        )
    };
    let strict = api(
        "strict",
        10,
        "  authenticators: [partners]\n  operations: [{ methods: [GET], path: /admin }]",
    );
    let lax = api(
        "lax",
        1,
        "  authenticators: [anonymous]\n  unmatchedOperation: allow\n  operations: [{ methods: [GET], path: /own, authenticators: [partners] }]",
    );
    let gate = Gate::with(|builder, _| builder.catalog("two.yaml", &format!("{strict}{lax}")));
    let ask = |method: &str, path: &str| CheckBuilder::new(method, "two.example", path);
    refused(&gate.ask(ask("GET", "/admin")).await, "credential_missing");
    refused(
        &gate.ask(ask("HEAD", "/admin")).await,
        "operation_not_found",
    );
    refused(&gate.ask(ask("GET", "/own")).await, "credential_missing");
    refused(&gate.ask(ask("HEAD", "/own")).await, "operation_not_found");
    refused(&gate.ask(ask("GET", "/own/")).await, "operation_not_found");
    allowed(&gate.ask(ask("GET", "/elsewhere")).await);
}

#[tokio::test]
async fn the_rest_is_one_segment_or_more() {
    let gate = Gate::start();
    refused(
        &gate.ask(ask("GET", "api.example", "/orders/files/")).await,
        "operation_not_found",
    );
}
