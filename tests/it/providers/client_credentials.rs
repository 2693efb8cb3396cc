//! Provider `clientCredentials`: how we say who we are, and what is asked.

use serde_json::json;

use super::{SECRET, Stage, client_credentials, refused, token};
use crate::support::authority::{Authority, Shown};
use crate::support::check::headers;
use crate::support::providers::Providers;
use crate::support::providers::assertion::Assertion;
use crate::support::providers::fault::Fault;
use crate::support::signing::{Algorithm, SigningKeys};

#[tokio::test]
async fn the_secret_is_sent_in_the_header_form_encoded() {
    let fake = Providers::start();
    let scene = Stage::new()
        .provider(
            "erp",
            client_credentials(&fake, json!({ "client": { "id": "g w:1" } })),
        )
        .api("erp", "erp.example", "/", json!({ "provider": "erp" }))
        .start();
    scene.token("erp.example", "/").await;
    let call = fake.last();
    assert_eq!(call.request.method, "POST");
    assert_eq!(
        call.header("content-type"),
        Some("application/x-www-form-urlencoded")
    );
    assert_eq!(call.header("accept"), Some("application/json"));
    assert_eq!(call.basic(), Some(("g w:1".to_owned(), SECRET.to_owned())));
    assert_eq!(
        call.form,
        [("grant_type".to_owned(), "client_credentials".to_owned())]
    );
    for name in ["cookie", "x-forwarded-for"] {
        assert_eq!(call.header(name), None);
    }
}

#[tokio::test]
async fn the_secret_is_sent_in_the_form_where_that_is_asked_for() {
    let fake = Providers::start();
    let provider = json!({
        "client": { "method": "post" }, "scope": "a b", "audience": "https://aud", "resource": "https://res",
        "parameters": { "tenant": "t&1", "claims": "{}" },
    });
    let scene = Stage::new()
        .provider("erp", client_credentials(&fake, provider))
        .api("erp", "erp.example", "/", json!({ "provider": "erp" }))
        .start();
    scene.token("erp.example", "/").await;
    let call = fake.last();
    assert_eq!(call.header("authorization"), None);
    let names = [
        "audience",
        "claims",
        "client_id",
        "client_secret",
        "grant_type",
        "resource",
        "scope",
        "tenant",
    ];
    assert_eq!(call.field_names(), names);
    for (name, value) in [
        ("client_id", "gw"),
        ("client_secret", SECRET),
        ("scope", "a b"),
        ("audience", "https://aud"),
        ("resource", "https://res"),
        ("tenant", "t&1"),
    ] {
        assert_eq!(call.field(name), Some(value), "{name}");
    }
}

#[tokio::test]
async fn an_api_says_for_whom_a_token_is_and_where_it_goes() {
    let fake = Providers::start();
    let usual = json!({ "scope": "usual", "audience": "usual" });
    let scene = Stage::new()
        .provider("erp", client_credentials(&fake, usual))
        .api("usual", "d.org", "/usual", json!({ "provider": "erp" }))
        .api(
            "own",
            "d.org",
            "/own",
            json!({
                "provider": "erp", "scope": "own", "audience": "own", "resource": "https://r",
                "header": "X-Token", "scheme": "",
            }),
        )
        .start();
    assert_eq!(
        scene.token("d.org", "/usual").await,
        "Bearer token-1.gw.usual.usual"
    );
    let answer = scene.get("d.org", "/own").await;
    let set = headers(&super::allowed(&answer).headers);
    assert_eq!(
        set.into_iter().collect::<Vec<_>>(),
        [(
            "x-token".to_owned(),
            "token-2.gw.own.https___r.own".to_owned()
        )]
    );
    assert_eq!(
        scene.token("d.org", "/usual").await,
        "Bearer token-1.gw.usual.usual"
    );
    assert_eq!(fake.count(), 2);
}

