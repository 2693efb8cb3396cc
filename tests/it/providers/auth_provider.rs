//! Provider `authProvider`: what it is asked, and what of its answers is used.

use serde_json::{Value, json};

use super::{Scene, Stage, allowed, auth_provider, bare, get, outcome, refused, token};
use crate::support::check::{CheckBuilder, headers};
use crate::support::providers::Providers;
use crate::support::providers::call::Endpoint;
use crate::support::providers::fault::Fault;

/// Every host, by a provider with something changed.
fn everywhere(fake: &Providers, changed: Value, uses: Value) -> Scene {
    Stage::new()
        .provider("p", auth_provider(fake, changed))
        .api(
            "all",
            "*",
            "/p",
            super::merged(json!({ "provider": "p" }), uses),
        )
        .start()
}

#[tokio::test]
async fn f9_it_is_asked_by_type_domain_and_configured_path() {
    let fake = Providers::start();
    let base = json!({ "url": format!("{}/base/", fake.url()), "authType": "I-SHARE_2.0" });
    let scene = Stage::new()
        .provider("p", auth_provider(&fake, base))
        .provider("plain", auth_provider(&fake, json!({})))
        .api("odd", "d.org", "/a&b=c+%C3%A9", json!({ "provider": "p" }))
        .api("address", "[::1]", "/", json!({ "provider": "plain" }))
        .start();
    scene
        .token("D.org:8080", "/a&b=c+%c3%a9/below?path=/evil&domain=evil")
        .await;
    let call = fake.last();
    assert_eq!(call.request.method, "GET");
    let (path, query) = call.request.target.split_once('?').unwrap();
    assert_eq!(path, "/base/I-SHARE_2.0/auth");
    let expected = |path: &str| {
        [("domain", "d.org"), ("path", path)]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
    };
    assert_eq!(call.query, expected("/a&b=c+%C3%A9"), "{query}");
    assert!(query.contains("path=%2Fa%26b%3Dc%2B%25C3%25A9"), "{query}");
    scene.token("[::1]:80", "/x").await;
    assert_eq!(
        fake.last().request.target,
        "/ISHARE/auth?domain=%5B%3A%3A1%5D&path=%2F"
    );
}

#[tokio::test]
async fn f10_no_header_of_the_caller_is_forwarded_unless_it_is_named() {
    let fake = Providers::start();
    let scene = everywhere(&fake, json!({}), json!({}));
    let check = |tenant: &str| {
        get("d.org", "/p")
            .header("cookie", "session=1")
            .header("content-length", "5")
            .header("x-tenant", tenant)
            .header("x-forwarded-for", "192.0.2.7")
    };
    scene.ask(check("one")).await;
    let call = fake.last();
    let mut names: Vec<String> = call
        .request
        .headers
        .iter()
        .map(|(name, _)| name.to_ascii_lowercase())
        .collect();
    names.sort();
    assert_eq!(names, ["accept", "host", "user-agent"]);
    assert!(call.request.body.is_empty());
    assert_eq!(
        call.header("host"),
        Some(fake.address().to_string().as_str())
    );

    let named = json!({ "forwardHeaders": ["X-Tenant", "x-other"] });
    let scene = everywhere(&fake, named, json!({}));
    let one = token(&scene.ask(check("one")).await).unwrap();
    let call = fake.last();
    assert_eq!(call.header("x-tenant"), Some("one"));
    for name in [
        "authorization",
        "cookie",
        "content-length",
        "x-forwarded-for",
        "x-other",
    ] {
        assert_eq!(call.header(name), None, "{name}");
    }
    // what was given to one is not another's
    let two = token(&scene.ask(check("two")).await).unwrap();
    let none = token(&scene.ask(get("d.org", "/p")).await).unwrap();
    let again = token(&scene.ask(check("one")).await).unwrap();
    assert!(one != two && two != none && one != none && one == again);
    // nor can a value of one look like two headers
    let merged = token(&scene.ask(check("one\nx-other:1")).await);
    assert!(merged.is_none_or(|merged| merged != one));
}

#[tokio::test]
async fn f11_the_entries_of_a_list_become_headers() {
    let fake = Providers::start();
    let scene = everywhere(
        &fake,
        json!({ "headers": ["authorization", "x-b"] }),
        json!({}),
    );
    fake.answer_auth(json!([
        { "name": "Authorization", "value": "first" },
        { "name": "x-only-a-name" }, { "value": "only a value" }, 3, null,
        { "name": 7, "value": "x" }, { "name": "x-null", "value": null },
        { "name": "X-B", "value": "b", "extra": true },
        { "name": "authorization", "value": "Bearer second" },
    ]));
    let answer = scene
        .ask(
            get("d.org", "/p")
                .header("x_b", "mine")
                .header("x-c", "mine"),
        )
        .await;
    let ok = allowed(&answer);
    let expected = [("authorization", "Bearer second"), ("x-b", "b")];
    let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(
        headers(&ok.headers).into_iter().collect::<Vec<_>>(),
        expected
    );
    assert!(ok.headers_to_remove.contains(&"x_b".to_owned()), "{ok:?}");
    assert!(!ok.headers_to_remove.contains(&"x-c".to_owned()), "{ok:?}");
    let told = scene.server.stderr();
    assert!(
        told.contains("\"entries\":6"),
        "skipped entries are told: {told}"
    );
}

