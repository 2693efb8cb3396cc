//! Failures that meet deadlines, lists of credentials, and other failures.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{
    Stage, allowed, auth_provider, bare, client_credentials, get, outcome, refused, token,
};
use crate::support::check::headers;
use crate::support::providers::Providers;
use crate::support::providers::call::Endpoint;
use crate::support::providers::fault::Fault;

#[tokio::test]
async fn a_check_whose_time_ends_first_has_the_policys_answer_in_time() {
    let fake = Providers::start();
    let credential = |policy: &str| json!({ "provider": "erp", "onFailure": policy });
    let scene = Stage::new()
        .set(&["checks", "deadline"], json!("400ms"))
        .provider(
            "erp",
            client_credentials(&fake, json!({ "http": { "timeout": "10s" } })),
        )
        .api("deny", "deny.org", "/", credential("deny"))
        .api("allow", "allow.org", "/", credential("allow"))
        .start();
    fake.hold();
    for host in ["deny.org", "allow.org", "deny.org", "allow.org"] {
        let start = Instant::now();
        let answer = scene.get(host, "/").await;
        assert!(
            start.elapsed() < Duration::from_millis(1000),
            "{host}: {:?}",
            start.elapsed()
        );
        assert_eq!(outcome(&answer), "failed");
        if host == "deny.org" {
            refused(&answer);
        } else {
            bare(&answer);
        }
    }
    assert_eq!(
        fake.count(),
        2,
        "the second check of a host joined the first one's call"
    );
    fake.release();
    for host in ["deny.org", "allow.org"] {
        // what was asked for goes on without the check
        let answer = scene.until(
            "the token",
            || get(host, "/"),
            |answer| token(answer).is_some(),
        );
        let outcome = outcome(&answer.await);
        assert!(["hit", "waited"].contains(&outcome.as_str()), "{outcome}");
    }
    assert_eq!(fake.count(), 2);
}

#[tokio::test]
async fn a_list_of_credentials_is_met_one_by_one_and_the_worst_is_told() {
    let fake = Providers::start();
    let list = |policy: &str| {
        json!([
            { "provider": "fixed" },
            { "provider": "erp", "header": "x-erp", "scheme": "", "onFailure": policy },
            { "provider": "p", "onFailure": policy, "onAbsent": "allow" },
        ])
    };
    let scene = Stage::new()
        .file("fixed-key", "canary-fixed")
        .provider(
            "fixed",
            json!({ "type": "static", "headers": { "x-key": { "file": "fixed-key" } } }),
        )
        .provider("erp", client_credentials(&fake, json!({})))
        .provider("p", auth_provider(&fake, json!({})))
        .api("deny", "*.deny.org", "/", list("deny"))
        .api("allow", "*.allow.org", "/", list("allow"))
        .start();
    let all = |host: &str| {
        get(host, "/")
            .header("x-key", "mine")
            .header("x_erp", "mine")
            .header("x-erp", "mine")
    };
    let answer = scene.ask(all("a.deny.org")).await;
    let ok = allowed(&answer);
    let set = headers(&ok.headers);
    assert_eq!(
        (set["x-key"].as_str(), set["x-erp"].as_str()),
        ("canary-fixed", "token-1.gw")
    );
    assert_eq!(set["authorization"], "Bearer auth-1.ISHARE.a.deny.org/");
    assert!(ok.headers_to_remove.contains(&"x_erp".to_owned()));
    assert_eq!(outcome(&answer), "waited");
    assert_eq!(outcome(&scene.ask(all("a.deny.org")).await), "hit");
    fake.answer_auth(json!([]));
    assert_eq!(outcome(&scene.ask(all("b.deny.org")).await), "absent");
    // the endpoint of tokens alone is broken
    fake.answer_member("access_token", json!(""));
    refused(&scene.ask(all("c.deny.org")).await);
    let answer = scene.ask(all("c.allow.org")).await;
    let ok = allowed(&answer);
    assert_eq!(
        headers(&ok.headers).into_keys().collect::<Vec<_>>(),
        ["x-key"]
    );
    for name in ["authorization", "x-erp", "x_erp"] {
        assert!(
            ok.headers_to_remove.contains(&name.to_owned()),
            "{name}: {ok:?}"
        );
    }
    assert_eq!(outcome(&answer), "failed", "worse than absent");
    let asked = fake.count_of(
        |call| matches!(&call.endpoint, Endpoint::Auth { domain, .. } if domain == "c.deny.org"),
    );
    assert_eq!(asked, 0, "nobody is asked for a request that is refused");
}

#[tokio::test]
async fn a_failure_is_remembered_for_its_host_alone() {
    let fake = Providers::start();
    let scene = Stage::new()
        .provider("p", auth_provider(&fake, json!({})))
        .api("all", "*", "/", json!({ "provider": "p" }))
        .start();
    fake.break_once(Fault::Html);
    refused(&scene.get("one.org", "/").await);
    fake.recover();
    for _ in 0..20 {
        refused(&scene.get("one.org", "/").await);
        scene.token("two.org", "/").await;
    }
    assert_eq!(fake.count(), 2);
    let start = Instant::now();
    scene
        .until(
            "another try",
            || get("one.org", "/"),
            |answer| token(answer).is_some(),
        )
        .await;
    assert!(start.elapsed() < Duration::from_secs(3), "after 1 to 1.5 s");
    assert_eq!(fake.count(), 3);
}
