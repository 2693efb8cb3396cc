//! Our identity as a workload toward token endpoints: what is sent for each kind, whose tokens are
//! whose, and what the agent and the endpoint say when they refuse.

use serde_json::{Value, json};

use super::{Scene, Stage, client_credentials, get, merged, outcome, refused, token};
use crate::authentication::revocation::revoke;
use crate::support::authority::Authority;
use crate::support::eventually;
use crate::support::providers::Providers;
use crate::support::providers::assertion::Assertion;
use crate::support::providers::call::Call;
use crate::support::providers::fault::Fault;
use crate::support::workload_api::{ID, TRUST_DOMAIN, WorkloadApi};

const AUDIENCE: &str = "https://idp.example/realms/mesh";
const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
const JWT_SPIFFE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe";

/// A server that asks `agent` for its identity.
fn stage(agent: &WorkloadApi) -> Stage {
    Stage::new().set(&["spiffe", "endpoint"], json!(agent.endpoint()))
}

/// A provider whose client is our SVID, shown in this way.
fn as_svid(fake: &Providers, kind: &str, changed: Value) -> Value {
    let svid = match kind {
        "x509" => json!({ "type": kind }),
        _ => json!({ "type": kind, "audience": AUDIENCE }),
    };
    let client = json!({ "client": { "id": null, "secret": null, "svid": svid } });
    client_credentials(fake, merged(client, changed))
}

/// One Api `erp.example` with this provider.
fn scene(agent: &WorkloadApi, provider: Value) -> Scene {
    let credential = json!({ "provider": "erp" });
    stage(agent)
        .provider("erp", provider)
        .api("erp", "erp.example", "/", credential)
        .start()
}

/// A JWT-SVID of ours as the other side judges it: signed by the bundle, for `audience`, and with
/// life enough for clocks that differ.
#[track_caller]
fn assert_is_ours(agent: &WorkloadApi, svid: &str, audience: &str) {
    let keys = agent.jwks(TRUST_DOMAIN);
    let claims = Assertion::signed_by_key(svid, &keys["keys"][0]).claims;
    assert_eq!(claims["sub"], ID);
    let audiences = match &claims["aud"] {
        Value::Array(several) => several.clone(),
        one => vec![one.clone()],
    };
    assert_eq!(audiences, [json!(audience)], "the sole audience");
    let left = claims["exp"].as_i64().unwrap() - jiff::Timestamp::now().as_second();
    assert!(left > 30, "{left} seconds left");
}

#[track_caller]
fn assert_is_a_form(call: &Call, names: &[&str]) {
    assert_eq!(call.request.method, "POST");
    let media_type = call.header("content-type");
    assert_eq!(media_type, Some("application/x-www-form-urlencoded"));
    assert_eq!(call.header("authorization"), None);
    assert_eq!(call.field_names(), names);
}

#[tokio::test]
async fn s27_a_jwt_svid_is_the_assertion_of_rfc_7523() {
    let (agent, fake) = (WorkloadApi::start(), Providers::start());
    let provider = as_svid(&fake, "jwtBearer", json!({ "scope": "a b" }));
    let scene = scene(&agent, provider);
    scene.token("erp.example", "/").await;
    let call = fake.last();
    let names = [
        "client_assertion",
        "client_assertion_type",
        "grant_type",
        "scope",
    ];
    assert_is_a_form(&call, &names);
    assert_eq!(call.field("grant_type"), Some("client_credentials"));
    assert_eq!(call.field("client_assertion_type"), Some(JWT_BEARER));
    assert_eq!(call.field("scope"), Some("a b"));
    assert_is_ours(&agent, call.field("client_assertion").unwrap(), AUDIENCE);
    assert_eq!(agent.count("withoutHeader"), 0);
}

#[tokio::test]
async fn s27_a_client_id_is_sent_where_the_configuration_has_one() {
    let (agent, fake) = (WorkloadApi::start(), Providers::start());
    let own = json!({ "client": { "id": "gw", "svid": { "audience": null } } });
    let scene = scene(&agent, as_svid(&fake, "jwtBearer", own));
    scene.token("erp.example", "/").await;
    let call = fake.last();
    assert_eq!(call.field("client_id"), Some("gw"));
    // the token address, where no audience is said
    let svid = call.field("client_assertion").unwrap();
    assert_is_ours(&agent, svid, &fake.token_url());
}

