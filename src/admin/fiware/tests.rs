//! Tests of FIWARE's management API, by its routes.

use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::Body;
use axum::http::{Method, Request};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::*;
use crate::catalog::admission::Admission;
use crate::catalog::build::{Known, build};
use crate::catalog::source::store::{EndpointFailure, EndpointRule, documents};
use crate::catalog::{Catalog, Contents};
use crate::config::reader::Reader;
use crate::config::value::SecretSource;
use crate::problem::Problems;
use crate::snapshot::{Configured, Revision, Snapshot};
use crate::store::StoreConfig;
use crate::store::material::tests::{pair, pair_valid};
use crate::upstream::provider::token_urls::{TokenUrlPattern, TokenUrls};
use crate::upstream::provider::{Abilities, PartyRule};

/// The API with a store of its own.
struct Scene {
    _folder: tempfile::TempDir,
    state: FiwareState,
    changes: Arc<AtomicUsize>,
}

struct Told {
    status: u16,
    location: Option<String>,
    body: String,
}

impl Scene {
    fn new(encrypted: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let secret = folder.path().join("secret");
        std::fs::write(&secret, "an operator's secret, which is long enough").unwrap();
        let config = StoreConfig {
            path: "state.db".into(),
            encryption_key: encrypted.then_some(SecretSource::File(secret)),
        };
        let catalog = Catalog::new(Contents::default());
        let snapshot = Snapshot::new(Revision::new(&[1]), catalog, &Configured::default());
        let changes = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&changes);
        let state = FiwareState {
            store: Store::open(&config, &mut Reader::new(folder.path())).unwrap(),
            source: "admin".into(),
            snapshots: SnapshotReader::new(snapshot),
            provider: Arc::new(|url| ProviderRules {
                allows_token_url: url.host_str() == Some("idp.example"),
                party: None,
            }),
            admit: Arc::new(admit),
            changed: Arc::new(move |change| {
                counted.fetch_add(usize::from(change == Change::Endpoints), Ordering::Relaxed);
            }),
            clock: Clock::at(1_780_000_000),
            tasks: Tasks::new(),
        };
        Self {
            _folder: folder,
            state,
            changes,
        }
    }

    async fn ask(&self, method: Method, path: &str, body: &str) -> Told {
        let request = Request::builder().method(method).uri(path);
        let request = request.body(Body::from(body.to_owned())).unwrap();
        let router: Router = router(self.state.clone());
        let response = router.oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let header = |name: &str| {
            let value = response.headers().get(name)?;
            Some(value.to_str().unwrap().to_owned())
        };
        if status >= 400 {
            assert_eq!(header("content-type").unwrap(), "application/problem+json");
        }
        assert_eq!(header("cache-control").unwrap(), "no-store");
        let location = header("location");
        let body = response.into_body().collect().await.unwrap().to_bytes();
        Told {
            status,
            location,
            body: String::from_utf8(body.to_vec()).unwrap(),
        }
    }

    async fn register(&self, change: impl FnOnce(&mut Value)) -> Told {
        let mut body = registration();
        change(&mut body);
        self.ask(Method::POST, "/endpoint", &body.to_string()).await
    }
}

fn rule() -> EndpointRule {
    EndpointRule {
        provider: "partner".to_owned(),
        on_failure: EndpointFailure::Allow,
        names_party: true,
    }
}

fn known() -> Known {
    let allowed = TokenUrlPattern::parse("https://idp.example/*").unwrap();
    let partner = Abilities {
        gives_token: true,
        takes_audience: true,
        only_audience: true,
        token_urls: Some(TokenUrls::new(vec![allowed])),
        party: PartyRule::Api,
        ..Abilities::default()
    };
    Known {
        authenticators: [("anonymous".into(), Vec::new())].into(),
        providers: [("partner".into(), partner)].into(),
        ..Known::default()
    }
}

fn admit(stored: &[Endpoint], new: &Endpoint) -> Result<(), Inadmissible> {
    let admission = Admission {
        source: &"admin".into(),
        rule: &rule(),
        known: &known(),
        before: Vec::new(),
        after: Vec::new(),
        replaced: &Problems::new(),
    };
    admission.admit(stored, new)
}

