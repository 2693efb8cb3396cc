//! How long what a provider gave is used, and that many checks are one call.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{Stage, auth_provider, client_credentials, get, outcome, token};
use crate::support::check::CheckClient;
use crate::support::eventually;
use crate::support::providers::Providers;
use crate::support::providers::call::Endpoint;

#[tokio::test]
async fn f14_cache_control_says_how_long_an_answer_is_kept() {
    let fake = Providers::start();
    let scene = Stage::new()
        .provider("standard", auth_provider(&fake, json!({})))
        .provider(
            "fiware",
            auth_provider(&fake, json!({ "cacheControl": "fiware" })),
        )
        .api(
            "standard",
            "*.standard.org",
            "/",
            json!({ "provider": "standard" }),
        )
        .api(
            "fiware",
            "*.fiware.org",
            "/",
            json!({ "provider": "fiware" }),
        )
        .start();
    for (number, (line, standard, fiware)) in [
        ("max-age=60", true, true),
        ("private, max-age=60", true, true),
        ("Private ,Max-Age = \"60\"", true, true),
        ("max-age=60,private", true, true),
        ("ext=\"no-store, max-age=0\", max-age=60", true, true),
        ("max-age=60, must-revalidate", true, false),
        ("must-revalidate, max-age=60", true, false),
        ("no-store", false, false),
        ("max-age=60, no-store", false, false),
        ("no-cache, max-age=60", false, false),
        ("No-Cache=\"set-cookie\", max-age=60", false, false),
        ("max-age=0", false, false),
        ("max-age=-1", false, false),
        ("max-age=soon", false, false),
        ("max-age", false, false),
        ("s-maxage=60", false, false),
        ("public", false, false),
    ]
    .into_iter()
    .enumerate()
    {
        fake.with_header("cache-control", line);
        for (kind, is_kept) in [("standard", standard), ("fiware", fiware)] {
            let host = format!("h{number}.{kind}.org");
            let first = scene.token(&host, "/").await;
            let second = scene.token(&host, "/").await;
            assert_eq!(first == second, is_kept, "{kind}: {line}");
        }
    }
}

