//! What is revoked is refused at once, whatever verified it and however often that was remembered.

mod file;
mod logout;
mod shared;

use serde_json::{Value, json};

use crate::gate::{Gate, SHOP_APP_ID, SHOP_APP_KEY, SHOP_KEY, allowed, get_order, refused};
use crate::support::eventually;
use crate::support::http::{self, Response};
use crate::support::portcullis::Portcullis;
use crate::support::signing::key_digest;
use crate::support::token::Token;

/// Asks the admin API.
pub(crate) fn admin(server: &Portcullis, method: &str, target: &str, body: &str) -> Response {
    let length = body.len().to_string();
    let headers = [("content-length", length.as_str())];
    let mut bytes = http::request_bytes(method, "localhost", target, &headers);
    bytes.extend(body.as_bytes());
    http::raw_request(server.address("admin"), bytes)
}

/// Revokes, and gives the entry.
#[track_caller]
pub(crate) fn revoke(server: &Portcullis, entry: Value) -> Value {
    let answer = admin(server, "POST", "/v1/revocations", &entry.to_string());
    assert_eq!(answer.status, 201, "{}", answer.text());
    answer.json()
}

/// A token of before all that a test revokes.
pub(crate) fn earlier(gate: &Gate) -> Token {
    gate.token()
        .claim("iat", jiff::Timestamp::now().as_second() - 60)
}

/// `iat` of a login after what is revoked now: ahead of our clock by less than the leeway.
pub(crate) fn later() -> i64 {
    jiff::Timestamp::now().as_second() + 3
}

#[tokio::test]
async fn token_revoked_is_the_reason_although_the_token_was_remembered() {
    let gate = Gate::start();
    let token = gate.token().sign();
    for _ in 0..3 {
        allowed(&gate.ask_with(&token).await);
    }
    assert!(
        gate.server
            .metrics()
            .contains("portcullis_verified_tokens 1")
    );
    revoke(
        &gate.server,
        json!({ "kind": "token", "value": &key_digest(&token)[7..] }),
    );
    for _ in 0..2 {
        let answer = gate.ask_with(&token).await;
        let denied = refused(&answer, "token_revoked");
        let challenge = denied.headers.iter().find_map(|header| {
            let header = header.header.as_ref()?;
            (header.key == "www-authenticate").then(|| header.value.clone())
        });
        assert!(challenge.unwrap().contains("invalid_token"));
    }
    // another token of the same caller is another matter
    allowed(&gate.ask_with(&gate.token().claim("n", 1).sign()).await);
    eventually("the decision log to have the reason", || {
        gate.server.stdout().contains("token_revoked").then_some(())
    });
}

#[tokio::test]
async fn a_token_of_each_kind_is_refused_and_others_are_not() {
    let gate = Gate::start();
    let issuer = gate.issuer.url();
    let sign = |name: &str, value: &str| gate.token().claim(name, value).sign();
    let cases = [
        (
            json!({ "kind": "jti", "issuer": issuer, "value": "t1" }),
            sign("jti", "t1"),
            sign("jti", "t2"),
        ),
        (
            json!({ "kind": "session", "issuer": issuer, "value": "s1" }),
            sign("sid", "s1"),
            sign("sid", "s2"),
        ),
        (
            json!({ "kind": "subject", "issuer": issuer, "value": "bob" }),
            sign("sub", "bob"),
            sign("sub", "carol"),
        ),
        (
            json!({ "kind": "subject", "value": "dora" }),
            sign("sub", "dora"),
            sign("sub", "doran"),
        ),
    ];
    for (entry, revoked, other) in cases {
        allowed(&gate.ask_with(&revoked).await);
        revoke(&gate.server, entry);
        refused(&gate.ask_with(&revoked).await, "token_revoked");
        allowed(&gate.ask_with(&other).await);
    }
    let elsewhere = json!({ "kind": "client", "issuer": "https://other.example", "value": "shop" });
    revoke(&gate.server, elsewhere);
    let token = gate.token().sign();
    allowed(&gate.ask_with(&token).await);
    revoke(
        &gate.server,
        json!({ "kind": "client", "issuer": issuer, "value": "shop" }),
    );
    refused(&gate.ask_with(&token).await, "token_revoked");
    let metrics = gate.server.metrics();
    for count in [
        "{kind=\"subject\"} 2",
        "{kind=\"client\"} 2",
        "{kind=\"jti\"} 1",
        "{kind=\"token\"} 0",
    ] {
        assert!(
            metrics.contains(&format!("portcullis_revocations{count}")),
            "{count}: {metrics}"
        );
    }
}

