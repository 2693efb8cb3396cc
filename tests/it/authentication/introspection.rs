//! Tokens that their issuer is asked about: an endpoint that answers, lies, fails and hangs.

use std::time::{Duration, Instant};

use envoy_types::pb::envoy::service::auth::v3::CheckResponse;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::gate::{Gate, allowed, get_order, metadata, refused};
use crate::support::authority::Authority;
use crate::support::check::{CheckBuilder, header, headers};
use crate::support::portcullis::PortcullisBuilder;
use crate::support::providers::Providers;
use crate::support::providers::assertion::Assertion;
use crate::support::providers::fault::Fault;
use crate::support::signing::{Algorithm, SigningKeys};

const ISSUER: &str = "https://idp.example";
const SECRET: &str = "s+%&=";

/// An Api that asks `partners`, then about the rest.
const API: &str = r#"
apiVersion: portcullis.dev/v1alpha1
kind: Api
metadata: { name: opaque }
spec:
  title: opaqueAPI
  version: 1.0.0
  hosts: [opaque.example]
  authenticators: [partners, opaque]
  subscription: optional
  unmatchedOperation: allow
  upstream: { headers: { x-user: "{principal.subject}", x-client-id: "{principal.clientId}", x-tenant: "{claims.tenant}" } }
"#;

/// A gate with an introspection endpoint.
struct Scene {
    gate: Gate,
    server: Providers,
}

/// The authenticator of `server`, with `changes`.
fn opaque(server: &Providers, changes: Value) -> Value {
    let mut authenticator = json!({
        "type": "introspection", "url": server.introspection_url(), "issuer": ISSUER,
        "client": { "id": "gw", "secret": { "file": "secret" } },
        "http": { "allowHttp": true, "timeout": "800ms" }, "audiences": ["orders"],
    });
    for (name, value) in changes.as_object().unwrap() {
        authenticator[name] = value.clone();
    }
    authenticator
}

fn build(builder: PortcullisBuilder, authenticator: Value) -> PortcullisBuilder {
    builder
        .file("secret", SECRET)
        .authenticator("opaque", authenticator)
        .catalog("opaque.yaml", API)
}

impl Scene {
    fn start(changes: Value) -> Self {
        Self::with(changes, |builder| builder)
    }

    fn with(changes: Value, change: impl FnOnce(PortcullisBuilder) -> PortcullisBuilder) -> Self {
        let server = Providers::start();
        let authenticator = opaque(&server, changes);
        let gate = Gate::with(|builder, _| change(build(builder, authenticator)));
        Self { gate, server }
    }

    async fn ask(&self, token: &str) -> CheckResponse {
        self.gate.ask(get().bearer(token)).await
    }

    /// The answer about a token that is known like this.
    async fn ask_about(&self, token: &str, answer: Value) -> CheckResponse {
        self.server.knows(token, answer);
        self.ask(token).await
    }
}

fn get() -> CheckBuilder {
    CheckBuilder::new("GET", "opaque.example", "/x")
}

fn now() -> i64 {
    Timestamp::now().as_second()
}

/// A good answer, with `changes`; null leaves a member out.
fn active(changes: Value) -> Value {
    let mut answer = json!({
        "active": true, "sub": "alice", "client_id": "web", "aud": "orders", "scope": "a b",
        "exp": now() + 300, "iat": now() - 5, "token_type": "Bearer", "tenant": "acme",
    });
    for (name, value) in changes.as_object().unwrap() {
        answer[name] = value.clone();
    }
    answer
        .as_object_mut()
        .unwrap()
        .retain(|_, value| !value.is_null());
    answer
}

#[tokio::test]
async fn an_active_token_passes_and_is_asked_about_once() {
    let scene = Scene::start(json!({}));
    let response = scene.ask_about("opaque-1", active(json!({}))).await;
    let ok = allowed(&response);
    let set = headers(&ok.headers);
    let told = ["x-user", "x-client-id", "x-tenant"].map(|name| set[name].as_str());
    assert_eq!(told, ["alice", "web", "acme"]);
    assert!(ok.headers_to_remove.contains(&"authorization".to_owned()));
    allowed(&scene.ask("opaque-1").await);
    assert_eq!(scene.server.count(), 1);
    let call = scene.server.last();
    assert_eq!(call.basic(), Some(("gw".to_owned(), SECRET.to_owned())));
    assert_eq!(call.field_names(), ["token", "token_type_hint"]);
    assert_eq!(call.field("token"), Some("opaque-1"));
    assert_eq!(call.header("accept"), Some("application/json"));
}

