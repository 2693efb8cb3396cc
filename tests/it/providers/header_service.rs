//! Provider `headerService`: what it is asked, and what of its map reaches upstreams.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{
    Scene, Stage, allowed, at_once, bare, get, header_service, merged, outcome, refused, token,
};
use crate::support::check::{CheckBuilder, headers};
use crate::support::eventually;
use crate::support::issuer::Issuer;
use crate::support::providers::Providers;
use crate::support::providers::call::Endpoint;
use crate::support::providers::fault::Fault;
use crate::support::signing::encode;

/// One service for `a.example`, with something changed.
fn polled(fake: &Providers, changed: Value, uses: Value) -> Scene {
    Stage::new()
        .provider("idp", header_service(fake, changed))
        .api(
            "a",
            "a.example",
            "/",
            merged(json!({ "provider": "idp" }), uses),
        )
        .start()
}

#[tokio::test]
async fn h1_the_service_is_asked_with_nothing_of_any_request() {
    let fake = Providers::start();
    let with = json!({ "url": fake.url(), "authority": "sidecar.internal:8080" });
    let scene = polled(&fake, with, json!({}));
    let check = get("a.example", "/x?y=z")
        .header("cookie", "a=b")
        .header("x-user", "alice");
    assert!(token(&scene.ask(check).await).is_some());
    for call in fake.calls() {
        assert_eq!(
            (call.request.method.as_str(), call.request.target.as_str()),
            ("GET", "/headers")
        );
        assert_eq!(call.header("host"), Some("sidecar.internal:8080"));
        assert_eq!(call.header("accept"), Some("application/json"));
        let mut names: Vec<String> = call
            .request
            .headers
            .iter()
            .map(|(name, _)| name.to_ascii_lowercase())
            .collect();
        names.sort();
        assert_eq!(names, ["accept", "host", "user-agent"]);
        assert!(call.request.body.is_empty());
    }
    assert_eq!(fake.count(), 1, "no check asks");
}

#[tokio::test]
async fn h1_path_and_host_are_those_of_the_address() {
    let fake = Providers::start();
    let scene = polled(
        &fake,
        json!({ "url": format!("{}?a=b", fake.headers_url()) }),
        json!({}),
    );
    scene.token("a.example", "/").await;
    assert_eq!(fake.last().request.target, "/headers?a=b");
    assert_eq!(
        fake.last().header("host"),
        Some(fake.address().to_string().as_str())
    );
}

#[tokio::test]
async fn h2_an_interval_is_a_duration_in_words() {
    let fake = Providers::start();
    let stage = |interval: Value| {
        Stage::new().provider(
            "idp",
            header_service(&fake, json!({ "interval": interval })),
        )
    };
    for interval in ["360s", "6m", "1h 30m", "1500ms"] {
        drop(stage(json!(interval)).start());
    }
    for interval in [
        json!(360),
        json!("360"),
        json!("soon"),
        json!("0s"),
        json!("25h"),
        json!("-1s"),
    ] {
        let told = stage(interval.clone()).refused();
        assert!(
            told.contains("providers.idp.interval"),
            "{interval}: {told}"
        );
    }
}

#[tokio::test]
async fn h3_the_map_replaces_what_the_client_sent() {
    use envoy_types::pb::envoy::config::core::v3::header_value_option::HeaderAppendAction;
    let fake = Providers::start();
    let scene = polled(&fake, json!({}), json!({}));
    let check = get("a.example", "/")
        .header("x-anothersecretheader", "mine")
        .header("x_AnotherSecretHeader", "mine");
    let answer = scene.ask(check).await;
    let ok = allowed(&answer);
    let set = headers(&ok.headers);
    assert_eq!(set.len(), 2);
    assert_eq!(
        (
            set["authorization"].as_str(),
            set["x-anothersecretheader"].as_str()
        ),
        ("Bearer headers-1", "Hiya Pal")
    );
    for mutation in &ok.headers {
        assert_eq!(
            mutation.append_action,
            HeaderAppendAction::OverwriteIfExistsOrAdd as i32
        );
    }
    assert!(
        ok.headers_to_remove
            .contains(&"x_anothersecretheader".to_owned()),
        "{ok:?}"
    );
    assert!(
        !ok.headers_to_remove.contains(&"authorization".to_owned()),
        "set and removed: {ok:?}"
    );
}

