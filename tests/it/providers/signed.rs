//! Provider `signed`: assertions about the caller, the listener that publishes their keys, and
//! keys that follow each other.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Scene, Stage, merged, outcome, token};
use crate::gate::applications;
use crate::support::check::{CheckBuilder, header, headers};
use crate::support::eventually;
use crate::support::http;
use crate::support::issuer::Issuer;
use crate::support::providers::assertion::Assertion;
use crate::support::signing::{Algorithm, SigningKeys};

/// The orders of `api.example`, for callers of `issuer` with a subscription, and the same without
/// one at `open.example`.
fn stage(issuer: &Issuer, provider: Value) -> Stage {
    let document = json!({
        "apiVersion": "portcullis.dev/v1alpha1", "kind": "Api", "metadata": { "name": "orders" },
        "spec": {
            "title": "ordersAPI", "version": "1.0.0", "context": "/orders/1", "direction": "outbound",
            "hosts": ["api.example"], "basePath": "/orders", "authenticators": ["partners"],
            "unmatchedOperation": "allow",
            "upstream": { "credential": { "provider": "assert", "header": "X-JWT-Assertion", "scheme": "" } },
        },
    });
    let open = json!({
        "metadata": { "name": "open" },
        "spec": {
            "title": "open", "hosts": ["open.example", "x.open.example"], "subscription": "none",
            "upstream": { "credential": { "header": null, "scheme": null } },
        },
    });
    let open = merged(document.clone(), open);
    let plan = "apiVersion: portcullis.dev/v1alpha1\nkind: Plan\nmetadata: { name: gold }\nspec: { limits: [{ amount: 10000, per: day }] }\n";
    let mut stage = Stage::new()
        .set(
            &["listeners", "keys"],
            json!({ "type": "jwks", "address": "127.0.0.1:0" }),
        )
        .provider("assert", provider);
    stage.0 = stage
        .0
        .authenticator("partners", issuer.authenticator("orders"))
        .catalog(
            "orders.yaml",
            &format!("{document}\n---\n{open}\n---\n{plan}"),
        )
        .catalog("applications.yaml", &applications(issuer.url()));
    stage
}

fn signed(keys: &Value, changed: Value) -> Value {
    merged(
        json!({ "type": "signed", "issuer": "https://gw.example", "keys": keys, "lifetime": "5s" }),
        changed,
    )
}

fn ask(issuer: &Issuer, host: &str, subject: &str) -> CheckBuilder {
    let token = issuer
        .token()
        .audience("orders")
        .client_id("shop")
        .scope("a b")
        .subject(subject)
        .sign();
    CheckBuilder::new("GET", host, "/orders/7")
        .bearer(&token)
        .header("x-jwt-assertion", "mine")
}

/// The published keys, by their ids.
fn published(scene: &Scene, target: &str) -> Vec<(String, Value)> {
    let answer = http::get(scene.server.address("keys"), "keys.example", target, &[]);
    assert_eq!(answer.status, 200, "{answer:?}");
    let set = answer.json();
    let keys = set["keys"].as_array().unwrap().iter();
    keys.map(|key| (key["kid"].as_str().unwrap().to_owned(), key.clone()))
        .collect()
}

/// The assertion in an answer, verified by the key that it names.
fn verified(scene: &Scene, assertion: &str) -> Assertion {
    let named = Assertion::unverified(assertion).header["kid"]
        .as_str()
        .unwrap()
        .to_owned();
    let keys = published(scene, "/.well-known/jwks.json");
    let key = keys.iter().find(|(id, _)| *id == named);
    let (_, key) = key.unwrap_or_else(|| panic!("no key {named} in {keys:?}"));
    Assertion::signed_by_key(assertion, key)
}