#[tokio::test]
async fn a_new_login_is_good_again_and_what_does_not_say_when_is_not() {
    let gate = Gate::start();
    let issuer = gate.issuer.url();
    for entry in [
        json!({ "kind": "subject", "issuer": issuer, "value": "alice" }),
        json!({ "kind": "client", "issuer": issuer, "value": "shop" }),
        json!({ "kind": "issuer", "issuer": issuer }),
        json!({ "kind": "application", "value": "shop" }),
    ] {
        let entry = revoke(&gate.server, entry);
        refused(&gate.ask_with(&gate.token().sign()).await, "token_revoked");
        refused(
            &gate.ask_with(&gate.token().without("iat").sign()).await,
            "token_revoked",
        );
        allowed(
            &gate
                .ask_with(&gate.token().claim("iat", later()).sign())
                .await,
        );
        let target = format!("/v1/revocations/{}", entry["id"].as_str().unwrap());
        assert_eq!(admin(&gate.server, "DELETE", &target, "").status, 200);
        assert_eq!(admin(&gate.server, "DELETE", &target, "").status, 404);
        allowed(&gate.ask_with(&gate.token().sign()).await);
    }
}

#[tokio::test]
async fn keys_of_an_application_that_is_revoked_are_refused() {
    let gate = Gate::start();
    let by_key = || get_order().header("x-api-key", SHOP_KEY);
    let by_app = || {
        get_order()
            .header("app-id", SHOP_APP_ID)
            .header("app-key", SHOP_APP_KEY)
    };
    allowed(&gate.ask(by_key()).await);
    let entry = revoke(
        &gate.server,
        json!({ "kind": "application", "value": "default/shop" }),
    );
    // keys do not end, and so neither does this
    assert_eq!(entry["until"], Value::Null);
    refused(&gate.ask(by_key()).await, "token_revoked");
    refused(&gate.ask(by_app()).await, "token_revoked");
    refused(&gate.ask_with(&gate.token().sign()).await, "token_revoked");
    allowed(&gate.ask(get_order().header("app-id", "keyless-app")).await);
}

#[tokio::test]
async fn the_admin_api_lists_what_is_revoked_and_no_token() {
    let gate = Gate::start();
    let token = gate.token().sign();
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let entry = revoke(
        &gate.server,
        json!({ "kind": "token", "token": token, "note": "lost on a train" }),
    );
    assert_eq!(entry["kept"], "memory");
    refused(&gate.ask_with(&token).await, "token_revoked");
    for number in 0..5 {
        revoke(
            &gate.server,
            json!({ "kind": "subject", "value": format!("user-{number}") }),
        );
    }
    let listed = gate.server.admin("/v1/revocations?offset=1&limit=3").json();
    assert_eq!(listed["total"], 6);
    assert_eq!(listed["revocations"].as_array().unwrap().len(), 3);
    let all = gate.server.admin("/v1/revocations").text();
    assert!(
        all.contains("lost on a train") && all.contains(&key_digest(signed)[7..]),
        "{all}"
    );
    assert!(!all.contains(signature) && !gate.server.stderr().contains(signature));
    let target = format!("/v1/revocations/{}", entry["id"].as_str().unwrap());
    assert_eq!(gate.server.admin(&target).json()["kind"], "token");
    assert_eq!(gate.server.admin("/v1/revocations?page=1").status, 400);
    assert_eq!(gate.server.admin("/v1/revocations/nonsense").status, 404);
}

#[tokio::test]
async fn what_is_no_entry_is_refused_without_telling_what_it_said() {
    let gate = Gate::start();
    let at = "2020-01-01T00:00:00Z";
    for entry in [
        json!({ "kind": "subject" }),
        json!({ "kind": "hunter2", "value": "hunter2" }),
        json!({ "kind": "token", "value": "hunter2" }),
        json!({ "kind": "jti", "value": "hunter2" }),
        json!({ "kind": "subject", "value": "hunter2", "until": at }),
        json!({ "kind": "subject", "value": "hunter2", "hunter2": at }),
        json!(["hunter2"]),
    ] {
        let answer = admin(&gate.server, "POST", "/v1/revocations", &entry.to_string());
        assert_eq!(answer.status, 400, "{entry}: {}", answer.text());
        assert!(!answer.text().contains("hunter2"), "{}", answer.text());
    }
    let large = json!({ "kind": "token", "token": "x".repeat(30_000) }).to_string();
    assert_eq!(
        admin(&gate.server, "POST", "/v1/revocations", &large).status,
        413
    );
    assert_eq!(gate.server.admin("/v1/revocations").json()["total"], 0);
}