#[tokio::test]
async fn h4_null_removes_a_header() {
    let fake = Providers::start();
    fake.answer_headers(
        json!({ "authorization": null, "x-anothersecretheader": "x", "x-unannounced": null }),
    );
    let scene = polled(&fake, json!({}), json!({}));
    let check = get("a.example", "/")
        .header("x-unannounced", "mine")
        .header("x_unannounced", "mine");
    let answer = scene.ask(check).await;
    let ok = allowed(&answer);
    assert_eq!(
        headers(&ok.headers).into_keys().collect::<Vec<_>>(),
        ["x-anothersecretheader"]
    );
    for name in ["authorization", "x-unannounced", "x_unannounced"] {
        assert!(
            ok.headers_to_remove.contains(&name.to_owned()),
            "{name}: {ok:?}"
        );
    }
}

#[tokio::test]
async fn h4_h5_an_answer_that_is_no_map_of_fit_headers_leaves_the_previous_one() {
    let bad = |body: Value| Fault::Status(200, body.to_string());
    let mut faults = Fault::unusable();
    faults.extend([
        bad(json!({ "authorization": 1 })),
        bad(json!({ "authorization": true })),
        bad(json!({ "authorization": [] })),
        bad(json!({ "authorization": {} })),
        bad(json!({ "authorization": "x", ":path": "/" })),
        bad(json!({ "authorization": "x", "connection": "close" })),
        bad(json!({ "authorization": "a\r\nx: y" })),
        bad(json!({ "authorization": "x", "two words": "y" })),
        bad(json!({ "authorization": "x", "AUTHORIZATION": "y" })),
        Fault::Status(404, "{}".to_owned()),
        Fault::Redirect("/headers".to_owned()),
        Fault::Blackhole,
    ]);
    let mut stage = Stage::new();
    let mut fakes = Vec::new();
    for number in 0..faults.len() {
        let fake = Providers::start();
        let changed = json!({
            "hosts": [format!("h{number}.example")], "interval": "1s", "http": { "timeout": "500ms" },
            "cache": { "maxStale": "60s" },
        });
        stage = stage
            .provider(&format!("p{number}"), header_service(&fake, changed))
            .api(
                &format!("a{number}"),
                &format!("h{number}.example"),
                "/",
                json!({ "provider": format!("p{number}") }),
            );
        fakes.push(fake);
    }
    let scene = stage.start();
    for (fake, fault) in fakes.iter().zip(faults.clone()) {
        fake.break_by(fault);
    }
    for (number, (fake, fault)) in fakes.iter().zip(faults).enumerate() {
        let name = format!("p{number}");
        eventually("the failure", || {
            (scene.provider(&name)["state"] == "failing").then_some(())
        });
        let value = scene.token(&format!("h{number}.example"), "/").await;
        assert!(value.starts_with("Bearer headers-"), "{fault:?}: {value}");
        let failures = ["unavailable", "refused", "unusable"].map(|result| {
            let series = format!(
                "portcullis_provider_fetches_total{{provider=\"{name}\",result=\"{result}\"}}"
            );
            scene.metric(&series).unwrap_or_default()
        });
        assert!(failures.iter().sum::<f64>() >= 1.0, "{fault:?}");
        assert!(fake.count() >= 2);
    }
}

#[tokio::test]
async fn h8_before_the_first_answer_the_rule_of_the_api_holds() {
    let fake = Providers::start();
    fake.refuse_connections();
    let scene = Stage::new()
        .provider("idp", header_service(&fake, json!({})))
        .api("deny", "deny.example", "/", json!({ "provider": "idp" }))
        .api(
            "allow",
            "allow.example",
            "/",
            json!({ "provider": "idp", "onFailure": "allow" }),
        )
        .start();
    let denied = scene.get("deny.example", "/").await;
    refused(&denied);
    assert_eq!(outcome(&denied), "failed");
    bare(&scene.get("allow.example", "/").await);
    fake.recover();
    let is_there = |answer: &_| token(answer).is_some();
    scene
        .until("the first answer", || get("deny.example", "/"), is_there)
        .await;
}

#[tokio::test]
async fn h8_readiness_waits_until_a_service_was_tried() {
    let fake = Providers::start();
    fake.hold();
    let mut scene = Stage::new()
        .provider("idp", header_service(&fake, json!({})))
        .api("a", "a.example", "/", json!({ "provider": "idp" }))
        .start_unready();
    fake.wait_for_calls(1);
    let told = scene.server.observe("/readyz");
    assert_eq!(told.status, 503);
    assert!(
        told.text().contains("tokens of provider idp"),
        "{}",
        told.text()
    );
    fake.release();
    scene.server.wait_until_ready();
    at_once(&scene.get("a.example", "/").await);
}

