//! Limits of plans, applications, Apis and operations, and what clients are told of them.

use std::sync::atomic::{AtomicU64, Ordering};

use envoy_types::pb::envoy::service::auth::v3::CheckResponse;
use serde_json::{Value, json};

use crate::gate::{Gate, SHOP_KEY, allowed, metadata, refused};
use crate::support::check::{CheckBuilder, grpc_code, header, headers, socket_address};
use crate::support::eventually;

/// An Api at `limited.example` whose `spec` goes on like this, an application `buyer`, and plans.
fn catalog(issuer: &str, api: &str, more: &str) -> String {
    format!(
        r#"
kind: Api
metadata: {{ name: limited }}
spec:
  title: limitedAPI
  version: 1.0.0
  hosts: [limited.example]
  authenticators: [partners, keys]
{api}
---
kind: Application
metadata: {{ name: buyer }}
spec:
  owner: buyers
  clients: [{{ issuer: "{issuer}", clientId: buyer }}]
{more}
"#
    )
}

/// The subscription of `buyer` on the plan `small`, whose spec is this.
fn small(plan: &str) -> String {
    format!(
        "  subscriptions: [{{ api: limited, plan: small }}]\n---\nkind: Plan\nmetadata: {{ name: small }}\nspec: {plan}\n"
    )
}

const EVERYTHING: &str = "  unmatchedOperation: allow\n";

fn gate(api: &str, more: &str) -> Gate {
    gate_with(api, more, &[])
}

fn gate_with(api: &str, more: &str, settings: &[(&[&str], Value)]) -> Gate {
    Gate::with(|builder, issuer| {
        let builder = builder.catalog("limited.yaml", &catalog(issuer.url(), api, more));
        settings.iter().fold(builder, |builder, (path, value)| {
            builder.set(path, value.clone())
        })
    })
}

/// A request of `buyer` that no other has the id of.
fn request(gate: &Gate, method: &str, path: &str) -> CheckBuilder {
    request_with(&gate.token().client_id("buyer").sign(), method, path)
}

/// The same with this token.
fn request_with(token: &str, method: &str, path: &str) -> CheckBuilder {
    static IDS: AtomicU64 = AtomicU64::new(1);
    let id = IDS.fetch_add(1, Ordering::Relaxed).to_string();
    CheckBuilder::new(method, "limited.example", path)
        .bearer(token)
        .http(|http| http.id = id)
}

async fn get(gate: &Gate, path: &str) -> CheckResponse {
    gate.ask(request(gate, "GET", path)).await
}

/// How many of `count` requests pass; the others are refused for `reason`.
async fn passing(gate: &Gate, count: usize, path: &str, reason: &str) -> usize {
    let mut passing = 0;
    for _ in 0..count {
        let response = get(gate, path).await;
        if metadata(&response, "decision").as_deref() == Some("allow") {
            allowed(&response);
            passing += 1;
        } else {
            refused(&response, reason);
        }
    }
    passing
}

#[tokio::test]
async fn more_than_a_plan_allows_is_quota_exceeded() {
    let gate = gate(EVERYTHING, &small("{ limits: [{ amount: 3, per: year }] }"));
    for _ in 0..3 {
        allowed(&get(&gate, "/").await);
    }
    let response = get(&gate, "/").await;
    let denied = refused(&response, "quota_exceeded");
    assert_eq!(grpc_code(&response), 8);
    let told = headers(&denied.headers);
    let wait: u64 = told["retry-after"].parse().unwrap();
    assert!((1..=366 * 86_400).contains(&wait), "{wait}");
    assert_eq!(told["ratelimit-policy"], "\"year\";q=3;w=31536000");
    assert_eq!(told["ratelimit"], format!("\"year\";r=0;t={wait}"));
    assert_eq!(
        metadata(&response, "plan").as_deref(),
        Some("default/small")
    );
    assert_eq!(
        metadata(&response, "application").as_deref(),
        Some("default/buyer")
    );
    // another application of another plan is not touched
    let other = CheckBuilder::new("GET", "api.example", "/orders/7").header("x-api-key", SHOP_KEY);
    allowed(&gate.ask(other).await);
    let exceeded = "portcullis_quota_exceeded_total{plan=\"default/small\",limit=\"plan/default/small/year/year\",enforced=\"true\"} 1";
    assert!(
        gate.server.metrics().contains(exceeded),
        "{}",
        gate.server.metrics()
    );
    eventually("the decision log tells the limit", || {
        let line = "\"limit\":\"plan/default/small/year/year\"";
        let log = gate.server.stdout();
        let mut lines = log.lines().filter(|text| text.contains(line));
        lines
            .any(|text| text.contains("\"remaining\":0"))
            .then_some(())
    });
}

