//! When a `headerService` is polled, and that no check waits for it.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{Stage, at_once, bare, get, header_service, outcome, token};
use crate::support::providers::Providers;
use crate::support::providers::fault::Fault;

#[tokio::test]
async fn h6_after_a_failure_it_is_asked_sooner_than_the_interval() {
    let fake = Providers::start();
    fake.break_by(Fault::Html);
    let scene = Stage::new()
        .provider("idp", header_service(&fake, json!({ "interval": "1h" })))
        .api(
            "a",
            "a.example",
            "/",
            json!({ "provider": "idp", "onFailure": "allow" }),
        )
        .start();
    let mut times = vec![Instant::now()];
    for calls in 2..=3 {
        fake.wait_for_calls(calls);
        times.push(Instant::now());
    }
    let between = |at: usize| times[at] - times[at - 1];
    let seconds = |from: f64, to: f64| Duration::from_secs_f64(from)..Duration::from_secs_f64(to);
    assert!(seconds(0.5, 3.0).contains(&between(1)), "{:?}", between(1));
    assert!(seconds(1.8, 4.5).contains(&between(2)), "{:?}", between(2));
    bare(&scene.get("a.example", "/").await);
    fake.recover();
    scene
        .until(
            "its recovery",
            || get("a.example", "/"),
            |answer| token(answer).is_some(),
        )
        .await;
    let calls = fake.count();
    std::thread::sleep(Duration::from_millis(1200));
    assert_eq!(fake.count(), calls, "from then on by the interval");
}

#[tokio::test]
async fn h7_headers_that_are_too_old_are_used_no_more() {
    let fake = Providers::start();
    let scene = Stage::new()
        .provider("usual", header_service(&fake, json!({ "interval": "1s" })))
        .provider(
            "short",
            header_service(
                &fake,
                json!({ "interval": "1h", "cache": { "maxStale": "1s" } }),
            ),
        )
        .api(
            "usual",
            "usual.example",
            "/",
            json!({ "provider": "usual", "onFailure": "allow" }),
        )
        .api(
            "short",
            "short.example",
            "/",
            json!({ "provider": "short", "onFailure": "allow" }),
        )
        .start();
    scene.token("usual.example", "/").await;
    scene.token("short.example", "/").await;
    let start = Instant::now();
    fake.break_by(Fault::Html);
    let is_over = |answer: &_| token(answer).is_none();
    scene
        .until("their end", || get("short.example", "/"), is_over)
        .await;
    assert!(
        start.elapsed() < Duration::from_millis(2500),
        "{:?}",
        start.elapsed()
    );
    let gone = scene
        .until("their end", || get("usual.example", "/"), is_over)
        .await;
    bare(&gone);
    assert_eq!(outcome(&gone), "failed");
    // three intervals after the last good poll, which may be up to one and a half before the fault
    let elapsed = start.elapsed().as_secs_f64();
    assert!((1.0..4.0).contains(&elapsed), "{elapsed}");
}

#[tokio::test]
async fn h9_a_reload_denies_nothing_and_asks_nothing_again() {
    let fake = Providers::start();
    let scene = Stage::new()
        .provider("idp", header_service(&fake, json!({})))
        .api("a", "a.example", "/", json!({ "provider": "idp" }))
        .start();
    let revision = || scene.server.admin("/v1/catalog").json()["revision"].clone();
    for number in 0..12 {
        let before = revision();
        let other = super::api(
            "other",
            &format!("other{number}.example"),
            "/",
            json!({ "provider": "idp" }),
        );
        scene.server.write_catalog("other.yaml", &other);
        let start = Instant::now();
        while revision() == before {
            at_once(&scene.get("a.example", "/").await);
            assert!(start.elapsed() < Duration::from_secs(10), "never taken");
        }
        at_once(&scene.get("a.example", "/").await);
        assert_eq!(
            outcome(&scene.get(&format!("other{number}.example"), "/").await),
            "hit"
        );
    }
    assert_eq!(fake.count(), 1);
    // another configuration of the same service is asked before its headers are needed
    let path = scene.server.folder().join("portcullis.yaml");
    let text = std::fs::read_to_string(&path).unwrap();
    let changed = text.replace(
        "\"type\": \"headerService\"",
        "\"type\": \"headerService\", \"interval\": \"7m\"",
    );
    assert_ne!(changed, text);
    let before = revision();
    std::fs::write(&path, changed).unwrap();
    let start = Instant::now();
    while revision() == before || fake.count() < 2 {
        assert!(token(&scene.get("a.example", "/").await).is_some());
        assert!(start.elapsed() < Duration::from_secs(10), "never taken");
    }
    assert!(token(&scene.get("a.example", "/").await).is_some());
}

#[tokio::test]
async fn h10_sources_do_not_mix_and_checks_cause_no_polls() {
    let (one, two) = (Providers::start(), Providers::start());
    one.answer_headers(json!({ "authorization": "one" }));
    two.answer_headers(json!({ "authorization": "two" }));
    let second = json!({ "interval": "1s" });
    let scene = Stage::new()
        .provider("one", header_service(&one, second.clone()))
        .provider("two", header_service(&two, second))
        .api("one", "a.example", "/one", json!({ "provider": "one" }))
        .api("two", "a.example", "/two", json!({ "provider": "two" }))
        .start();
    let start = Instant::now();
    let mut checks = 0;
    while one.count() < 3 || two.count() < 3 {
        for (path, expected) in [("/one", "one"), ("/two", "two")] {
            assert_eq!(scene.token("a.example", path).await, expected);
            checks += 1;
        }
        assert!(start.elapsed() < Duration::from_secs(15), "not polled");
    }
    // from one poll to the next 0.9 s at least
    let most = 2 + start.elapsed().as_millis() / 900;
    for fake in [&one, &two] {
        assert!(
            fake.count() as u128 <= most,
            "{} polls in {:?}",
            fake.count(),
            start.elapsed()
        );
    }
    assert!(checks > 20, "{checks}");
}

#[tokio::test]
async fn h15_a_warm_check_waits_for_no_poll() {
    let fake = Providers::start();
    let scene = Stage::new()
        .provider(
            "idp",
            header_service(
                &fake,
                json!({ "interval": "1s", "cache": { "maxStale": "60s" } }),
            ),
        )
        .api("a", "a.example", "/", json!({ "provider": "idp" }))
        .start();
    fake.hold();
    fake.wait_for_calls(2);
    let mut slowest = Duration::ZERO;
    for _ in 0..200 {
        let start = Instant::now();
        let answer = scene.get("a.example", "/").await;
        assert_eq!(token(&answer).as_deref(), Some("Bearer headers-1"));
        at_once(&answer);
        slowest = slowest.max(start.elapsed());
    }
    assert_eq!(fake.count(), 2);
    assert!(slowest < Duration::from_millis(500), "{slowest:?}");
}
