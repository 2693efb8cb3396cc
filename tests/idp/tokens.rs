//! Tokens that Keycloak issued, judged by its discovery document and key set.

use envoy_types::pb::envoy::service::auth::v3::CheckResponse;
use serde_json::json;

use crate::support::check::{CheckBuilder, CheckClient, assert_allowed, assert_denied, header};
use crate::support::keycloak::{Realm, service_client};
use crate::support::portcullis::Portcullis;
use crate::{KEYCLOAK, patient_server};

const SECRET: &str = "a-secret-of-a-test";

/// A realm with the client `shop`, whose tokens are for `orders`, and `stray`, whose are not; and
/// a server that trusts it.
fn gate(name: &str) -> (Realm<'static>, Portcullis) {
    let clients = [
        service_client("shop", SECRET, "orders"),
        service_client("stray", SECRET, "invoices"),
    ];
    let realm = KEYCLOAK.realm(name, json!({ "clients": clients }));
    let partners = json!({
        "type": "jwt", "issuer": realm.issuer(), "keys": "discovery", "audiences": ["orders"],
        "allowHttpIssuer": true,
    });
    let server = patient_server()
        .authenticator("partners", partners)
        .catalog("catalog.yaml", &catalog(&realm.issuer()))
        .start();
    (realm, server)
}

pub(crate) fn catalog(issuer: &str) -> String {
    format!(
        r#"
apiVersion: portcullis.dev/v1alpha1
kind: Api
metadata: {{ name: orders }}
spec:
  title: orders
  version: 1.0.0
  hosts: [api.example]
  basePath: /orders
  authenticators: [partners]
  operations: [{{ methods: [GET], path: "/{{id}}" }}]
  upstream: {{ headers: {{ x-client-id: "{{application.clientId}}" }} }}
---
apiVersion: portcullis.dev/v1alpha1
kind: Application
metadata: {{ name: shop }}
spec:
  clients: [{{ issuer: "{issuer}", clientId: shop }}]
  subscriptions: [{{ api: orders }}]
"#
    )
}

pub(crate) async fn get_order(server: &Portcullis, token: &str) -> CheckResponse {
    let client = CheckClient::new(server.check_address());
    let check = CheckBuilder::new("GET", "api.example", "/orders/7").bearer(token);
    client.check(check).await
}

#[tokio::test]
async fn a_token_of_keycloak_is_allowed_by_discovery() {
    let (realm, server) = gate("discovery");
    let allowed = get_order(&server, &realm.token("shop", SECRET, &[])).await;
    let ok = assert_allowed(&allowed);
    assert_eq!(header(&ok.headers, "x-client-id").as_deref(), Some("shop"));
}

#[tokio::test]
async fn a_token_of_keycloak_for_another_audience_is_denied() {
    let (realm, server) = gate("audience");
    let stray = get_order(&server, &realm.token("stray", SECRET, &[])).await;
    assert_denied(&stray, 401, "unauthenticated");
}

#[tokio::test]
async fn after_a_rotation_of_keycloaks_keys_new_and_old_tokens_are_allowed() {
    let (realm, server) = gate("rotation");
    let old = realm.token("shop", SECRET, &[]);
    assert_allowed(&get_order(&server, &old).await);
    realm.rotate();
    let new = realm.token("shop", SECRET, &[]);
    assert_ne!(key_of(&old), key_of(&new));
    assert_allowed(&get_order(&server, &new).await);
    assert_allowed(&get_order(&server, &old).await);
}

/// The header of a token, in which its key is named.
fn key_of(token: &str) -> Option<&str> {
    token.split('.').next()
}
