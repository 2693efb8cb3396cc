//! Providers `tokenExchange` and `jwtBearer`: the caller's own verified token for another.

use serde_json::{Value, json};

use super::{Scene, Stage, allowed, client_credentials, merged, outcome, refused, token};
use crate::gate::metadata;
use crate::support::check::CheckBuilder;
use crate::support::eventually;
use crate::support::issuer::Issuer;
use crate::support::providers::Providers;
use crate::support::providers::fault::Fault;

fn exchange(fake: &Providers, changed: Value) -> Value {
    merged(
        client_credentials(fake, json!({ "type": "tokenExchange" })),
        changed,
    )
}

/// `/` at `partner.example` for callers of `issuer`, with this provider `x`.
fn scene(issuer: &Issuer, provider: Value, changed: Value) -> Scene {
    let document: Value = serde_json::from_str(&super::api(
        "x",
        "partner.example",
        "/",
        json!({ "provider": "x" }),
    ))
    .unwrap();
    let callers = json!({ "spec": { "authenticators": ["partners"] } });
    let document = merged(merged(document, callers), changed);
    let mut stage = Stage::new()
        .file("actor", "canary-actor")
        .provider("x", provider);
    let places =
        json!([{ "header": "authorization", "scheme": "Bearer" }, { "header": "x-alternative" }]);
    stage.0 = stage
        .0
        .authenticator(
            "partners",
            merged(
                issuer.authenticator("orders"),
                json!({ "credentials": places }),
            ),
        )
        .authenticator(
            "keys",
            json!({ "type": "apiKey", "credentials": [{ "header": "x-api-key" }] }),
        )
        .catalog("x.yaml", &document.to_string());
    stage.start()
}

fn ask(token: &str) -> CheckBuilder {
    CheckBuilder::new("GET", "partner.example", "/").bearer(token)
}

#[tokio::test]
async fn a_callers_token_is_exchanged_by_the_fields_of_rfc_8693() {
    let (issuer, fake) = (Issuer::start(), Providers::start());
    let provider = exchange(
        &fake,
        json!({
            "actor": { "file": "actor" }, "requestedType": "urn:ietf:params:oauth:token-type:jwt",
            "audience": "backend", "scope": "a b", "resource": "https://backend.example",
        }),
    );
    let scene = scene(&issuer, provider, json!({}));
    let alice = issuer.token().audience("orders").subject("alice").sign();
    let answer = scene.ask(ask(&alice)).await;
    assert_eq!(
        token(&answer).as_deref(),
        Some("Bearer token-1.gw.backend.https___backend.example.a_b")
    );
    let call = fake.last();
    for (name, value) in [
        (
            "grant_type",
            "urn:ietf:params:oauth:grant-type:token-exchange",
        ),
        ("subject_token", alice.as_str()),
        (
            "subject_token_type",
            "urn:ietf:params:oauth:token-type:access_token",
        ),
        (
            "requested_token_type",
            "urn:ietf:params:oauth:token-type:jwt",
        ),
        ("actor_token", "canary-actor"),
        ("actor_token_type", "urn:ietf:params:oauth:token-type:jwt"),
        ("audience", "backend"),
        ("scope", "a b"),
        ("resource", "https://backend.example"),
    ] {
        assert_eq!(call.field(name), Some(value), "{name}");
    }
    assert_eq!(call.form.len(), 9);
    assert_eq!(call.basic().unwrap().0, "gw");
    assert_eq!(outcome(&scene.ask(ask(&alice)).await), "hit");
    assert_eq!(fake.count(), 1);
}