#[tokio::test]
async fn a_token_that_is_not_active_is_token_inactive_and_remembered_briefly() {
    let scene = Scene::start(json!({ "cache": { "refused": "1s" } }));
    let response = scene.ask("unknown").await;
    let challenge = header(
        &refused(&response, "token_inactive").headers,
        "www-authenticate",
    );
    assert!(challenge.unwrap().contains("error=\"invalid_token\""));
    refused(&scene.ask("unknown").await, "token_inactive");
    assert_eq!(scene.server.count(), 1);
    tokio::time::sleep(Duration::from_millis(1100)).await;
    allowed(&scene.ask_about("unknown", active(json!({}))).await);
}

#[tokio::test]
async fn only_the_value_true_makes_a_token_active() {
    let scene = Scene::start(json!({}));
    for (at, value) in [
        json!("true"),
        json!(1),
        json!([true]),
        json!({ "active": true }),
        json!("false"),
        Value::Null,
    ]
    .into_iter()
    .enumerate()
    {
        // no answer in the sense of RFC 7662 section 2.2: nothing is said about the token
        let response = scene
            .ask_about(&format!("odd-{at}"), active(json!({ "active": value })))
            .await;
        refused(&response, "dependency_unavailable");
    }
    let response = scene.ask_about("list", json!([active(json!({}))])).await;
    refused(&response, "dependency_unavailable");
    refused(
        &scene
            .ask_about("no", active(json!({ "active": false })))
            .await,
        "token_inactive",
    );
}

#[tokio::test]
async fn what_an_answer_says_is_judged_as_a_tokens_claims_are() {
    let scene = Scene::start(json!({}));
    for (at, (change, reason)) in [
        (json!({ "exp": now() - 60 }), "token_expired"),
        (json!({ "exp": "soon" }), "credential_invalid"),
        (json!({ "nbf": now() + 600 }), "token_not_yet_valid"),
        (
            json!({ "iss": "https://other.example" }),
            "issuer_untrusted",
        ),
        (json!({ "iss": [ISSUER] }), "issuer_untrusted"),
        (json!({ "aud": "billing" }), "audience_mismatch"),
        (json!({ "aud": null }), "audience_mismatch"),
        (json!({ "aud": 5 }), "credential_invalid"),
        (json!({ "scope": 5 }), "credential_invalid"),
        (json!({ "sub": ["alice"] }), "credential_invalid"),
        (json!({ "client_id": "" }), "credential_invalid"),
        (json!({ "cnf": { "kid": "k" } }), "credential_invalid"),
        (json!({ "cnf": "x" }), "credential_invalid"),
        (json!({ "token_type": "DPoP" }), "credential_invalid"),
    ]
    .into_iter()
    .enumerate()
    {
        let token = format!("bad-{at}");
        refused(&scene.ask_about(&token, active(change)).await, reason);
        let asked = scene.server.count();
        // and is not asked about at once again
        refused(&scene.ask(&token).await, reason);
        assert_eq!(scene.server.count(), asked);
    }
    for (at, change) in [
        json!({ "iss": ISSUER }),
        json!({ "exp": null }),
        json!({ "aud": ["billing", "orders"] }),
    ]
    .into_iter()
    .enumerate()
    {
        allowed(&scene.ask_about(&format!("good-{at}"), active(change)).await);
    }
}

#[tokio::test]
async fn an_answer_counts_no_longer_than_the_token_and_the_cache_allow() {
    let scene = Scene::start(json!({ "cache": { "maxLifetime": "1s" } }));
    allowed(&scene.ask_about("long", active(json!({}))).await);
    allowed(
        &scene
            .ask_about("short", active(json!({ "exp": now() + 1 })))
            .await,
    );
    assert_eq!(scene.server.count(), 2);
    for token in ["long", "short"] {
        scene.server.knows(token, json!({ "active": false }));
    }
    tokio::time::sleep(Duration::from_millis(2100)).await;
    for token in ["long", "short"] {
        refused(&scene.ask(token).await, "token_inactive");
    }
}

