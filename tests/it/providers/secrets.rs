//! No token, key, assertion or secret of any provider reaches any output, at any level.

use serde_json::{Value, json};

use super::{Scene, Stage, auth_provider, client_credentials, get, header_service, merged};
use crate::support::authority::Authority;
use crate::support::check::{CheckBuilder, headers};
use crate::support::issuer::Issuer;
use crate::support::providers::Providers;
use crate::support::providers::fault::Fault;
use crate::support::signing::{Algorithm, SigningKeys};

/// Every kind of provider, each at a host of its own name.
fn every_kind(fake: &Providers, issuer: &Issuer, keys: &SigningKeys) -> Scene {
    let party = Authority::new().party("EU.EORI.NL1");
    let key_client = json!({ "client": { "secret": null, "key": { "file": "client.key" } } });
    let ishare = json!({
        "type": "ishare", "party": "EU.EORI.NL1", "key": { "file": "party.key" }, "audience": "EU.EORI.IDP",
        "certificates": { "file": "party.crt" }, "tokenUrl": fake.token_url(), "http": { "allowHttp": true },
    });
    let short =
        json!({ "interval": "1s", "hosts": ["*.headers.org"], "http": { "timeout": "300ms" } });
    let providers = [
        (
            "basic",
            client_credentials(fake, json!({ "http": { "timeout": "300ms" } })),
        ),
        (
            "post",
            client_credentials(
                fake,
                json!({ "client": { "method": "post" }, "parameters": { "p": "canary-parameter" } }),
            ),
        ),
        ("keyed", client_credentials(fake, key_client)),
        (
            "exchange",
            client_credentials(
                fake,
                json!({ "type": "tokenExchange", "actor": { "file": "actor" } }),
            ),
        ),
        (
            "grant",
            client_credentials(fake, json!({ "type": "jwtBearer" })),
        ),
        ("ishare", ishare),
        (
            "auth",
            auth_provider(fake, json!({ "forwardHeaders": ["x-tenant"] })),
        ),
        ("headers", header_service(fake, short)),
        (
            "signed",
            json!({ "type": "signed", "issuer": "https://gw", "keys": [{ "file": "client.key" }] }),
        ),
        (
            "fixed",
            json!({ "type": "static", "headers": { "authorization": { "file": "fixed" } } }),
        ),
    ];
    let mut stage = Stage::new()
        .set(&["telemetry", "log", "level"], json!("trace"))
        .set(
            &["listeners", "keys"],
            json!({ "type": "jwks", "address": "127.0.0.1:0" }),
        )
        .file("actor", "canary-actor-token")
        .file("fixed", "canary-fixed-value")
        .file("client.key", &keys.private_pem(Algorithm::Es256))
        .file("party.key", &party.key_pem())
        .file("party.crt", &party.chain_pem());
    stage.0 = stage
        .0
        .authenticator("partners", issuer.authenticator("orders"));
    for (name, provider) in providers {
        // nobody who asks may choose for whom an assertion is
        let audience = (name == "signed").then_some("backend");
        let use_of = json!({ "provider": name, "onFailure": "allow" });
        let use_of = merged(use_of, json!({ "audience": audience }));
        let provider = match name {
            "signed" | "fixed" => provider,
            _ => merged(provider, json!({ "http": { "timeout": "300ms" } })),
        };
        let document: Value =
            serde_json::from_str(&super::api(name, &format!("*.{name}.org"), "/", use_of)).unwrap();
        let document = merged(
            document,
            json!({ "spec": { "authenticators": ["partners"] } }),
        );
        stage.0 = stage
            .0
            .catalog(&format!("{name}.yaml"), &document.to_string());
        stage = stage.provider(name, provider);
    }
    stage.start()
}

const NAMES: [&str; 10] = [
    "basic", "post", "keyed", "exchange", "grant", "ishare", "auth", "headers", "signed", "fixed",
];

