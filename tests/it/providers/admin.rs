//! What the admin API tells of providers and their tokens.

use serde_json::json;

use super::{Stage, auth_provider, client_credentials, outcome, refused};
use crate::support::http;
use crate::support::providers::Providers;
use crate::support::providers::fault::Fault;

#[tokio::test]
async fn providers_are_shown_with_how_they_stand() {
    let fake = Providers::start();
    let scene = Stage::new()
        .file("key", "canary-key")
        .provider(
            "erp",
            client_credentials(&fake, json!({ "required": true })),
        )
        .provider("p", auth_provider(&fake, json!({})))
        .provider(
            "fixed",
            json!({ "type": "static", "headers": { "x-key": { "file": "key" } } }),
        )
        .api("erp", "*.erp.org", "/", json!({ "provider": "erp" }))
        .start();
    let erp = scene.provider("erp");
    for (name, value) in [
        ("type", json!("clientCredentials")),
        ("required", json!(true)),
        ("state", json!("notAsked")),
        ("tokens", json!(0)),
        ("lastSuccess", json!(null)),
        ("lastError", json!(null)),
    ] {
        assert_eq!(erp[name], value, "{name}");
    }
    assert_eq!(
        (
            &scene.provider("p")["type"],
            &scene.provider("fixed")["type"]
        ),
        (&json!("authProvider"), &json!("static"))
    );
    scene.token("a.erp.org", "/").await;
    scene.token("b.erp.org", "/").await;
    let erp = scene.provider("erp");
    assert_eq!((&erp["state"], &erp["tokens"]), (&json!("good"), &json!(2)));
    assert!(erp["lastSuccess"].is_string() && erp["lastFailure"].is_null());
    fake.break_by(Fault::Status(500, "{}".to_owned()));
    refused(&scene.get("c.erp.org", "/").await);
    let erp = scene.provider("erp");
    assert_eq!(
        (&erp["state"], &erp["tokens"]),
        (&json!("failing"), &json!(2))
    );
    assert!(erp["lastFailure"].is_string());
    assert!(erp["lastError"].as_str().unwrap().contains("500"), "{erp}");
}

#[tokio::test]
async fn tokens_are_shown_without_their_values_and_evicted() {
    let fake = Providers::start();
    let scene = Stage::new()
        .provider("erp", client_credentials(&fake, json!({})))
        .provider("p", auth_provider(&fake, json!({})))
        .api(
            "erp",
            "*",
            "/erp",
            json!({ "provider": "erp", "audience": "a", "scope": "s" }),
        )
        .api(
            "p",
            "*",
            "/p",
            json!({ "provider": "p", "onAbsent": "allow" }),
        )
        .start();
    for host in ["one.org", "two.org"] {
        scene.token(host, "/erp").await;
        scene.token(host, "/p").await;
    }
    fake.answer_auth(json!([]));
    scene.get("none.org", "/p").await;
    let tokens = scene.tokens();
    assert_eq!(tokens.len(), 5);
    let erp = tokens
        .iter()
        .find(|token| token["provider"] == "erp" && token["host"] == "one.org")
        .unwrap();
    for (name, value) in [
        ("path", json!("/erp")),
        ("audience", json!("a")),
        ("scope", json!("s")),
        ("perCaller", json!(false)),
        ("headers", json!(["authorization"])),
        ("absent", json!(false)),
        ("used", json!(true)),
    ] {
        assert_eq!(erp[name], value, "{name}: {erp}");
    }
    let absent = tokens
        .iter()
        .find(|token| token["host"] == "none.org")
        .unwrap();
    assert_eq!(
        (&absent["absent"], &absent["headers"]),
        (&json!(true), &json!([]))
    );
    let text = scene.server.admin("/v1/tokens").text();
    assert!(
        !text.contains("Bearer") && !text.contains("token-1") && !text.contains("auth-1"),
        "{text}"
    );
    let count =
        |query: &str| scene.server.admin(&format!("/v1/tokens{query}")).json()["count"].clone();
    assert_eq!(
        (
            count("?provider=erp"),
            count("?host=one.org"),
            count("?provider=p&host=one.org")
        ),
        (json!(2), json!(2), json!(1))
    );
    assert_eq!(count("?provider=nobody"), 0);
    assert_eq!(scene.server.admin("/v1/tokens?colour=red").status, 400);
    assert_eq!(scene.post("/v1/tokens/evict?colour=red").status, 400);
    assert_eq!(scene.server.admin("/v1/tokens/evict").status, 405);

    let calls = fake.count();
    assert_eq!(
        scene
            .post("/v1/tokens/evict?provider=erp&host=one.org")
            .json(),
        json!({ "evicted": 1 })
    );
    assert_eq!(outcome(&scene.get("two.org", "/erp").await), "hit");
    assert_eq!(outcome(&scene.get("one.org", "/p").await), "hit");
    assert_eq!(fake.count(), calls);
    assert_eq!(outcome(&scene.get("one.org", "/erp").await), "waited");
    assert_eq!(fake.count(), calls + 1);
    assert_eq!(
        scene.post("/v1/tokens/evict").json(),
        json!({ "evicted": 5 })
    );
    assert!(scene.tokens().is_empty());
    assert!(
        scene
            .server
            .stderr()
            .contains("provider tokens were evicted")
    );
}

#[tokio::test]
async fn the_admin_listeners_token_guards_providers_and_eviction() {
    let fake = Providers::start();
    let scene = Stage::new()
        .file("admin-token", "hunter2-hunter2-hunter2")
        .set(
            &["listeners", "admin", "token"],
            json!({ "file": "admin-token" }),
        )
        .provider("erp", client_credentials(&fake, json!({})))
        .api("all", "*", "/", json!({ "provider": "erp" }))
        .start();
    scene.token("d.org", "/").await;
    assert_eq!(scene.server.admin("/v1/providers").status, 401);
    assert_eq!(scene.server.admin("/v1/tokens").status, 401);
    assert_eq!(scene.post("/v1/tokens/evict").status, 401);
    assert_eq!(outcome(&scene.get("d.org", "/").await), "hit");
    let headers = [("authorization", "Bearer hunter2-hunter2-hunter2")];
    let answer = http::post(
        scene.server.address("admin"),
        "/v1/tokens/evict",
        &headers,
        "",
    );
    assert_eq!(
        (answer.status, answer.json()),
        (200, json!({ "evicted": 1 }))
    );
}
