//! JWT-SVIDs, by the keys that a Workload API says.

use serde_json::{Value, json};

use crate::gate::{allowed, metadata, refused};
use crate::support::check::{CheckBuilder, CheckClient, headers};
use crate::support::portcullis::{Portcullis, PortcullisBuilder};
use crate::support::workload_api::{ID, WorkloadApi};

const CHECKOUT: &str = "spiffe://cluster.local/ns/shop/sa/checkout";
const PUMP: &str = "spiffe://partner.example/pump";
const TTL: &str = "5m";

const CATALOG: &str = r#"
kind: Api
metadata: { name: orders, namespace: shop }
spec:
  title: orders
  version: 1.0.0
  hosts: [orders.example]
  authenticators: [svids]
  unmatchedOperation: allow
  upstream: { headers: { x-caller: "{principal.subject}", x-account: "{principal.serviceAccount}" } }
---
kind: Api
metadata: { name: who, namespace: shop }
spec:
  title: who
  version: 1.0.0
  hosts: [who.example]
  authenticators: [svids]
  subscription: none
  unmatchedOperation: allow
---
kind: Api
metadata: { name: guarded, namespace: shop }
spec:
  title: guarded
  version: 1.0.0
  hosts: [guarded.example]
  authenticators: [svids]
  subscription: none
  from: { namespaces: [shop] }
  operations:
    - { path: "/" }
    - { path: "/connection", from: { requireMtls: true } }
---
kind: Application
metadata: { name: checkout, namespace: shop }
spec:
  workloads: ["spiffe://cluster.local/ns/shop/sa/checkout"]
  subscriptions: [{ api: orders }]
"#;

fn builder(agent: &WorkloadApi) -> PortcullisBuilder {
    let spiffe = json!({
        "endpoint": agent.endpoint(),
        "trustDomain": "cluster.local",
        "federated": ["partner.example"],
    });
    PortcullisBuilder::new()
        .set(&["spiffe"], spiffe)
        .authenticator(
            "svids",
            json!({ "type": "jwtSvid", "audiences": ["orders"] }),
        )
        .catalog("catalog.yaml", CATALOG)
}

struct Scene {
    agent: WorkloadApi,
    server: Portcullis,
    client: CheckClient,
}

impl Scene {
    fn start() -> Self {
        let agent = WorkloadApi::start();
        agent.set(json!({ "svids": [{ "id": ID }], "federated": ["partner.example"] }));
        let server = builder(&agent).start();
        let client = CheckClient::new(server.check_address());
        Self {
            agent,
            server,
            client,
        }
    }

    fn token(&self, id: &str) -> String {
        self.agent.sign_jwt(id, &["orders"], TTL)
    }

    /// The reason of the decision about `GET /` with this token.
    async fn reason(&self, host: &str, token: &str) -> String {
        let check = CheckBuilder::new("GET", host, "/").bearer(token);
        let response = self.client.check(check).await;
        metadata(&response, "reason").expect("a reason")
    }