#[tokio::test]
async fn a_grpc_caller_gets_resource_exhausted() {
    let gate = gate(EVERYTHING, &small("{ limits: [{ amount: 0, per: ever }] }"));
    let call =
        request(&gate, "POST", "/pkg.Service/Method").header("content-type", "application/grpc");
    let response = gate.ask(call).await;
    assert_eq!(
        metadata(&response, "reason").as_deref(),
        Some("quota_exceeded")
    );
    let Some(
        envoy_types::pb::envoy::service::auth::v3::check_response::HttpResponse::DeniedResponse(
            denied,
        ),
    ) = &response.http_response
    else {
        panic!("{response:?}");
    };
    let told = headers(&denied.headers);
    assert_eq!(told["grpc-status"], "8");
    // what never comes back has no time
    assert!(!told.contains_key("retry-after"), "{told:?}");
    assert_eq!(told["ratelimit"], "\"ever\";r=0");
    assert_eq!(told["ratelimit-policy"], "\"ever\";q=0");
}

#[tokio::test]
async fn what_the_api_allows_everybody_is_rate_limited() {
    let api = "  unmatchedOperation: allow\n  subscription: optional\n  limits: [{ name: all, amount: 4, per: year }]\n";
    let gate = gate(api, "");
    let token = gate.token().client_id("nobody").sign();
    let other = || request_with(&token, "GET", "/");
    assert_eq!(passing(&gate, 2, "/", "").await, 2);
    allowed(&gate.ask(other()).await);
    allowed(&gate.ask(other()).await);
    refused(&gate.ask(other()).await, "rate_limited");
    refused(&get(&gate, "/").await, "rate_limited");
}

#[tokio::test]
async fn operations_have_costs_metrics_and_limits_of_their_own() {
    let api = r#"
  operations:
    - { methods: [GET], path: /cheap }
    - { methods: [GET], path: /dear, cost: 5 }
    - { methods: [GET], path: /free, cost: 0 }
    - { methods: [GET], path: /read, metrics: { reads: 1, hits: 1 } }
    - { methods: [GET], path: /write, metrics: { writes: 2, hits: 2 } }
    - { methods: [GET], path: /rare, cost: 0, metrics: { rare: 1 }, limits: [{ metric: rare, amount: 1, per: ever }] }
"#;
    let plan = "{ limits: [{ amount: 11, per: year }, { metric: hits, amount: 4, per: year }, { metric: reads, amount: 3, per: year }, { metric: writes, amount: 100, per: year }, { metric: off, amount: 0, per: ever }] }";
    let gate = gate(api, &small(plan));
    // 5 + 5 of 11
    assert_eq!(passing(&gate, 3, "/dear", "quota_exceeded").await, 2);
    assert_eq!(passing(&gate, 3, "/free", "").await, 3);
    // 1 left of 11, and each read takes one of that too
    assert_eq!(passing(&gate, 1, "/read", "").await, 1);
    assert_eq!(passing(&gate, 2, "/cheap", "quota_exceeded").await, 0);
    assert_eq!(passing(&gate, 3, "/rare", "rate_limited").await, 1);
}

#[tokio::test]
async fn a_tree_of_metrics_is_charged_whole_or_not_at_all() {
    let api = r#"
  operations:
    - { methods: [GET], path: /read, cost: 0, metrics: { reads: 1, hits: 1 } }
    - { methods: [GET], path: /write, cost: 0, metrics: { writes: 2, hits: 2 } }
"#;
    let plan = "{ limits: [{ metric: hits, amount: 5, per: year }, { metric: reads, amount: 2, per: year }] }";
    let gate = gate(api, &small(plan));
    // the third read is refused by `reads`, and takes nothing of `hits`
    assert_eq!(passing(&gate, 3, "/read", "quota_exceeded").await, 2);
    // 3 of 5 are left
    assert_eq!(passing(&gate, 2, "/write", "quota_exceeded").await, 1);
}

