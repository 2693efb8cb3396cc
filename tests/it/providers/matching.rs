//! Which Api, and so which provider, a request gets: by host and by whole segments of the path.

use serde_json::json;

use super::{Scene, Stage, allowed, auth_provider, get, outcome, refused, token};
use crate::support::check::CheckBuilder;
use crate::support::providers::Providers;
use crate::support::providers::call::Endpoint;

/// Three Apis at `d.org`, one below the other, each with a provider of its own.
fn nested(fake: &Providers) -> Scene {
    Stage::new()
        .provider("root", auth_provider(fake, json!({ "authType": "ROOT" })))
        .provider("a", auth_provider(fake, json!({ "authType": "A" })))
        .provider("ab", auth_provider(fake, json!({ "authType": "AB" })))
        .api("root", "d.org", "/", json!({ "provider": "root" }))
        .api("a", "d.org", "/a", json!({ "provider": "a" }))
        .api("ab", "d.org", "/a/b", json!({ "provider": "ab" }))
        .start()
}

/// `/p` at `d.org` with a provider, and nothing for the rest of the host.
fn one(fake: &Providers) -> Scene {
    Stage::new()
        .provider("p", auth_provider(fake, json!({})))
        .api("p", "d.org", "/p", json!({ "provider": "p" }))
        .api("secret", "d.org", "/secret", json!({ "provider": "p" }))
        .api("rest", "d.org", "/", json!(null))
        .start()
}

#[tokio::test]
async fn f1_the_longest_path_decides_which_provider_is_asked() {
    let fake = Providers::start();
    let scene = nested(&fake);
    for (path, expected) in [
        ("/x", "ROOT.d.org/"),
        ("/", "ROOT.d.org/"),
        ("/a", "A.d.org/a"),
        ("/a/c/d", "A.d.org/a"),
        ("/ab", "ROOT.d.org/"),
        ("/a/b/c?x=1", "AB.d.org/a/b"),
        ("/a/b", "AB.d.org/a/b"),
    ] {
        let token = scene.token("d.org", path).await;
        let (_, asked) = token.split_once('.').unwrap();
        assert_eq!(asked, expected, "{path}");
    }
    assert_eq!(fake.count(), 3, "one call for each of them");
}

#[tokio::test]
async fn f2_a_path_matches_by_whole_segments_and_case() {
    let fake = Providers::start();
    let scene = one(&fake);
    for path in ["/p", "/p/", "/p/a", "/p/a/b/c", "/p?x=1", "/p/?x=/q"] {
        let token = scene.token("d.org", path).await;
        assert!(token.ends_with("d.org/p"), "{path}: {token}");
    }
    assert_eq!(fake.count(), 1, "it is one endpoint");
    for path in ["/pq", "/P", "/", "/x/p", "/q?/p"] {
        let answer = scene.get("d.org", path).await;
        let ok = allowed(&answer);
        assert!(
            ok.headers.is_empty() && ok.headers_to_remove.is_empty(),
            "{path}: {ok:?}"
        );
    }
    assert_eq!(fake.count(), 1);
}

#[tokio::test]
async fn f3_port_case_and_a_final_dot_of_the_host_do_not_count() {
    let fake = Providers::start();
    let scene = Stage::new()
        .provider("p", auth_provider(&fake, json!({})))
        .api("name", "d.org", "/p", json!({ "provider": "p" }))
        .api("address", "[::1]", "/p", json!({ "provider": "p" }))
        .start();
    for host in ["d.org", "D.org:6060", "d.org.", "d.ORG.:443"] {
        let token = scene.token(host, "/p").await;
        assert!(token.ends_with("ISHARE.d.org/p"), "{host}: {token}");
    }
    for host in ["[::1]", "[::1]:80"] {
        let token = scene.token(host, "/p").await;
        assert!(token.ends_with("ISHARE.[::1]/p"), "{host}: {token}");
    }
    assert_eq!(fake.count(), 2, "one for each host, however it is spelled");
    for host in ["sub.d.org", "xd.org", "d.org.evil.example", "[::2]:80"] {
        let answer = scene.get(host, "/p").await;
        assert!(allowed(&answer).headers.is_empty(), "{host}");
    }
    assert_eq!(fake.count(), 2);
}