#[tokio::test]
async fn whatever_is_no_answer_is_dependency_unavailable_and_never_says_anything_of_the_token() {
    let scene = Scene::start(json!({ "http": { "allowHttp": true, "timeout": "300ms" } }));
    let mut faults = Fault::unusable();
    faults.extend([
        Fault::Blackhole,
        Fault::Drip,
        Fault::Redirect(scene.server.introspection_url()),
        Fault::RedirectSame(scene.server.introspection_url()),
        Fault::Status(401, "{}".to_owned()),
        Fault::OauthError(401, "invalid_client"),
        Fault::Status(403, "{}".to_owned()),
        Fault::Status(400, "{}".to_owned()),
        Fault::Status(404, "{}".to_owned()),
        Fault::Status(201, active(json!({})).to_string()),
        Fault::TooManyRequests("0".to_owned()),
        Fault::Status(503, active(json!({})).to_string()),
    ]);
    for (at, fault) in faults.into_iter().enumerate() {
        let token = format!("t-{at}");
        scene.server.knows(&token, active(json!({})));
        scene.server.break_by(fault.clone());
        let response = scene.ask(&token).await;
        assert_eq!(
            metadata(&response, "reason").as_deref(),
            Some("dependency_unavailable"),
            "{fault:?}"
        );
        let denied = refused(&response, "dependency_unavailable");
        assert_eq!(header(&denied.headers, "www-authenticate"), None);
    }
    scene.server.refuse_connections();
    refused(&scene.ask("down").await, "dependency_unavailable");
}

#[tokio::test]
async fn a_server_that_hangs_costs_no_more_than_the_check_may_take() {
    let scene = Scene::with(
        json!({ "http": { "allowHttp": true, "timeout": "20s" } }),
        |builder| builder.set(&["checks", "deadline"], json!("600ms")),
    );
    scene.server.knows("slow", active(json!({})));
    scene.server.hold();
    let begin = Instant::now();
    refused(&scene.ask("slow").await, "dependency_unavailable");
    assert!(begin.elapsed() < Duration::from_secs(3));
    scene.server.release();
    // what was asked for went on without the check
    crate::support::eventually("the answer", || scene.server.count().checked_sub(1));
    tokio::time::sleep(Duration::from_millis(100)).await;
    allowed(&scene.ask("slow").await);
    assert_eq!(scene.server.count(), 1);
}