#[tokio::test]
async fn f11_an_empty_list_is_no_failure_and_is_kept() {
    let fake = Providers::start();
    let scene = everywhere(&fake, json!({}), json!({ "onAbsent": "allow" }));
    fake.answer_auth(json!([]));
    for _ in 0..3 {
        let answer = scene.get("d.org", "/p").await;
        bare(&answer);
        assert_eq!(outcome(&answer), "absent");
    }
    assert_eq!(fake.count(), 1);
}

#[tokio::test]
async fn f12_an_answer_that_is_no_list_of_headers_is_a_failure() {
    let fake = Providers::start();
    let http = json!({ "http": { "timeout": "400ms" } });
    let scene = everywhere(&fake, http, json!({ "onFailure": "allow" }));
    let mut faults = Fault::unusable();
    faults.extend([
        Fault::Blackhole,
        Fault::Drip,
        Fault::Status(401, "{}".to_owned()),
        Fault::Status(301, "[]".to_owned()),
        Fault::Status(503, "[]".to_owned()),
        Fault::Status(200, format!("[{}]", " ".repeat(65 * 1024))),
        Fault::Status(
            200,
            r#"[{"name":"authorization","value":"x"}] []"#.to_owned(),
        ),
    ]);
    let mut known = 0;
    for (number, fault) in faults.into_iter().enumerate() {
        let told = format!("{fault:?}");
        fake.break_by(fault);
        let answer = scene.get(&format!("broken-{number}.org"), "/p").await;
        bare(&answer);
        assert_eq!(outcome(&answer), "failed", "{told}");
        fake.recover();
        // and a good answer is used at once, for another host
        let host = format!("good-{number}.org");
        assert!(
            scene
                .token(&host, "/p")
                .await
                .ends_with(&format!("{host}/p")),
            "{told}"
        );
        known += 1;
    }
    let kept = scene.tokens();
    assert_eq!(kept.len(), known, "no failure is kept as a token: {kept:?}");
}

#[tokio::test]
async fn f13_a_header_that_must_not_be_set_never_reaches_envoy() {
    let fake = Providers::start();
    let scene = everywhere(&fake, json!({}), json!({ "onFailure": "allow" }));
    let long_name = "x".repeat(200);
    let long_value = "x".repeat(20 * 1024);
    for (number, (name, value)) in [
        (":path", "/admin"),
        (":authority", "evil.example"),
        ("Host", "evil.example"),
        ("content-length", "0"),
        ("Transfer-Encoding", "chunked"),
        ("connection", "close"),
        ("upgrade", "h2c"),
        ("x-envoy-original-path", "/"),
        ("x-forwarded-for", "127.0.0.1"),
        ("x_forwarded_for", "127.0.0.1"),
        ("two words", "x"),
        ("", "x"),
        ("x\r\ny", "x"),
        ("authorization", "a\r\nx-evil: 1"),
        ("authorization", "a\nb"),
        ("authorization", "a\u{0}b"),
        ("authorization", "a\u{7f}b"),
        ("authorization", ""),
        ("authorization", " a"),
        (long_name.as_str(), "x"),
        ("authorization", long_value.as_str()),
    ]
    .into_iter()
    .enumerate()
    {
        fake.answer_one_header(name, value);
        let answer = scene.get(&format!("h{number}.org"), "/p").await;
        bare(&answer);
        assert_eq!(outcome(&answer), "failed", "{name}: {value}");
    }
    fake.answer_auth(
        json!([{ "name": "authorization", "value": "good" }, { "name": ":path", "value": "/" }]),
    );
    bare(&scene.get("both.org", "/p").await);
    fake.recover();
    scene.token("good.org", "/p").await;
}

#[tokio::test]
async fn headers_that_were_not_announced_are_set_and_the_clients_own_go() {
    let fake = Providers::start();
    let scene = everywhere(&fake, json!({}), json!({}));
    fake.answer_auth(json!([{ "name": "x-un-announced", "value": "theirs" }]));
    let mut check = get("d.org", "/p");
    for name in ["x-un-announced", "x_un_announced", "x-un_announced"] {
        check = check.header(name, "mine");
    }
    let answer = scene.ask(check).await;
    let ok = allowed(&answer);
    assert_eq!(headers(&ok.headers)["x-un-announced"], "theirs");
    for name in ["x_un_announced", "x-un_announced", "authorization"] {
        assert!(
            ok.headers_to_remove.contains(&name.to_owned()),
            "{name}: {ok:?}"
        );
    }
}

#[tokio::test]
async fn a_redirect_of_an_auth_provider_is_not_followed() {
    let fake = Providers::start();
    let trap = Providers::start();
    let scene = everywhere(&fake, json!({}), json!({}));
    fake.break_by(Fault::Redirect(format!(
        "{}/ISHARE/auth?domain=d.org&path=/p",
        trap.url()
    )));
    refused(&scene.ask(CheckBuilder::new("GET", "d.org", "/p")).await);
    assert_eq!((fake.count(), trap.connections()), (1, 0));
    assert!(matches!(fake.last().endpoint, Endpoint::Auth { .. }));
}