#[tokio::test]
async fn s27_a_jwt_svid_is_the_assertion_of_the_spiffe_draft() {
    let (agent, fake) = (WorkloadApi::start(), Providers::start());
    let scene = scene(&agent, as_svid(&fake, "jwtSpiffe", json!({})));
    scene.token("erp.example", "/").await;
    let call = fake.last();
    let names = [
        "client_assertion",
        "client_assertion_type",
        "client_id",
        "grant_type",
    ];
    assert_is_a_form(&call, &names);
    assert_eq!(call.field("client_id"), Some(ID));
    assert_eq!(call.field("client_assertion_type"), Some(JWT_SPIFFE));
    assert_is_ours(&agent, call.field("client_assertion").unwrap(), AUDIENCE);
}

#[tokio::test]
async fn s27_an_x509_svid_is_the_certificate_of_the_connection_as_it_rotates() {
    let (agent, authority) = (WorkloadApi::start(), Authority::new());
    let fake = Providers::start_for_svids(&authority, &agent.root(TRUST_DOMAIN));
    let provider = as_svid(
        &fake,
        "x509",
        json!({
            "http": { "allowHttp": false, "ca": { "file": "ca" } },
            // nothing is kept, so that every check asks
            "cache": { "maxLifetime": "1ms" },
        }),
    );
    let scene = stage(&agent)
        .file("ca", &authority.pem())
        .provider("erp", provider)
        .api("erp", "erp.example", "/", json!({ "provider": "erp" }))
        .start();
    scene.token("erp.example", "/").await;
    let call = fake.last();
    assert_is_a_form(&call, &["client_id", "grant_type"]);
    assert_eq!(call.field("client_id"), Some(ID));
    let shown = |call: &Call| call.certificate.clone().expect("a certificate");
    let first = shown(&call);
    assert!(first.starts_with(&format!("{ID} ")), "{first}");
    // another leaf by another key, and nothing restarts
    agent.rotate();
    eventually("the new SVID to be ours", || {
        (scene.metric("portcullis_svid_updates_total") >= Some(2.0)).then_some(())
    });
    scene.token("erp.example", "/").await;
    let second = shown(&fake.last());
    assert!(
        second.starts_with(&format!("{ID} ")) && second != first,
        "{second}"
    );
    // what is taken away is no longer shown, and nothing is asked without it
    let calls = fake.count();
    agent.set(json!({ "errors": { "x509": "PermissionDenied" } }));
    eventually("the SVID to be taken away", || {
        (scene.metric("portcullis_svid_expiry_timestamp_seconds") == Some(0.0)).then_some(())
    });
    refused(&scene.get("erp.example", "/").await);
    assert_eq!(fake.count(), calls);
}

#[tokio::test]
async fn h13_a_header_service_is_shown_our_svid() {
    let (agent, authority) = (WorkloadApi::start(), Authority::new());
    let fake = Providers::start_for_svids(&authority, &agent.root(TRUST_DOMAIN));
    let service = json!({ "http": { "allowHttp": false, "ca": { "file": "ca" }, "svid": true } });
    let scene = stage(&agent)
        .file("ca", &authority.pem())
        .provider("erp", super::header_service(&fake, service))
        .api("erp", "erp.example", "/", json!({ "provider": "erp" }))
        .start();
    let check = || get("erp.example", "/");
    scene
        .until("the headers", check, |answer| token(answer).is_some())
        .await;
    let shown = fake.last().certificate.expect("a certificate");
    assert!(shown.starts_with(&format!("{ID} ")), "{shown}");
}

/// A provider that exchanges tokens, with `changed`; callers are known by no token.
fn exchange(fake: &Providers, changed: Value) -> Value {
    client_credentials(fake, merged(json!({ "type": "tokenExchange" }), changed))
}

const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";
const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";

