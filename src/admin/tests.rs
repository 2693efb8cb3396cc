//! Tests of the admin API, by its routes.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use http_body_util::BodyExt as _;
use tower::ServiceExt as _;

use super::*;
use crate::admin::access::AdminToken;
use crate::authentication::api_key::KeyDigest;
use crate::authentication::revocation::Revocations;
use crate::authentication::revocation::keeper::{Keeper, KeeperParts};
use crate::catalog::model::limit::{
    Limit, LimitKey, OnExceed, Plan, Rule, Window, WindowAlignment,
};
use crate::catalog::model::{
    Api, ApiId, ApiIndex, ApiKey, Application, ApplicationId, ApplicationState, BasePath, Client,
    Direction, Enforcement, HostPattern, Operation, Origin, PathTemplate, PlanId, PlanIndex,
    PreflightRule, ScopeRule, Subscription, SubscriptionRule, SubscriptionState, TemplateSegment,
    UnmatchedOperation, UpstreamRules,
};
use crate::catalog::{Catalog, Contents};
use crate::clock::Clock;
use crate::config::value::HumanDuration;
use crate::header::HeaderName;
use crate::listener::address::ListenAddress;
use crate::secret::Secret;
use crate::snapshot::{Configured, Revision, Snapshot};
use crate::telemetry::logging::LogConfig;
use crate::telemetry::metrics::Metrics;
use crate::upstream::template::HeaderTemplate;
use crate::upstream::token_cache::TokenCache;

fn origin() -> Origin {
    Origin {
        source: "main".into(),
        file: "apis.yaml".into(),
        line: 7,
    }
}

fn an_api() -> Api {
    let name = HeaderName::parse("x-fixed").unwrap();
    Api {
        id: ApiId::new("default", "pets"),
        title: "Pets".into(),
        version: "1.0".into(),
        context: None,
        direction: Direction::Inbound,
        peers: Box::default(),
        hosts: vec![HostPattern::Suffix("example.com".into())],
        base_path: BasePath("".into()),
        precedence: None,
        enforcement: Enforcement::Shadow,
        authenticators: vec!["anonymous".into()],
        subscription: SubscriptionRule::Required,
        operations: vec![Operation {
            methods: vec!["GET".into()],
            path: PathTemplate {
                text: "/pets".into(),
                segments: vec![TemplateSegment::Literal("pets".into())],
            },
            scopes: ScopeRule::AnyOf(vec!["pets.read".into()]),
            authenticators: None,
            from: None,
            id: "GET /pets".into(),
            cost: 1,
            metrics: Vec::new(),
            limits: Vec::new(),
        }],
        limits: Vec::new(),
        unmatched_operation: UnmatchedOperation::Deny,
        preflight: PreflightRule::Pass,
        from: None,
        upstream: UpstreamRules {
            headers: vec![(name, HeaderTemplate::parse("hidden-value").unwrap())],
            ..UpstreamRules::default()
        },
        origin: origin(),
    }
}

fn an_application() -> Application {
    Application {
        id: ApplicationId::new("default", "shop"),
        owner: Some("acme".into()),
        state: ApplicationState::Active,
        clients: vec![Client {
            issuer: "https://idp.example".into(),
            client_id: "shop".into(),
        }],
        api_keys: vec![ApiKey {
            name: Some("ci".into()),
            digest: KeyDigest::Sha256([0xab; 32]),
            expires: None,
        }],
        app_id: Some("hidden-app-id".into()),
        app_keys: vec![KeyDigest::Sha256([0xcd; 32])],
        plan: None,
        workloads: Vec::new(),
        subscriptions: BTreeMap::from([(
            ApiIndex(0),
            Subscription {
                plan: Some(PlanIndex(0)),
                state: SubscriptionState::OnHold,
                valid_until: None,
            },
        )]),
        origin: origin(),
    }
}

fn a_plan() -> Plan {
    Plan {
        id: PlanId::new("default", "gold"),
        limits: vec![Limit {
            id: "plan/default/gold/daily/day".into(),
            name: "daily".into(),
            plan: Some(PlanId::new("default", "gold")),
            rule: Rule {
                amount: 10,
                window: Window::Day,
                alignment: WindowAlignment::Calendar,
                burst: None,
                enforced: true,
            },
            keys: vec![LimitKey::Claim("tenant".into())],
            metric: None,
        }],
        on_exceed: OnExceed::Deny,
        origin: origin(),
    }
}

