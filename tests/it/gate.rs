//! The server that most tests ask: an issuer, and a small catalog with every kind of caller.

use envoy_types::pb::envoy::service::auth::v3::{
    CheckResponse, DeniedHttpResponse, OkHttpResponse,
};
use envoy_types::pb::google::protobuf::value::Kind;
use serde_json::json;

use crate::support::check::{CheckBuilder, CheckClient, assert_allowed, assert_denied};
use crate::support::issuer::Issuer;
use crate::support::portcullis::{Portcullis, PortcullisBuilder};
use crate::support::signing::key_digest;
use crate::support::token::Token;

/// An API key of `shop`, of 128 bits.
pub(crate) const SHOP_KEY: &str = "shop-key-9f86d081884c7d659a2feaa0c55ad015";
/// The app id of `shop`, and its key.
pub(crate) const SHOP_APP_ID: &str = "shop-app";
/// The key that goes with [`SHOP_APP_ID`].
pub(crate) const SHOP_APP_KEY: &str = "shop-app-key-2c26b46b68ffc68ff99b453c1d304134";

/// A running server, the issuer that it trusts, and a client.
pub(crate) struct Gate {
    pub(crate) issuer: Issuer,
    pub(crate) server: Portcullis,
    pub(crate) client: CheckClient,
}

impl Gate {
    /// The server with the standard catalog.
    pub(crate) fn start() -> Self {
        Self::with(|builder, _| builder)
    }

    /// The server with the standard catalog and something changed.
    pub(crate) fn with(
        change: impl FnOnce(PortcullisBuilder, &Issuer) -> PortcullisBuilder,
    ) -> Self {
        let issuer = Issuer::start();
        let builder = PortcullisBuilder::new()
            .authenticator("partners", issuer.authenticator("orders"))
            .authenticator("keys", json!({ "type": "apiKey", "credentials": [{ "header": "x-api-key" }, { "query": "api_key" }] }))
            .authenticator("apps", json!({ "type": "appId", "id": [{ "header": "app-id" }], "key": [{ "header": "app-key" }] }))
            .catalog("apis.yaml", APIS)
            .catalog("applications.yaml", &applications(issuer.url()));
        let server = change(builder, &issuer).start();
        let client = CheckClient::new(server.check_address());
        Self {
            issuer,
            server,
            client,
        }
    }

    /// A token of `shop` with all that the orders Api asks for.
    pub(crate) fn token(&self) -> Token {
        self.issuer
            .token()
            .audience("orders")
            .client_id("shop")
            .scope("orders.read orders.write")
    }

    /// The answer to a check.
    pub(crate) async fn ask(&self, check: CheckBuilder) -> CheckResponse {
        self.client.check(check).await
    }

    /// The answer to `GET /orders/7` with this bearer token.
    pub(crate) async fn ask_with(&self, token: &str) -> CheckResponse {
        self.ask(get_order().bearer(token)).await
    }
}

/// `GET /orders/7`.
pub(crate) fn get_order() -> CheckBuilder {
    CheckBuilder::new("GET", "api.example", "/orders/7")
}

/// `POST /orders`, which needs the scope `orders.write`.
pub(crate) fn post_order() -> CheckBuilder {
    CheckBuilder::new("POST", "api.example", "/orders")
}

/// Asserts that the answer is an allow.
#[track_caller]
pub(crate) fn allowed(response: &CheckResponse) -> &OkHttpResponse {
    assert_eq!(
        metadata(response, "decision").as_deref(),
        Some("allow"),
        "{response:?}"
    );
    assert_allowed(response)
}

/// Asserts that the answer is a refusal for `reason`, in the public form of it.
#[track_caller]
pub(crate) fn refused<'a>(response: &'a CheckResponse, reason: &str) -> &'a DeniedHttpResponse {
    assert_eq!(
        metadata(response, "reason").as_deref(),
        Some(reason),
        "{response:?}"
    );
    let (status, code) = match reason {
        "request_malformed" => (400, "bad_request"),
        "api_not_found" | "operation_not_found" => (404, "not_found"),
        "token_expired" => (401, "token_expired"),
        "credential_missing"
        | "credential_invalid"
        | "signature_invalid"
        | "issuer_untrusted"
        | "audience_mismatch"
        | "key_unknown"
        | "token_inactive"
        | "proof_invalid"
        | "certificate_untrusted"
        | "source_unauthenticated"
        | "token_not_yet_valid"
        | "token_revoked" => (401, "unauthenticated"),
        "application_unknown"
        | "application_suspended"
        | "blocked"
        | "peer_not_allowed"
        | "source_not_allowed" => (403, "access_denied"),
        "subscription_missing" | "subscription_inactive" => (403, "not_subscribed"),
        "quota_exceeded" | "rate_limited" => (429, "quota_exceeded"),
        "scope_insufficient" => (403, "insufficient_scope"),
        "dependency_unavailable" | "overloaded" => (503, "unavailable"),
        "timeout" => (504, "unavailable"),
        "internal" => (500, "internal"),
        other => panic!("no such reason: {other}"),
    };
    assert_denied(response, status, code)
}