/// What is wrong with the catalog of what is stored.
fn problems(store: &Store) -> String {
    let (documents, problems) = documents(&store.endpoints(), &rule()).parse_each(&"admin".into());
    assert!(problems.is_empty(), "{problems}");
    match build(&[&documents], &known()) {
        Ok(built) => built.replaced.into_iter().collect::<Problems>().to_string(),
        Err(refused) => panic!("{refused:?}"),
    }
}

fn registration() -> Value {
    json!({
        "domain": "Receiver.example", "path": "/in/", "port": 8080, "useHttps": true, "authType": "iShare",
        "authCredentials": {
            "iShareClientId": "EU.EORI.A", "iShareIdpId": "EU.EORI.IDP",
            "iShareIdpAddress": "https://idp.example/token",
        },
    })
}

#[tokio::test]
async fn f32_an_endpoint_is_registered_shown_and_removed() {
    let scene = Scene::new(true);
    let told = scene.register(|_| {}).await;
    assert_eq!((told.status, told.body.as_str()), (201, ""));
    let id = told.location.unwrap();
    let shown = json!({
        "id": id, "domain": "Receiver.example", "port": 8080, "targetPort": 8080, "path": "/in/",
        "useHttps": true, "authType": "iShare",
    });
    let told = scene.ask(Method::GET, &format!("/endpoint/{id}"), "").await;
    assert_eq!(serde_json::from_str::<Value>(&told.body).unwrap(), shown);
    let told = scene.ask(Method::GET, "/endpoint", "").await;
    assert_eq!(
        serde_json::from_str::<Value>(&told.body).unwrap(),
        json!([shown])
    );
    // the same place, in another spelling
    let told = scene
        .register(|body| {
            body["domain"] = json!("receiver.example.");
            body["path"] = json!("/in");
        })
        .await;
    assert_eq!(told.status, 409);
    let told = scene
        .ask(Method::DELETE, &format!("/endpoint/{id}"), "")
        .await;
    assert_eq!((told.status, told.body.as_str()), (204, ""));
    assert_eq!(scene.changes.load(Ordering::Relaxed), 2);
    for method in [Method::GET, Method::DELETE] {
        let told = scene
            .ask(method.clone(), &format!("/endpoint/{id}"), "")
            .await;
        assert_eq!(told.status, 404);
        assert_eq!(scene.ask(method, "/endpoint/7", "").await.status, 400);
    }
}

#[tokio::test]
async fn f32_ports_and_paths_have_fiwares_defaults() {
    let scene = Scene::new(true);
    for (port, target, https, expected) in [
        (None, None, false, (80, 80)),
        (None, None, true, (80, 443)),
        (Some(8080), None, true, (8080, 8080)),
        (None, Some(9), true, (80, 9)),
        (Some(1), Some(2), false, (1, 2)),
    ] {
        let told = scene
            .register(|body| {
                body["port"] = json!(port);
                body["targetPort"] = json!(target);
                body["useHttps"] = json!(https);
                body["path"] = Value::Null;
                body["other"] = json!("is not looked at");
                body["authCredentials"]["requestGrantType"] = Value::Null;
            })
            .await;
        let path = format!("/endpoint/{}", told.location.unwrap());
        let shown = scene.ask(Method::GET, &path, "").await.body;
        let shown: Value = serde_json::from_str(&shown).unwrap();
        assert_eq!(
            (&shown["port"], &shown["targetPort"]),
            (&json!(expected.0), &json!(expected.1))
        );
        assert_eq!(shown["path"], "/");
        scene.ask(Method::DELETE, &path, "").await;
    }
}

