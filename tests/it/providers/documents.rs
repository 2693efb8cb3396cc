//! Documents that use providers: what is wrong is refused, with file and line, and what was published
//! stays.

use serde_json::{Value, json};

use super::{Stage, auth_provider, client_credentials, header_service, outcome};
use crate::support::eventually;
use crate::support::providers::Providers;

/// The document of an Api as YAML on several lines, so that a line can be named.
fn document(credential: &str) -> String {
    format!(
        "apiVersion: portcullis.dev/v1alpha1\nkind: Api\nmetadata: {{ name: bad }}\nspec:\n  title: bad\n  version: 1.0.0\n  direction: outbound\n  hosts: [bad.org]\n  authenticators: [anonymous]\n  subscription: none\n  unmatchedOperation: allow\n  upstream:\n    credential:\n      {credential}\n"
    )
}

#[tokio::test]
async fn a_use_that_the_provider_cannot_serve_is_refused_with_file_and_line() {
    let fake = Providers::start();
    let scene = Stage::new()
        .file("key", "canary-key")
        .provider("erp", client_credentials(&fake, json!({})))
        .provider("p", auth_provider(&fake, json!({})))
        .provider("idp", header_service(&fake, json!({})))
        .provider(
            "fixed",
            json!({ "type": "static", "headers": { "x-key": { "file": "key" } } }),
        )
        .api("good", "good.org", "/", json!({ "provider": "erp" }))
        .start();
    for (credential, told) in [
        (
            "provider: nobody",
            "there is no provider `nobody` in the configuration; there are erp, fixed, idp, p",
        ),
        ("provider: [erp]", "provider"),
        ("audience: x", "provider"),
        ("{ provider: erp, colour: red }", "colour"),
        (
            "{ provider: erp, tokenUrl: \"https://evil.example/token\" }",
            "credential.tokenUrl",
        ),
        ("{ provider: erp, party: EU.EORI.X }", "credential.party"),
        ("{ provider: erp, grantType: x }", "credential.grantType"),
        ("{ provider: erp, header: \"a b\" }", "credential.header"),
        ("{ provider: erp, header: host }", "credential.header"),
        ("{ provider: erp, scheme: \"a b\" }", "credential.scheme"),
        ("{ provider: erp, scheme: \"a\\nb\" }", "credential.scheme"),
        ("{ provider: erp, audience: \" \" }", "credential.audience"),
        (
            "{ provider: erp, resource: \"https://r/#x\" }",
            "credential.resource",
        ),
        ("{ provider: erp, onFailure: perhaps }", "onFailure"),
        ("{ provider: p, audience: x }", "credential.audience"),
        ("{ provider: p, header: x-token }", "credential.header"),
        ("{ provider: idp, scope: x }", "credential.scope"),
        ("{ provider: fixed, scheme: Bearer }", "credential.scheme"),
        (
            "[{ provider: erp }, { provider: p }]",
            "`authorization` is set by another credential too",
        ),
        (
            "[{ provider: erp }, { provider: nobody }]",
            "credential[1].provider",
        ),
    ] {
        scene
            .server
            .write_catalog("bad.yaml", &document(credential));
        let problems = eventually(credential, || {
            let problems = scene.server.admin("/v1/problems").text();
            problems.contains(told).then_some(problems)
        });
        assert!(
            problems.contains("bad.yaml\",\"line\":"),
            "{credential}: no line of it: {problems}"
        );
        assert_eq!(outcome(&scene.get("bad.org", "/").await), "none");
        assert_eq!(super::token(&scene.get("bad.org", "/").await), None);
    }
    scene.token("good.org", "/").await;
    let header = document("provider: erp").replace(
        "  upstream:\n",
        "  upstream:\n    headers: { Authorization: x }\n",
    );
    scene.server.write_catalog("bad.yaml", &header);
    eventually("both", || {
        scene
            .server
            .admin("/v1/problems")
            .text()
            .contains("is set by `headers` too")
            .then_some(())
    });
    scene
        .server
        .write_catalog("bad.yaml", &document("provider: erp"));
    eventually("none", || {
        (!scene
            .server
            .admin("/v1/problems")
            .text()
            .contains("bad.yaml"))
        .then_some(())
    });
    scene.token("bad.org", "/").await;
}

#[tokio::test]
async fn a_provider_that_is_used_cannot_be_taken_away() {
    let fake = Providers::start();
    let scene = Stage::new()
        .provider("erp", client_credentials(&fake, json!({})))
        .api("good", "good.org", "/", json!({ "provider": "erp" }))
        .start();
    let path = scene.server.folder().join("portcullis.yaml");
    let text = std::fs::read_to_string(&path).unwrap();
    let mut configuration: Value = serde_json::from_str(&text).unwrap();
    configuration["providers"] = json!({});
    std::fs::write(&path, configuration.to_string()).unwrap();
    eventually("the refusal", || {
        scene
            .server
            .admin("/v1/problems")
            .text()
            .contains("there is no provider `erp`")
            .then_some(())
    });
    scene.token("good.org", "/").await;
    std::fs::write(&path, text).unwrap();
    eventually("none", || {
        (!scene
            .server
            .admin("/v1/problems")
            .text()
            .contains("there is no provider"))
        .then_some(())
    });
}

#[test]
fn a_start_with_an_unknown_provider_is_refused() {
    let told = Stage::new()
        .api("bad", "bad.org", "/", json!({ "provider": "nobody" }))
        .refused();
    assert!(
        told.contains("bad.yaml:") && told.contains("there is no provider `nobody`"),
        "{told}"
    );
}
