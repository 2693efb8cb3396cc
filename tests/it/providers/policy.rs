//! What becomes of a request whose token cannot be had, or for which there is none.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::sleep;

use super::{Scene, Stage, auth_provider, bare, client_credentials, get, outcome, refused, token};
use crate::support::eventually;
use crate::support::providers::Providers;
use crate::support::providers::fault::Fault;

/// Longer than a token of the scene lasts.
const OVER: Duration = Duration::from_millis(1100);

/// Hosts below `deny.org`, `stale.org` and `allow.org`, whose tokens last for a second and may be
/// used beyond that for `max_stale`.
fn policies(fake: &Providers, max_stale: &str) -> Scene {
    fake.answer_member("expires_in", 1);
    let changed = json!({ "http": { "timeout": "300ms" }, "cache": { "maxStale": max_stale } });
    let mut stage = Stage::new().provider("erp", client_credentials(fake, changed));
    for policy in ["deny", "stale", "allow"] {
        let credential = json!({ "provider": "erp", "onFailure": policy });
        stage = stage.api(policy, &format!("*.{policy}.org"), "/", credential);
    }
    stage.start()
}

/// Asks for a token of each policy, waits until it is over, breaks the provider, and asks again.
async fn each_policy_holds(break_it: impl Fn(&Providers)) {
    let fake = Providers::start();
    let scene = policies(&fake, "60s");
    let mut known = Vec::new();
    for host in ["a.deny.org", "a.stale.org", "a.allow.org"] {
        known.push(scene.token(host, "/").await);
    }
    break_it(&fake);
    sleep(OVER).await;
    let denied = scene.get("a.deny.org", "/").await;
    refused(&denied);
    assert_eq!(outcome(&denied), "failed");
    for _ in 0..3 {
        let stale = scene.get("a.stale.org", "/").await;
        assert_eq!(
            (token(&stale).as_ref(), outcome(&stale).as_str()),
            (Some(&known[1]), "stale")
        );
    }
    let passed = scene.get("a.allow.org", "/").await;
    bare(&passed);
    assert_eq!(outcome(&passed), "failed");
    // what is stale is of this host alone
    let cold = scene.get("b.stale.org", "/").await;
    refused(&cold);
    assert_eq!(outcome(&cold), "failed");
    // and all of it ends when the provider is well again
    fake.recover();
    fake.answer_member("expires_in", 1);
    for host in ["a.deny.org", "a.stale.org", "a.allow.org"] {
        let is_new = |answer: &_| token(answer).is_some_and(|token| !known.contains(&token));
        scene.until("a new token", || get(host, "/"), is_new).await;
    }
}

#[tokio::test]
async fn f20_each_policy_holds_where_connections_are_refused() {
    each_policy_holds(Providers::refuse_connections).await;
}

#[tokio::test]
async fn f20_each_policy_holds_where_no_answer_comes() {
    each_policy_holds(|fake| fake.break_by(Fault::Blackhole)).await;
}

#[tokio::test]
async fn f20_each_policy_holds_where_the_answer_is_500() {
    each_policy_holds(|fake| fake.break_by(Fault::Status(500, "{}".to_owned()))).await;
}

#[tokio::test]
async fn f20_each_policy_holds_where_the_answer_is_garbage() {
    each_policy_holds(|fake| fake.break_by(Fault::Html)).await;
}

#[tokio::test]
async fn f20_a_stale_token_ends_with_max_stale_and_is_none_by_default() {
    let fake = Providers::start();
    let (short, none) = (policies(&fake, "1s"), policies(&fake, "0s"));
    let first = short.token("a.stale.org", "/").await;
    none.token("a.stale.org", "/").await;
    fake.break_by(Fault::Html);
    sleep(OVER).await;
    let answer = short.get("a.stale.org", "/").await;
    assert_eq!(token(&answer), Some(first));
    refused(&none.get("a.stale.org", "/").await);
    short
        .until(
            "the end of it",
            || get("a.stale.org", "/"),
            |answer| token(answer).is_none(),
        )
        .await;
    refused(&short.get("a.stale.org", "/").await);
}

#[tokio::test]
async fn f20_must_revalidate_forbids_stale_use() {
    let fake = Providers::start();
    let cache = json!({ "cache": { "maxStale": "60s" } });
    let stale = json!({ "provider": "p", "onFailure": "stale" });
    let scene = Stage::new()
        .provider("p", auth_provider(&fake, cache))
        .api("all", "*", "/", stale)
        .start();
    fake.with_header("cache-control", "max-age=1");
    let may = scene.token("may.org", "/").await;
    fake.with_header("cache-control", "max-age=1, must-revalidate");
    scene.token("must.org", "/").await;
    fake.break_by(Fault::Html);
    sleep(OVER).await;
    assert_eq!(token(&scene.get("may.org", "/").await), Some(may));
    refused(&scene.get("must.org", "/").await);
}