/// A field of the dynamic metadata.
pub(crate) fn metadata(response: &CheckResponse, name: &str) -> Option<String> {
    match response
        .dynamic_metadata
        .as_ref()?
        .fields
        .get(name)?
        .kind
        .as_ref()?
    {
        Kind::StringValue(text) => Some(text.clone()),
        other => panic!("no text: {other:?}"),
    }
}

/// The Apis of the standard catalog.
pub(crate) const APIS: &str = r#"
apiVersion: portcullis.dev/v1alpha1
kind: Api
metadata: { name: orders }
spec:
  title: ordersAPI
  version: 1.0.0
  context: /orders
  hosts: [api.example]
  basePath: /orders
  authenticators: [partners, keys, apps]
  operations:
    - { methods: [GET], path: "/{id}" }
    - { methods: [POST], path: /, scopes: { anyOf: [orders.write, orders.admin] } }
    - { methods: [DELETE], path: "/{id}", scopes: { allOf: [orders.write, orders.admin] }, authenticators: [partners] }
    - { methods: [GET], path: "/files/{*rest}" }
  upstream:
    headers:
      x-user: "{principal.subject}"
      x-client-id: "{principal.clientId}"
      x-application: "{application.name}"
      x-plan: "{subscription.plan}"
      x-tenant: "{claims.tenant.id}"
    removeHeaders: [x-debug]
    responseHeaders: { x-api-version: "{api.version}" }
---
apiVersion: portcullis.dev/v1alpha1
kind: Api
metadata: { name: open }
spec:
  title: openAPI
  version: 1.0.0
  hosts: [open.example]
  basePath: /
  authenticators: [partners, anonymous]
  subscription: none
  preflight: pass
  unmatchedOperation: allow
  upstream: { headers: { x-open-user: "{principal.subject}" } }
---
apiVersion: portcullis.dev/v1alpha1
kind: Api
metadata: { name: optional }
spec:
  title: optionalAPI
  version: 1.0.0
  hosts: [optional.example]
  basePath: /
  authenticators: [partners, keys]
  subscription: optional
  unmatchedOperation: allow
---
apiVersion: portcullis.dev/v1alpha1
kind: Api
metadata: { name: watched }
spec:
  title: watchedAPI
  version: 1.0.0
  hosts: [watched.example]
  basePath: /
  enforcement: shadow
  authenticators: [partners]
  unmatchedOperation: allow
---
apiVersion: portcullis.dev/v1alpha1
kind: Plan
metadata: { name: gold }
spec: { limits: [{ amount: 10000, per: day }] }
"#;

/// The applications of the standard catalog, whose OAuth clients are those of `issuer`.
pub(crate) fn applications(issuer: &str) -> String {
    let client = |name: &str| format!("clients: [{{ issuer: \"{issuer}\", clientId: {name} }}]");
    let application = |name: &str, spec: &str| {
        format!(
            "---\napiVersion: portcullis.dev/v1alpha1\nkind: Application\nmetadata: {{ name: {name} }}\nspec:\n{spec}\n"
        )
    };
    let key = |key: &str| format!("{{ digest: \"{}\" }}", key_digest(key));
    let subscription = |extra: &str| format!("subscriptions: [{{ api: orders{extra} }}]");
    [
        application(
            "shop",
            &format!(
                "  owner: acme\n  {}\n  apiKeys: [{}, {{ digest: \"{}\", expires: 2020-01-01T00:00:00Z }}]\n  appId: {SHOP_APP_ID}\n  appKeys: [{}]\n  {}",
                client("shop"), key(SHOP_KEY), key_digest("expired-key"), key(SHOP_APP_KEY), subscription(", plan: gold")
            ),
        ),
        application("keyless", &format!("  appId: keyless-app\n  {}", subscription(""))),
        application("suspended", &format!("  state: suspended\n  {}\n  {}", client("suspended"), subscription(""))),
        application("stranger", &format!("  {}", client("stranger"))),
        application("onhold", &format!("  {}\n  {}", client("onhold"), subscription(", state: onHold"))),
        application("blocked", &format!("  {}\n  {}", client("blocked"), subscription(", state: blocked"))),
        application("over", &format!("  {}\n  {}", client("over"), subscription(", validUntil: 2020-01-01T00:00:00Z"))),
    ]
    .concat()
}