#[tokio::test]
async fn s27_a_jwt_svid_acts_for_the_caller_in_a_token_exchange() {
    let (agent, fake) = (WorkloadApi::start(), Providers::start());
    let issuer = crate::support::issuer::Issuer::start();
    let provider = exchange(
        &fake,
        json!({ "actor": { "svid": { "audience": AUDIENCE } } }),
    );
    let mut document: Value = serde_json::from_str(&super::api(
        "erp",
        "erp.example",
        "/",
        json!({ "provider": "erp" }),
    ))
    .unwrap();
    document["spec"]["authenticators"] = json!(["partners"]);
    let mut stage = stage(&agent).provider("erp", provider);
    stage.0 = stage
        .0
        .authenticator("partners", issuer.authenticator("orders"))
        .catalog("erp.yaml", &document.to_string());
    let scene = stage.start();
    let alice = issuer.token().audience("orders").subject("alice").sign();
    let check = crate::support::check::CheckBuilder::new("GET", "erp.example", "/").bearer(&alice);
    assert!(token(&scene.ask(check).await).is_some());
    let call = fake.last();
    for (name, value) in [
        ("grant_type", EXCHANGE),
        ("subject_token", alice.as_str()),
        (
            "subject_token_type",
            "urn:ietf:params:oauth:token-type:access_token",
        ),
        ("actor_token_type", JWT),
    ] {
        assert_eq!(call.field(name), Some(value), "{name}");
    }
    let names = [
        "actor_token",
        "actor_token_type",
        "grant_type",
        "subject_token",
        "subject_token_type",
    ];
    assert_eq!(call.field_names(), names);
    assert_is_ours(&agent, call.field("actor_token").unwrap(), AUDIENCE);
}

#[tokio::test]
async fn s27_a_jwt_svid_is_exchanged_itself() {
    let (agent, fake) = (WorkloadApi::start(), Providers::start());
    let provider = exchange(&fake, json!({ "subject": "svid", "audience": "backend" }));
    let scene = scene(&agent, provider);
    scene.token("erp.example", "/").await;
    let call = fake.last();
    for (name, value) in [
        ("grant_type", EXCHANGE),
        ("subject_token_type", JWT),
        ("audience", "backend"),
    ] {
        assert_eq!(call.field(name), Some(value), "{name}");
    }
    assert_eq!(
        call.field_names(),
        [
            "audience",
            "grant_type",
            "subject_token",
            "subject_token_type"
        ]
    );
    let svid = call.field("subject_token").unwrap();
    assert_is_ours(&agent, svid, &fake.token_url());
}

#[tokio::test]
async fn s27_a_service_account_token_is_read_again_when_kubernetes_renews_it() {
    let fake = Providers::start();
    let token_file = json!({ "file": "sa-token" });
    let as_client = json!({
        "client": { "id": null, "secret": null, "serviceAccountToken": token_file },
        "cache": { "maxLifetime": "1ms" },
    });
    let scene = Stage::new()
        .file("sa-token", "e30.eyJzdWIiOiJmaXJzdCJ9.c2ln\n")
        .provider("client", client_credentials(&fake, as_client))
        .provider(
            "subject",
            exchange(
                &fake,
                json!({ "subject": { "serviceAccountToken": token_file } }),
            ),
        )
        .api(
            "client",
            "d.org",
            "/client",
            json!({ "provider": "client" }),
        )
        .api(
            "subject",
            "d.org",
            "/subject",
            json!({ "provider": "subject" }),
        )
        .start();
    scene.token("d.org", "/client").await;
    let call = fake.last();
    assert_is_a_form(
        &call,
        &["client_assertion", "client_assertion_type", "grant_type"],
    );
    assert_eq!(call.field("client_assertion_type"), Some(JWT_BEARER));
    assert_eq!(
        call.field("client_assertion"),
        Some("e30.eyJzdWIiOiJmaXJzdCJ9.c2ln")
    );
    let file = scene.server.folder().join("sa-token");
    std::fs::write(&file, "e30.eyJzdWIiOiJzZWNvbmQifQ.c2ln").unwrap();
    scene.token("d.org", "/client").await;
    assert_eq!(
        fake.last().field("client_assertion"),
        Some("e30.eyJzdWIiOiJzZWNvbmQifQ.c2ln")
    );
    scene.token("d.org", "/subject").await;
    assert_eq!(
        fake.last().field("subject_token"),
        Some("e30.eyJzdWIiOiJzZWNvbmQifQ.c2ln")
    );
    // without it nothing is asked
    std::fs::remove_file(&file).unwrap();
    let calls = fake.count();
    refused(&scene.get("d.org", "/client").await);
    assert_eq!(fake.count(), calls);
}

const CHECKOUT: &str = "spiffe://cluster.local/ns/shop/sa/checkout";
const BILLING: &str = "spiffe://cluster.local/ns/shop/sa/billing";

