//! Several issuers, several configurations of one, and the ways to give its keys.

use serde_json::{Value, json};

use crate::gate::{Gate, allowed, refused};
use crate::support::check::{CheckBuilder, headers};
use crate::support::issuer::Issuer;
use crate::support::signing::Algorithm;

/// An Api of its own, on `other.example`, that asks these authenticators.
fn api(authenticators: &[&str]) -> String {
    format!(
        "apiVersion: portcullis.dev/v1alpha1\nkind: Api\nmetadata: {{ name: other }}\nspec:\n  title: other\n  version: 1.0.0\n  hosts: [other.example]\n  basePath: /\n  authenticators: {authenticators:?}\n  subscription: none\n  unmatchedOperation: allow\n  upstream: {{ headers: {{ x-user: \"{{principal.subject}}\", x-client: \"{{principal.clientId}}\", x-authenticator: \"{{principal.authenticator}}\" }} }}\n"
    )
}

fn get() -> CheckBuilder {
    CheckBuilder::new("GET", "other.example", "/")
}

/// The gate with one more authenticator called `other`, and an Api that asks it alone.
fn with_other(configure: impl FnOnce(&Issuer) -> Value) -> Gate {
    Gate::with(|builder, issuer| {
        builder
            .authenticator("other", configure(issuer))
            .catalog("other.yaml", &api(&["other"]))
    })
}

#[tokio::test]
async fn tokens_of_two_issuers_find_their_authenticators() {
    let second = Issuer::start();
    let gate = Gate::with(|builder, _| {
        builder
            .authenticator("second", second.authenticator("orders"))
            .catalog("other.yaml", &api(&["partners", "second"]))
    });
    for (token, authenticator) in [
        (gate.token().sign(), "partners"),
        (
            second.token().audience("orders").client_id("x").sign(),
            "second",
        ),
    ] {
        let response = gate.ask(get().bearer(&token)).await;
        assert_eq!(
            headers(&allowed(&response).headers)["x-authenticator"],
            authenticator
        );
    }
}

#[tokio::test]
async fn two_configurations_of_one_issuer_are_told_apart_by_audience() {
    let gate = Gate::with(|builder, issuer| {
        builder
            .authenticator("billing", issuer.authenticator("billing"))
            .catalog("other.yaml", &api(&["partners", "billing"]))
    });
    for (audience, authenticator) in [("orders", "partners"), ("billing", "billing")] {
        let response = gate
            .ask(get().bearer(&gate.token().audience(audience).sign()))
            .await;
        assert_eq!(
            headers(&allowed(&response).headers)["x-authenticator"],
            authenticator
        );
    }
    refused(
        &gate
            .ask(get().bearer(&gate.token().audience("stock").sign()))
            .await,
        "audience_mismatch",
    );
}

#[tokio::test]
async fn keys_can_be_given_by_url_inline_or_by_secret() {
    let gate = with_other(
        |issuer| json!({ "type": "jwt", "issuer": issuer.url(), "keys": { "jwksUrl": issuer.key_set_url() }, "audiences": ["b"], "allowHttpIssuer": true }),
    );
    allowed(
        &gate
            .ask(get().bearer(&gate.token().audience("b").sign()))
            .await,
    );

    let gate = with_other(|issuer| {
        let keys = json!({ "jwks": { "keys": issuer.keys().public_jwks() } });
        json!({ "type": "jwt", "issuer": issuer.url(), "keys": keys, "audiences": ["b"], "allowHttpIssuer": true })
    });
    allowed(
        &gate
            .ask(get().bearer(&gate.token().audience("b").sign()))
            .await,
    );

    let secret = "a secret of more than thirty-two bytes, for HS256";
    let gate = Gate::with(|builder, _| {
        let hs = json!({ "type": "jwt", "issuer": "https://legacy.example", "keys": { "secret": { "file": "hs-secret" } }, "audiences": ["b"], "algorithms": ["HS256"] });
        builder
            .file("hs-secret", secret)
            .authenticator("other", hs)
            .catalog("other.yaml", &api(&["other"]))
    });
    let legacy = gate
        .token()
        .claim("iss", "https://legacy.example")
        .audience("b");
    allowed(
        &gate
            .ask(get().bearer(&legacy.sign_with_secret(secret.as_bytes())))
            .await,
    );
    refused(
        &gate
            .ask(
                get()
                    .bearer(&legacy.sign_with_secret(b"another secret of more than 32 bytes ....")),
            )
            .await,
        "signature_invalid",
    );
    refused(
        &gate.ask(get().bearer(&legacy.sign())).await,
        "credential_invalid",
    );
}

