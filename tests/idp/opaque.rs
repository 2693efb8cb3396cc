//! Tokens that Keycloak is asked about, and tokens that it binds to a client's key.

use envoy_types::pb::envoy::service::auth::v3::CheckResponse;
use serde_json::{Value, json};

use crate::support::check::{CheckBuilder, CheckClient, assert_allowed, assert_denied, header};
use crate::support::keycloak::{Realm, service_client};
use crate::support::portcullis::Portcullis;
use crate::support::proof::Prover;
use crate::{KEYCLOAK, patient_server};

const SECRET: &str = "a-secret-of-a-test";

const API: &str = r#"
apiVersion: portcullis.dev/v1alpha1
kind: Api
metadata: { name: orders }
spec:
  title: orders
  version: 1.0.0
  hosts: [api.example]
  authenticators: [partners]
  subscription: none
  unmatchedOperation: allow
  upstream: { headers: { x-client-id: "{principal.clientId}" } }
"#;

/// A realm with the clients `shop`, `bound`, whose tokens need proofs, and `gw`, which introspects.
fn realm(name: &str) -> Realm<'static> {
    let mut bound = service_client("bound", SECRET, "orders");
    bound["attributes"] = json!({ "dpop.bound.access.tokens": "true" });
    let clients = [
        service_client("shop", SECRET, "orders"),
        bound,
        service_client("gw", SECRET, "orders"),
    ];
    KEYCLOAK.realm(name, json!({ "clients": clients }))
}

/// A server that asks `realm` about tokens.
fn introspecting(realm: &Realm<'_>) -> Portcullis {
    let partners = json!({
        "type": "introspection", "url": realm.introspection_url(), "issuer": realm.issuer(),
        "client": { "id": "gw", "secret": { "file": "secret" } },
        "http": { "allowHttp": true, "timeout": "10s" }, "audiences": ["orders"],
        "binding": { "dpop": {} }, "cache": { "maxLifetime": "1s", "refused": "1s" },
    });
    start(partners)
}

fn start(partners: Value) -> Portcullis {
    patient_server()
        .file("secret", SECRET)
        .authenticator("partners", partners)
        .catalog("api.yaml", API)
        .start()
}

async fn ask(server: &Portcullis, check: CheckBuilder) -> CheckResponse {
    CheckClient::new(server.check_address()).check(check).await
}

/// `GET /orders/7`, as the `number`th request.
fn get(number: u32) -> CheckBuilder {
    let check = CheckBuilder::new("GET", "api.example", "/orders/7");
    check.http(|http| http.id = number.to_string())
}

#[tokio::test]
async fn keycloak_is_asked_whether_a_token_is_active_and_a_revoked_one_is_not() {
    let realm = realm("opaque");
    let server = introspecting(&realm);
    let token = realm.token("shop", SECRET, &[]);
    let allowed = ask(&server, get(1).bearer(&token)).await;
    let ok = assert_allowed(&allowed);
    assert_eq!(header(&ok.headers, "x-client-id").as_deref(), Some("shop"));
    realm.revoke(&token, "shop", SECRET);
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    let revoked = ask(&server, get(2).bearer(&token)).await;
    assert_denied(&revoked, 401, "unauthenticated");
    assert_denied(
        &ask(&server, get(3).bearer("opaque")).await,
        401,
        "unauthenticated",
    );
}

#[tokio::test]
async fn a_token_that_keycloak_bound_to_a_key_passes_with_a_proof_alone() {
    let realm = realm("bound");
    let prover = Prover::new();
    let jwt = json!({
        "type": "jwt", "issuer": realm.issuer(), "audiences": ["orders"], "allowHttpIssuer": true,
        "binding": { "required": "dpop" },
    });
    for server in [start(jwt), introspecting(&realm)] {
        let token = realm.token_with_proof("bound", SECRET, &prover);
        let proof = prover
            .proof("GET", "http://api.example/orders/7", &token)
            .sign();
        let with_proof = |number| {
            let authorization = format!("DPoP {token}");
            get(number)
                .header("authorization", authorization)
                .header("dpop", &proof)
        };
        assert_denied(
            &ask(&server, get(1).bearer(&token)).await,
            401,
            "unauthenticated",
        );
        let allowed = ask(&server, with_proof(2)).await;
        let ok = assert_allowed(&allowed);
        assert_eq!(header(&ok.headers, "x-client-id").as_deref(), Some("bound"));
        assert_denied(&ask(&server, with_proof(3)).await, 401, "unauthenticated");
    }
}