#[tokio::test]
async fn f36_h12_no_token_key_assertion_or_secret_is_written_anywhere() {
    let (fake, issuer, keys) = (
        Providers::start(),
        Issuer::start(),
        SigningKeys::generate(1),
    );
    fake.answer_member("access_token", "canary-access-token");
    fake.answer_auth(json!([{ "name": "authorization", "value": "Bearer canary-auth-value" }, { "value": "canary-skipped" }]));
    fake.answer_headers(json!({ "authorization": "canary-header-value", "x-anothersecretheader": "canary-second-value" }));
    let mut scene = every_kind(&fake, &issuer, &keys);
    let caller = issuer
        .token()
        .audience("orders")
        .claim("canary", "canary-claim")
        .sign();
    let ask = |host: String| {
        let check = CheckBuilder::new("GET", &host, "/")
            .bearer(&caller)
            .header("x-tenant", "canary-tenant");
        scene.client.check(check)
    };
    let mut secrets: Vec<String> = Vec::new();
    for name in NAMES {
        for _ in 0..2 {
            let answer = ask(format!("a.{name}.org")).await;
            let ok = super::allowed(&answer);
            let set = headers(&ok.headers);
            let value = set
                .get("authorization")
                .unwrap_or_else(|| panic!("{name}: {answer:?}"));
            if name == "signed" {
                secrets.extend(value.rsplit('.').next().map(str::to_owned));
                secrets.extend(value.split('.').nth(1).map(str::to_owned));
            }
        }
    }
    // the same with answers that fail in ways that tempt to quote them
    scene.post("/v1/tokens/evict");
    for fault in [
        Fault::Status(
            400,
            r#"{"error":"canary Error","error_description":"canary-description"}"#.to_owned(),
        ),
        Fault::Status(200, r#"{"access_token":"canary-cut"#.to_owned()),
        Fault::Status(
            200,
            r#"[{"name":"canary name","value":"canary\r\nx"}]"#.to_owned(),
        ),
        Fault::Status(200, r#"{"canary name":"canary-value"}"#.to_owned()),
        Fault::Redirect("http://canary.example/?token=canary-location".to_owned()),
        Fault::NotUtf8,
        Fault::DuplicateKeys,
        Fault::Reset,
        Fault::Blackhole,
    ] {
        let asked = fake.count();
        fake.break_by(fault);
        for name in NAMES {
            // for a host that nothing is known of
            ask(format!("h{asked}.{name}.org")).await;
        }
        assert!(fake.count() >= asked + 7, "each of them was asked");
    }
    for call in fake.calls() {
        for (name, value) in &call.form {
            if name.ends_with("assertion") || name.ends_with("token") {
                secrets.extend(value.rsplit('.').next().map(str::to_owned));
                secrets.extend(value.split('.').nth(1).map(str::to_owned));
            }
        }
        secrets.extend(
            call.header("authorization")
                .and_then(|value| value.split(' ').nth(1))
                .map(str::to_owned),
        );
    }
    secrets.sort();
    secrets.dedup();
    assert!(secrets.len() > 15, "{}", secrets.len());
    let pem = keys.private_pem(Algorithm::Es256);
    secrets.extend(pem.lines().skip(1).take(2).map(str::to_owned));
    secrets.push("canary".to_owned());
    secrets.extend([
        super::SECRET.to_owned(),
        "Y2FuYXJ5".to_owned(),
        "PRIVATE KEY".to_owned(),
    ]);
    tell_nothing(&mut scene, &secrets).await;
}

/// Asserts that none of `secrets` stands in any output.
async fn tell_nothing(scene: &mut Scene, secrets: &[String]) {
    let targets = [
        "/v1/providers",
        "/v1/tokens",
        "/v1/catalog",
        "/v1/apis",
        "/v1/apis/default/basic",
        "/v1/problems",
        "/v1/tasks",
        "/v1/key-sets",
    ];
    let admin = targets
        .map(|target| scene.server.admin(target).text())
        .concat();
    let keys = crate::support::http::get(
        scene.server.address("keys"),
        "k",
        "/.well-known/jwks.json",
        &[],
    )
    .text();
    let denied = format!("{:?}", scene.ask(get("nowhere.org", "/")).await);
    let metrics = scene.server.metrics();
    assert_eq!(scene.server.terminate(), Some(0));
    let outputs = [
        ("stdout", scene.server.stdout()),
        ("stderr", scene.server.stderr()),
        ("admin", admin),
        ("keys", keys),
        ("metrics", metrics),
        ("denied", denied),
    ];
    for (output, text) in outputs {
        assert!(!text.is_empty(), "{output} is empty, so nothing was tested");
        for secret in secrets {
            let found = text
                .find(secret.as_str())
                .map(|at| text.get(at.saturating_sub(200)..at + 40));
            assert!(found.is_none(), "{output} tells a secret: {found:?}");
        }
    }
}