    /// Waits until the decision about `token` has this reason.
    async fn until(&self, reason: &str, token: &str) {
        for _ in 0..600 {
            if self.reason("who.example", token).await == reason {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        let now = self.reason("who.example", token).await;
        panic!("{now}, and not {reason}");
    }
}

#[tokio::test]
async fn s25_a_workload_is_known_by_its_token_as_by_its_certificate() {
    let scene = Scene::start();
    let token = scene.token(CHECKOUT);
    scene.until("permitted", &token).await;
    let check = || CheckBuilder::new("GET", "orders.example", "/").bearer(&token);
    // the same token may come any number of times
    for _ in 0..3 {
        let response = scene.client.check(check()).await;
        let ok = allowed(&response);
        assert_eq!(headers(&ok.headers)["x-caller"], CHECKOUT);
        assert_eq!(headers(&ok.headers)["x-account"], "checkout");
        assert!(
            ok.headers_to_remove.contains(&"authorization".to_owned()),
            "{ok:?}"
        );
        let application = metadata(&response, "application");
        assert_eq!(application.as_deref(), Some("shop/checkout"));
        assert_eq!(
            metadata(&response, "source.spiffe_id").as_deref(),
            Some(CHECKOUT)
        );
    }
    assert_eq!(
        scene.reason("who.example", &scene.token(PUMP)).await,
        "permitted"
    );
    for (token, reason) in [
        (scene.token("spiffe://other.example/a"), "issuer_untrusted"),
        (
            scene.agent.sign_jwt(CHECKOUT, &["elsewhere"], TTL),
            "audience_mismatch",
        ),
        ("a.b.c".to_owned(), "credential_invalid"),
        (format!("{token}x"), "credential_invalid"),
    ] {
        assert_eq!(scene.reason("who.example", &token).await, reason, "{token}");
    }
    // its application is what it is
    let token = scene.token("spiffe://cluster.local/ns/shop/sa/stranger");
    assert_eq!(
        scene.reason("orders.example", &token).await,
        "application_unknown"
    );
    drop(scene.server);
}

#[tokio::test]
async fn s25_from_judges_the_workload_of_the_token_unless_it_asks_for_the_connections() {
    let scene = Scene::start();
    let token = scene.token(CHECKOUT);
    scene.until("permitted", &token).await;
    assert_eq!(scene.reason("guarded.example", &token).await, "permitted");
    let partner = scene.token(PUMP);
    assert_eq!(
        scene.reason("guarded.example", &partner).await,
        "source_not_allowed"
    );
    let over = |principal: &str| {
        let check = CheckBuilder::new("GET", "guarded.example", "/connection").bearer(&token);
        scene.client.check(check.principal(principal))
    };
    refused(&over("").await, "source_unauthenticated");
    allowed(&over(CHECKOUT).await);
}

#[tokio::test]
async fn s26_keys_change_without_a_restart_and_old_tokens_end_with_theirs() {
    let scene = Scene::start();
    let old = scene.token(CHECKOUT);
    scene.until("permitted", &old).await;
    scene.agent.renew_jwt_key("cluster.local");
    let new = scene.token(CHECKOUT);
    scene.until("permitted", &new).await;
    // remembered, and refused all the same
    let reason = scene.reason("who.example", &old).await;
    assert!(
        ["key_unknown", "signature_invalid"].contains(&reason.as_str()),
        "{reason}"
    );
}

#[tokio::test]
async fn s26_tokens_of_a_bundle_that_was_taken_away_are_refused_at_once() {
    let scene = Scene::start();
    let (own, partner) = (scene.token(CHECKOUT), scene.token(PUMP));
    scene.until("permitted", &own).await;
    assert_eq!(scene.reason("who.example", &partner).await, "permitted");
    scene
        .agent
        .set(json!({ "svids": [{ "id": ID }], "federated": [] }));
    scene.until("issuer_untrusted", &partner).await;
    assert_eq!(scene.reason("who.example", &own).await, "permitted");
    // nobody is registered any more: we know nothing
    let denied: Value = json!({ "svids": [], "errors": { "jwtBundles": "PermissionDenied" } });
    scene.agent.set(denied);
    scene.until("dependency_unavailable", &own).await;
}

#[tokio::test]
async fn s26_a_bad_bundle_of_one_trust_domain_keeps_no_removed_key_of_others_in_force() {
    let scene = Scene::start();
    for wrong in ["unreadable", "large", "manyKeys"] {
        let (old, partner) = (scene.token(CHECKOUT), scene.token(PUMP));
        scene.until("permitted", &old).await;
        scene.until("permitted", &partner).await;
        let given = |spoiled: Value| {
            let federated = ["partner.example"];
            json!({ "svids": [{ "id": ID }], "federated": federated, "spoiled": spoiled })
        };
        scene.agent.set(given(json!({ "partner.example": wrong })));
        scene.until("issuer_untrusted", &partner).await;
        scene.agent.renew_jwt_key("cluster.local");
        scene.until("permitted", &scene.token(CHECKOUT)).await;
        let reason = scene.reason("who.example", &old).await;
        assert!(
            ["key_unknown", "signature_invalid"].contains(&reason.as_str()),
            "{wrong}: {reason}"
        );
        let told = scene.server.stderr();
        assert!(
            told.contains("a bundle is left out") && told.contains("partner.example"),
            "{told}"
        );
        scene.agent.set(given(json!({})));
    }
}

#[tokio::test]
async fn s25_without_any_bundle_a_token_is_a_fault_and_no_denial() {
    let agent = WorkloadApi::start();
    let token = agent.sign_jwt(CHECKOUT, &["orders"], TTL);
    agent.stop();
    let server = builder(&agent).without_waiting().start();
    let client = CheckClient::new(server.check_address());
    let ask = || client.check(CheckBuilder::new("GET", "who.example", "/").bearer(&token));
    refused(&ask().await, "dependency_unavailable");
    // a request without a token is still what it is
    let nothing = CheckBuilder::new("GET", "who.example", "/");
    refused(&client.check(nothing).await, "credential_missing");
}

#[test]
fn s25_a_configuration_that_can_verify_nothing_is_a_mistake() {
    for (spiffe, svids, part) in [
        (
            json!({ "trustDomain": "td" }),
            json!({ "audiences": ["a"] }),
            "Workload API",
        ),
        (
            json!({ "endpoint": "unix:///nowhere.sock" }),
            json!({ "audiences": ["a"] }),
            "trustDomains",
        ),
        (
            json!({ "endpoint": "unix:///nowhere.sock", "trustDomain": "td" }),
            json!({ "audiences": [] }),
            "audiences",
        ),
        (
            json!({ "endpoint": "unix:///nowhere.sock", "trustDomain": "td" }),
            json!({ "audiences": ["a"], "leeway": "61s" }),
            "leeway",
        ),
    ] {
        let mut config = json!({ "type": "jwtSvid" });
        for (key, value) in svids.as_object().expect("an object") {
            config[key] = value.clone();
        }
        let (status, told) = PortcullisBuilder::new()
            .set(&["spiffe"], spiffe)
            .authenticator("svids", config)
            .start_refused();
        assert_eq!(status.code(), Some(78), "{told}");
        assert!(told.contains(part), "{part}: {told}");
    }
}