#[tokio::test]
async fn s28_each_workload_has_tokens_of_its_own_and_nobody_has_none() {
    let (agent, fake) = (WorkloadApi::start(), Providers::start());
    let provider = as_svid(&fake, "jwtSpiffe", json!({ "per": "workload" }));
    let scene = scene(&agent, provider);
    let of = async |principal: &str| {
        let check = get("erp.example", "/").principal(principal);
        let answer = scene.ask(check).await;
        (token(&answer), outcome(&answer))
    };
    let (checkout, _) = of(CHECKOUT).await;
    let (billing, met) = of(BILLING).await;
    assert_eq!(met, "waited", "what is kept for another is not for it");
    assert!(checkout.is_some() && billing.is_some() && checkout != billing);
    assert_eq!(of(CHECKOUT).await, (checkout, "hit".to_owned()));
    assert_eq!(fake.count(), 2);
    for nobody in [
        "",
        "CN=checkout",
        "checkout.shop.svc",
        "spiffe://cluster.local/ns//sa/x",
    ] {
        let (given, met) = of(nobody).await;
        assert_eq!((given, met.as_str()), (None, "failed"), "{nobody}");
    }
    assert_eq!(fake.count(), 2);
}

#[tokio::test]
async fn s28_behind_a_trusted_proxy_the_tokens_are_its_callers_and_never_a_revoked_ones() {
    const GATEWAY: &str = "spiffe://cluster.local/ns/gateways/sa/edge";
    let (agent, fake) = (WorkloadApi::start(), Providers::start());
    let provider = as_svid(&fake, "jwtSpiffe", json!({ "per": "workload" }));
    let scene = stage(&agent)
        .set(&["spiffe", "trustDomain"], json!("cluster.local"))
        .set(&["spiffe", "trustDomainAliases"], json!(["old.example"]))
        .set(&["spiffe", "trustedProxies"], json!([GATEWAY]))
        .set(
            &["listeners", "inbound", "peers", "requestXfcc"],
            json!(true),
        )
        .provider("erp", provider)
        .api("erp", "erp.example", "/", json!({ "provider": "erp" }))
        .start();
    let behind = async |caller: &str| {
        let elements = format!("Hash=ab;URI={caller},Hash=cd;URI={GATEWAY}");
        let check = get("erp.example", "/").principal(GATEWAY);
        scene
            .ask(check.header("x-forwarded-client-cert", elements))
            .await
    };
    let checkout = token(&behind(CHECKOUT).await);
    assert!(checkout.is_some());
    let billing = token(&behind(BILLING).await);
    assert!(billing.is_some() && billing != checkout);
    assert_eq!(fake.count(), 2);
    // the same workload by another name of its trust domain, and without the gateway
    let alias = behind(&CHECKOUT.replace("cluster.local", "old.example")).await;
    assert_eq!((token(&alias), fake.count()), (checkout.clone(), 2));
    let direct = get("erp.example", "/").principal(CHECKOUT);
    assert_eq!(token(&scene.ask(direct).await), checkout);
    // what cannot be told in one way is nobody
    let check = get("erp.example", "/").principal(GATEWAY);
    let check = check.header("x-forwarded-client-cert", format!("Hash=ab;URI={CHECKOUT}"));
    let nobody = scene.ask(check).await;
    assert_eq!(
        (token(&nobody), outcome(&nobody).as_str()),
        (None, "failed")
    );
    revoke(
        &scene.server,
        json!({ "kind": "subject", "value": CHECKOUT }),
    );
    crate::gate::refused(&behind(CHECKOUT).await, "token_revoked");
    assert_eq!(token(&behind(BILLING).await), billing);
}

#[tokio::test]
async fn s28_a_table_says_as_whom_tokens_are_asked_for_a_workload() {
    let (agent, fake) = (WorkloadApi::start(), Providers::start());
    let provider = as_svid(
        &fake,
        "jwtBearer",
        json!({
            "per": "workload", "scope": "usual",
            "workloads": [
                { "id": CHECKOUT, "clientId": "checkout-at-bank", "scope": "pay", "audience": "bank" },
                { "id": "spiffe://cluster.local/ns/shop/sa/*", "clientId": "shop-at-bank" },
            ],
        }),
    );
    let scene = scene(&agent, provider);
    let ask = async |principal: &str| {
        scene
            .ask(get("erp.example", "/").principal(principal))
            .await
    };
    let asked = || {
        let call = fake.last();
        ["client_id", "scope", "audience"].map(|name| call.field(name).map(str::to_owned))
    };
    let texts = |texts: [Option<&str>; 3]| texts.map(|text| text.map(str::to_owned));
    ask(CHECKOUT).await;
    let checkout = [Some("checkout-at-bank"), Some("pay"), Some("bank")];
    assert_eq!(asked(), texts(checkout));
    ask(BILLING).await;
    assert_eq!(asked(), texts([Some("shop-at-bank"), Some("usual"), None]));
    // who is in no row gets none, and costs the endpoint nothing
    let calls = fake.count();
    refused(&ask("spiffe://cluster.local/ns/dev/sa/checkout").await);
    assert_eq!(fake.count(), calls);
}

