//! The workloads that an Api or operation is for.

use serde_json::json;

use crate::authentication::mtls::builder;
use crate::authentication::revocation::revoke;
use crate::gate::{allowed, metadata, refused};
use crate::support::check::{CheckBuilder, CheckClient, header};
use crate::support::portcullis::{Portcullis, PortcullisBuilder};

const CHECKOUT: &str = "spiffe://cluster.local/ns/shop/sa/checkout";
const ADMIN: &str = "spiffe://cluster.local/ns/shop/sa/admin";
const PARTNER: &str = "spiffe://partner.example/pump";

const CATALOG: &str = r#"
kind: Api
metadata: { name: orders, namespace: shop }
spec:
  title: orders
  version: 1.0.0
  hosts: [orders.example]
  authenticators: [anonymous]
  subscription: none
  from: { namespaces: [shop], notServiceAccounts: [stranger] }
  operations:
    - { path: "/{id}" }
    - { path: "/admin/{id}", from: { serviceAccounts: [admin] } }
    - { path: "/partner/{id}", from: { trustDomains: [partner.example] } }
---
kind: Api
metadata: { name: keyed, namespace: shop }
spec:
  title: keyed
  version: 1.0.0
  hosts: [keyed.example]
  authenticators: [keys]
  from: { principals: ["cluster.local/ns/shop/sa/checkout"] }
  unmatchedOperation: allow
---
kind: Api
metadata: { name: watched, namespace: shop }
spec:
  title: watched
  version: 1.0.0
  hosts: [watched.example]
  authenticators: [anonymous]
  subscription: none
  enforcement: shadow
  from: { requireMtls: true }
  unmatchedOperation: allow
---
kind: Api
metadata: { name: open, namespace: shop }
spec:
  title: open
  version: 1.0.0
  hosts: [open.example]
  authenticators: [anonymous]
  subscription: none
  unmatchedOperation: allow
"#;

fn server() -> Portcullis {
    builder(true).catalog("catalog.yaml", CATALOG).start()
}

fn get(host: &str, path: &str) -> CheckBuilder {
    CheckBuilder::new("GET", host, path)
}

#[tokio::test]
async fn a_workload_that_an_api_is_not_for_is_source_not_allowed() {
    let server = server();
    let client = CheckClient::new(server.check_address());
    let ask = |principal: &str| client.check(get("orders.example", "/7").principal(principal));
    let response = ask(CHECKOUT).await;
    allowed(&response);
    assert_eq!(
        metadata(&response, "source.spiffe_id").as_deref(),
        Some(CHECKOUT)
    );
    allowed(&ask("spiffe://old.example/ns/shop/sa/checkout").await);
    for principal in [
        PARTNER,
        "spiffe://cluster.local/ns/other/sa/checkout",
        "spiffe://cluster.local/ns/shop/sa/stranger",
        "spiffe://cluster.local/ns/shopping/sa/checkout",
        "spiffe://cluster.local/ns/Shop/sa/checkout",
        "shop.example",
        "CN=shop",
    ] {
        let response = ask(principal).await;
        refused(&response, "source_not_allowed");
    }
    // the refused workload is told, too
    let response = ask(PARTNER).await;
    assert_eq!(
        metadata(&response, "source.spiffe_id").as_deref(),
        Some(PARTNER)
    );
    // what is no SPIFFE ID is nobody's
    let response = ask("spiffe://cluster.local/ns/shop/sa/checkout/").await;
    refused(&response, "certificate_untrusted");
}

#[tokio::test]
async fn a_workload_that_is_revoked_passes_no_from_whatever_else_is_shown() {
    let server = server();
    let client = CheckClient::new(server.check_address());
    let ask = |host: &str, principal: &str| client.check(get(host, "/7").principal(principal));
    allowed(&ask("orders.example", CHECKOUT).await);
    allowed(&ask("watched.example", "pump.partner.example").await);
    for value in [CHECKOUT, "pump.partner.example"] {
        revoke(&server, json!({ "kind": "subject", "value": value }));
    }
    for name in [CHECKOUT, "spiffe://old.example/ns/shop/sa/checkout"] {
        let response = ask("orders.example", name).await;
        refused(&response, "token_revoked");
        let told = metadata(&response, "source.spiffe_id");
        assert_eq!(told.as_deref(), Some(CHECKOUT));
    }
    let shadow = ask("watched.example", "pump.partner.example").await;
    assert_eq!(
        metadata(&shadow, "reason").as_deref(),
        Some("token_revoked")
    );
    allowed(&ask("orders.example", "spiffe://cluster.local/ns/shop/sa/app").await);
    // nobody asks elsewhere who it is
    allowed(&ask("open.example", CHECKOUT).await);
    revoke(
        &server,
        json!({ "kind": "issuer", "issuer": "spiffe://cluster.local" }),
    );
    let other = ask("orders.example", "spiffe://cluster.local/ns/shop/sa/app").await;
    refused(&other, "token_revoked");
}

