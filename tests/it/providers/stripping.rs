//! What the client sends under the name of a provider's header never reaches the upstream, whatever
//! the provider does.

use envoy_types::pb::envoy::service::auth::v3::CheckResponse;
use serde_json::{Value, json};

use super::{Scene, Stage, auth_provider, client_credentials, get, header_service, outcome};
use crate::support::check::{CheckBuilder, assert_allowed, headers};
use crate::support::providers::Providers;
use crate::support::providers::fault::Fault;

/// Every spelling that some upstream takes for `x-erp-token`.
const SPELLINGS: [&str; 5] = [
    "x-erp-token",
    "x_erp_token",
    "x-erp_token",
    "x_erp-token",
    "X-Erp_Token",
];

/// With the client's own value in every spelling.
fn spoofed(check: CheckBuilder) -> CheckBuilder {
    SPELLINGS
        .into_iter()
        .fold(check, |check, name| check.header(name, "mallory"))
}

#[track_caller]
fn gone(answer: &CheckResponse, names: &[&str], told: &str) {
    let ok = assert_allowed(answer);
    let set = headers(&ok.headers);
    for name in names {
        let name = name.to_ascii_lowercase();
        let is_set = set
            .get(&name)
            .is_some_and(|value| !value.contains("mallory") && !value.contains("own"));
        let is_removed = ok.headers_to_remove.contains(&name);
        assert!(
            is_set != is_removed,
            "{told}: {name} set {is_set}, removed {is_removed}: {ok:?}"
        );
    }
}

/// One Api for each policy at hosts below its name, with the token in `x-erp-token`, and one that
/// takes whole headers.
fn policies(fake: &Providers) -> Scene {
    let mut stage = Stage::new()
        .provider(
            "erp",
            client_credentials(fake, json!({ "http": { "timeout": "300ms" } })),
        )
        .provider(
            "p",
            auth_provider(fake, json!({ "headers": ["X-Erp-Token"] })),
        )
        .provider(
            "polled",
            header_service(
                fake,
                json!({ "hosts": ["served.polled.org"], "headers": ["x-erp-token"] }),
            ),
        );
    for policy in ["stale", "allow", "deny"] {
        let credential = json!({ "provider": "erp", "header": "X-Erp-Token", "onFailure": policy });
        stage = stage.api(policy, &format!("*.{policy}.org"), "/", credential);
    }
    let whole = |name: &str| json!({ "provider": name, "onFailure": "allow", "onAbsent": "allow" });
    stage
        .api("whole", "*.whole.org", "/", whole("p"))
        .api("polled", "*.polled.org", "/", whole("polled"))
        .start()
}

#[tokio::test]
async fn the_clients_own_value_goes_in_every_spelling_whatever_the_provider_does() {
    let fake = Providers::start();
    let scene = policies(&fake);
    let ask = |host: &str| scene.ask(spoofed(get(host, "/")));
    for policy in ["stale", "allow", "deny"] {
        let answer = ask(&format!("good.{policy}.org")).await;
        gone(&answer, &SPELLINGS, policy);
        let own = assert_allowed(&answer);
        assert!(
            !own.headers_to_remove.contains(&"authorization".to_owned()),
            "not the provider's header"
        );
    }
    // a host that the provider is not for
    let answer = ask("strange.polled.org").await;
    assert_eq!(outcome(&answer), "absent");
    gone(&answer, &SPELLINGS, "absent");
    for (number, fault) in [
        Fault::Html,
        Fault::Blackhole,
        Fault::Status(404, "{}".to_owned()),
        Fault::Status(500, "{}".to_owned()),
    ]
    .into_iter()
    .enumerate()
    {
        let told = format!("{fault:?}");
        fake.break_by(fault);
        for host in [
            format!("h{number}.allow.org"),
            format!("h{number}.whole.org"),
        ] {
            let answer = ask(&host).await;
            assert!(
                ["failed", "absent"].contains(&outcome(&answer).as_str()),
                "{told}"
            );
            gone(&answer, &SPELLINGS, &told);
        }
        fake.recover();
    }
    // a header service whose map has another header only
    fake.answer_auth(json!([{ "name": "x-other", "value": "theirs" }]));
    gone(&ask("other.whole.org").await, &SPELLINGS, "another header");
}

#[tokio::test]
async fn the_clients_authorization_goes_in_every_spelling_where_a_provider_sets_it() {
    let fake = Providers::start();
    let allow = json!({ "provider": "p", "onFailure": "allow", "onAbsent": "allow" });
    let scene = Stage::new()
        .provider("p", auth_provider(&fake, json!({})))
        .api("all", "*", "/", allow)
        .start();
    let ask = |host: &str| {
        let check = CheckBuilder::new("GET", host, "/");
        let check = check
            .header("authorization", "Bearer own")
            .header("Authorization", "Basic own");
        scene.ask(check.raw_headers())
    };
    gone(&ask("good.org").await, &["authorization"], "good");
    fake.answer_auth(json!([]));
    gone(&ask("absent.org").await, &["authorization"], "absent");
    fake.break_by(Fault::Html);
    gone(&ask("failed.org").await, &["authorization"], "failed");
}

#[tokio::test]
async fn preflights_and_shadowed_denials_pass_without_the_clients_own_value() {
    let fake = Providers::start();
    let with = |changed: Value| {
        let document: Value = serde_json::from_str(&super::api(
            "x",
            "x.org",
            "/",
            json!({ "provider": "erp", "header": "X-Erp-Token" }),
        ))
        .unwrap();
        super::merged(document, changed).to_string()
    };
    let preflight = with(json!({ "metadata": { "name": "preflight" }, "spec": {
        "title": "preflight", "hosts": ["preflight.org"], "preflight": "pass",
    } }));
    let shadow = with(json!({ "metadata": { "name": "shadow" }, "spec": {
        "title": "shadow", "hosts": ["shadow.org"], "enforcement": "shadow",
    } }));
    let mut stage = Stage::new().provider("erp", client_credentials(&fake, json!({})));
    stage.0 = stage
        .0
        .catalog("preflight.yaml", &preflight)
        .catalog("shadow.yaml", &shadow);
    let scene = stage.start();
    fake.refuse_connections();
    let check = CheckBuilder::new("OPTIONS", "preflight.org", "/")
        .header("origin", "https://shop.example")
        .header("access-control-request-method", "GET");
    let answer = scene.ask(spoofed(check)).await;
    gone(&answer, &SPELLINGS, "preflight");
    assert_eq!(fake.count(), 0, "nobody is asked for a preflight");
    let answer = scene.ask(spoofed(get("shadow.org", "/"))).await;
    gone(&answer, &SPELLINGS, "shadow");
    assert_eq!(
        crate::gate::metadata(&answer, "enforcement").as_deref(),
        Some("shadow")
    );
    assert_eq!(outcome(&answer), "failed");
}
