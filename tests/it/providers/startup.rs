//! What a start waits for, and what it refuses.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Stage, at_once, auth_provider, client_credentials, merged, outcome, refused, token};
use crate::support::providers::Providers;
use crate::support::providers::call::{Call, Endpoint};

#[tokio::test]
async fn a_required_provider_is_asked_for_known_hosts_before_readiness() {
    let fake = Providers::start();
    fake.hold();
    let mut scene = Stage::new()
        .provider(
            "erp",
            client_credentials(&fake, json!({ "required": true })),
        )
        .api("one", "one.org", "/", json!({ "provider": "erp" }))
        .api(
            "two",
            "two.org",
            "/a",
            json!({ "provider": "erp", "audience": "two" }),
        )
        .api("wild", "*.wild.org", "/", json!({ "provider": "erp" }))
        .start_unready();
    fake.wait_for_calls(2);
    let told = scene.server.observe("/readyz");
    assert_eq!(told.status, 503);
    assert!(
        told.text().contains("tokens of provider erp"),
        "{}",
        told.text()
    );
    fake.release();
    scene.server.wait_until_ready();
    for (host, path) in [("one.org", "/"), ("two.org", "/a/b")] {
        at_once(&scene.get(host, path).await);
    }
    assert_eq!(fake.count(), 2);
    assert_eq!(outcome(&scene.get("a.wild.org", "/").await), "waited");
}

#[tokio::test]
async fn a_required_provider_that_fails_was_tried_and_one_that_is_silent_has_its_time() {
    let (failing, silent) = (Providers::start(), Providers::start());
    failing.refuse_connections();
    silent.hold();
    let required = json!({ "required": true, "http": { "timeout": "30s" } });
    let start = Instant::now();
    let scene = Stage::new()
        .set(&["checks", "startupGrace"], json!("1s"))
        .provider("failing", client_credentials(&failing, required.clone()))
        .provider("silent", client_credentials(&silent, required))
        .api(
            "failing",
            "failing.org",
            "/",
            json!({ "provider": "failing" }),
        )
        .api("silent", "silent.org", "/", json!({ "provider": "silent" }))
        .start();
    assert!(
        start.elapsed() >= Duration::from_secs(1),
        "{:?}",
        start.elapsed()
    );
    let told = scene.server.stderr();
    let waived = "not tried in time; ready without it";
    assert!(
        told.contains(waived) && told.contains("tokens of provider silent"),
        "{told}"
    );
    assert!(!told.contains("tokens of provider failing"), "{told}");
    refused(&scene.get("failing.org", "/").await);
}

#[tokio::test]
async fn what_may_not_be_kept_was_tried_as_soon_as_it_was_given() {
    let fake = Providers::start();
    fake.with_header("cache-control", "no-store");
    let start = Instant::now();
    let scene = Stage::new()
        .provider("p", auth_provider(&fake, json!({ "required": true })))
        .api("p", "p.org", "/", json!({ "provider": "p" }))
        .start();
    assert!(
        start.elapsed() < Duration::from_secs(10),
        "{:?}",
        start.elapsed()
    );
    let asked = fake.count();
    std::thread::sleep(Duration::from_millis(1200));
    assert!(
        fake.count() <= asked + 1,
        "asked again and again for what is not kept: {}",
        fake.count()
    );
    assert!(token(&scene.get("p.org", "/").await).is_some());
}

#[tokio::test]
async fn beyond_loopback_a_check_listener_says_who_may_ask_for_tokens() {
    let fake = Providers::start();
    let stage = |peers: Value| {
        let listener = json!({ "type": "check", "address": "0.0.0.0:0", "direction": "outbound", "peers": peers });
        Stage::new()
            .set(&["listeners", "inbound"], merged(listener, json!({})))
            .provider("erp", client_credentials(&fake, json!({})))
    };
    for peers in [json!(null), json!({ "any": "" }), json!({ "any": " " })] {
        let told = stage(peers.clone()).refused();
        assert!(told.contains("listeners.inbound.peers"), "{peers}: {told}");
    }
    drop(stage(json!({ "any": "a network policy lets our Envoys in alone" })).start());
    // without providers there is nothing to be given
    let listener = json!({ "type": "check", "address": "0.0.0.0:0", "direction": "outbound" });
    drop(
        Stage::new()
            .set(&["listeners", "inbound"], listener)
            .start(),
    );
}