#[tokio::test]
async fn each_application_subject_address_owner_and_claim_has_a_counter_of_its_own() {
    for (key, same, other) in [
        (
            "subject",
            ("alice", "192.0.2.1", "a"),
            ("bob", "192.0.2.1", "a"),
        ),
        (
            "address",
            ("alice", "192.0.2.1", "a"),
            ("alice", "192.0.2.2", "a"),
        ),
        (
            "{ claim: tenant.id }",
            ("alice", "192.0.2.1", "a"),
            ("alice", "192.0.2.1", "b"),
        ),
        (
            "[application, subject]",
            ("alice", "192.0.2.1", "a"),
            ("bob", "192.0.2.1", "a"),
        ),
    ] {
        let plan = format!("{{ limits: [{{ amount: 2, per: year, key: {key} }}] }}");
        let gate = gate(EVERYTHING, &small(&plan));
        let ask = async |(subject, address, tenant): (&str, &str, &str)| {
            let token = gate.token().client_id("buyer").subject(subject);
            let token = token.claim("tenant", json!({ "id": tenant })).sign();
            let check =
                request_with(&token, "GET", "/").source(Some(socket_address(address, 4000)));
            gate.ask(check).await
        };
        allowed(&ask(same).await);
        allowed(&ask(same).await);
        refused(&ask(same).await, "quota_exceeded");
        allowed(&ask(other).await);
    }
    for key in ["application", "owner", "subscription", "api", "operation"] {
        let plan = format!("{{ limits: [{{ amount: 2, per: year, key: {key} }}] }}");
        let gate = gate(EVERYTHING, &small(&plan));
        assert_eq!(passing(&gate, 3, "/", "quota_exceeded").await, 2, "{key}");
    }
}

#[tokio::test]
async fn callers_without_what_a_limit_counts_share_a_counter() {
    let plan = small("{ limits: [{ amount: 3, per: year, key: { claim: tenant.id } }] }");
    let gate = gate(EVERYTHING, &plan);
    for claim in [json!(null), json!({ "id": [1] }), json!({ "id": {} })] {
        let token = gate
            .token()
            .client_id("buyer")
            .claim("tenant", claim)
            .sign();
        allowed(&gate.ask(request_with(&token, "GET", "/")).await);
    }
    refused(&get(&gate, "/").await, "quota_exceeded");
}

#[tokio::test]
async fn the_plans_of_application_and_subscription_hold_together() {
    let more = "  plan: whole\n  subscriptions: [{ api: limited, plan: small }]\n---\nkind: Plan\nmetadata: { name: small }\nspec: { limits: [{ amount: 10, per: year, key: subscription }] }\n---\nkind: Plan\nmetadata: { name: whole }\nspec: { limits: [{ amount: 2, per: year }] }\n";
    let gate = gate(EVERYTHING, more);
    assert_eq!(passing(&gate, 3, "/", "quota_exceeded").await, 2);
    let counters = gate
        .server
        .admin("/v1/quotas?application=buyer&api=limited")
        .json();
    let left: Vec<&Value> = counters["counters"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["remaining"])
        .collect();
    assert_eq!(left, [8, 0], "{counters}");
    assert!(counters["counters"][0]["resetAt"].is_string(), "{counters}");
    let consumers = gate.server.admin("/v1/quotas/consumers").json();
    assert_eq!(consumers["thisHour"][0]["application"], "default/buyer");
    assert_eq!(consumers["thisHour"][0]["cost"], 2);
    assert_eq!(
        gate.server
            .admin("/v1/quotas?application=nobody&api=limited")
            .status,
        404
    );
    assert_eq!(gate.server.admin("/v1/quotas").status, 400);
}