#[tokio::test]
async fn f21_nothing_for_an_endpoint_is_no_failure() {
    let fake = Providers::start();
    let mut stage = Stage::new().provider("p", auth_provider(&fake, json!({})));
    for policy in ["deny", "allow"] {
        // the other policy says the opposite, and does not count
        let other = if policy == "deny" { "allow" } else { "deny" };
        let credential = json!({ "provider": "p", "onAbsent": policy, "onFailure": other });
        stage = stage.api(policy, &format!("*.{policy}.org"), "/", credential);
    }
    let scene = stage.start();
    let cases: [(&str, &dyn Fn()); 2] = [
        ("empty", &|| fake.answer_auth(json!([]))),
        ("missing", &|| {
            fake.break_by(Fault::Status(404, "{}".to_owned()))
        }),
    ];
    for (case, say_nothing) in cases {
        fake.recover();
        say_nothing();
        let before = fake.count();
        for _ in 0..2 {
            let denied = scene.get(&format!("{case}.deny.org"), "/").await;
            refused(&denied);
            assert_eq!(outcome(&denied), "absent", "{case}");
            let passed = scene.get(&format!("{case}.allow.org"), "/").await;
            bare(&passed);
            assert_eq!(outcome(&passed), "absent", "{case}");
        }
        assert_eq!(fake.count() - before, 2, "{case}: it is remembered");
    }
    fake.break_by(Fault::Status(500, "[]".to_owned()));
    bare(&scene.get("broken.deny.org", "/").await);
    let failed = scene.get("broken.allow.org", "/").await;
    refused(&failed);
    assert_eq!(outcome(&failed), "failed");
    let absent = r#"portcullis_provider_tokens_total{provider="p",outcome="absent"}"#;
    assert_eq!(scene.metric(absent), Some(8.0));
}

#[tokio::test]
async fn f22_every_outcome_is_told_in_metadata_metrics_and_the_decision_log() {
    let fake = Providers::start();
    fake.answer_member("expires_in", 2);
    let credential = |policy: &str| json!({ "provider": "erp", "onFailure": policy });
    let scene = Stage::new()
        .provider(
            "erp",
            client_credentials(&fake, json!({ "cache": { "maxStale": "60s" } })),
        )
        .provider("p", auth_provider(&fake, json!({})))
        .api("stale", "stale.org", "/", credential("stale"))
        .api("allow", "allow.org", "/", credential("allow"))
        .api("deny", "deny.org", "/", credential("deny"))
        .api(
            "absent",
            "absent.org",
            "/",
            json!({ "provider": "p", "onAbsent": "allow" }),
        )
        .start();
    let mut expected: Vec<(Value, &str)> = Vec::new();
    let mut tell = |answer: &_, is: &'static str| {
        assert_eq!(outcome(answer), is);
        let id = crate::gate::metadata(answer, "decision_id").unwrap();
        expected.push((json!(id), is));
    };
    tell(&scene.get("stale.org", "/").await, "waited");
    tell(&scene.get("stale.org", "/").await, "hit");
    fake.wait_for_calls(2);
    // the answer to the second call may be on its way
    let renewed = scene.until(
        "the renewed token",
        || get("stale.org", "/"),
        |answer| outcome(answer) != "hit",
    );
    tell(&renewed.await, "refreshed");
    fake.refuse_connections();
    let stale = scene.until(
        "its end",
        || get("stale.org", "/"),
        |answer| outcome(answer) == "stale",
    );
    tell(&stale.await, "stale");
    tell(&scene.get("allow.org", "/").await, "failed");
    tell(&scene.get("deny.org", "/").await, "failed");
    fake.recover();
    fake.answer_auth(json!([]));
    tell(&scene.get("absent.org", "/").await, "absent");

    for (provider, outcome, count) in [
        ("erp", "waited", 1.0),
        ("erp", "refreshed", 1.0),
        ("erp", "failed", 2.0),
        ("p", "absent", 1.0),
    ] {
        let series = format!(
            "portcullis_provider_tokens_total{{provider=\"{provider}\",outcome=\"{outcome}\"}}"
        );
        assert_eq!(scene.metric(&series), Some(count), "{series}");
    }
    for outcome in ["hit", "stale"] {
        let series =
            format!("portcullis_provider_tokens_total{{provider=\"erp\",outcome=\"{outcome}\"}}");
        assert!(
            scene.metric(&series).is_some_and(|count| count >= 1.0),
            "{series}"
        );
    }
    for (id, outcome) in expected {
        let line = eventually("the decision to be logged", || {
            let lines = scene.server.stdout();
            let mut lines = lines
                .lines()
                .filter_map(|line| serde_json::from_str::<Value>(line).ok());
            lines.find(|line| line["decision.id"] == id)
        });
        assert_eq!(line["provider_token"], outcome, "{line}");
    }
}