#[tokio::test]
async fn f4_wildcards_in_a_request_stand_for_themselves() {
    let fake = Providers::start();
    let scene = one(&fake);
    for path in ["/**", "/*", "/%2A%2A", "/.*", "/%", "/{secret}"] {
        let answer = scene.get("d.org", path).await;
        assert_eq!(token(&answer), None, "{path}");
    }
    let answer = scene.get("*", "/secret").await;
    assert_eq!(token(&answer), None);
    assert_eq!(fake.count(), 0);
    scene.token("d.org", "/secret").await;
}

#[tokio::test]
async fn f5_what_no_endpoint_claims_passes_untouched() {
    let fake = Providers::start();
    let scene = one(&fake);
    for (host, path) in [
        ("elsewhere.org", "/p"),
        ("d.org", "/other"),
        ("sub.d.org", "/p"),
    ] {
        let check = get(host, path).header("cookie", "a=b").header("x_own", "1");
        let answer = scene.ask(check).await;
        let ok = allowed(&answer);
        assert!(ok.headers.is_empty(), "{host}{path}: {ok:?}");
        assert!(ok.headers_to_remove.is_empty(), "{host}{path}: {ok:?}");
        assert!(ok.query_parameters_to_remove.is_empty());
        assert_eq!(outcome(&answer), "none");
    }
    assert_eq!(fake.count(), 0);
}

#[tokio::test]
async fn f6_an_endpoint_for_every_host_asks_for_each_of_them() {
    let fake = Providers::start();
    let scene = Stage::new()
        .provider("p", auth_provider(&fake, json!({})))
        .api("all", "*", "/", json!({ "provider": "p" }))
        .start();
    for host in ["one.org", "two.org", "one.org", "two.org:8080"] {
        let own = host.split(':').next().unwrap();
        let token = scene.token(host, "/x").await;
        assert!(
            token.ends_with(&format!("ISHARE.{own}/")),
            "{host}: {token}"
        );
    }
    let asked = |host: &str| {
        fake.count_of(
            |call| matches!(&call.endpoint, Endpoint::Auth { domain, .. } if domain == host),
        )
    };
    assert_eq!(
        (asked("one.org"), asked("two.org"), fake.count()),
        (1, 1, 2)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_never_appears_for_another_host() {
    let fake = Providers::start();
    fake.with_header("cache-control", "max-age=1");
    let scene = Stage::new()
        .provider("p", auth_provider(&fake, json!({})))
        .provider("erp", super::client_credentials(&fake, json!({})))
        .api("all", "*", "/", json!({ "provider": "p" }))
        .api("erp", "*", "/erp", json!({ "provider": "erp" }))
        .start();
    let mut asking = tokio::task::JoinSet::new();
    for worker in 0..4 {
        let client = scene.client.clone();
        asking.spawn(async move {
            let mut seen = Vec::new();
            for turn in 0..100 {
                let host = format!("h{}.example", (worker * 7 + turn * 3) % 20);
                let answer = client.check(get(&host, "/x")).await;
                let got = token(&answer).expect("a token");
                assert!(got.ends_with(&format!("ISHARE.{host}/")), "{host}: {got}");
                let answer = client.check(get(&host, "/erp")).await;
                seen.push((token(&answer).expect("a token"), host));
            }
            seen
        });
    }
    let mut owners = std::collections::HashMap::new();
    for (token, host) in asking.join_all().await.into_iter().flatten() {
        let owner = owners.entry(token).or_insert_with(|| host.clone());
        assert_eq!(*owner, host, "one token, two hosts");
    }
    assert_eq!(owners.len(), 20);
}

#[tokio::test]
async fn a_host_that_is_none_is_denied_before_any_provider_is_asked() {
    let fake = Providers::start();
    let scene = Stage::new()
        .provider("p", auth_provider(&fake, json!({})))
        .api("all", "*", "/", json!({ "provider": "p" }))
        .start();
    for host in [
        "",
        "a b",
        "evil.example@good.example",
        "good.example/evil",
        "a..b",
        "x\u{0}y",
    ] {
        let answer = scene.ask(CheckBuilder::new("GET", host, "/")).await;
        assert_eq!(token(&answer), None, "{host:?}");
    }
    assert_eq!(fake.count(), 0);
    // while an honest one is served
    fake.refuse_connections();
    refused(&scene.get("good.example", "/").await);
}