#[tokio::test]
async fn a_key_signs_an_assertion_instead_of_a_secret() {
    let fake = Providers::start();
    let keys = SigningKeys::generate(7);
    let client = |algorithm: Algorithm, more: serde_json::Value| {
        let own = json!({
            "secret": null, "key": { "file": algorithm.name() }, "algorithm": algorithm.name(),
        });
        client_credentials(&fake, json!({ "client": super::merged(own, more) }))
    };
    let algorithms = [Algorithm::Es256, Algorithm::Rs256, Algorithm::EdDsa];
    let more = json!({ "keyId": "k1", "audience": "https://idp.example" });
    let mut stage = Stage::new()
        .provider("named", client(Algorithm::Es256, more))
        .api("named", "d.org", "/named", json!({ "provider": "named" }));
    for algorithm in algorithms {
        let name = algorithm.name().to_ascii_lowercase();
        stage = stage
            .file(algorithm.name(), &keys.private_pem(algorithm))
            .provider(&name, client(algorithm, json!({})))
            .api(
                &name,
                "d.org",
                &format!("/{name}"),
                json!({ "provider": name }),
            );
    }
    let scene = stage.start();
    let mut ids = std::collections::HashSet::new();
    for algorithm in algorithms {
        scene
            .token(
                "d.org",
                &format!("/{}", algorithm.name().to_ascii_lowercase()),
            )
            .await;
        let call = fake.last();
        assert_eq!(call.header("authorization"), None);
        assert_eq!(
            call.field_names(),
            [
                "client_assertion",
                "client_assertion_type",
                "client_id",
                "grant_type"
            ]
        );
        assert_eq!(
            call.field("client_assertion_type"),
            Some("urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
        );
        let assertion = call.field("client_assertion").unwrap();
        let assertion = Assertion::signed_by_key(assertion, &keys.public_jwk(algorithm));
        assert_eq!(assertion.header["kid"], json!(null));
        let claims = &assertion.claims;
        assert_eq!(
            (&claims["iss"], &claims["sub"]),
            (&json!("gw"), &json!("gw"))
        );
        assert_eq!(claims["aud"], fake.token_url());
        let seconds = |name: &str| claims[name].as_i64().unwrap();
        assert_eq!(seconds("exp") - seconds("iat"), 60);
        let now = jiff::Timestamp::now().as_second();
        assert!((now - 10..=now).contains(&seconds("iat")));
        assert!(
            ids.insert(claims["jti"].as_str().unwrap().to_owned()),
            "a jti comes again"
        );
    }
    scene.token("d.org", "/named").await;
    let assertion = fake.last();
    let assertion = assertion.field("client_assertion").unwrap();
    let assertion = Assertion::signed_by_key(assertion, &keys.public_jwk(Algorithm::Es256));
    assert_eq!(assertion.header["kid"], "k1");
    assert_eq!(assertion.claims["aud"], "https://idp.example");
}

#[tokio::test]
async fn a_certificate_says_who_we_are() {
    let authority = Authority::new();
    let fake = Providers::start_mutual_tls(&authority);
    let (ours, strange) = (
        authority.client("gw-of-us"),
        Authority::new().client("mallory"),
    );
    let provider = |identity: &str| {
        client_credentials(
            &fake,
            json!({
                "client": { "secret": null },
                "http": {
                    "allowHttp": false, "ca": { "file": "ca" },
                    "certificate": { "file": format!("{identity}.crt") }, "key": { "file": format!("{identity}.key") },
                },
            }),
        )
    };
    let scene = Stage::new()
        .file("ca", &authority.pem())
        .file("ours.crt", &ours.chain_pem())
        .file("ours.key", &ours.key_pem())
        .file("strange.crt", &strange.chain_pem())
        .file("strange.key", &strange.key_pem())
        .provider("ours", provider("ours"))
        .provider("strange", provider("strange"))
        .api("ours", "ours.example", "/", json!({ "provider": "ours" }))
        .api(
            "strange",
            "strange.example",
            "/",
            json!({ "provider": "strange" }),
        )
        .start();
    refused(&scene.get("strange.example", "/").await);
    assert_eq!(fake.count(), 0);
    scene.token("ours.example", "/").await;
    let call = fake.last();
    assert_eq!(call.certificate.as_deref(), Some("gw-of-us"));
    assert_eq!(call.field_names(), ["client_id", "grant_type"]);
    assert_eq!(call.header("authorization"), None);
}

#[tokio::test]
async fn f26_the_code_of_an_oauth_error_is_told_and_nothing_else() {
    let fake = Providers::start();
    let scene = Stage::new()
        .provider(
            "erp",
            client_credentials(&fake, json!({ "client": { "method": "post" } })),
        )
        .api("all", "*", "/", json!({ "provider": "erp" }))
        .start();
    for (number, (status, code)) in [
        (400, "invalid_client"),
        (401, "unauthorized_client"),
        (200, "invalid_scope"),
    ]
    .into_iter()
    .enumerate()
    {
        fake.break_by(Fault::OauthError(status, code));
        refused(&scene.get(&format!("h{number}.org"), "/").await);
        let provider = scene.provider("erp");
        assert_eq!(provider["state"], "failing");
        assert!(
            provider["lastError"].as_str().unwrap().contains(code),
            "{provider}"
        );
        let told = scene.server.stderr();
        assert!(told.contains(code), "{told}");
        let decisions = scene.server.stdout();
        for text in [&told, &decisions, &provider.to_string()] {
            assert!(!text.contains("a description that nobody needs"), "{text}");
            assert!(!text.contains("canary-secret"), "{text}");
        }
    }
    // what is no code is the server's own text
    fake.break_by(Fault::Status(
        400,
        r#"{"error":"Canary <script> text"}"#.to_owned(),
    ));
    refused(&scene.get("text.org", "/").await);
    assert!(!scene.server.stderr().contains("Canary"));
    let refusals = r#"portcullis_provider_fetches_total{provider="erp",result="refused"}"#;
    assert_eq!(scene.metric(refusals), Some(4.0));
    assert_eq!(fake.count(), 4, "what is refused is not asked again");
    fake.recover();
    assert!(token(&scene.get("good.org", "/").await).is_some());
    assert_eq!(scene.provider("erp")["state"], "good");
}

#[tokio::test]
async fn a_server_whose_certificate_does_not_hold_is_told_no_secret() {
    let authority = Authority::new();
    let mut scenes = Vec::new();
    for (shown, ca) in [
        (Shown::Expired, authority.pem()),
        (Shown::OfAnotherHost, authority.pem()),
        (Shown::Good, Authority::new().pem()),
    ] {
        let fake = Providers::start_tls(&authority, shown);
        let scene = Stage::new()
            .file("ca", &ca)
            .provider(
                "erp",
                client_credentials(
                    &fake,
                    json!({ "http": { "allowHttp": false, "ca": { "file": "ca" } } }),
                ),
            )
            .api("erp", "erp.example", "/", json!({ "provider": "erp" }))
            .start();
        refused(&scene.get("erp.example", "/").await);
        assert!(fake.connections() > 0, "{shown:?}");
        assert_eq!(fake.count(), 0, "{shown:?}");
        scenes.push((scene, fake));
    }
}