#[tokio::test]
async fn s29_the_agent_is_asked_once_for_an_audience_however_many_tokens_need_it() {
    let (agent, fake) = (WorkloadApi::start(), Providers::start());
    let mut stage = stage(&agent)
        .provider("a", as_svid(&fake, "jwtBearer", json!({})))
        .provider("b", as_svid(&fake, "jwtSpiffe", json!({})));
    for name in ["a", "b"] {
        for path in ["1", "2", "3"] {
            let (api, path) = (format!("{name}{path}"), format!("/{name}/{path}"));
            stage = stage.api(&api, "d.org", &path, json!({ "provider": name }));
        }
    }
    let scene = stage.start();
    let mut asking = Vec::new();
    for path in ["/a/1", "/a/2", "/a/3", "/b/1", "/b/2", "/b/3"] {
        asking.push(scene.token("d.org", path));
    }
    futures_util::future::join_all(asking).await;
    assert_eq!((fake.count(), agent.count("jwtSvid")), (6, 1));
}

#[tokio::test]
async fn s29_a_jwt_svid_that_ends_soon_is_not_used_again() {
    let (agent, fake) = (WorkloadApi::start_empty(), Providers::start());
    agent.set(json!({ "svids": [{ "id": ID }], "jwtTtl": "25s" }));
    let provider = as_svid(
        &fake,
        "jwtBearer",
        json!({ "cache": { "maxLifetime": "1ms" } }),
    );
    let scene = scene(&agent, provider);
    scene.token("erp.example", "/").await;
    scene.token("erp.example", "/").await;
    assert_eq!(agent.count("jwtSvid"), 2);
}