#[test]
fn what_is_wrong_with_a_provider_is_refused_with_its_place() {
    let fake = Providers::start();
    let erp = |changed: Value| client_credentials(&fake, changed);
    let p = |changed: Value| auth_provider(&fake, changed);
    for (provider, told) in [
        (
            erp(json!({ "http": { "allowHttp": false } })),
            "providers.x.tokenUrl",
        ),
        (
            erp(json!({ "tokenUrl": "http://user:pass@h/token" })),
            "providers.x.tokenUrl",
        ),
        (erp(json!({ "tokenUrl": "token" })), "providers.x.tokenUrl"),
        (erp(json!({ "tokenUrl": null })), "tokenUrl"),
        (
            erp(json!({ "client": { "secret": null } })),
            "providers.x.client.secret",
        ),
        (
            erp(json!({ "client": { "key": { "file": "secret" } } })),
            "providers.x.client.key",
        ),
        (
            erp(json!({ "client": { "secret": { "file": "nowhere" } } })),
            "providers.x.client.secret",
        ),
        (
            erp(json!({ "client": { "secret": "in the clear" } })),
            "providers.x.client.secret",
        ),
        (
            erp(json!({ "client": { "keyId": "k" } })),
            "providers.x.client.keyId",
        ),
        (
            erp(json!({ "parameters": { "client_id": "other" } })),
            "providers.x.parameters.client_id",
        ),
        (
            erp(json!({ "http": { "timeout": "5m" } })),
            "providers.x.http.timeout",
        ),
        (
            erp(json!({ "http": { "timeout": 5 } })),
            "providers.x.http.timeout",
        ),
        (
            erp(json!({ "http": { "maxAnswer": "1GiB" } })),
            "providers.x.http.maxAnswer",
        ),
        (
            erp(json!({ "http": { "ca": { "file": "nowhere" } } })),
            "providers.x.http.ca",
        ),
        (
            erp(json!({ "http": { "ca": { "file": "secret" } } })),
            "providers.x.http",
        ),
        (
            erp(json!({ "http": { "certificate": { "file": "secret" } } })),
            "providers.x.http.key",
        ),
        (
            erp(json!({ "http": { "proxy": "socks5://p" } })),
            "providers.x.http.proxy",
        ),
        (
            erp(json!({ "http": { "proxy": "http://user:canary@p" } })),
            "providers.x.http.proxy",
        ),
        (
            erp(json!({ "cache": { "maxLifetime": "0s" } })),
            "providers.x.cache.maxLifetime",
        ),
        (
            erp(json!({ "cache": { "maxStale": "48h" } })),
            "providers.x.cache.maxStale",
        ),
        (erp(json!({ "colour": "red" })), "colour"),
        (p(json!({ "authType": "a/b" })), "providers.x.authType"),
        (p(json!({ "authType": ".." })), "providers.x.authType"),
        (p(json!({ "url": "http://h/?x=y" })), "providers.x.url"),
        (
            p(json!({ "forwardHeaders": ["host"] })),
            "providers.x.forwardHeaders[0]",
        ),
        (p(json!({ "headers": [":path"] })), "providers.x.headers[0]"),
        (
            super::header_service(&fake, json!({ "hosts": [] })),
            "providers.x.hosts",
        ),
        (
            super::header_service(&fake, json!({ "hosts": ["a*.example"] })),
            "providers.x.hosts[0]",
        ),
        (
            super::header_service(&fake, json!({ "url": "http://{principal.subject}/" })),
            "providers.x.url",
        ),
        (json!({ "type": "magic" }), "providers.x"),
    ] {
        let refused = Stage::new().provider("x", provider).refused();
        assert!(refused.contains(told), "{told}: {refused}");
        assert!(refused.contains("portcullis.yaml:"), "{told}: {refused}");
        assert!(!refused.contains("canary-secret"), "{refused}");
    }
    for name in ["two words", "x/y", "", "über"] {
        let refused = Stage::new().provider(name, erp(json!({}))).refused();
        assert!(refused.contains("portcullis.yaml:"), "{name:?}: {refused}");
    }
}

#[tokio::test]
async fn a_required_provider_follows_its_secret_without_any_check() {
    let fake = Providers::start();
    fake.answer_member("expires_in", 1);
    let required = json!({ "required": true, "client": { "method": "post" } });
    let scene = Stage::new()
        .provider("erp", client_credentials(&fake, required))
        .api("erp", "erp.org", "/", json!({ "provider": "erp" }))
        .start();
    std::fs::write(scene.server.folder().join("secret"), "canary-another").unwrap();
    let is_another = |call: &_| Call::field(call, "client_secret") == Some("canary-another");
    crate::support::eventually("a call with the new secret", || {
        (fake.count_of(is_another) > 0).then_some(())
    });
    let from = fake.count();
    fake.wait_for_calls(from + 2);
    let later = fake.calls();
    assert!(later[from..].iter().all(is_another), "an old secret again");
}

#[tokio::test]
async fn a_provider_of_the_configuration_changes_without_a_restart() {
    let fake = Providers::start();
    let scene = Stage::new()
        .provider("p", auth_provider(&fake, json!({})))
        .api("p", "p.org", "/", json!({ "provider": "p" }))
        .start();
    assert!(scene.token("p.org", "/").await.contains("ISHARE"));
    let path = scene.server.folder().join("portcullis.yaml");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("ISHARE", "OTHER")).unwrap();
    let is_other = |answer: &_| token(answer).is_some_and(|token| token.contains("OTHER"));
    scene
        .until("the other type", || super::get("p.org", "/"), is_other)
        .await;
    let other = fake.count_of(
        |call| matches!(&call.endpoint, Endpoint::Auth { auth_type, .. } if auth_type == "OTHER"),
    );
    assert_eq!(other, 1);
    // and tokens of what is gone are forgotten
    crate::support::eventually("the old token to go", || {
        (scene.tokens().len() == 1).then_some(())
    });
}
