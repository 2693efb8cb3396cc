//! The decode stage: whatever arrives as a check, there is an answer, and a broken one is denied.

use envoy_types::pb::envoy::config::core::v3::{Address, EnvoyInternalAddress, Pipe, address};
use envoy_types::pb::envoy::service::auth::v3::CheckResponse;
use prost::Message as _;

use crate::gate::{Gate, SHOP_KEY, allowed, get_order, refused};
use crate::support::check::{CheckBuilder, socket_address};

#[tokio::test]
async fn ambiguous_hosts_are_request_malformed() {
    let gate = Gate::start();
    for host in [
        "a,b",
        ".a",
        "_a",
        "-a",
        "a:99999",
        "",
        "a b",
        "u@api.example",
        "api.example,evil",
        "a..b",
        "[::1",
        "api.example/x",
        "a\u{e9}",
    ] {
        let check = CheckBuilder::new("GET", host, "/orders/7").header("x-api-key", SHOP_KEY);
        refused(&gate.ask(check).await, "request_malformed");
    }
}

#[tokio::test]
async fn ambiguous_paths_are_request_malformed() {
    let gate = Gate::start();
    for path in [
        "",
        "orders/7",
        "*",
        "/orders/%2f7",
        "/orders/%5C7",
        "/orders/..;/7",
        "/orders/%00",
        "/orders\\7",
        "/orders/#7",
        "/orders/7?x#y",
        "/orders/%2e%2e/7",
        "/orders/%252e",
        "/orders/%zz",
        "/orders/a b",
        "/orders/\u{e9}",
    ] {
        let check = CheckBuilder::new("GET", "api.example", path).header("x-api-key", SHOP_KEY);
        refused(&gate.ask(check).await, "request_malformed");
    }
}

#[tokio::test]
async fn connect_without_a_path_is_request_malformed() {
    let gate = Gate::start();
    let connect = CheckBuilder::new("CONNECT", "api.example:443", "").header("x-api-key", SHOP_KEY);
    refused(&gate.ask(connect).await, "request_malformed");
}

#[tokio::test]
async fn a_check_without_http_is_request_malformed() {
    let gate = Gate::start();
    refused(
        &gate
            .ask(CheckBuilder::new("GET", "x", "/").without_http())
            .await,
        "request_malformed",
    );
}

#[tokio::test]
async fn bytes_that_are_no_check_are_request_malformed_in_a_successful_rpc() {
    let gate = Gate::start();
    for bytes in [
        &b"\xff\xff\xff"[..],
        b"\x0a",
        b"\x0a\x05\x22\x03\x12\x01",
        b"not protobuf at all",
    ] {
        let answer = gate.client.check_bytes(bytes.to_vec()).await.unwrap();
        refused(&CheckResponse::decode(answer).unwrap(), "request_malformed");
    }
}

#[tokio::test]
async fn a_message_above_the_limit_is_request_malformed_in_a_successful_rpc() {
    let gate = Gate::start();
    for size in [300 * 1024, 5 * 1024 * 1024] {
        let check = get_order()
            .header("x-api-key", SHOP_KEY)
            .header("x-large", "x".repeat(size));
        refused(&gate.ask(check).await, "request_malformed");
    }
    allowed(
        &gate
            .ask(
                get_order()
                    .header("x-api-key", SHOP_KEY)
                    .header("x-large", "x".repeat(200 * 1024)),
            )
            .await,
    );
}

#[tokio::test]
async fn raw_and_joined_headers_are_read_alike() {
    let gate = Gate::start();
    let token = gate.token().sign();
    for raw in [false, true] {
        let form = |check: CheckBuilder| if raw { check.raw_headers() } else { check };
        allowed(&gate.ask(form(get_order().bearer(&token))).await);
        allowed(
            &gate
                .ask(form(get_order().header("x-api-key", SHOP_KEY)))
                .await,
        );
        refused(&gate.ask(form(get_order())).await, "credential_missing");
        refused(
            &gate
                .ask(form(get_order().header(
                    "authorization",
                    format!("Bearer {token},Bearer {token}"),
                )))
                .await,
            "credential_invalid",
        );
    }
    let odd = get_order().header("x-api-key", [SHOP_KEY.as_bytes(), b"\xff"].concat());
    refused(&gate.ask(odd.raw_headers()).await, "credential_invalid");
}

#[tokio::test]
async fn every_form_of_address_is_taken() {
    let gate = Gate::start();
    let internal = EnvoyInternalAddress {
        endpoint_id: "x".into(),
        ..EnvoyInternalAddress::default()
    };
    for source in [
        None,
        Some(Address::default()),
        Some(socket_address("127.0.0.1", 4711)),
        Some(socket_address("fd00::1", 4711)),
        Some(socket_address("not an address", 0)),
        Some(Address {
            address: Some(address::Address::Pipe(Pipe {
                path: "/run/x".into(),
                mode: 0,
            })),
        }),
        Some(Address {
            address: Some(address::Address::EnvoyInternalAddress(internal)),
        }),
    ] {
        allowed(
            &gate
                .ask(get_order().header("x-api-key", SHOP_KEY).source(source))
                .await,
        );
    }
}

#[tokio::test]
async fn nothing_that_a_client_can_forge_is_read() {
    let gate = Gate::start();
    for (name, value) in [
        ("x-forwarded-host", "open.example"),
        ("x-original-url", "/"),
        ("x-rewrite-url", "/"),
        ("x-http-method-override", "GET"),
        ("x-envoy-original-path", "/"),
        (
            "x-forwarded-client-cert",
            "URI=spiffe://cluster.local/ns/a/sa/b",
        ),
        ("x-jwt-payload", "eyJzdWIiOiJhbGljZSJ9"),
    ] {
        refused(
            &gate.ask(get_order().header(name, value)).await,
            "credential_missing",
        );
        let delete = CheckBuilder::new("PUT", "api.example", "/orders/7")
            .header(name, value)
            .header("x-api-key", SHOP_KEY);
        refused(&gate.ask(delete).await, "operation_not_found");
    }
}