#[tokio::test]
async fn a_reload_asks_about_no_token_again() {
    let scene = Scene::start(json!({}));
    allowed(&scene.ask_about("t", active(json!({}))).await);
    let more = API.replace("opaque.example", "more.example");
    let more = more
        .replace("name: opaque", "name: more")
        .replace("opaqueAPI", "moreAPI");
    scene.gate.server.write_catalog("more.yaml", &more);
    let begin = Instant::now();
    loop {
        let check = CheckBuilder::new("GET", "more.example", "/x").bearer("t");
        let response = scene.gate.ask(check).await;
        if metadata(&response, "decision").as_deref() == Some("allow") {
            break;
        }
        assert!(begin.elapsed() < Duration::from_secs(20), "{response:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(scene.server.count(), 1);
}

#[tokio::test]
async fn many_who_show_one_token_ask_once() {
    let scene = Scene::start(json!({}));
    scene.server.knows("shared", active(json!({})));
    scene.server.hold();
    let release = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        scene.server.release();
    };
    let asks = futures_util::future::join_all((0..20).map(|_| scene.ask("shared")));
    let (responses, ()) = tokio::join!(asks, release);
    for response in &responses {
        allowed(response);
    }
    assert_eq!(scene.server.count(), 1);
}

#[tokio::test]
async fn who_makes_tokens_up_is_rate_limited_and_not_asked_about() {
    let scene = Scene::with(json!({}), |builder| {
        let limit = json!({ "perSource": { "perSecond": 1, "burst": 5 } });
        builder.set(&["checks", "failedVerifications"], limit)
    });
    allowed(&scene.ask_about("good", active(json!({}))).await);
    let mut reasons = Vec::new();
    for at in 0..20 {
        let response = scene.ask(&format!("made-up-{at}")).await;
        reasons.push(metadata(&response, "reason").unwrap_or_default());
    }
    assert_eq!(
        reasons
            .iter()
            .filter(|reason| *reason == "token_inactive")
            .count(),
        5
    );
    assert!(
        reasons
            .iter()
            .skip(5)
            .all(|reason| reason == "rate_limited"),
        "{reasons:?}"
    );
    assert_eq!(scene.server.count(), 6);
    // what is known already costs nothing
    allowed(&scene.ask("good").await);
}

#[tokio::test]
async fn a_json_web_token_of_another_issuer_is_not_shown_to_this_one() {
    let scene = Scene::start(json!({}));
    allowed(&scene.ask(&scene.gate.token().sign()).await);
    let other = scene
        .gate
        .token()
        .claim("iss", "https://third.example")
        .sign();
    refused(&scene.ask(&other).await, "issuer_untrusted");
    assert_eq!(scene.server.count(), 0);
    // one of this issuer is asked about like any other
    let own = scene.gate.token().claim("iss", ISSUER).sign();
    allowed(&scene.ask_about(&own, active(json!({}))).await);
    refused(
        &scene.gate.ask(get_order().bearer("opaque")).await,
        "credential_invalid",
    );
}

#[tokio::test]
async fn a_client_says_who_it_is_as_providers_do() {
    let post =
        json!({ "client": { "id": "gw", "secret": { "file": "secret" }, "method": "post" } });
    let scene = Scene::start(post);
    allowed(&scene.ask_about("t", active(json!({}))).await);
    let call = scene.server.last();
    let client = [
        call.field("client_id"),
        call.field("client_secret"),
        call.header("authorization"),
    ];
    assert_eq!(client, [Some("gw"), Some(SECRET), None]);

    let keys = SigningKeys::generate(1);
    let key = json!({ "client": { "id": "gw", "key": { "file": "key.pem" }, "algorithm": "ES256", "audience": ISSUER } });
    let scene = Scene::with(key, |builder| {
        builder.file("key.pem", &keys.private_pem(Algorithm::Es256))
    });
    allowed(&scene.ask_about("t", active(json!({}))).await);
    let call = scene.server.last();
    let assertion = Assertion::unverified(call.field("client_assertion").unwrap());
    let said = [
        &assertion.claims["iss"],
        &assertion.claims["sub"],
        &assertion.claims["aud"],
    ];
    assert_eq!(said, ["gw", "gw", ISSUER]);
}

#[tokio::test]
async fn a_client_may_be_known_by_its_certificate() {
    let authority = Authority::new();
    let identity = authority.client("gw");
    let server = Providers::start_mutual_tls(&authority);
    server.knows("t", active(json!({})));
    let authenticator = opaque(
        &server,
        json!({
            "client": { "id": "gw" },
            "http": { "ca": { "file": "ca.pem" }, "certificate": { "file": "c.pem" }, "key": { "file": "k.pem" } },
        }),
    );
    let gate = Gate::with(|builder, _| {
        build(builder, authenticator)
            .file("ca.pem", &authority.pem())
            .file("c.pem", &identity.chain_pem())
            .file("k.pem", &identity.key_pem())
    });
    allowed(&gate.ask(get().bearer("t")).await);
    let call = server.last();
    assert_eq!(
        (call.certificate.as_deref(), call.field("client_id")),
        (Some("gw"), Some("gw"))
    );
}

#[tokio::test]
async fn a_configuration_that_cannot_work_is_refused() {
    let server = Providers::start();
    for (change, at) in [
        (
            json!({ "url": "http://idp.example/introspect", "http": {} }),
            "url",
        ),
        (json!({ "client": { "id": "gw" } }), "client.secret"),
        (json!({ "audiences": null }), "audiences"),
        (json!({ "issuer": "" }), "issuer"),
        (
            json!({ "cache": { "maxLifetime": "48h" } }),
            "cache.maxLifetime",
        ),
        (json!({ "cache": { "refused": "10m" } }), "cache.refused"),
    ] {
        let authenticator = opaque(&server, change);
        let builder = build(PortcullisBuilder::new(), authenticator);
        let (status, told) = builder.start_refused();
        assert_eq!(status.code(), Some(78), "{told}");
        assert!(
            told.contains(&format!("authenticators.opaque.{at}")),
            "{told}"
        );
    }
    // two that would take whatever stands in one place
    let twice = API.replace("partners, opaque", "opaque, second");
    let (status, told) = build(PortcullisBuilder::new(), opaque(&server, json!({})))
        .authenticator("second", opaque(&server, json!({})))
        .catalog("opaque.yaml", &twice)
        .start_refused();
    assert_eq!(status.code(), Some(78), "{told}");
    assert!(told.contains("would never be asked"), "{told}");
}
