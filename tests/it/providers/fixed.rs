//! Provider `static`: headers whose values stand in files.

use serde_json::json;

use super::{Stage, allowed, get, outcome};
use crate::support::check::headers;

fn stage() -> Stage {
    let provider = json!({
        "type": "static", "headers": { "X-Api-Key": { "file": "key" }, "x-other": { "env": "OTHER_KEY" } },
    });
    let mut stage = Stage::new()
        .file("key", "canary-first\n")
        .provider("fixed", provider)
        .api("all", "*", "/", json!({ "provider": "fixed" }));
    stage.0 = stage.0.environment("OTHER_KEY", "canary-other");
    stage
}

#[tokio::test]
async fn a_value_is_set_in_place_of_the_clients_and_follows_its_file() {
    let scene = stage().start();
    let check = || {
        get("d.org", "/")
            .header("x-api-key", "mine")
            .header("x_api-key", "mine")
    };
    let answer = scene.ask(check()).await;
    let ok = allowed(&answer);
    let set = headers(&ok.headers);
    assert_eq!(
        (set["x-api-key"].as_str(), set["x-other"].as_str()),
        ("canary-first", "canary-other")
    );
    assert!(
        ok.headers_to_remove.contains(&"x_api-key".to_owned()),
        "{ok:?}"
    );
    assert!(
        !ok.headers_to_remove.contains(&"authorization".to_owned()),
        "not its header"
    );
    assert_eq!(outcome(&answer), "hit");
    std::fs::write(scene.server.folder().join("key"), "canary-second").unwrap();
    let is_second = |answer: &_| headers(&allowed(answer).headers)["x-api-key"] == "canary-second";
    scene.until("the second value", check, is_second).await;
}

#[tokio::test]
async fn a_file_that_goes_or_is_spoiled_leaves_the_last_value() {
    let scene = stage().start();
    let path = scene.server.folder().join("key");
    for content in [None, Some("a\r\nx-evil: 1"), Some("")] {
        match content {
            None => std::fs::remove_file(&path).unwrap(),
            Some(content) => std::fs::write(&path, content).unwrap(),
        }
        crate::support::eventually("it to be told", || {
            scene
                .server
                .admin("/v1/problems")
                .text()
                .contains("providers.fixed")
                .then_some(())
        });
        let answer = scene.get("d.org", "/").await;
        assert_eq!(
            headers(&allowed(&answer).headers)["x-api-key"],
            "canary-first"
        );
    }
}

#[test]
fn a_value_that_no_header_can_have_is_refused_when_it_is_loaded() {
    for content in ["a\r\nx-evil: 1", "a\u{0}", ""] {
        let told = stage().file("key", content).refused();
        assert!(
            told.contains("providers.fixed.headers.X-Api-Key"),
            "{content:?}: {told}"
        );
        assert!(!told.contains("x-evil"), "{told}");
    }
}
