//! How long a token is used: the least of what its answer, the token itself and we say.

use serde_json::{Value, json};

use super::{Scene, Stage, client_credentials, outcome, refused};
use crate::support::providers::Providers;
use crate::support::signing::encode;

/// Every host, by tokens of `fake`.
fn everywhere(fake: &Providers, changed: Value) -> Scene {
    Stage::new()
        .provider("erp", client_credentials(fake, changed))
        .api("all", "*", "/", json!({ "provider": "erp" }))
        .start()
}

fn jwt(expires_in: i64) -> String {
    let expires = jiff::Timestamp::now().as_second() + expires_in;
    let claims = encode(json!({ "exp": expires }).to_string().as_bytes());
    format!("{}.{claims}.{}", encode(b"{}"), encode(b"signature"))
}

#[tokio::test]
async fn f25_a_token_lasts_by_expires_in_or_by_itself_or_25_seconds() {
    let fake = Providers::start();
    let scene = everywhere(&fake, json!({}));
    for (number, (token, expires_in, left)) in [
        // 10 s of margin, and a fifth of what is short
        (None, json!(300), 288..=290),
        (None, json!("300"), 288..=290),
        (None, json!(300.5), 288..=291),
        (None, json!(20), 14..=16),
        // an hour at most
        (None, json!(1_000_000_000), 3586..=3590),
        (None, json!(1e300), 3586..=3590),
        (Some(jwt(100)), json!(null), 87..=90),
        (Some(jwt(100)), json!(3000), 87..=90),
        (Some(jwt(3000)), json!(100), 88..=90),
        (Some("opaque".to_owned()), json!(null), 18..=20),
        (Some("a.b.c".to_owned()), json!(null), 18..=20),
    ]
    .into_iter()
    .enumerate()
    {
        let told = format!("{token:?} {expires_in}");
        fake.recover();
        if let Some(token) = token {
            fake.answer_member("access_token", token);
        }
        fake.answer_member("expires_in", expires_in);
        let host = format!("h{number}.org");
        scene.token(&host, "/").await;
        let kept = scene
            .tokens()
            .into_iter()
            .find(|kept| kept["host"] == *host)
            .unwrap();
        let found = kept["expiresInSeconds"].as_i64().unwrap();
        assert!(left.contains(&found), "{told}: {found}");
    }
}

#[tokio::test]
async fn f25_margin_and_bounds_are_configured() {
    let fake = Providers::start();
    let cache =
        json!({ "cache": { "margin": "100s", "maxLifetime": "200s", "defaultLifetime": "50s" } });
    let scene = everywhere(&fake, cache);
    for (host, expires_in, left) in [
        ("long.org", json!(1000), 158..=160),
        ("unsaid.org", json!(null), 38..=40),
    ] {
        fake.answer_member("expires_in", expires_in);
        scene.token(host, "/").await;
        let kept = scene
            .tokens()
            .into_iter()
            .find(|kept| kept["host"] == *host)
            .unwrap();
        let found = kept["expiresInSeconds"].as_i64().unwrap();
        assert!(left.contains(&found), "{host}: {found}");
    }
}

#[tokio::test]
async fn a_token_that_is_over_or_says_nonsense_is_not_used() {
    let fake = Providers::start();
    let scene = everywhere(&fake, json!({}));
    for (number, (name, value)) in [
        ("expires_in", json!(0)),
        ("expires_in", json!(-1)),
        ("expires_in", json!("0")),
        ("expires_in", json!("soon")),
        ("expires_in", json!(true)),
        ("expires_in", json!([300])),
        ("access_token", json!(jwt(-10))),
        ("access_token", json!(jwt(0))),
        ("access_token", json!("")),
        ("access_token", json!(" ")),
        ("access_token", json!("two words")),
        ("access_token", json!("to\tken")),
        ("access_token", json!("tokén")),
        ("access_token", json!("token\r\nx-evil: 1")),
        ("access_token", json!("token\u{0}")),
        ("access_token", json!(7)),
        ("access_token", json!(null)),
        ("access_token", json!(["a"])),
        ("token_type", json!("mac")),
        ("token_type", json!("DPoP")),
        ("token_type", json!(7)),
        ("error", json!("invalid_scope")),
    ]
    .into_iter()
    .enumerate()
    {
        let told = format!("{name}: {value}");
        fake.answer_member(name, value);
        let answer = scene.get(&format!("bad{number}.org"), "/").await;
        assert_eq!(outcome(&answer), "failed", "{told}");
        refused(&answer);
        fake.recover();
        scene.token(&format!("good{number}.org"), "/").await;
    }
    for kind in [json!("bearer"), json!("BEARER"), json!(null), json!("N_A")] {
        fake.answer_member("token_type", kind.clone());
        let host = format!("t{}.org", fake.count());
        scene.token(&host, "/").await;
    }
    fake.answer_token_with_line_break();
    refused(&scene.get("break.org", "/").await);
}