fn state() -> AdminState {
    let catalog = Catalog::new(Contents {
        apis: vec![an_api()],
        applications: vec![an_application()],
        plans: vec![a_plan()],
        ..Contents::default()
    });
    let snapshot = Snapshot::new(
        Revision::new(&[0xbe, 0xef]),
        catalog,
        &Configured::default(),
    );
    let (log, log_level) = LogConfig::default().build(io::sink).unwrap();
    // the level of a log that is gone cannot be set
    std::mem::forget(log);
    let tasks = Tasks::new();
    let told = |value: Value| -> Told { Arc::new(move || value.clone()) };
    AdminState {
        provider_tokens: TokenCache::new(1024 * 1024),
        quota: Quota::offline(Metrics::new(jiff::Timestamp::UNIX_EPOCH)),
        snapshots: SnapshotReader::new(snapshot),
        tasks,
        readiness: Readiness::new(),
        catalog_status: told(json!({ "sources": [{ "name": "main" }] })),
        problems: told(json!(["apis.yaml:7: title: is empty"])),
        key_sets: told(json!([{ "issuer": "https://idp.example" }])),
        revocations: RevocationState {
            keeper: Keeper::new(KeeperParts {
                revocations: Revocations::new(10),
                shared: None,
                store: None,
                keep: HumanDuration(Duration::from_secs(3600)),
                is_open_ended: false,
                clock: Clock::at(1_800_000_000),
                tasks: Tasks::new(),
                metrics: Metrics::new(jiff::Timestamp::UNIX_EPOCH),
            }),
            sources: told(json!([])),
        },
        log_level,
        nudge_reload: Arc::default(),
    }
}

fn loopback() -> Access {
    Access::new(&ListenAddress::loopback(0), None).unwrap()
}

async fn ask(router: Router, request: axum::http::request::Builder, body: &str) -> (u16, Value) {
    let request = request.body(Body::from(body.to_owned())).unwrap();
    let response = router.oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    let kind = response.headers()["content-type"].to_str().unwrap();
    let expected = match status {
        200..300 => "application/json",
        _ => "application/problem+json",
    };
    assert_eq!(kind, expected);
    assert_eq!(response.headers()["cache-control"], "no-store");
    assert_eq!(
        response.headers().contains_key("www-authenticate"),
        status == 401
    );
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let text = String::from_utf8(body.to_vec()).unwrap();
    for secret in ["hidden", "abab", "cdcd", "205, 205", "171,171"] {
        assert!(!text.contains(secret), "{text}");
    }
    (status, serde_json::from_str(&text).unwrap())
}

async fn get_from(state: AdminState, path: &str) -> (u16, Value) {
    let request = Request::get(path).header("host", "localhost:9002");
    ask(router(state, None, loopback()), request, "").await
}

#[tokio::test]
async fn the_catalog_is_summarized() {
    let state = state();
    let _latch = state.readiness.hold("keys");
    let (status, body) = get_from(state, "/v1/catalog").await;
    assert_eq!(status, 200);
    assert_eq!(
        body,
        json!({
            "revision": "beef",
            "counts": { "apis": 1, "applications": 1, "blocks": 0, "subscriptions": 1, "plans": 1 },
            "ready": false,
            "notReadyReasons": ["keys"],
            "status": { "sources": [{ "name": "main" }] },
            "problems": ["apis.yaml:7: title: is empty"],
        })
    );
}

#[tokio::test]
async fn an_api_is_shown_in_the_words_of_its_document() {
    let (_, list) = get_from(state(), "/v1/apis").await;
    assert_eq!(list["total"], 1);
    assert_eq!(list["apis"][0]["id"], "default/pets");
    let (_, beyond) = get_from(state(), "/v1/apis?offset=1&limit=5").await;
    assert_eq!(beyond, json!({ "total": 1, "apis": [] }));
    assert_eq!(get_from(state(), "/v1/apis?page=2").await.0, 400);
    let (status, api) = get_from(state(), "/v1/apis/default/pets").await;
    assert_eq!(status, 200);
    assert_eq!(api["hosts"], json!(["*.example.com"]));
    assert_eq!(api["basePath"], "/");
    assert_eq!(api["enforcement"], "shadow");
    assert_eq!(
        api["operations"][0]["scopes"],
        json!({ "anyOf": ["pets.read"] })
    );
    assert_eq!(api["upstream"]["headers"], json!(["x-fixed"]));
    assert_eq!(
        api["origin"],
        json!({ "source": "main", "file": "apis.yaml", "line": 7 })
    );
    assert_eq!(get_from(state(), "/v1/apis/default/cats").await.0, 404);
}

#[tokio::test]
async fn an_application_is_shown_without_what_is_a_credential() {
    let (status, application) = get_from(state(), "/v1/applications/default/shop").await;
    assert_eq!(status, 200);
    assert_eq!(
        application["apiKeys"],
        json!([{ "name": "ci", "expires": null }])
    );
    assert_eq!(application["hasAppId"], true);
    assert_eq!(application["appKeyCount"], 1);
    assert_eq!(
        application["subscriptions"],
        json!([{ "api": "default/pets", "plan": "default/gold", "state": "onHold", "validUntil": null }])
    );
    assert_eq!(
        get_from(state(), "/v1/applications/default/none").await.0,
        404
    );
}

