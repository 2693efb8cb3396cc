//! A server that is broken, or asks to be left alone, is left alone.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{Scene, Stage, client_credentials, get, outcome, refused, token};
use crate::support::providers::Providers;
use crate::support::providers::fault::Fault;

const PAUSED: &str = r#"portcullis_provider_paused{provider="erp"}"#;

fn everywhere(fake: &Providers) -> Scene {
    Stage::new()
        .provider("erp", client_credentials(fake, json!({})))
        .api("all", "*", "/", json!({ "provider": "erp" }))
        .start()
}

#[tokio::test]
async fn five_failures_in_a_row_pause_a_server_and_one_call_ends_the_pause() {
    let fake = Providers::start();
    let scene = everywhere(&fake);
    scene.token("good.org", "/").await;
    assert_eq!(scene.metric(PAUSED), Some(0.0));
    fake.break_by(Fault::Status(503, "{}".to_owned()));
    let start = Instant::now();
    for number in 0..30 {
        refused(&scene.get(&format!("bad{number}.org"), "/").await);
    }
    assert!(
        start.elapsed() < Duration::from_secs(2),
        "it took as long as the pause"
    );
    assert_eq!(fake.count(), 1 + 5, "after five failures nobody asks");
    assert_eq!(scene.metric(PAUSED), Some(1.0));
    let provider = scene.provider("erp");
    assert_eq!(
        (&provider["state"], &provider["failuresInARow"]),
        (&json!("paused"), &json!(5))
    );
    assert!(
        provider["pausedForSeconds"]
            .as_u64()
            .is_some_and(|left| left <= 2),
        "{provider}"
    );
    // what is known is used as ever
    assert_eq!(outcome(&scene.get("good.org", "/").await), "hit");
    fake.recover();
    let again = scene.until(
        "one call",
        || get("new.org", "/"),
        |answer| token(answer).is_some(),
    );
    again.await;
    assert!(
        start.elapsed() > Duration::from_millis(1900),
        "after {:?}",
        start.elapsed()
    );
    assert_eq!(fake.count(), 1 + 5 + 1);
    assert_eq!(scene.metric(PAUSED), Some(0.0));
    assert_eq!(scene.provider("erp")["state"], "good");
}

#[tokio::test]
async fn a_server_that_refuses_is_not_broken() {
    let fake = Providers::start();
    let scene = everywhere(&fake);
    fake.break_by(Fault::OauthError(400, "invalid_scope"));
    for number in 0..10 {
        refused(&scene.get(&format!("bad{number}.org"), "/").await);
    }
    assert_eq!(fake.count(), 10);
    assert_eq!(scene.metric(PAUSED), Some(0.0));
}

#[tokio::test]
async fn retry_after_is_kept_in_seconds_and_as_a_date() {
    let fake = Providers::start();
    let scene = everywhere(&fake);
    let date = || {
        let then = jiff::Timestamp::now() + Duration::from_secs(3);
        jiff::fmt::rfc2822::DateTimePrinter::new()
            .timestamp_to_rfc9110_string(&then)
            .unwrap()
    };
    for name in ["seconds", "date"] {
        let asked = if name == "date" {
            date()
        } else {
            "2".to_owned()
        };
        let before = fake.count();
        fake.break_once(Fault::TooManyRequests(asked));
        let start = Instant::now();
        for number in 0..20 {
            refused(&scene.get(&format!("{name}{number}.org"), "/").await);
        }
        assert_eq!(fake.count() - before, 1, "{name}");
        assert_eq!(scene.metric(PAUSED), Some(1.0), "{name}");
        let host = format!("{name}-again.org");
        scene
            .until(
                "the end of it",
                || get(&host, "/"),
                |answer| token(answer).is_some(),
            )
            .await;
        assert!(
            start.elapsed() > Duration::from_millis(1500),
            "{name}: {:?}",
            start.elapsed()
        );
        assert_eq!(fake.count() - before, 2, "{name}");
    }
}