#[tokio::test]
async fn a_plan_that_only_reports_counts_and_lets_pass() {
    let gate = gate(
        EVERYTHING,
        &small("{ limits: [{ amount: 1, per: year }], onExceed: report }"),
    );
    assert_eq!(passing(&gate, 3, "/", "").await, 3);
    let exceeded = "portcullis_quota_exceeded_total{plan=\"default/small\",limit=\"plan/default/small/year/year\",enforced=\"false\"} 2";
    assert!(
        gate.server.metrics().contains(exceeded),
        "{}",
        gate.server.metrics()
    );
}

#[tokio::test]
async fn what_subscription_and_scope_refuse_is_never_charged() {
    let api = "  operations:\n    - { methods: [GET], path: /, scopes: { allOf: [special] } }\n    - { methods: [GET], path: /open }\n";
    let gate = gate(api, &small("{ limits: [{ amount: 1, per: year }] }"));
    for _ in 0..3 {
        refused(&get(&gate, "/").await, "scope_insufficient");
    }
    allowed(&get(&gate, "/open").await);
    refused(&get(&gate, "/open").await, "quota_exceeded");
}

#[tokio::test]
async fn a_check_that_is_asked_again_is_charged_once() {
    let gate = gate(EVERYTHING, &small("{ limits: [{ amount: 2, per: year }] }"));
    let again = request(&gate, "GET", "/").build();
    for _ in 0..5 {
        allowed(&gate.client.check(again.clone()).await);
    }
    allowed(&get(&gate, "/").await);
    refused(&get(&gate, "/").await, "quota_exceeded");
    allowed(&gate.client.check(again).await);
}

#[tokio::test]
async fn clients_are_told_in_the_headers_that_they_know() {
    let plan = small(
        "{ limits: [{ name: a, amount: 5, per: year }, { name: b, amount: 9, per: minute, window: sliding, burst: 20 }] }",
    );
    let setting = |names: &str| json!({ "names": names, "onAllow": true });
    for (names, standard, legacy) in [
        ("standard", true, false),
        ("legacy", false, true),
        ("both", true, true),
        ("none", false, false),
    ] {
        let gate = gate_with(
            EVERYTHING,
            &plan,
            &[(&["quota", "headers"], setting(names))],
        );
        let response = get(&gate, "/").await;
        let told = headers(&allowed(&response).response_headers_to_add);
        assert_eq!(
            told.get("ratelimit-policy").map(String::as_str),
            standard.then_some("\"a\";q=5;w=31536000, \"b\";q=9;w=60")
        );
        assert_eq!(told.contains_key("ratelimit"), standard, "{told:?}");
        if standard {
            assert!(
                told["ratelimit"].starts_with("\"a\";r=4;t=")
                    && told["ratelimit"].ends_with(", \"b\";r=19;t=7"),
                "{told:?}"
            );
        }
        assert_eq!(
            told.get("x-ratelimit-limit").map(String::as_str),
            legacy.then_some("5")
        );
        assert_eq!(
            told.get("x-ratelimit-remaining").map(String::as_str),
            legacy.then_some("4")
        );
        assert_eq!(told.contains_key("x-ratelimit-reset"), legacy);
    }
    let silent = gate_with(EVERYTHING, &plan, &[]);
    let response = get(&silent, "/").await;
    assert_eq!(
        header(&allowed(&response).response_headers_to_add, "ratelimit"),
        None
    );
}

#[tokio::test]
async fn a_reload_that_leaves_a_limit_keeps_what_was_counted() {
    let gate = gate(EVERYTHING, &small("{ limits: [{ amount: 2, per: year }] }"));
    assert_eq!(passing(&gate, 3, "/", "quota_exceeded").await, 2);
    let more = small("{ limits: [{ amount: 4, per: year }] }");
    gate.server.write_catalog(
        "limited.yaml",
        &catalog(gate.issuer.url(), EVERYTHING, &more),
    );
    eventually("the new amount holds", || {
        let plans = gate.server.admin("/v1/plans").text();
        plans.contains("\"amount\":4").then_some(())
    });
    assert_eq!(passing(&gate, 3, "/", "quota_exceeded").await, 2);
}