#[tokio::test]
async fn who_shows_no_certificate_is_source_unauthenticated_and_told_what_is_missing() {
    let server = server();
    let client = CheckClient::new(server.check_address());
    let response = client.check(get("orders.example", "/7")).await;
    let denied = refused(&response, "source_unauthenticated");
    let challenge = header(&denied.headers, "www-authenticate");
    assert_eq!(
        challenge.as_deref(),
        Some("ClientCertificate realm=\"orders\"")
    );
    // nobody asks elsewhere
    allowed(&client.check(get("open.example", "/")).await);
}

#[tokio::test]
async fn the_rules_of_api_and_operation_must_both_hold() {
    let server = server();
    let client = CheckClient::new(server.check_address());
    let ask = |path: &str, principal: &str| {
        client.check(get("orders.example", path).principal(principal))
    };
    allowed(&ask("/admin/7", ADMIN).await);
    refused(&ask("/admin/7", CHECKOUT).await, "source_not_allowed");
    // the service account of another namespace
    let other = "spiffe://cluster.local/ns/other/sa/admin";
    refused(&ask("/admin/7", other).await, "source_not_allowed");
    for principal in [PARTNER, CHECKOUT] {
        refused(&ask("/partner/7", principal).await, "source_not_allowed");
    }
}

#[tokio::test]
async fn the_workload_is_judged_before_the_subscription_and_beside_any_credential() {
    const KEY: &str = "key-9f86d081884c7d659a2feaa0c55ad015";
    let application = format!(
        "{CATALOG}\n---\nkind: Application\nmetadata: {{ name: shop, namespace: shop }}\nspec:\n  apiKeys: [{{ digest: \"{}\" }}]\n",
        crate::support::signing::key_digest(KEY)
    );
    let server = builder(false).catalog("catalog.yaml", &application).start();
    let client = CheckClient::new(server.check_address());
    let ask = |key: &str, principal: &str| {
        let check = get("keyed.example", "/").principal(principal);
        client.check(check.header("x-api-key", key))
    };
    refused(&ask(KEY, ADMIN).await, "source_not_allowed");
    refused(&ask(KEY, "").await, "source_unauthenticated");
    refused(&ask(KEY, CHECKOUT).await, "subscription_missing");
    refused(&ask("wrong", CHECKOUT).await, "credential_invalid");
    // without a listener where it counts, nobody says by a header who calls
    let forged = get("keyed.example", "/").header("x-api-key", KEY).header(
        "x-forwarded-client-cert",
        format!("By=a;Hash=b;URI={CHECKOUT}"),
    );
    refused(&client.check(forged).await, "source_unauthenticated");
}

#[tokio::test]
async fn an_api_that_only_watches_tells_of_the_workload_and_lets_it_pass() {
    let server = server();
    let client = CheckClient::new(server.check_address());
    let response = client.check(get("watched.example", "/")).await;
    assert_eq!(
        metadata(&response, "reason").as_deref(),
        Some("source_unauthenticated")
    );
    assert_eq!(
        metadata(&response, "enforcement").as_deref(),
        Some("shadow")
    );
}

#[test]
fn a_rule_that_names_nobody_or_cannot_be_read_is_a_mistake() {
    for (from, part) in [
        ("{}", "names nobody"),
        ("{ principals: [] }", "there and empty"),
        (
            "{ namespaces: [shop], notNamespaces: [] }",
            "there and empty",
        ),
        ("{ principals: [\"a*b\"] }", "at the begin or at the end"),
        ("{ principals: [\"*a*\"] }", "at the begin or at the end"),
        ("{ principals: [\"td/ns/a/sa/b/\"] }", "segment"),
        ("{ principals: [td] }", "trustDomains"),
        ("{ principals: [\"spiffe://*\"] }", "trustDomains"),
        ("{ notPrincipals: [\"SPIFFE://*\"] }", "trustDomains"),
        ("{ principals: [\"\"] }", "empty"),
        ("{ namespaces: [\"a/b\"] }", "no slash"),
        ("{ serviceAccounts: [\"a/b/c\"] }", "namespace/account"),
        ("{ serviceAccounts: [\"a*\"] }", "no `*`"),
        ("{ trustDomains: [\"a/b\"] }", "trust domain"),
        ("{ requireMtls: false }", "says nothing"),
        ("{ namespaces: [shop], requireMtls: false }", "says nothing"),
        ("{ requestPrincipals: [x] }", "requestPrincipals"),
    ] {
        let catalog = format!(
            "kind: Api\nmetadata: {{ name: a }}\nspec:\n  title: a\n  version: 1.0.0\n  hosts: [a.example]\n  authenticators: [anonymous]\n  subscription: none\n  unmatchedOperation: allow\n  from: {from}\n"
        );
        let (status, told) = PortcullisBuilder::new()
            .set(&["spiffe"], json!({ "trustDomain": "cluster.local" }))
            .catalog("catalog.yaml", &catalog)
            .start_refused();
        assert_eq!(status.code(), Some(78), "{from}: {told}");
        assert!(
            told.contains(part) && told.contains("from"),
            "{from}: {told}"
        );
    }
}