#[tokio::test]
async fn f14_no_answer_is_used_for_longer_than_max_age_says() {
    let fake = Providers::start();
    fake.with_header("cache-control", "private, max-age=2");
    let scene = Stage::new()
        .provider("p", auth_provider(&fake, json!({})))
        .api("p", "d.org", "/", json!({ "provider": "p" }))
        .start();
    let first = scene.token("d.org", "/").await;
    let given = Instant::now();
    let before = Instant::now();
    let next = loop {
        let asked = Instant::now();
        let now = scene.token("d.org", "/").await;
        if now != first {
            break asked;
        }
        assert!(asked - before < Duration::from_secs(2), "used for too long");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert!(
        next - given > Duration::from_secs(1),
        "given up too soon: {:?}",
        next - given
    );
}

#[tokio::test]
async fn f15_age_counts_and_what_says_nothing_is_not_kept_unless_configured() {
    let fake = Providers::start();
    let kept = json!({ "cache": { "defaultLifetime": "60s" } });
    let scene = Stage::new()
        .provider("usual", auth_provider(&fake, json!({})))
        .provider("kept", auth_provider(&fake, kept))
        .api("usual", "*.usual.org", "/", json!({ "provider": "usual" }))
        .api("kept", "*.kept.org", "/", json!({ "provider": "kept" }))
        .start();
    for (number, (line, age, usual, kept)) in [
        ("max-age=60", "20", true, true),
        ("max-age=60", "60", false, false),
        ("max-age=60", "3600", false, false),
        ("max-age=60", "later", true, true),
        ("public", "0", false, true),
    ]
    .into_iter()
    .enumerate()
    {
        fake.with_header("cache-control", line);
        fake.with_header("age", age);
        for (kind, is_kept) in [("usual", usual), ("kept", kept)] {
            let host = format!("h{number}.{kind}.org");
            let first = scene.token(&host, "/").await;
            let second = scene.token(&host, "/").await;
            assert_eq!(first == second, is_kept, "{kind}: {line}, age {age}");
        }
    }
    let left = scene
        .tokens()
        .into_iter()
        .find(|token| token["host"] == "h0.usual.org")
        .unwrap();
    let left = left["expiresInSeconds"].as_i64().unwrap();
    assert!(
        (20..=32).contains(&left),
        "40 s less a margin of a fifth: {left}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f17_a_thousand_checks_on_a_cold_key_are_one_call() {
    let fake = Providers::start();
    let scene = Stage::new()
        .set(&["checks"], json!({ "deadline": "15s", "maxWait": "10s" }))
        .provider(
            "erp",
            client_credentials(&fake, json!({ "http": { "timeout": "12s" } })),
        )
        .api("erp", "erp.example", "/", json!({ "provider": "erp" }))
        .start();
    fake.hold();
    let mut asking = tokio::task::JoinSet::new();
    let ask = |client: &CheckClient| {
        let client = client.clone();
        async move { client.check(get("erp.example", "/")).await }
    };
    // one whose caller goes away must not take the others with it
    let leader = tokio::spawn(ask(&CheckClient::new(scene.server.check_address())));
    fake.wait_for_calls(1);
    for _ in 0..10 {
        let client = CheckClient::new(scene.server.check_address());
        for _ in 0..100 {
            asking.spawn(ask(&client));
        }
    }
    eventually("all of them to wait", || {
        let waiting = scene.metric("portcullis_checks_in_flight ")?;
        (waiting >= 1000.0).then_some(())
    });
    leader.abort();
    assert_eq!(fake.count(), 1);
    fake.release();
    let answers = asking.join_all().await;
    assert_eq!(answers.len(), 1000);
    for answer in &answers {
        assert_eq!(
            token(answer).as_deref(),
            Some("Bearer token-1.gw"),
            "{answer:?}"
        );
    }
    assert_eq!(fake.count(), 1);
    assert_eq!(outcome(&scene.get("erp.example", "/").await), "hit");
}

#[tokio::test]
async fn f18_under_steady_checks_none_waits_after_the_first() {
    let fake = Providers::start();
    fake.answer_member("expires_in", 3);
    let scene = Stage::new()
        .provider("erp", client_credentials(&fake, json!({})))
        .api("erp", "erp.example", "/", json!({ "provider": "erp" }))
        .start();
    let start = Instant::now();
    assert_eq!(outcome(&scene.get("erp.example", "/").await), "waited");
    let mut refreshed = 0;
    while fake.count() < 3 || refreshed < 2 {
        assert!(start.elapsed() < Duration::from_secs(12), "never renewed");
        let answer = scene.get("erp.example", "/").await;
        match outcome(&answer).as_str() {
            "hit" => {}
            "refreshed" => refreshed += 1,
            other => panic!("a check is {other} after {:?}", start.elapsed()),
        }
        assert!(token(&answer).is_some());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // 3 s less a margin of a fifth, renewed when 70 % or more of that are over
    let most = 1 + start.elapsed().as_millis() / 1680;
    assert!(
        fake.count() as u128 <= most,
        "{} calls, {most} are due",
        fake.count()
    );
}

#[tokio::test]
async fn f18_what_nobody_uses_is_not_renewed() {
    let fake = Providers::start();
    fake.answer_member("expires_in", 2);
    let scene = Stage::new()
        .provider("erp", client_credentials(&fake, json!({})))
        .api("erp", "erp.example", "/", json!({ "provider": "erp" }))
        .start();
    scene.token("erp.example", "/").await;
    // used once, so it is renewed once, and forgotten when that is over
    fake.wait_for_calls(2);
    eventually("the token to be forgotten", || {
        scene.tokens().is_empty().then_some(())
    });
    assert_eq!(fake.count(), 2);
    assert_eq!(scene.metric("portcullis_provider_cache_tokens "), Some(0.0));
    assert_eq!(scene.metric("portcullis_provider_cache_bytes "), Some(0.0));
}

#[tokio::test]
async fn f19_values_survive_the_cache_byte_for_byte() {
    let fake = Providers::start();
    let scene = Stage::new()
        .provider("p", auth_provider(&fake, json!({})))
        .api("all", "*", "/", json!({ "provider": "p" }))
        .start();
    let long = format!("Bearer {}", "eyJ0.".repeat(1638));
    for (number, value) in [
        "a\"b\\c",
        "Bearer José €",
        "{\"a\":1}",
        "%41%2B+",
        long.as_str(),
    ]
    .into_iter()
    .enumerate()
    {
        fake.answer_auth(json!([{ "name": "Authorization", "value": value }]));
        let host = format!("h{number}.org");
        for expected in ["waited", "hit", "hit"] {
            let answer = scene.get(&host, "/").await;
            assert_eq!(token(&answer).as_deref(), Some(value));
            assert_eq!(outcome(&answer), expected);
        }
    }
    assert_eq!(fake.count_of(|call| call.endpoint != Endpoint::Nothing), 5);
}