#[tokio::test]
async fn a_plan_of_a_token_is_the_catalogs_and_an_unknown_one_is_refused() {
    let issuer_plan = |gate: &Gate, tier: &str| {
        let apis = json!([{ "name": "limitedAPI", "version": "1.0.0", "subscriptionTier": tier }]);
        gate.token()
            .client_id("unknown")
            .claim("subscribedAPIs", apis)
            .sign()
    };
    let gate = gate_with(
        "  unmatchedOperation: allow\n---\nkind: Plan\nmetadata: { name: bronze }\nspec: { limits: [{ amount: 1, per: year }] }\n",
        "",
        &[
            (
                &["authenticators", "partners", "subscriptions"],
                json!("token"),
            ),
            (
                &["authenticators", "partners", "claims", "subscriptions"],
                json!("subscribedAPIs"),
            ),
        ],
    );
    let ask = async |tier: &str| {
        gate.ask(request_with(&issuer_plan(&gate, tier), "GET", "/"))
            .await
    };
    allowed(&ask("Bronze").await);
    refused(&ask("Bronze").await, "quota_exceeded");
    for _ in 0..3 {
        allowed(&ask("Unlimited").await);
    }
    refused(&ask("Platinum").await, "subscription_inactive");
}

#[tokio::test]
async fn a_token_that_names_no_plan_leaves_that_to_the_catalog() {
    let settings: [(&[&str], Value); 2] = [
        (
            &["authenticators", "partners", "subscriptions"],
            json!("tokenThenCatalog"),
        ),
        (
            &["authenticators", "partners", "claims", "subscriptions"],
            json!("subscribedAPIs"),
        ),
    ];
    let plan = small("{ limits: [{ amount: 1, per: year }] }");
    let gate = gate_with(EVERYTHING, &plan, &settings);
    let apis = json!([{ "name": "limitedAPI", "version": "1.0.0" }]);
    let token = gate
        .token()
        .client_id("buyer")
        .claim("subscribedAPIs", apis);
    let token = token.sign();
    allowed(&gate.ask(request_with(&token, "GET", "/")).await);
    refused(
        &gate.ask(request_with(&token, "GET", "/")).await,
        "quota_exceeded",
    );
}

#[tokio::test]
async fn a_claim_with_dots_in_its_name_is_counted_by_its_value() {
    let plan = "{ limits: [{ amount: 1, per: year, key: { claim: \"https://t.example/id\" } }] }";
    let gate = gate(EVERYTHING, &small(plan));
    let ask = async |tenant: &str| {
        let token = gate.token().client_id("buyer");
        let token = token.claim("https://t.example/id", tenant).sign();
        gate.ask(request_with(&token, "GET", "/")).await
    };
    allowed(&ask("a").await);
    allowed(&ask("b").await);
    refused(&ask("a").await, "quota_exceeded");
}

#[test]
fn limits_that_cannot_be_counted_are_refused_at_the_start() {
    for (limit, message) in [
        (
            "{ amount: 1, per: ever, key: subject }",
            "a limit by subject, address or claim has an end",
        ),
        (
            "{ amount: 1, per: ever, window: sliding }",
            "what has no end cannot slide",
        ),
        (
            "{ amount: 1, per: day, window: calendar, burst: 2 }",
            "a limit on the calendar has no burst",
        ),
        (
            "{ amount: 2000000000000000, per: day }",
            "it must be 1125899906842624 at most",
        ),
        ("{ amount: 1, per: fortnight }", "spec.limits[0].per"),
        ("{ amount: 1, per: day, key: [] }", "name one key at least"),
        (
            "{ amount: 1, per: day, key: [api, api] }",
            "the same key stands twice",
        ),
        ("{ name: 'a b', amount: 1, per: day }", "`a b` is no name"),
        (
            "{ amount: 1, per: day }, { amount: 2, per: day }",
            "another limit here is called `day` too",
        ),
    ] {
        let plan = format!("kind: Plan\nmetadata: {{ name: p }}\nspec: {{ limits: [{limit}] }}\n");
        let server =
            crate::support::portcullis::PortcullisBuilder::new().catalog("plan.yaml", &plan);
        let (_, output) = server.start_refused();
        assert!(output.contains(message), "{limit}: {output}");
    }
}
