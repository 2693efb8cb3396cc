//! What each decision of ours becomes in Envoy: the part of the decision table that our answers
//! reach.

use std::time::Duration;

use crate::scene::{
    self, GUEST_KEY, HOST, PAUSED_KEY, SHOP_KEY, Scene, UNKNOWN_KEY, bearer, seen, seen_headers,
};
use crate::support::check::CheckClient;
use crate::support::envoy::{EnvoyBuilder, NO_ANSWER};
use crate::support::http::Response;
use crate::support::issuer::Issuer;
use crate::support::upstream::Upstream;

/// Asserts that a client got a denial of ours, in the form that every one has.
#[track_caller]
fn assert_denied(response: &Response, status: u16, code: &str) {
    let body = response.json();
    assert_eq!(
        (response.status, response.denial_code().as_deref()),
        (status, Some(code)),
        "{response:?}"
    );
    assert_eq!(
        response.header("content-type"),
        Some("application/problem+json")
    );
    assert_eq!(response.header("cache-control"), Some("no-store"));
    assert_eq!(body["status"], status);
    assert_eq!(
        response.values("x-decision-id"),
        [body["decisionId"].as_str().expect("a decision id")]
    );
}

#[test]
fn a_valid_token_passes_and_the_upstream_sees_who_calls() {
    let scene = Scene::start();
    let response = scene.get_order_with(&scene.token());
    assert_eq!(response.status, 200, "{response:?}");
    assert_eq!(response.json()["path"], "/orders/1");
    assert_eq!(seen(&response, "x-user"), ["alice"]);
    assert_eq!(seen(&response, "x-client-id"), ["shop-client"]);
    assert!(
        seen(&response, "authorization").is_empty(),
        "the credential is ours, not the upstream's"
    );
    assert_eq!(response.values("x-api-version"), ["1.0.0"]);
    assert_eq!(response.values("x-decision-id").len(), 1);
    assert_eq!(scene.envoy.ext_authz_stat("ok"), 1);
}

#[test]
fn an_api_key_passes_and_does_not_reach_the_upstream() {
    let scene = Scene::start();
    let response = scene.get_order(&[("x-api-key", SHOP_KEY)]);
    assert_eq!(response.status, 200, "{response:?}");
    assert!(seen(&response, "x-api-key").is_empty());
    assert!(!String::from_utf8_lossy(&response.body).contains(SHOP_KEY));
}

#[test]
fn a_request_without_credential_is_challenged_without_error() {
    let scene = Scene::start();
    let response = scene.get_order(&[]);
    assert_denied(&response, 401, "unauthenticated");
    let challenge = response.header("www-authenticate").unwrap();
    assert!(
        challenge.starts_with("Bearer realm=") && !challenge.contains("error"),
        "{challenge}"
    );
    assert_eq!(scene.upstream.count(), 0);
    assert_eq!(scene.envoy.ext_authz_stat("denied"), 1);
}

