//! The scene of these tests: an issuer, an upstream, Portcullis with a catalog, and an Envoy
//! between a client and the upstream.

use serde_json::{Value, json};

use crate::support::envoy::{Envoy, EnvoyBuilder};
use crate::support::http::Response;
use crate::support::issuer::Issuer;
use crate::support::portcullis::{Portcullis, PortcullisBuilder};
use crate::support::signing::key_digest;
use crate::support::token::Token;
use crate::support::upstream::Upstream;

/// The host of the Api `orders`.
pub(crate) const HOST: &str = "api.example";
/// A key of the application `shop`, which is subscribed to `orders`.
pub(crate) const SHOP_KEY: &str = "shop-2f0c1a7e9b3d4c5e8f60718293a4b5c6";
/// A key of the application `bakery`, which is subscribed to `orders` too.
pub(crate) const BAKERY_KEY: &str = "bakery-77aa0b1c2d3e4f5061728394a5b6c7d8";
/// A key of the application `guest`, which is subscribed to nothing.
pub(crate) const GUEST_KEY: &str = "guest-90ab12cd34ef56ab78cd90ef12ab34cd";
/// A key of the application `paused`, which is suspended.
pub(crate) const PAUSED_KEY: &str = "paused-0102030405060708090a0b0c0d0e0f10";
/// A key of nobody.
pub(crate) const UNKNOWN_KEY: &str = "nobody-ffeeddccbbaa99887766554433221100";

/// The file of the catalog that declares the application `shop` alone.
pub(crate) const SHOP_FILE: &str = "shop.yaml";

/// Everything that runs.
#[derive(Debug)]
pub(crate) struct Scene {
    pub(crate) envoy: Envoy,
    pub(crate) portcullis: Portcullis,
    pub(crate) upstream: Upstream,
    pub(crate) issuer: Issuer,
}

impl Scene {
    /// Starts the scene.
    pub(crate) fn start() -> Self {
        Self::start_with(|envoy| envoy)
    }

    /// Starts the scene with another Envoy.
    pub(crate) fn start_with(change: impl FnOnce(EnvoyBuilder) -> EnvoyBuilder) -> Self {
        let issuer = Issuer::start();
        let upstream = Upstream::start();
        let portcullis = portcullis(&issuer).start();
        let envoy = change(EnvoyBuilder::new(
            portcullis.check_address(),
            upstream.address(),
        ))
        .start();
        Self {
            envoy,
            portcullis,
            upstream,
            issuer,
        }
    }

    /// A token of `alice`, by which the client of `shop` calls `orders`.
    pub(crate) fn token(&self) -> Token {
        self.issuer
            .token()
            .audience("orders")
            .client_id("shop-client")
            .scope("orders.read")
    }

    /// `GET /orders/1` with these headers.
    pub(crate) fn get_order(&self, headers: &[(&str, &str)]) -> Response {
        self.envoy.get(HOST, "/orders/1", headers)
    }

    /// `GET /orders/1` with a token.
    pub(crate) fn get_order_with(&self, token: &Token) -> Response {
        self.get_order(&[("authorization", &bearer(token))])
    }
}

/// The server of the scene, not started.
pub(crate) fn portcullis(issuer: &Issuer) -> PortcullisBuilder {
    PortcullisBuilder::new()
        .authenticator("partners", issuer.authenticator("orders"))
        .authenticator(
            "keys",
            json!({ "type": "apiKey", "credentials": [{ "header": "x-api-key" }] }),
        )
        .catalog("apis.yaml", APIS)
        .catalog("applications.yaml", &applications())
        .catalog(SHOP_FILE, &shop(issuer, "active"))
}

/// The application `shop` in this state.
pub(crate) fn shop(issuer: &Issuer, state: &str) -> String {
    let clients = json!([{ "issuer": issuer.url(), "clientId": "shop-client" }]);
    application(
        "shop",
        json!({
            "state": state, "clients": clients, "apiKeys": [{ "name": "ci", "digest": key_digest(SHOP_KEY) }],
            "subscriptions": [{ "api": "orders", "plan": "gold" }],
        }),
    )
}

/// The value of an `authorization` header.
pub(crate) fn bearer(token: &Token) -> String {
    format!("Bearer {}", token.sign())
}

/// The headers that the upstream saw, from its answer.
pub(crate) fn seen_headers(response: &Response) -> Vec<(String, String)> {
    serde_json::from_value(response.json()["headers"].take())
        .expect("the upstream tells the headers that it saw")
}

/// Every value of the headers that the upstream may take for `name`: servers that pass headers
/// in environment variables (RFC 3875 section 4.1.18) cannot tell `-` from `_`.
pub(crate) fn seen(response: &Response, name: &str) -> Vec<String> {
    let folded = |name: &str| name.to_ascii_lowercase().replace('_', "-");
    let headers = seen_headers(response).into_iter();
    headers
        .filter(|(found, _)| folded(found) == folded(name))
        .map(|(_, value)| value)
        .collect()
}

fn applications() -> String {
    let key = |key| json!([{ "name": "ci", "digest": key_digest(key) }]);
    let subscriptions = json!([{ "api": "orders", "plan": "gold" }]);
    [
        application("bakery", json!({ "apiKeys": key(BAKERY_KEY), "subscriptions": subscriptions })),
        application("guest", json!({ "apiKeys": key(GUEST_KEY) })),
        application("paused", json!({ "state": "suspended", "apiKeys": key(PAUSED_KEY), "subscriptions": subscriptions })),
    ]
    .join("---\n")
}

fn application(name: &str, spec: Value) -> String {
    let document = json!({
        "apiVersion": "portcullis.dev/v1alpha1", "kind": "Application", "metadata": { "name": name }, "spec": spec,
    });
    // JSON is YAML.
    format!("{document}\n")
}

/// `orders` is protected; `open` claims every host, that of `orders` too, and lets everybody see
/// `/open/public`, but only those with a key `/open/admin`.
const APIS: &str = r#"
apiVersion: portcullis.dev/v1alpha1
kind: Api
metadata: { name: orders }
spec:
  title: orders
  version: 1.0.0
  hosts: [api.example]
  basePath: /orders
  authenticators: [partners, keys]
  operations:
    - { methods: [GET, HEAD], path: "/{id}" }
    - { methods: [POST], path: /Get }
    - { methods: [PUT], path: "/{id}", scopes: { anyOf: [orders.write] } }
  upstream:
    headers:
      x-user: "{principal.subject}"
      x-client-id: "{application.clientId}"
      x-nickname: "{claims.nickname}"
    responseHeaders: { x-served-for: "{claims.nickname}", x-api-version: "{api.version}" }
---
apiVersion: portcullis.dev/v1alpha1
kind: Api
metadata: { name: open }
spec:
  title: open
  version: 1.0.0
  hosts: ["*", api.example]
  basePath: /open
  authenticators: [anonymous]
  subscription: none
  preflight: pass
  operations:
    - { methods: [GET], path: /public }
    - { methods: [GET], path: "/public/{*rest}" }
    - { methods: [GET], path: /admin, authenticators: [keys] }
    - { methods: [GET], path: "/admin/{*rest}", authenticators: [keys] }
  upstream:
    headers: { x-user: "{principal.subject}" }
---
apiVersion: portcullis.dev/v1alpha1
kind: Plan
metadata: { name: gold }
spec:
  limits: [{ amount: 10000000, per: day, key: application }]
"#;