#[tokio::test]
async fn s30_the_error_code_of_a_token_endpoint_is_a_label() {
    let (agent, fake) = (WorkloadApi::start(), Providers::start());
    let scene = scene(&agent, as_svid(&fake, "jwtBearer", json!({})));
    let told = |error: &str| {
        let series = "portcullis_provider_oauth_errors_total";
        scene.metric(&format!(r#"{series}{{provider="erp",error="{error}"}}"#))
    };
    fake.break_once(Fault::OauthError(401, "invalid_client"));
    refused(&scene.get("erp.example", "/").await);
    assert_eq!(told("invalid_client"), Some(1.0));
    fake.break_once(Fault::OauthError(400, "made_up_by_somebody"));
    scene
        .until(
            "the next refusal",
            || get("erp.example", "/"),
            |_| told("other").is_some(),
        )
        .await;
    assert!(!scene.server.metrics().contains("made_up_by_somebody"));
}

#[tokio::test]
async fn s6_our_svid_is_chosen_by_id_by_hint_or_as_the_first() {
    let (agent, fake) = (WorkloadApi::start_empty(), Providers::start());
    agent.set(json!({ "svids": [
        { "id": BILLING }, { "id": CHECKOUT, "hint": "outside" }, { "id": ID },
    ] }));
    let subject = async |chosen: Value| {
        let scene = {
            let mut stage = stage(&agent);
            for (name, value) in chosen.as_object().unwrap() {
                stage = stage.set(&["spiffe", name], value.clone());
            }
            stage
                .provider("erp", as_svid(&fake, "jwtSpiffe", json!({})))
                .api("erp", "erp.example", "/", json!({ "provider": "erp" }))
                .start()
        };
        let answer = scene.get("erp.example", "/").await;
        token(&answer).map(|_| fake.last().field("client_id").unwrap().to_owned())
    };
    let is = |id: &str| Some(id.to_owned());
    assert_eq!(subject(json!({})).await, is(BILLING));
    assert_eq!(subject(json!({ "id": ID })).await, is(ID));
    assert_eq!(subject(json!({ "hint": "outside" })).await, is(CHECKOUT));
    assert_eq!(subject(json!({ "hint": "nowhere" })).await, None);
    let first = json!({ "hint": "nowhere", "onMissing": "first" });
    assert_eq!(subject(first).await, is(BILLING));
}

#[test]
fn a_provider_that_needs_an_svid_is_refused_without_an_endpoint() {
    let fake = Providers::start();
    let refused = Stage::new()
        .provider("erp", as_svid(&fake, "jwtBearer", json!({})))
        .refused();
    assert!(
        refused.contains("providers.erp.client.svid") && refused.contains("SPIFFE_ENDPOINT_SOCKET"),
        "{refused}"
    );
}

#[test]
fn what_does_not_fit_together_is_refused() {
    let fake = Providers::start();
    let problems = |changed: Value| {
        let provider = client_credentials(&fake, changed);
        Stage::new().provider("erp", provider).refused()
    };
    let svid = json!({ "type": "jwtBearer" });
    for (changed, wrong) in [
        (
            json!({ "client": { "svid": svid } }),
            "stands beside `secret`",
        ),
        (
            json!({ "client": { "secret": null, "svid": { "type": "x509", "audience": "a" } } }),
            "is for JWT-SVIDs alone",
        ),
        (json!({ "client": { "id": null } }), "client.id"),
        (
            json!({ "workloads": [{ "id": CHECKOUT }] }),
            "is for `per: workload` alone",
        ),
        (
            json!({ "per": "workload", "workloads": [{ "id": CHECKOUT, "clientId": "x" }] }),
            "`client.secret` is that of `client.id`",
        ),
        (
            json!({ "per": "workload", "required": true }),
            "nobody calls at the start",
        ),
        (
            json!({ "type": "tokenExchange", "actor": "hunter2-inline" }),
            "secrets are never inline",
        ),
    ] {
        let told = problems(changed.clone());
        assert!(
            told.contains(wrong) && !told.contains("hunter2"),
            "{changed}: {told}"
        );
    }
}

#[tokio::test]
async fn s32_no_svid_key_jwt_svid_or_access_token_is_written_anywhere() {
    let (agent, authority) = (WorkloadApi::start(), Authority::new());
    let (fake, secured) = (
        Providers::start(),
        Providers::start_for_svids(&authority, &agent.root(TRUST_DOMAIN)),
    );
    let shown = json!({ "http": { "allowHttp": false, "ca": { "file": "ca" } } });
    let mut scene = stage(&agent)
        .set(&["telemetry", "log", "level"], json!("trace"))
        .file("ca", &authority.pem())
        .provider("bearer", as_svid(&fake, "jwtBearer", json!({})))
        .provider(
            "spiffe",
            as_svid(&fake, "jwtSpiffe", json!({ "per": "workload" })),
        )
        .provider(
            "exchange",
            exchange(&fake, json!({ "subject": "svid", "actor": "svid" })),
        )
        .provider("x509", as_svid(&secured, "x509", shown))
        .api(
            "bearer",
            "d.org",
            "/bearer",
            json!({ "provider": "bearer" }),
        )
        .api(
            "spiffe",
            "d.org",
            "/spiffe",
            json!({ "provider": "spiffe" }),
        )
        .api(
            "exchange",
            "d.org",
            "/exchange",
            json!({ "provider": "exchange" }),
        )
        .api("x509", "d.org", "/x509", json!({ "provider": "x509" }))
        .start();
    let mut secrets = Vec::new();
    for path in ["/bearer", "/spiffe", "/exchange", "/x509"] {
        let answer = scene.ask(get("d.org", path).principal(CHECKOUT)).await;
        let given = token(&answer).expect("a token");
        secrets.push(given.trim_start_matches("Bearer ").to_owned());
    }
    for call in fake.calls() {
        for field in ["client_assertion", "subject_token", "actor_token"] {
            let parts = call
                .field(field)
                .into_iter()
                .flat_map(|svid| svid.split('.').skip(1));
            secrets.extend(parts.map(str::to_owned));
        }
    }
    secrets.extend(agent.key_forms());
    // also what is told when it goes wrong
    agent.set(json!({ "svids": [{ "id": ID, "defect": "otherKey" }] }));
    secrets.extend(agent.key_forms());
    eventually("the log to tell", || {
        let told = scene.server.stderr();
        told.contains("a message cannot be used").then_some(())
    });
    assert!(secrets.len() > 12, "{}", secrets.len());
    let admin = ["/v1/providers", "/v1/tokens", "/v1/tasks"]
        .map(|target| scene.server.admin(target).text());
    let metrics = scene.server.metrics();
    assert_eq!(scene.server.terminate(), Some(0));
    for (output, text) in [
        ("stdout", scene.server.stdout()),
        ("stderr", scene.server.stderr()),
        ("admin", admin.concat()),
        ("metrics", metrics),
    ] {
        assert!(!text.is_empty(), "{output} is empty, so nothing was tested");
        for secret in &secrets {
            assert!(!text.contains(secret.as_str()), "{output} tells {secret}");
        }
    }
}