#[tokio::test]
async fn a_full_set_refuses_what_is_new_and_forgets_nothing() {
    let gate = Gate::with(|builder, _| builder.set(&["revocation"], json!({ "maxEntries": 1 })));
    assert!(
        gate.server
            .stderr()
            .contains("forgotten when this process ends")
    );
    revoke(&gate.server, json!({ "kind": "subject", "value": "alice" }));
    let another = json!({ "kind": "subject", "value": "bob" }).to_string();
    let answer = admin(&gate.server, "POST", "/v1/revocations", &another);
    assert_eq!(answer.status, 507, "{}", answer.text());
    assert!(answer.text().contains("maxEntries"), "{}", answer.text());
    // what is known may be said again
    revoke(&gate.server, json!({ "kind": "subject", "value": "alice" }));
    refused(
        &gate.ask_with(&earlier(&gate).sign()).await,
        "token_revoked",
    );
    allowed(&gate.ask_with(&gate.token().subject("bob").sign()).await);
    let metrics = gate.server.metrics();
    assert!(
        metrics.contains("portcullis_revocations_refused_total 1"),
        "{metrics}"
    );
}

#[tokio::test]
async fn what_was_entered_outlives_the_process_where_there_is_a_store() {
    let state = tempfile::tempdir().unwrap();
    let store = json!({ "path": state.path().join("state.db") });
    let mut gate = Gate::with(|builder, _| {
        builder
            .set(&["revocation"], json!({}))
            .set(&["store"], store.clone())
    });
    assert!(
        !gate
            .server
            .stderr()
            .contains("forgotten when this process ends")
    );
    let entry = revoke(
        &gate.server,
        json!({ "kind": "subject", "value": "alice", "note": "why" }),
    );
    let other = revoke(
        &gate.server,
        json!({ "kind": "application", "value": "shop" }),
    );
    assert_eq!(entry["kept"], "store");
    let target = format!("/v1/revocations/{}", other["id"].as_str().unwrap());
    assert_eq!(admin(&gate.server, "DELETE", &target, "").status, 200);
    // at once, so that nothing is written at the end
    gate.server.kill();
    let again = Gate::with(|builder, _| builder.set(&["store"], store));
    let listed = again.server.admin("/v1/revocations").json();
    assert_eq!(listed["total"], 1, "{listed}");
    for name in ["id", "before", "until", "note", "by"] {
        assert_eq!(listed["revocations"][0][name], entry[name], "{name}");
    }
    refused(
        &again.ask_with(&earlier(&again).sign()).await,
        "token_revoked",
    );
    let by_key = get_order().header("x-api-key", SHOP_KEY);
    allowed(&again.ask(by_key).await);
}

#[test]
fn what_cannot_be_meant_is_found_at_the_start() {
    let refused = |revocation: Value| {
        let issuer = crate::support::issuer::Issuer::start();
        let mut partners = issuer.authenticator("orders");
        partners["maxLifetime"] = json!("10h");
        let builder = crate::support::portcullis::PortcullisBuilder::new()
            .authenticator("partners", partners)
            .catalog("apis.yaml", "apiVersion: portcullis.dev/v1alpha1\nkind: Plan\nmetadata: { name: gold }\nspec: { limits: [] }\n")
            .set(&["revocation"], revocation);
        builder.start_refused().1
    };
    for (revocation, told) in [
        (json!({ "keep": "9h" }), "maxLifetime"),
        (json!({ "maxEntries": 0 }), "revocation.maxEntries"),
        (
            json!({ "sources": [{ "type": "file", "path": "" }] }),
            "sources[0].path",
        ),
        (
            json!({ "sources": [{ "type": "redis" }] }),
            "revocation.sources[0].url",
        ),
        (
            json!({ "sources": [{ "type": "carrier-pigeon" }] }),
            "revocation",
        ),
        (
            json!({ "logout": { "authenticators": ["nobody"], "clients": ["gw"] } }),
            "logout.authenticators[0]",
        ),
        (
            json!({ "logout": { "authenticators": ["partners"], "clients": [] } }),
            "logout.clients",
        ),
        (
            json!({ "sources": [{ "type": "file", "path": "missing.yaml" }] }),
            "missing.yaml",
        ),
    ] {
        let said = refused(revocation.clone());
        assert!(said.contains(told), "{revocation}: {said}");
    }
}
