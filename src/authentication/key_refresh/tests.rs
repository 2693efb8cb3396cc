use std::sync::atomic::{AtomicU32, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use futures_util::future::join_all;
use serde_json::{Value, json};

use super::*;
use crate::authentication::algorithm::Algorithm;
use crate::authentication::testing::{ED, Ended, P256, build, claims, ended, request, with};
use crate::authentication::{Authenticator, Outcome};
use crate::check::decision::{FaultReason, Reason};
use crate::readiness::Readiness;
use crate::spiffe::config::Mesh;
use crate::task::Tasks;

/// An issuer that can rotate its keys, stall, fail and lie.
struct Issuer {
    address: String,
    /// What it publishes.
    keys: Mutex<Value>,
    mood: Mutex<Mood>,
    /// How often its keys were fetched.
    fetches: AtomicU32,
}

#[derive(Clone, Copy, PartialEq)]
enum Mood {
    Serve,
    Stall,
    Fail,
    Lie,
    Redirect,
}

impl Issuer {
    async fn start(tasks: &Tasks, mood: Mood) -> Arc<Self> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = Arc::new(Self {
            address: format!("http://{}", listener.local_addr().unwrap()),
            keys: Mutex::new(json!({ "keys": [ED.jwk("ed")] })),
            mood: Mutex::new(mood),
            fetches: AtomicU32::new(0),
        });
        let app = Router::new()
            .fallback(answer)
            .with_state(Arc::clone(&issuer));
        tasks.detached(async move { axum::serve(listener, app).await.unwrap() });
        issuer
    }

    fn be(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    fn fetches(&self) -> u32 {
        self.fetches.load(Ordering::Relaxed)
    }

    fn config(&self) -> KeySourceConfig {
        KeySourceConfig {
            place: KeyPlace::Discovery {
                issuer: self.address.as_str().into(),
            },
            schemes: Schemes::HttpsAndHttp,
            refresh_interval: Duration::from_secs(600),
            max_stale: Duration::from_secs(600),
            unknown_key_cooldown: Duration::from_secs(600),
        }
    }
}

async fn answer(State(issuer): State<Arc<Issuer>>, uri: axum::http::Uri) -> Response {
    let mood = *issuer.mood.lock().unwrap();
    if uri.path() == "/jwks" {
        issuer.fetches.fetch_add(1, Ordering::Relaxed);
        return issuer.keys.lock().unwrap().to_string().into_response();
    }
    match mood {
        Mood::Serve => {}
        Mood::Stall => std::future::pending().await,
        Mood::Fail => return StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        Mood::Lie => {
            let lie =
                json!({ "issuer": "https://other.example", "jwks_uri": "https://other.example" });
            return lie.to_string().into_response();
        }
        Mood::Redirect => {
            let to = [("location", format!("{}/jwks", issuer.address))];
            return (StatusCode::FOUND, to).into_response();
        }
    }
    let jwks_uri = format!("{}/jwks", issuer.address);
    json!({ "issuer": issuer.address, "jwks_uri": jwks_uri })
        .to_string()
        .into_response()
}

fn sources(tasks: &Tasks) -> KeySources {
    KeySources::online(tasks.clone(), Readiness::new())
}

async fn start(mood: Mood) -> (Tasks, Arc<Issuer>, KeySources) {
    let tasks = Tasks::new();
    let issuer = Issuer::start(&tasks, mood).await;
    let sources = sources(&tasks);
    (tasks, issuer, sources)
}

fn failed(result: &Result<Arc<KeySet>, KeysUnavailable>) -> bool {
    matches!(result, Err(KeysUnavailable::Failed(..)))
}

#[tokio::test]
async fn the_first_check_waits_for_the_first_fetch() {
    let (_tasks, issuer, sources) = start(Mood::Serve).await;
    let source = sources.get_or_start(issuer.config()).unwrap();
    assert!(source.keys(Some("ed")).await.unwrap().knows(Some("ed")));
    // known: no fetch, however often it is asked for
    for _ in 0..100 {
        source.keys(Some("ed")).await.unwrap();
    }
    assert_eq!(issuer.fetches(), 1);
    let status = source.status();
    assert_eq!(
        (status.keys, status.stale, status.last_error),
        (Some(1), false, None)
    );
}

#[tokio::test]
async fn a_rotated_key_is_found_by_one_fetch() {
    let (_tasks, issuer, sources) = start(Mood::Serve).await;
    let source = sources.get_or_start(issuer.config()).unwrap();
    source.keys(Some("ed")).await.unwrap();
    *issuer.keys.lock().unwrap() = json!({ "keys": [ED.jwk("ed"), P256.jwk("new")] });
    assert!(source.keys(Some("new")).await.unwrap().knows(Some("new")));
    assert_eq!(issuer.fetches(), 2);
}

#[tokio::test]
async fn a_flood_of_unknown_keys_causes_one_fetch() {
    let (_tasks, issuer, sources) = start(Mood::Serve).await;
    let source = sources.get_or_start(issuer.config()).unwrap();
    source.keys(Some("ed")).await.unwrap();
    let names: Vec<String> = (0..1000).map(|number| format!("kid{number}")).collect();
    for _ in 0..2 {
        let asked = names.iter().map(|name| source.keys(Some(name)));
        for keys in join_all(asked).await {
            match keys {
                Ok(keys) => assert!(!keys.knows(Some("kid1"))),
                // only so many may wait
                Err(error) => assert!(matches!(error, KeysUnavailable::Busy(_)), "{error}"),
            }
        }
    }
    assert_eq!(issuer.fetches(), 2);
}

#[tokio::test]
async fn a_flood_of_unknown_keys_holds_no_more_checks_than_may_wait() {
    let (_tasks, issuer, sources) = start(Mood::Serve).await;
    let source = sources.get_or_start(issuer.config()).unwrap();
    source.keys(Some("ed")).await.unwrap();
    issuer.be(Mood::Stall);
    let names: Vec<String> = (0..1000).map(|number| format!("kid{number}")).collect();
    let asked = names.iter().map(|name| {
        let waiting = source.keys(Some(name));
        tokio::time::timeout(Duration::from_millis(300), waiting)
    });
    let answers = join_all(asked).await;
    let held = answers.iter().filter(|answer| answer.is_err()).count();
    assert_eq!(held, MAX_WAITING);
    let refused = answers
        .iter()
        .filter(|answer| matches!(answer, Ok(Err(KeysUnavailable::Busy(_)))));
    assert_eq!(refused.count(), 1000 - MAX_WAITING);
    // those whose key is known are served as before, and the issuer is left alone
    source.keys(Some("ed")).await.unwrap();
    assert!(issuer.fetches() <= 2);
}

#[tokio::test]
async fn what_the_cooldown_refused_is_fetched_at_its_end() {
    let (_tasks, issuer, sources) = start(Mood::Serve).await;
    let config = KeySourceConfig {
        unknown_key_cooldown: Duration::from_millis(50),
        ..issuer.config()
    };
    let source = sources.get_or_start(config).unwrap();
    source.keys(Some("new")).await.unwrap();
    source.keys(Some("new")).await.unwrap();
    assert!(!source.keys(Some("new")).await.unwrap().knows(Some("new")));
    *issuer.keys.lock().unwrap() = json!({ "keys": [P256.jwk("new")] });
    // nobody asks any more
    source.shared.wait_for(3).await.unwrap();
    assert!(source.keys(Some("new")).await.unwrap().knows(Some("new")));
    assert_eq!(issuer.fetches(), 3);
}

#[tokio::test]
async fn an_outage_is_survived_on_the_last_good_set() {
    let (_tasks, issuer, sources) = start(Mood::Serve).await;
    let source = sources.get_or_start(issuer.config()).unwrap();
    source.keys(Some("ed")).await.unwrap();
    issuer.be(Mood::Fail);
    assert!(failed(&source.keys(Some("new")).await));
    // in the cool-down: at once, and still no denial
    assert!(failed(&source.keys(Some("new")).await));
    assert!(source.keys(Some("ed")).await.is_ok());
    let status = source.status();
    assert!(status.last_error.unwrap().contains("500") && status.keys == Some(1));
}

#[tokio::test]
async fn a_set_that_is_too_old_is_not_used() {
    let (_tasks, issuer, sources) = start(Mood::Serve).await;
    let config = KeySourceConfig {
        max_stale: Duration::ZERO,
        ..issuer.config()
    };
    let source = sources.get_or_start(config).unwrap();
    source.shared.wait_for(1).await.unwrap();
    let keys = source.keys(Some("ed")).await;
    assert!(matches!(keys, Err(KeysUnavailable::Stale(..))), "{keys:?}");
    assert!(source.status().stale);
}

#[tokio::test]
async fn an_issuer_that_fails_lies_or_redirects_gives_no_keys() {
    for (mood, told) in [
        (Mood::Fail, "status 500"),
        (Mood::Lie, "another issuer's"),
        (Mood::Redirect, "status 302"),
    ] {
        let (_tasks, issuer, sources) = start(mood).await;
        let source = sources.get_or_start(issuer.config()).unwrap();
        assert!(failed(&source.keys(Some("ed")).await));
        // the last try failed: at once
        assert!(failed(&source.keys(Some("ed")).await));
        let error = source.status().last_error.unwrap();
        assert!(error.contains(told), "{error}");
        assert_eq!(issuer.fetches(), 0);
    }
}

#[tokio::test]
async fn an_issuer_that_comes_back_is_found_by_the_next_check() {
    let (_tasks, issuer, sources) = start(Mood::Fail).await;
    let source = sources.get_or_start(issuer.config()).unwrap();
    assert!(failed(&source.keys(Some("ed")).await));
    issuer.be(Mood::Serve);
    assert!(failed(&source.keys(Some("ed")).await));
    source.shared.wait_for(2).await.unwrap();
    assert!(source.keys(Some("ed")).await.is_ok());
}

#[tokio::test]
async fn a_check_that_gives_up_leaves_a_stalled_fetch_to_others() {
    let (_tasks, issuer, sources) = start(Mood::Stall).await;
    let source = sources.get_or_start(issuer.config()).unwrap();
    let budget = Duration::from_millis(30);
    for _ in 0..3 {
        let waited = tokio::time::timeout(budget, source.keys(Some("ed"))).await;
        assert!(waited.is_err());
    }
}

#[tokio::test]
async fn a_key_set_with_private_members_is_not_used() {
    let (_tasks, issuer, sources) = start(Mood::Serve).await;
    let burnt = with(ED.jwk("ed"), json!({ "d": "AA" }));
    *issuer.keys.lock().unwrap() = json!({ "keys": [burnt] });
    let source = sources.get_or_start(issuer.config()).unwrap();
    assert!(failed(&source.keys(Some("ed")).await));
}

#[tokio::test]
async fn a_source_is_shared_kept_and_stopped_with_its_last_user() {
    let (tasks, issuer, sources) = start(Mood::Serve).await;
    let first = sources.get_or_start(issuer.config()).unwrap();
    first.keys(Some("ed")).await.unwrap();
    // a reload that needs it again
    let second = sources.get_or_start(issuer.config()).unwrap();
    assert!(Arc::ptr_eq(&first, &second));
    drop(first);
    // one that wants another interval
    let config = KeySourceConfig {
        refresh_interval: Duration::from_secs(60),
        ..issuer.config()
    };
    let third = sources.get_or_start(config).unwrap();
    assert!(third.status().name.ends_with("(2)"));
    assert_eq!((sources.statuses().len(), tasks.statuses().len()), (2, 2));
    drop(second);
    assert_eq!((sources.statuses().len(), tasks.statuses().len()), (1, 1));
}

#[tokio::test]
async fn readiness_waits_for_the_first_try_and_for_no_reload() {
    let tasks = Tasks::new();
    let issuer = Issuer::start(&tasks, Mood::Fail).await;
    let readiness = Readiness::new();
    let sources = KeySources::online(tasks.clone(), readiness.clone());
    let starting = readiness.hold("catalog");
    let source = sources.get_or_start(issuer.config()).unwrap();
    assert_eq!(readiness.reasons().len(), 2);
    source.shared.wait_for(1).await.unwrap();
    drop(starting);
    assert!(readiness.reasons().is_empty());
    let other = KeySourceConfig {
        max_stale: Duration::from_secs(1),
        ..issuer.config()
    };
    let _other = sources.get_or_start(other).unwrap();
    assert!(readiness.reasons().is_empty());
}

async fn judge<'a>(authenticator: &'a Authenticator, issuer: &Issuer, kid: &str) -> Outcome<'a> {
    let claims = with(claims(), json!({ "iss": issuer.address }));
    let token = ED.token(
        Algorithm::EdDsa,
        &json!({ "alg": "EdDSA", "kid": kid }),
        &claims,
    );
    let Authenticator::Jwt(jwt) = authenticator else {
        panic!("a jwt authenticator");
    };
    let headers = [("authorization", &*format!("Bearer {token}"))];
    jwt.authenticate(&request("/", &headers), &Mesh::default())
        .await
}