#[tokio::test]
async fn an_assertion_says_who_called_and_only_the_upstream_is_its_audience() {
    let (issuer, keys) = (Issuer::start(), SigningKeys::generate(1));
    let claims = json!({ "claims": { "tenant": "{claims.tenant}", "missing": "{claims.none}" } });
    let provider = signed(&json!([{ "id": "k1", "file": "k1" }]), claims);
    let scene = stage(&issuer, provider)
        .file("k1", &keys.private_pem(Algorithm::Es256))
        .start();
    let caller = issuer
        .token()
        .audience("orders")
        .client_id("shop")
        .scope("a b")
        .claim("tenant", "t1")
        .sign();
    let check = CheckBuilder::new("GET", "api.example", "/orders/7")
        .bearer(&caller)
        .header("x_jwt-assertion", "mine");
    let answer = scene.ask(check.clone()).await;
    let ok = super::allowed(&answer);
    assert!(ok.headers_to_remove.contains(&"authorization".to_owned()));
    assert!(ok.headers_to_remove.contains(&"x_jwt-assertion".to_owned()));
    let value = headers(&ok.headers)["x-jwt-assertion"].clone();
    let claims = verified(&scene, &value).claims;
    let now = jiff::Timestamp::now().as_second();
    let seconds = |name: &str| claims[name].as_i64().unwrap();
    assert!((now - 5..=now).contains(&seconds("iat")));
    assert_eq!(seconds("exp"), seconds("iat") + 5);
    let rest = merged(claims.clone(), json!({ "iat": null, "exp": null }));
    assert_eq!(
        rest,
        json!({
            "iss": "https://gw.example", "aud": "api.example/orders", "sub": "alice",
            "idp": issuer.url(), "client_id": "shop",
            "application": "default/shop", "plan": "default/gold", "scope": "a b", "tenant": "t1",
        })
    );
    assert_eq!(outcome(&answer), "waited");
    assert_eq!(outcome(&scene.ask(check).await), "hit");
    // another host and another caller have others
    let mut seen = std::collections::HashSet::new();
    for (host, subject) in [
        ("open.example", "alice"),
        ("x.open.example", "alice"),
        ("open.example", "bob"),
    ] {
        let answer = scene.ask(ask(&issuer, host, subject)).await;
        let value = token(&answer).unwrap();
        let claims = verified(&scene, value.strip_prefix("Bearer ").unwrap()).claims;
        assert_eq!(
            (&claims["aud"], &claims["sub"]),
            (&json!(format!("{host}/orders")), &json!(subject))
        );
        assert!(seen.insert(value));
    }
}

#[tokio::test]
async fn the_template_of_wso2_has_the_claims_that_its_backends_read() {
    let (issuer, keys) = (Issuer::start(), SigningKeys::generate(1));
    let provider = signed(
        &json!([{ "file": "k1" }]),
        json!({ "template": "wso2", "algorithm": "RS256" }),
    );
    let scene = stage(&issuer, provider)
        .file("k1", &keys.private_pem(Algorithm::Rs256))
        .start();
    let answer = scene.ask(ask(&issuer, "api.example", "alice")).await;
    let value = headers(&super::allowed(&answer).headers)["x-jwt-assertion"].clone();
    let assertion = verified(&scene, &value);
    assert_eq!(assertion.header["alg"], "RS256");
    let claim = |name: &str| assertion.claims[format!("http://wso2.org/claims/{name}")].clone();
    for (name, value) in [
        ("subscriber", "acme"),
        ("applicationname", "shop"),
        ("applicationid", "default/shop"),
        ("apiname", "ordersAPI"),
        ("apicontext", "/orders/1"),
        ("version", "1.0.0"),
        ("keytype", "PRODUCTION"),
        ("enduser", "alice"),
    ] {
        assert_eq!(claim(name), value, "{name}");
    }
    assert!(claim("tier").as_str().unwrap().contains("gold"));
    assert_eq!(assertion.claims["sub"], "alice");
}