#[tokio::test]
async fn plans_problems_key_sets_and_tasks_are_shown() {
    let (_, plans) = get_from(state(), "/v1/plans").await;
    let limit = json!({ "name": "daily", "amount": 10, "per": "day", "burst": null, "key": ["claims.tenant"], "metric": null, "window": "calendar" });
    assert_eq!(plans["plans"][0]["limits"], json!([limit]));
    let (_, problems) = get_from(state(), "/v1/problems").await;
    assert_eq!(
        problems,
        json!({ "problems": ["apis.yaml:7: title: is empty"] })
    );
    let (_, key_sets) = get_from(state(), "/v1/key-sets").await;
    assert_eq!(key_sets["keySets"][0]["issuer"], "https://idp.example");
    let state = state();
    state
        .tasks
        .streaming("catalog_sync", std::future::pending())
        .keep();
    let (_, tasks) = get_from(state, "/v1/tasks").await;
    assert_eq!(tasks["tasks"]["catalog_sync"]["failures"], 0);
}

#[tokio::test]
async fn the_log_level_is_changed_or_the_request_refused() {
    let state = state();
    let put = |body: &'static str| {
        let request = Request::put("/v1/log-level").header("host", "127.0.0.1");
        ask(router(state.clone(), None, loopback()), request, body)
    };
    assert_eq!(
        put(r#"{"level":"debug"}"#).await,
        (200, json!({ "level": "debug" }))
    );
    assert_eq!(put(r#"{"level":"loud"}"#).await.0, 400);
    assert_eq!(put(r#"{"levl":"info"}"#).await.0, 400);
    assert_eq!(put("debug").await.0, 400);
    assert_eq!(
        get_from(state.clone(), "/v1/log-level").await.1,
        json!({ "level": "debug" })
    );
}

#[tokio::test]
async fn a_reload_can_be_asked_for() {
    let state = state();
    let request = Request::post("/v1/catalog/reload").header("host", "[::1]:9002");
    let (status, _) = ask(router(state.clone(), None, loopback()), request, "").await;
    assert_eq!(status, 202);
    state.nudge_reload.notified().await;
    assert_eq!(get_from(state.clone(), "/v1/catalog/reload").await.0, 405);
    assert_eq!(get_from(state, "/v1/secrets").await.0, 404);
}

#[tokio::test]
async fn beyond_loopback_every_request_needs_the_token() {
    let address = ListenAddress::parse("0.0.0.0:9002").unwrap();
    assert!(Access::new(&address, None).is_err());
    let token = AdminToken::new(&Secret::new(b"hidden-token".to_vec()));
    let access = Access::new(&address, Some(token.clone())).unwrap();
    let status = async |path: &str, authorization: &[&str]| {
        let mut request = Request::get(path).header("host", "admin.example");
        for value in authorization {
            request = request.header("authorization", *value);
        }
        ask(router(state(), None, access.clone()), request, "")
            .await
            .0
    };
    assert_eq!(status("/v1/plans", &["Bearer hidden-token"]).await, 200);
    assert_eq!(status("/v1/plans", &["bearer hidden-token"]).await, 200);
    for path in ["/v1/plans", "/v1/apis/default/pets", "/", "/v1/secrets"] {
        assert_eq!(status(path, &[]).await, 401, "{path}");
    }
    for wrong in [
        "Bearer hidden-toke",
        "Bearer ",
        "hidden-token",
        "Basic hidden-token",
    ] {
        assert_eq!(status("/v1/plans", &[wrong]).await, 401, "{wrong}");
    }
    let twice = ["Bearer hidden-token", "Bearer hidden-token"];
    assert_eq!(status("/v1/plans", &twice).await, 401);
    token.replace(&Secret::new(b"hidden-other".to_vec()));
    assert_eq!(status("/v1/plans", &["Bearer hidden-token"]).await, 401);
    assert_eq!(status("/v1/plans", &["Bearer hidden-other"]).await, 200);
}

#[tokio::test]
async fn web_pages_cannot_use_the_loopback_listener() {
    let status = async |headers: &[(&str, &str)]| {
        let mut request = Request::post("/v1/catalog/reload");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        ask(router(state(), None, loopback()), request, "").await.0
    };
    for host in ["localhost:9002", "127.0.0.1", "[::1]:9002"] {
        assert_eq!(status(&[("host", host)]).await, 202, "{host}");
        let page = [("host", host), ("origin", "https://evil.example")];
        assert_eq!(status(&page).await, 403, "{host}");
    }
    for host in [
        "evil.example:9002",
        "localhost.evil.example",
        "",
        "10.0.0.1",
        "[::2]",
    ] {
        assert_eq!(status(&[("host", host)]).await, 403, "{host}");
    }
    assert_eq!(status(&[]).await, 403);
    assert_eq!(
        status(&[("host", "localhost"), ("host", "evil.example")]).await,
        403
    );
}