#[tokio::test]
async fn an_unknown_key_is_a_denial_and_an_outage_a_fault() {
    let (_tasks, issuer, sources) = start(Mood::Serve).await;
    let section = format!(
        "a: {{ type: jwt, issuer: '{}', audiences: [orders], allowHttpIssuer: true }}",
        issuer.address
    );
    let a = build(&section, &sources);
    assert_eq!(ended(&judge(&a, &issuer, "ed").await), Ended::Verified);
    let unknown = judge(&a, &issuer, "x").await;
    assert_eq!(ended(&unknown), Ended::Denied(Reason::KeyUnknown));
    let offline = build(&section, &KeySources::offline());
    let fault = Ended::Failed(FaultReason::DependencyUnavailable);
    assert_eq!(ended(&judge(&offline, &issuer, "ed").await), fault);
}

#[tokio::test]
async fn a_token_seen_before_falls_with_its_key_and_stays_with_an_unchanged_set() {
    let (_tasks, issuer, sources) = start(Mood::Serve).await;
    let section = format!(
        "a: {{ type: jwt, issuer: '{}', audiences: [orders], allowHttpIssuer: true, unknownKeyCooldown: 1s }}",
        issuer.address
    );
    let a = build(&section, &sources);
    assert_eq!(ended(&judge(&a, &issuer, "ed").await), Ended::Verified);
    let source = sources.get_or_start(KeySourceConfig {
        refresh_interval: Duration::from_secs(300),
        max_stale: Duration::from_secs(24 * 3600),
        unknown_key_cooldown: Duration::from_secs(1),
        ..issuer.config()
    });
    let source = source.unwrap();
    let before = source.keys(Some("ed")).await.unwrap();
    // a fetch that finds the same document
    let unknown = source.keys(Some("new")).await.unwrap();
    assert_eq!(issuer.fetches(), 2);
    assert!(Arc::ptr_eq(&before, &unknown) && source.still_holds(&Arc::downgrade(&before)));
    // and one that finds another, without the key
    *issuer.keys.lock().unwrap() = json!({ "keys": [P256.jwk("new")] });
    while !source.keys(Some("new")).await.unwrap().knows(Some("new")) {
        tokio::task::yield_now().await;
    }
    assert!(!source.still_holds(&Arc::downgrade(&before)));
    let outcome = judge(&a, &issuer, "ed").await;
    assert_eq!(ended(&outcome), Ended::Denied(Reason::KeyUnknown));
}