#[tokio::test]
async fn a_key_is_published_before_it_signs_and_after_it_is_gone() {
    let (issuer, one, two) = (
        Issuer::start(),
        SigningKeys::generate(1),
        SigningKeys::generate(2),
    );
    let from = jiff::Timestamp::now() + Duration::from_secs(3);
    let both = json!([{ "id": "k1", "file": "k1" }, { "id": "k2", "file": "k2", "from": from.to_string() }]);
    let scene = stage(&issuer, signed(&both, json!({ "algorithm": "EdDSA" })))
        .file("k1", &one.private_pem(Algorithm::EdDsa))
        .file("k2", &two.private_pem(Algorithm::EdDsa))
        .start();
    let ids = |target: &str| {
        published(&scene, target)
            .into_iter()
            .map(|(id, _)| id)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        ids("/.well-known/jwks.json"),
        ["k1", "k2"],
        "the next one is announced"
    );
    assert_eq!(ids("/assert/jwks.json"), ["k1", "k2"]);
    let mut number = 0;
    let mut sign = || {
        number += 1;
        // a caller for whom nothing is kept
        ask(&issuer, "open.example", &format!("caller{number}"))
    };
    let signed_by = |answer: &_| {
        let value = token(answer).unwrap();
        let assertion = verified(&scene, value.strip_prefix("Bearer ").unwrap());
        assertion.header["kid"].as_str().unwrap().to_owned()
    };
    let first = scene.ask(sign()).await;
    assert_eq!(signed_by(&first), "k1");
    loop {
        let asked = jiff::Timestamp::now();
        let answer = scene.ask(sign()).await;
        let id = signed_by(&answer);
        assert!(
            id == "k1" || jiff::Timestamp::now() >= from,
            "k2 signs too soon"
        );
        if id == "k2" {
            break;
        }
        assert!(asked <= from, "k1 signs for too long");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // the first key is taken away; what it signed still holds
    let path = scene.server.folder().join("portcullis.yaml");
    let mut configuration: Value =
        serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    configuration["providers"]["assert"]["keys"] = json!([{ "id": "k2", "file": "k2" }]);
    let before = scene.server.admin("/v1/catalog").json()["revision"].clone();
    std::fs::write(&path, configuration.to_string()).unwrap();
    eventually("the change", || {
        (scene.server.admin("/v1/catalog").json()["revision"] != before).then_some(())
    });
    std::thread::sleep(Duration::from_millis(700));
    assert_eq!(
        ids("/.well-known/jwks.json"),
        ["k1", "k2"],
        "k1 is published until its assertions are over"
    );
    assert_eq!(signed_by(&first), "k1");
    assert_eq!(signed_by(&scene.ask(sign()).await), "k2");
}

#[tokio::test]
async fn the_key_listener_tells_public_keys_and_nothing_else() {
    let (issuer, keys) = (Issuer::start(), SigningKeys::generate(1));
    let scene = stage(&issuer, signed(&json!([{ "file": "k1" }]), json!({})))
        .file("k1", &keys.private_pem(Algorithm::Es256))
        .start();
    let ask = |method: &str, target: &str| {
        let bytes = http::request_bytes(method, "keys.example", target, &[]);
        http::raw_request(scene.server.address("keys"), bytes)
    };
    let answer = ask("GET", "/.well-known/jwks.json");
    assert_eq!(
        answer.header("content-type"),
        Some("application/jwk-set+json")
    );
    assert_eq!(answer.header("cache-control"), Some("public, max-age=300"));
    let set = answer.json();
    let key = set["keys"][0].as_object().unwrap();
    let mut names: Vec<&str> = key.keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        ["alg", "crv", "kid", "kty", "use", "x", "y"],
        "no private part"
    );
    let public = keys.public_jwk(Algorithm::Es256);
    assert_eq!((&key["x"], &key["y"]), (&public["x"], &public["y"]));
    assert_eq!(
        key["kid"].as_str().unwrap().len(),
        43,
        "a thumbprint of RFC 7638"
    );
    for target in [
        "/",
        "/nobody/jwks.json",
        "/v1/providers",
        "/metrics",
        "/assert",
        "/../portcullis.yaml",
    ] {
        assert_eq!(ask("GET", target).status, 404, "{target}");
    }
    assert_eq!(ask("POST", "/.well-known/jwks.json").status, 405);
}