#[test]
fn an_expired_token_is_told_so() {
    let scene = Scene::start();
    let response = scene.get_order_with(&scene.token().expired_since(Duration::from_secs(600)));
    assert_denied(&response, 401, "token_expired");
    assert!(
        response
            .header("www-authenticate")
            .unwrap()
            .contains(r#"error="invalid_token""#),
        "{response:?}"
    );
}

#[test]
fn a_token_for_another_audience_is_refused() {
    let scene = Scene::start();
    let response = scene.get_order_with(&scene.token().audience("invoices"));
    assert_denied(&response, 401, "unauthenticated");
    assert_eq!(scene.upstream.count(), 0);
}

#[test]
fn a_token_signed_by_another_is_refused() {
    let scene = Scene::start();
    let other = Issuer::start();
    assert_denied(
        &scene.get_order_with(&scene.token().keys(&other.keys())),
        401,
        "unauthenticated",
    );
    let unsigned = format!("Bearer {}", scene.token().unsigned());
    assert_denied(
        &scene.get_order(&[("authorization", &unsigned)]),
        401,
        "unauthenticated",
    );
    assert_eq!(scene.upstream.count(), 0);
}

#[test]
fn an_unknown_key_is_refused() {
    let scene = Scene::start();
    assert_denied(
        &scene.get_order(&[("x-api-key", UNKNOWN_KEY)]),
        401,
        "unauthenticated",
    );
}

#[test]
fn a_caller_without_subscription_is_refused() {
    let scene = Scene::start();
    let response = scene.get_order(&[("x-api-key", GUEST_KEY)]);
    assert_denied(&response, 403, "not_subscribed");
    assert_eq!(response.header("www-authenticate"), None);
}

#[test]
fn a_suspended_application_is_refused() {
    let scene = Scene::start();
    assert_denied(
        &scene.get_order(&[("x-api-key", PAUSED_KEY)]),
        403,
        "access_denied",
    );
}

#[test]
fn a_token_without_the_scope_is_refused_and_told_which() {
    let scene = Scene::start();
    let put = |token| {
        scene.envoy.request(
            "PUT",
            HOST,
            "/orders/1",
            &[("authorization", &bearer(&token))],
        )
    };
    let response = put(scene.token());
    assert_denied(&response, 403, "insufficient_scope");
    let challenge = response.header("www-authenticate").unwrap();
    assert!(
        challenge.contains(r#"error="insufficient_scope""#) && challenge.contains("orders.write"),
        "{challenge}"
    );
    assert_eq!(
        put(scene.token().scope("orders.read orders.write")).status,
        200
    );
}

#[test]
fn a_host_or_path_of_no_api_is_not_found() {
    let scene = Scene::start();
    assert_denied(
        &scene.envoy.get("nobody.example", "/orders/1", &[]),
        404,
        "not_found",
    );
    assert_denied(&scene.envoy.get(HOST, "/invoices/1", &[]), 404, "not_found");
    assert_eq!(scene.upstream.count(), 0);
}

#[test]
fn a_route_can_name_the_api() {
    let scene =
        Scene::start_with(|envoy| envoy.context_extension("portcullis.api", "default/orders"));
    let response = scene
        .envoy
        .get("nobody.example", "/orders/1", &[("x-api-key", SHOP_KEY)]);
    assert_eq!(response.status, 200, "{response:?}");
    // The Api that the route names decides, also where another one claims the path.
    assert_ne!(scene.envoy.get(HOST, "/open/public", &[]).status, 200);
}

#[test]
fn a_head_request_is_denied_without_body() {
    let scene = Scene::start();
    let response = scene.envoy.request("HEAD", HOST, "/orders/1", &[]);
    assert_eq!(response.status, 401);
    assert!(response.header("www-authenticate").is_some());
    assert!(response.header("x-decision-id").is_some());
    let allowed = scene
        .envoy
        .request("HEAD", HOST, "/orders/1", &[("x-api-key", SHOP_KEY)]);
    assert_eq!(allowed.status, 200);
}

#[test]
fn a_grpc_caller_gets_a_grpc_status() {
    let scene = Scene::start();
    let headers = [("content-type", "application/grpc"), ("te", "trailers")];
    let response = scene.envoy.request("POST", HOST, "/orders/Get", &headers);
    assert_eq!(
        (response.status, response.header("grpc-status")),
        (200, Some("16")),
        "{response:?}"
    );
    assert!(
        response
            .header("grpc-message")
            .is_some_and(|message| !message.is_empty()),
        "{response:?}"
    );
    assert!(response.body.is_empty());
    let with = |name, value| {
        scene
            .envoy
            .request("POST", HOST, "/orders/Get", &[headers[0], (name, value)])
    };
    assert_eq!(
        with("x-api-key", GUEST_KEY).header("grpc-status"),
        Some("7")
    );
    assert_eq!(
        scene
            .envoy
            .request("POST", "nobody.example", "/orders/Get", &headers)
            .header("grpc-status"),
        Some("5")
    );
    assert_eq!(
        scene
            .envoy
            .request("POST", "a,b", "/orders/Get", &headers)
            .header("grpc-status"),
        Some("3")
    );
}

#[tokio::test]
async fn a_real_grpc_client_reads_its_denial() {
    let scene = Scene::start();
    let client = CheckClient::for_host(scene.envoy.address(), HOST);
    let status = client.call("/orders/Get", Vec::new()).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::Unauthenticated, "{status:?}");
    assert!(!status.message().is_empty());
}

#[test]
fn the_access_log_tells_the_decision() {
    let scene = Scene::start();
    let logged = |response: &Response| {
        scene
            .envoy
            .access_log_of(response.header("x-decision-id").unwrap())
    };
    let allowed = logged(&scene.get_order(&[("x-api-key", SHOP_KEY)]));
    assert_eq!(allowed["api"], "default/orders");
    assert_eq!(allowed["application"], "default/shop");
    assert_eq!(allowed["plan"], "default/gold");
    let denied = logged(&scene.get_order(&[("x-api-key", GUEST_KEY)]));
    assert_eq!(denied["details"], "ext_authz_denied");
    assert_eq!(denied["reason"], "subscription_missing");
    assert_eq!(denied["application"], "default/guest");
}

#[test]
fn an_unreachable_issuer_is_a_fault_also_where_errors_are_allowed() {
    let issuer = Issuer::start();
    let upstream = Upstream::start();
    let token = issuer.token().audience("orders").client_id("shop-client");
    let server = scene::portcullis(&issuer);
    let port = issuer.url().rsplit(':').next().unwrap().to_owned();
    drop(issuer);
    let server = server.without_waiting().start();
    let envoy = EnvoyBuilder::new(server.check_address(), upstream.address())
        .failure_mode_allow()
        .start();
    let response = envoy.get(HOST, "/orders/1", &[("authorization", &bearer(&token))]);
    assert_denied(&response, 503, "unavailable");
    assert!(
        !response.text().contains(&port),
        "the answer tells an address: {}",
        response.text()
    );
    assert_eq!(response.header("www-authenticate"), None);
    assert_eq!(upstream.count(), 0);
    assert_eq!(
        (
            envoy.ext_authz_stat("error"),
            envoy.ext_authz_stat("failure_mode_allowed")
        ),
        (0, 0)
    );
}

#[test]
fn nothing_passes_once_the_server_is_gone() {
    let mut scene = Scene::start();
    scene.portcullis.kill();
    let response = scene.get_order(&[("x-api-key", SHOP_KEY)]);
    assert_eq!(response.status, NO_ANSWER, "{response:?}");
    assert_eq!(scene.upstream.count(), 0);
}

#[test]
fn what_the_upstream_needs_stays_as_it_was_sent() {
    let scene = Scene::start();
    let headers = [
        ("x-api-key", SHOP_KEY),
        ("accept", "a/b"),
        ("x-list", "1"),
        ("x-list", "2"),
        ("cookie", "a=b; c=d"),
    ];
    let response = scene.envoy.get(HOST, "/orders/1?x=%20&x=2&y", &headers);
    assert_eq!(response.json()["path"], "/orders/1?x=%20&x=2&y");
    let seen = seen_headers(&response);
    for (name, value) in &headers[1..] {
        assert!(
            seen.contains(&((*name).to_owned(), (*value).to_owned())),
            "{name}: {value} is not in {seen:?}"
        );
    }
}