#[tokio::test]
async fn f32_what_is_wrong_with_a_registration_is_told_by_field() {
    let scene = Scene::new(true);
    type Change = fn(&mut Value);
    let cases: [(&str, Change); 17] = [
        ("domain", |body| body["domain"] = Value::Null),
        ("domain", |body| body["domain"] = json!("a.example:80")),
        ("domain", |body| body["domain"] = json!("*.example")),
        ("domain", |body| body["domain"] = json!("a b")),
        ("path", |body| body["path"] = json!("in")),
        ("path", |body| body["path"] = json!("")),
        ("path", |body| body["path"] = json!("/a/*")),
        ("path", |body| body["path"] = json!("/a/../b")),
        ("port", |body| body["port"] = json!(0)),
        ("port", |body| body["port"] = json!(65536)),
        ("targetPort", |body| body["targetPort"] = json!(-1)),
        ("authType", |body| body["authType"] = json!("OIDC")),
        ("authCredentials", |body| {
            body["authCredentials"] = Value::Null
        }),
        ("iShareClientId", |body| {
            body["authCredentials"]["iShareClientId"] = json!("..");
        }),
        ("iShareIdpAddress", |body| {
            body["authCredentials"]["iShareIdpAddress"] = json!("ftp://idp.example/");
        }),
        ("tokenUrls", |body| {
            body["authCredentials"]["iShareIdpAddress"] = json!("https://evil.example/token");
        }),
        ("requestGrantType", |body| {
            body["authCredentials"]["requestGrantType"] = json!("a&b=c");
        }),
    ];
    for (field, change) in cases {
        let told = scene.register(change).await;
        assert_eq!(told.status, 400, "{field}: {}", told.body);
        assert!(told.body.contains(field), "{field}: {}", told.body);
    }
    for body in [
        "",
        "{",
        "[]",
        r#"{"domain":1}"#,
        r#"{"domain":"a","port":"80"}"#,
    ] {
        assert_eq!(
            scene.ask(Method::POST, "/endpoint", body).await.status,
            400,
            "{body}"
        );
    }
    assert_eq!(scene.ask(Method::GET, "/endpoint", "").await.body, "[]");
    assert_eq!(scene.changes.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn f32_auth_tells_the_endpoint_with_the_longest_path() {
    let scene = Scene::new(true);
    for path in ["/", "/test", "/test/path", "/path/test"] {
        let told = scene
            .register(|body| {
                body["path"] = json!(path);
                body["authCredentials"]["iShareIdpId"] = json!(path);
            })
            .await;
        assert_eq!(told.status, 201);
    }
    for (asked, found) in [
        ("/", "/"),
        ("/tes", "/"),
        ("/p/t", "/"),
        ("/**", "/"),
        ("/test", "/test"),
        ("/test/something/down/the/line", "/test"),
        ("/test/path/down/the/line", "/test/path"),
        ("/test/path?x=1".replace('?', "%3F").leak(), "/test/path"),
    ] {
        let path = format!("/auth?domain=RECEIVER.example&path={asked}");
        let told = scene.ask(Method::GET, &path, "").await;
        assert_eq!(told.status, 200, "{asked}");
        let expected = json!({
            "authType": "iShare", "iShareClientId": "EU.EORI.A", "iShareIdpId": found,
            "iShareIdpAddress": "https://idp.example/token", "requestGrantType": "client_credentials",
        });
        assert_eq!(serde_json::from_str::<Value>(&told.body).unwrap(), expected);
    }
    for (query, status) in [
        ("domain=other.example&path=/", 404),
        ("domain=sub.receiver.example&path=/", 404),
        ("domain=receiver.example&path=x", 404),
        ("domain=receiver.example", 400),
        ("domain=&path=/", 400),
        ("domain=receiver.example:80&path=/", 400),
        ("", 400),
    ] {
        let told = scene.ask(Method::GET, &format!("/auth?{query}"), "").await;
        assert_eq!(told.status, status, "{query}");
    }
}

#[tokio::test]
async fn f33_credentials_are_written_and_never_told() {
    let scene = Scene::new(true);
    let own = pair();
    let body = json!({ "certificateChain": own.chain, "signingKey": own.key }).to_string();
    let path = "/credentials/EU.EORI.A";
    assert_eq!(scene.ask(Method::GET, "/credentials", "").await.body, "[]");
    assert_eq!(scene.ask(Method::POST, path, &body).await.status, 201);
    assert_eq!(scene.ask(Method::POST, path, &body).await.status, 409);
    let listed = scene.ask(Method::GET, "/credentials", "").await.body;
    assert_eq!(listed, r#"["EU.EORI.A"]"#);
    let other = pair();
    let put = |what: &str, text: &str| {
        let (path, text) = (format!("{path}/{what}"), text.to_owned());
        let scene = &scene;
        async move { scene.ask(Method::PUT, &path, &text).await.status }
    };
    let before = scene.state.store.credential("EU.EORI.A").unwrap();
    assert_eq!(put("signingKey", &other.key).await, 204);
    let waiting = scene.state.store.credential("EU.EORI.A").unwrap();
    assert!(Arc::ptr_eq(&before, &waiting), "the old pair is in effect");
    assert_eq!(put("certificateChain", &other.chain).await, 204);
    let after = scene.state.store.credential("EU.EORI.A").unwrap();
    assert!(after.generation > before.generation);
    for text in ["", "garbage", &own.key] {
        assert_eq!(put("certificateChain", text).await, 400);
    }
    for text in ["", "garbage", &own.chain] {
        assert_eq!(put("signingKey", text).await, 400);
    }
    assert_eq!(scene.ask(Method::DELETE, path, "").await.status, 204);
    assert_eq!(scene.ask(Method::DELETE, path, "").await.status, 404);
    assert_eq!(put("signingKey", &own.key).await, 404);
    assert_eq!(put("certificateChain", &own.chain).await, 404);
}

#[tokio::test]
async fn f33_what_is_wrong_with_a_credential_is_told_without_it() {
    let scene = Scene::new(true);
    let (own, other, old) = (pair(), pair(), pair_valid((2000, 2001)));
    let credential =
        |chain: &str, key: &str| json!({ "certificateChain": chain, "signingKey": key });
    let cases = [
        (credential(&own.chain, &other.key), "does not belong"),
        (credential(&old.chain, &old.key), "has expired"),
        (credential("x", &own.key), "no CERTIFICATE"),
        (credential(&own.chain, "x"), "PRIVATE KEY"),
        (json!({}), "missing"),
        (json!({ "certificateChain": 1 }), "another type"),
    ];
    for (body, why) in cases {
        let told = scene
            .ask(Method::POST, "/credentials/A", &body.to_string())
            .await;
        assert_eq!(told.status, 400, "{}", told.body);
        assert!(told.body.contains(why), "{why}: {}", told.body);
        let secret = own.key.lines().nth(3).unwrap();
        assert!(!told.body.contains(secret));
    }
    let long = "a".repeat(129);
    let body = credential(&own.chain, &own.key).to_string();
    for id in ["%2e%2e", "%2e", "a%2fb", "a%20b", "%00", "%c3%a4", &long] {
        let told = scene
            .ask(Method::POST, &format!("/credentials/{id}"), &body)
            .await;
        assert_eq!(told.status, 400, "{id}");
        let told = scene
            .ask(Method::DELETE, &format!("/credentials/{id}"), "")
            .await;
        assert_eq!(told.status, 400, "{id}");
    }
    assert!(scene.state.store.client_ids().is_empty());
}

#[tokio::test]
async fn f33_without_an_encryption_key_no_credential_is_taken() {
    let scene = Scene::new(false);
    let own = pair();
    let body = json!({ "certificateChain": own.chain, "signingKey": own.key }).to_string();
    let told = scene.ask(Method::POST, "/credentials/A", &body).await;
    assert_eq!(told.status, 501, "{}", told.body);
    assert!(told.body.contains("encryptionKey"));
    assert_eq!(scene.register(|_| {}).await.status, 201);
}

#[tokio::test]
async fn the_credential_of_an_endpoint_is_honestly_refused() {
    let scene = Scene::new(true);
    let id = scene.register(|_| {}).await.location.unwrap();
    let path = format!("/endpoint/{id}/iShareClientId");
    assert_eq!(scene.ask(Method::PUT, &path, "x").await.status, 501);
    let path = "/endpoint/0192f0c1-2345-7000-8000-000000000000/x";
    assert_eq!(scene.ask(Method::PUT, path, "x").await.status, 404);
    assert_eq!(
        scene.ask(Method::PUT, "/endpoint/x/y", "x").await.status,
        400
    );
}

#[tokio::test]
async fn endpoints_that_differ_by_case_alone_hold_together() {
    let scene = Scene::new(true);
    for path in ["/Orders", "/orders", "/ORDERS"] {
        let told = scene.register(|body| body["path"] = json!(path)).await;
        assert_eq!(told.status, 201, "{}", told.body);
    }
    assert_eq!(problems(&scene.state.store), "");
    assert_eq!(scene.state.store.endpoints().len(), 3);
}

#[tokio::test]
async fn a_path_in_another_spelling_is_the_same_path() {
    let scene = Scene::new(true);
    for (path, status) in [("/%c3%a4", 201), ("/%C3%A4", 409), ("/%C3%a4/", 409)] {
        let told = scene.register(|body| body["path"] = json!(path)).await;
        assert_eq!(told.status, status, "{path}: {}", told.body);
    }
    for asked in ["/%25c3%25a4/x", "/%25C3%25A4"] {
        let target = format!("/auth?domain=receiver.example&path={asked}");
        assert_eq!(scene.ask(Method::GET, &target, "").await.status, 200);
    }
    assert_eq!(problems(&scene.state.store), "");
}

#[tokio::test]
async fn what_the_catalog_would_refuse_is_not_kept() {
    let scene = Scene::new(true);
    for blank in [
        "\u{a0}",
        "\u{3000}",
        "\u{2028}",
        "\u{85}",
        "a\u{2029}b",
        "\u{feff}",
    ] {
        let told = scene
            .register(|body| body["authCredentials"]["iShareIdpId"] = json!(blank))
            .await;
        let kept = scene.state.store.endpoints().len();
        assert_eq!(kept, usize::from(told.status == 201), "{blank:?}");
        assert!(matches!(told.status, 201 | 400), "{blank:?}: {}", told.body);
        assert_eq!(problems(&scene.state.store), "", "{blank:?}");
        if let Some(id) = told.location {
            scene
                .ask(Method::DELETE, &format!("/endpoint/{id}"), "")
                .await;
        }
    }
}

#[tokio::test]
async fn an_endpoint_that_contradicts_the_catalog_is_told_why() {
    for (reason, status) in [
        (Inadmissible::Invalid as fn(Problems) -> Inadmissible, 400),
        (Inadmissible::Conflict, 409),
    ] {
        let mut scene = Scene::new(true);
        let problem = crate::problem::Problem {
            file: "endpoint x".into(),
            line: None,
            path: "spec.title".to_owned(),
            message: "stands already".to_owned(),
        };
        scene.state.admit = Arc::new(move |_, _| Err(reason(problem.clone().into())));
        let told = scene.register(|_| {}).await;
        assert_eq!(told.status, status);
        assert!(
            told.body.contains("spec.title: stands already"),
            "{}",
            told.body
        );
        assert!(scene.state.store.endpoints().is_empty());
        assert_eq!(scene.changes.load(Ordering::Relaxed), 0);
    }
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    fn any_registration() -> impl Strategy<Value = Value> {
        let text = || {
            prop_oneof![
                "\\PC{1,6}",
                any::<String>(),
                "[\u{80}-\u{ff}\u{2000}-\u{206f}\u{3000}\u{feff}\u{fffe}\"'\\\\#:{}&*!|>%@`,?-]{1,4}",
                "(---|null|true|~|1e3|0x1f|<<|=)",
            ]
        };
        let domain = prop_oneof![
            4 => "[aA]\\.(example|EXAMPLE)\\.?",
            1 => "(127\\.0\\.0\\.1|\\[::1\\]|\\[0:0::1\\]|a)",
            1 => text(),
        ];
        let path = prop_oneof![
            4 => "/([aAbB]|%[cC]3%[aA]4|%41|;|:|~|\\$|@|\\.|'|%22){0,3}/?",
            1 => text().prop_map(|text| format!("/{text}")),
        ];
        let idp = prop_oneof![
            2 => "https://idp\\.example/[a-z%\"'?=]{0,4}",
            1 => text().prop_map(|text| format!("https://idp.example/{text}")),
        ];
        let grant = prop_oneof![Just("client_credentials".to_owned()), text()];
        (domain, path, text(), idp, grant).prop_map(|(domain, path, id, address, grant)| {
            let mut body = registration();
            body["domain"] = json!(domain);
            body["path"] = json!(path);
            body["authCredentials"]["iShareIdpId"] = json!(id);
            body["authCredentials"]["iShareIdpAddress"] = json!(address);
            body["authCredentials"]["requestGrantType"] = json!(grant);
            body
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn whatever_is_registered_the_source_holds(
            registrations in prop::collection::vec(any_registration(), 1..12),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let scene = Scene::new(false);
                for body in &registrations {
                    let told = scene.ask(Method::POST, "/endpoint", &body.to_string()).await;
                    assert!(matches!(told.status, 201 | 400 | 409), "{body}: {}", told.body);
                    assert_eq!(problems(&scene.state.store), "", "{body}");
                }
            });
        }
    }
}