#[test]
fn keys_that_cannot_sign_are_refused_when_they_are_loaded() {
    let issuer = Issuer::start();
    let keys = SigningKeys::generate(1);
    let own = json!([{ "id": "k1", "file": "k1" }]);
    let later = json!([{ "id": "k1", "file": "k1", "from": "2030-01-01T00:00:00Z" }]);
    let twice = json!([{ "id": "k1", "file": "k1" }, { "id": "k1", "file": "k2" }]);
    for (provider, told) in [
        (
            signed(&own, json!({ "algorithm": "RS256" })),
            "providers.assert.keys[0]",
        ),
        (
            signed(&own, json!({ "algorithm": "ES384" })),
            "providers.assert.algorithm",
        ),
        (signed(&later, json!({})), "providers.assert.keys"),
        (signed(&twice, json!({})), "providers.assert.keys[1]"),
        (signed(&json!([]), json!({})), "providers.assert.keys"),
        (
            signed(&own, json!({ "lifetime": "2h" })),
            "providers.assert.lifetime",
        ),
        (
            signed(&own, json!({ "claims": { "exp": "9" } })),
            "providers.assert.claims.exp",
        ),
        (
            signed(&own, json!({ "claims": { "x": "{principal.secret}" } })),
            "providers.assert.claims.x",
        ),
    ] {
        let stage = stage(&issuer, provider)
            .file("k1", &keys.private_pem(Algorithm::Es256))
            .file("k2", &keys.private_pem(Algorithm::Es256));
        let refused = stage.refused();
        assert!(refused.contains(told), "{told}: {refused}");
        assert!(!refused.contains("PRIVATE KEY"), "{refused}");
    }
}

#[tokio::test]
async fn a_client_cannot_choose_the_audience_by_its_host() {
    let (issuer, keys) = (Issuer::start(), SigningKeys::generate(1));
    let scene = stage(&issuer, signed(&json!([{ "file": "k1" }]), json!({})))
        .file("k1", &keys.private_pem(Algorithm::Es256))
        .start();
    let any = |audience: Value| {
        super::api(
            "any",
            "*.any.example",
            "/",
            json!({ "provider": "assert", "audience": audience }),
        )
    };
    scene.server.write_catalog("any.yaml", &any(json!(null)));
    eventually("the refusal", || {
        let problems = scene.server.admin("/v1/problems").text();
        problems.contains("credential.audience").then_some(())
    });
    scene
        .server
        .write_catalog("any.yaml", &any(json!("https://backend")));
    let is_there = |answer: &_| token(answer).is_some();
    let answer = scene
        .until("the Api", || super::get("x.any.example", "/"), is_there)
        .await;
    let value = token(&answer).unwrap();
    let claims = verified(&scene, value.strip_prefix("Bearer ").unwrap()).claims;
    assert_eq!(claims["aud"], "https://backend");
}

#[tokio::test]
async fn a_decision_header_and_a_claim_that_is_no_text_do_no_harm() {
    let (issuer, keys) = (Issuer::start(), SigningKeys::generate(1));
    let claims = json!({ "claims": { "tenant": "{claims.tenant}" } });
    let scene = stage(&issuer, signed(&json!([{ "file": "k1" }]), claims))
        .file("k1", &keys.private_pem(Algorithm::Es256))
        .start();
    for tenant in [json!(["a"]), json!({ "a": 1 })] {
        let caller = issuer
            .token()
            .audience("orders")
            .client_id("shop")
            .claim("tenant", tenant)
            .sign();
        let answer = scene
            .ask(CheckBuilder::new("GET", "api.example", "/orders/7").bearer(&caller))
            .await;
        super::refused(&answer);
    }
    // control characters and quotes stay inside the claim
    let caller = issuer
        .token()
        .audience("orders")
        .client_id("shop")
        .claim("tenant", "a\",\"aud\":\"evil\r\n")
        .sign();
    let answer = scene
        .ask(CheckBuilder::new("GET", "api.example", "/orders/7").bearer(&caller))
        .await;
    let ok = super::allowed(&answer);
    assert!(header(&ok.response_headers_to_add, "x-decision-id").is_some());
    let claims = verified(&scene, &headers(&ok.headers)["x-jwt-assertion"]).claims;
    assert_eq!(
        (&claims["aud"], &claims["tenant"]),
        (
            &json!("api.example/orders"),
            &json!("a\",\"aud\":\"evil\r\n")
        )
    );
}