#[tokio::test]
async fn keys_can_be_given_by_files_and_change_with_them() {
    let issuer = Issuer::start();
    let old = issuer.keys();
    let pem = json!({ "type": "jwt", "issuer": "https://pem.example", "keys": { "pemFile": "key.pem" }, "audiences": ["b"] });
    let jwks = json!({ "type": "jwt", "issuer": "https://jwks.example", "keys": { "jwksFile": "jwks.json" }, "audiences": ["b"] });
    let gate = Gate::with(|builder, _| {
        builder
            .file("key.pem", &old.public_pem(Algorithm::Es256))
            .file(
                "jwks.json",
                &json!({ "keys": old.public_jwks() }).to_string(),
            )
            .authenticator("pem", pem)
            .authenticator("jwks", jwks)
            .catalog("other.yaml", &api(&["pem", "jwks"]))
    });
    let token = |name: &str, keys| {
        let issuer = format!("https://{name}.example");
        gate.token()
            .claim("iss", issuer)
            .audience("b")
            .keys(keys)
            .algorithm(Algorithm::Es256)
            .sign()
    };
    allowed(&gate.ask(get().bearer(&token("pem", &old))).await);
    allowed(&gate.ask(get().bearer(&token("jwks", &old))).await);
    issuer.rotate();
    let new = issuer.keys();
    refused(
        &gate.ask(get().bearer(&token("pem", &new))).await,
        "signature_invalid",
    );
    std::fs::write(
        gate.server.folder().join("key.pem"),
        new.public_pem(Algorithm::Es256),
    )
    .unwrap();
    let start = std::time::Instant::now();
    while gate
        .ask(get().bearer(&token("pem", &new)))
        .await
        .status
        .unwrap()
        .code
        != 0
    {
        assert!(
            start.elapsed() < crate::support::PATIENCE,
            "the new key is not taken"
        );
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    refused(
        &gate.ask(get().bearer(&token("pem", &old))).await,
        "signature_invalid",
    );
}

#[tokio::test]
async fn only_configured_algorithms_are_taken() {
    let gate = Gate::with(|builder, _| {
        builder.set(
            &["authenticators", "partners", "algorithms"],
            json!(["ES256"]),
        )
    });
    allowed(
        &gate
            .ask_with(&gate.token().algorithm(Algorithm::Es256).sign())
            .await,
    );
    refused(
        &gate.ask_with(&gate.token().sign()).await,
        "credential_invalid",
    );
}

#[tokio::test]
async fn claims_can_sit_elsewhere() {
    let gate = with_other(|issuer| {
        json!({
            "type": "jwt", "issuer": issuer.url(), "keys": "discovery", "audiences": ["b"], "allowHttpIssuer": true,
            "claims": { "clientId": "application.client.id", "subject": "user.name", "scopes": "permissions" },
        })
    });
    let token = gate
        .token()
        .audience("b")
        .claim("application", json!({ "client": { "id": "nested" } }))
        .claim("user", json!({ "name": "bob" }));
    let response = gate.ask(get().bearer(&token.sign())).await;
    let set = headers(&allowed(&response).headers);
    assert_eq!(
        (set["x-user"].as_str(), set["x-client"].as_str()),
        ("bob", "nested")
    );
}

#[tokio::test]
async fn the_audience_can_be_the_client() {
    let legacy = Issuer::start();
    let gate = with_other(|_| {
        json!({
            "type": "jwt", "issuer": legacy.url(), "keys": "discovery", "audience": "clientId", "allowHttpIssuer": true,
        })
    });
    let token = legacy.token().audience("shop");
    let response = gate.ask(get().bearer(&token.sign())).await;
    assert_eq!(headers(&allowed(&response).headers)["x-client"], "shop");
    let other = token.client_id("another").sign();
    refused(&gate.ask(get().bearer(&other)).await, "audience_mismatch");
}

#[tokio::test]
async fn required_claims_types_and_lifetimes_are_held() {
    let gate = with_other(|issuer| {
        json!({
            "type": "jwt", "issuer": issuer.url(), "keys": "discovery", "audiences": ["b"], "allowHttpIssuer": true,
            "requiredClaims": ["tenant.id"], "types": ["at+jwt"], "maxLifetime": "10m", "leeway": "0s",
        })
    });
    let good = gate
        .token()
        .audience("b")
        .claim("tenant", json!({ "id": "t" }))
        .header("typ", "at+jwt");
    allowed(&gate.ask(get().bearer(&good.sign())).await);
    for bad in [
        gate.token().audience("b").header("typ", "at+jwt"),
        gate.token()
            .audience("b")
            .claim("tenant", json!({ "id": "t" }))
            .header("typ", "JWT"),
        good.clone()
            .expires_in(std::time::Duration::from_secs(3600)),
        good.clone().without("iat"),
    ] {
        refused(
            &gate.ask(get().bearer(&bad.sign())).await,
            "credential_invalid",
        );
    }
    refused(
        &gate
            .ask(get().bearer(&good.expired_since(std::time::Duration::from_secs(1)).sign()))
            .await,
        "token_expired",
    );
}