#[tokio::test]
async fn what_was_exchanged_for_one_caller_is_not_anothers() {
    let (issuer, fake) = (Issuer::start(), Providers::start());
    let scene = scene(&issuer, exchange(&fake, json!({})), json!({}));
    let sign = |subject: &str| issuer.token().audience("orders").subject(subject).sign();
    let callers = ["alice", "bob", "carol"].map(sign);
    let mut given = Vec::new();
    for caller in &callers {
        given.push(token(&scene.ask(ask(caller)).await).unwrap());
    }
    for (caller, given) in callers.iter().zip(&given) {
        assert_eq!(token(&scene.ask(ask(caller)).await).as_ref(), Some(given));
    }
    assert_eq!(
        given.iter().collect::<std::collections::HashSet<_>>().len(),
        3
    );
    // the one that was verified is exchanged, not one that stands elsewhere
    let other = ask(&callers[0]).header("x-alternative", &callers[1]);
    let answer = scene.ask(other).await;
    assert!(
        token(&answer).is_none_or(|token| token == given[0]),
        "{answer:?}"
    );
    let elsewhere =
        CheckBuilder::new("GET", "partner.example", "/").header("x-alternative", &callers[1]);
    let answer = scene.ask(elsewhere).await;
    assert_eq!(token(&answer).as_ref(), Some(&given[1]));
    assert!(
        allowed(&answer)
            .headers_to_remove
            .contains(&"x-alternative".to_owned())
    );
    assert_eq!(fake.count(), 3);
    // a caller who is not verified has nobody ask for anything
    let forged = issuer.token().audience("orders").unsigned();
    let answer = scene.ask(ask(&forged)).await;
    assert_eq!(metadata(&answer, "decision").as_deref(), Some("deny"));
    assert_eq!(fake.count(), 3);
    assert!(
        scene
            .tokens()
            .iter()
            .all(|token| token["perCaller"] == true)
    );
}

#[tokio::test]
async fn an_exchange_that_fails_lets_the_callers_token_pass_nowhere() {
    let (issuer, fake) = (Issuer::start(), Providers::start());
    let allow = json!({ "spec": { "upstream": { "credential": { "onFailure": "allow" } } } });
    let scene = scene(&issuer, exchange(&fake, json!({})), allow);
    fake.break_by(Fault::OauthError(400, "invalid_target"));
    let answer = scene
        .ask(ask(&issuer.token().audience("orders").sign()))
        .await;
    super::bare(&answer);
    assert_eq!(outcome(&answer), "failed");
}

#[tokio::test]
async fn a_callers_token_is_a_grant_of_rfc_7523() {
    let (issuer, fake) = (Issuer::start(), Providers::start());
    let provider = client_credentials(&fake, json!({ "type": "jwtBearer", "scope": "a" }));
    let scene = scene(&issuer, provider, json!({}));
    let alice = issuer.token().audience("orders").sign();
    assert!(token(&scene.ask(ask(&alice)).await).is_some());
    let call = fake.last();
    assert_eq!(
        call.field("grant_type"),
        Some("urn:ietf:params:oauth:grant-type:jwt-bearer")
    );
    assert_eq!(call.field("assertion"), Some(alice.as_str()));
    assert_eq!(call.field_names(), ["assertion", "grant_type", "scope"]);
    let bob = issuer.token().audience("orders").subject("bob").sign();
    assert_ne!(
        token(&scene.ask(ask(&bob)).await),
        token(&scene.ask(ask(&alice)).await)
    );
    assert_eq!(fake.count(), 2);
}

#[tokio::test]
async fn an_actor_token_that_changes_is_used_and_old_tokens_are_not() {
    let (issuer, fake) = (Issuer::start(), Providers::start());
    let provider = exchange(&fake, json!({ "actor": { "file": "actor" } }));
    let scene = scene(&issuer, provider, json!({}));
    let alice = issuer.token().audience("orders").sign();
    let first = token(&scene.ask(ask(&alice)).await).unwrap();
    std::fs::write(scene.server.folder().join("actor"), "canary-another").unwrap();
    let is_new = |answer: &_| token(answer).is_some_and(|token| token != first);
    scene
        .until("a token for the new actor", || ask(&alice), is_new)
        .await;
    assert_eq!(fake.last().field("actor_token"), Some("canary-another"));
}

#[tokio::test]
async fn an_api_whose_callers_bring_no_token_cannot_exchange() {
    let (issuer, fake) = (Issuer::start(), Providers::start());
    let scene = scene(&issuer, exchange(&fake, json!({})), json!({}));
    let good = std::fs::read_to_string(scene.server.folder().join("catalog/x.yaml")).unwrap();
    for name in ["keys", "anonymous"] {
        scene.server.write_catalog(
            "x.yaml",
            &good.replace("\"partners\"", &format!("\"partners\",\"{name}\"")),
        );
        let told = format!("authenticator `{name}` verifies none");
        eventually("the refusal", || {
            scene
                .server
                .admin("/v1/problems")
                .text()
                .contains(&told)
                .then_some(())
        });
    }
    scene.server.write_catalog("x.yaml", &good);
    eventually("the good one", || {
        (!scene
            .server
            .admin("/v1/problems")
            .text()
            .contains("verifies none"))
        .then_some(())
    });
    fake.refuse_connections();
    refused(
        &scene
            .ask(ask(&issuer.token().audience("orders").sign()))
            .await,
    );
}