#[tokio::test]
async fn h11_the_life_of_an_answer_and_of_its_tokens_cut_the_interval_short() {
    let (directed, tokened) = (Providers::start(), Providers::start());
    directed.with_header("cache-control", "max-age=2");
    let expires = jiff::Timestamp::now().as_second() + 3;
    let claims = encode(json!({ "exp": expires }).to_string().as_bytes());
    tokened
        .answer_headers(json!({ "authorization": format!("Bearer {}.{claims}.x", encode(b"{}")) }));
    let hour = json!({ "interval": "1h" });
    let scene = Stage::new()
        .provider("directed", header_service(&directed, hour.clone()))
        .provider("tokened", header_service(&tokened, hour))
        .api(
            "directed",
            "directed.example",
            "/",
            json!({ "provider": "directed" }),
        )
        .api(
            "tokened",
            "tokened.example",
            "/",
            json!({ "provider": "tokened" }),
        )
        .start();
    let start = Instant::now();
    for host in ["directed.example", "tokened.example"] {
        scene.token(host, "/").await;
    }
    directed.wait_for_calls(2);
    tokened.wait_for_calls(2);
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "{:?}",
        start.elapsed()
    );
    // a token that is over is not used, though nobody asked for another
    tokened.break_by(Fault::Html);
    scene
        .until(
            "its end",
            || get("tokened.example", "/"),
            |answer| token(answer).is_none(),
        )
        .await;
    assert!(jiff::Timestamp::now().as_second() <= expires + 1);
}

#[tokio::test]
async fn h14_a_service_adds_nothing_for_hosts_that_are_not_its() {
    let fake = Providers::start();
    let scene = Stage::new()
        .provider(
            "idp",
            header_service(&fake, json!({ "hosts": ["a.example", "*.c.example"] })),
        )
        .api(
            "allow",
            "*",
            "/",
            json!({ "provider": "idp", "onAbsent": "allow" }),
        )
        .api("deny", "*.deny.example", "/", json!({ "provider": "idp" }))
        .start();
    for host in ["a.example", "A.example:8443", "x.c.example"] {
        scene.token(host, "/").await;
    }
    for host in ["b.example", "c.example", "xa.example", "a.example.evil.org"] {
        let answer = scene.get(host, "/").await;
        bare(&answer);
        assert_eq!(outcome(&answer), "absent", "{host}");
    }
    refused(&scene.get("x.deny.example", "/").await);
    assert_eq!(fake.count(), 1);
}

#[tokio::test]
async fn a_map_for_each_caller_is_another_callers_never() {
    let (issuer, fake) = (Issuer::start(), Providers::start());
    let url = format!("{}?workload={{principal.subject}}", fake.headers_url());
    let document: Value = serde_json::from_str(&super::api(
        "a",
        "a.example",
        "/",
        json!({ "provider": "idp" }),
    ))
    .unwrap();
    let document = merged(
        document,
        json!({ "spec": { "authenticators": ["partners"] } }),
    );
    let mut stage = Stage::new().provider("idp", header_service(&fake, json!({ "url": url })));
    stage.0 = stage
        .0
        .authenticator("partners", issuer.authenticator("orders"))
        .catalog("a.yaml", &document.to_string());
    let scene = stage.start();
    let ask = |subject: &str| {
        let token = issuer.token().audience("orders").subject(subject).sign();
        scene.ask(CheckBuilder::new("GET", "a.example", "/").bearer(&token))
    };
    let subjects = ["alice", "bob", "a&workload=bob", "../bob", "a#b?c"];
    let mut given = Vec::new();
    for subject in subjects {
        given.push(token(&ask(subject).await).unwrap());
        let call = fake.last();
        assert_eq!(call.endpoint, Endpoint::Headers);
        assert_eq!(call.query, [("workload".to_owned(), subject.to_owned())]);
    }
    for (subject, given) in subjects.into_iter().zip(&given) {
        assert_eq!(
            token(&ask(subject).await).as_ref(),
            Some(given),
            "{subject}"
        );
    }
    assert_eq!(fake.count(), subjects.len());
}
