//! The Portcullis that Istio's Envoys ask in tests, whether istiod drives them or they were frozen:
//! two Apis at the gateway behind one extension provider, and a partner on the way out.

use serde_json::json;

use super::issuer::Issuer;
use super::portcullis::PortcullisBuilder;
use super::providers::Providers;
use super::signing::key_digest;

/// The host of both Apis, as `deploy/istio/orders.yaml` has it.
pub(crate) const HOST: &str = "orders.example.com";
/// The partner of `deploy/istio/egress-gateway.yaml` and `egress-sidecar.yaml`.
pub(crate) const PARTNER: &str = "partner.example";
/// A key of the application `shop`.
pub(crate) const SHOP_KEY: &str = "shop-5c1d0b7ae92f4c3d8e60718293a4b5c6";
/// A key of nobody.
pub(crate) const UNKNOWN_KEY: &str = "nobody-0fe1d2c3b4a5968778695a4b3c2d1e0f";

/// What stands around it.
#[derive(Debug)]
pub(crate) struct Around {
    /// Whose tokens `orders` takes.
    pub(crate) issuer: Issuer,
    /// Where the credentials of `billing` and of the partner come from.
    pub(crate) idp: Providers,
}

impl Around {
    /// Starts it.
    pub(crate) fn start() -> Self {
        Self {
            issuer: Issuer::start(),
            idp: Providers::start(),
        }
    }

    /// The value of an `authorization` header that `orders` takes.
    pub(crate) fn bearer(&self) -> String {
        let token = self.issuer.token().audience("orders");
        format!("Bearer {}", token.sign())
    }

    /// The server, not started, with the listeners `inbound` and `outbound`.
    pub(crate) fn server(&self) -> PortcullisBuilder {
        PortcullisBuilder::new()
            .set(
                &["listeners", "outbound"],
                json!({ "type": "check", "address": "127.0.0.1:0", "direction": "outbound", "unmatched": "allow" }),
            )
            .authenticator("partners", self.issuer.authenticator("orders"))
            .authenticator(
                "keys",
                json!({ "type": "apiKey", "credentials": [{ "header": "x-api-key" }] }),
            )
            .set(
                &["providers", "idp"],
                json!({
                    "type": "clientCredentials", "tokenUrl": self.idp.token_url(),
                    "client": { "id": "us", "secret": { "file": "secret" } }, "http": { "allowHttp": true },
                }),
            )
            .file("secret", "a secret of the test")
            .catalog("apis.yaml", APIS)
            .catalog("applications.yaml", &shop())
    }
}

fn shop() -> String {
    let document = json!({
        "kind": "Application", "metadata": { "name": "shop" },
        "spec": { "apiKeys": [{ "name": "ci", "digest": key_digest(SHOP_KEY) }] },
    });
    // JSON is YAML.
    format!("{document}\n")
}

/// Hosts are those of `deploy/istio`.
const APIS: &str = r#"
kind: Api
metadata: { name: orders }
spec:
  title: orders
  version: 1.0.0
  hosts: [orders.example.com, orders.shop.svc.cluster.local]
  basePath: /orders
  authenticators: [partners, keys]
  subscription: none
  preflight: pass
  unmatchedOperation: allow
  upstream:
    headers: { x-user: "{principal.subject}", x-api: "{api.title}" }
    responseHeaders: { x-served-by: "{api.title}" }
---
kind: Api
metadata: { name: billing }
spec:
  title: billing
  version: 1.0.0
  hosts: [orders.example.com]
  basePath: /billing
  authenticators: [keys]
  subscription: none
  unmatchedOperation: allow
  upstream:
    headers: { x-api: "{api.title}" }
    credential: { provider: idp, audience: billing }
---
kind: Api
metadata: { name: partner }
spec:
  title: partner
  version: 1.0.0
  direction: outbound
  hosts: [partner.example]
  authenticators: [anonymous]
  subscription: none
  unmatchedOperation: allow
  upstream:
    credential: { provider: idp, audience: partner }
"#;
