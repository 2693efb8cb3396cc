//! JSON Web Tokens: one token after the other that must not pass.

use std::time::Duration;

use serde_json::json;

use crate::gate::{Gate, SHOP_KEY, allowed, get_order, metadata, refused};
use crate::support::check::{CheckBuilder, header, headers, socket_address};
use crate::support::issuer::Issuer;
use crate::support::signing::Algorithm;

#[tokio::test]
async fn a_token_passes_and_tells_who_calls() {
    let gate = Gate::start();
    let token = gate.token().claim("tenant", json!({ "id": 42 })).sign();
    let response = gate.ask_with(&token).await;
    let ok = allowed(&response);
    let set = headers(&ok.headers);
    let told = [
        "x-user",
        "x-client-id",
        "x-application",
        "x-plan",
        "x-tenant",
    ]
    .map(|name| set[name].as_str());
    assert_eq!(told, ["alice", "shop", "shop", "default/gold", "42"]);
    assert!(
        ok.headers_to_remove.contains(&"authorization".to_owned()),
        "the token goes no further"
    );
    assert_eq!(
        header(&ok.response_headers_to_add, "x-api-version").as_deref(),
        Some("1.0.0")
    );
}

#[tokio::test]
async fn every_algorithm_of_the_issuers_keys_is_taken() {
    let gate = Gate::start();
    for algorithm in Algorithm::ALL {
        let response = gate
            .ask_with(&gate.token().algorithm(algorithm).sign())
            .await;
        allowed(&response);
    }
}

#[tokio::test]
async fn no_credential_is_credential_missing_with_every_challenge() {
    let gate = Gate::start();
    let response = gate.ask(get_order()).await;
    let challenge = header(
        &refused(&response, "credential_missing").headers,
        "www-authenticate",
    )
    .unwrap();
    assert!(
        challenge.contains("Bearer realm=\"ordersAPI\"") && challenge.contains("ApiKey realm="),
        "{challenge}"
    );
    assert!(
        !challenge.contains("error="),
        "RFC 6750 section 3.1: no error where there is no credential: {challenge}"
    );
}

#[tokio::test]
async fn another_audience_is_audience_mismatch() {
    let gate = Gate::start();
    for token in [
        gate.token().audience("billing"),
        gate.token().claim("aud", json!(["billing", "stock"])),
        gate.token().claim("aud", json!([])),
        gate.token().audience("Orders"),
    ] {
        let response = gate.ask_with(&token.sign()).await;
        let challenge = header(
            &refused(&response, "audience_mismatch").headers,
            "www-authenticate",
        )
        .unwrap();
        assert!(challenge.contains("error=\"invalid_token\""), "{challenge}");
    }
    allowed(
        &gate
            .ask_with(
                &gate
                    .token()
                    .claim("aud", json!(["billing", "orders"]))
                    .sign(),
            )
            .await,
    );
}

#[tokio::test]
async fn a_missing_or_mistyped_claim_is_no_way_around_it() {
    let gate = Gate::start();
    for token in [
        gate.token().without("aud"),
        gate.token().claim("aud", 5),
        gate.token().claim("aud", json!({ "orders": true })),
        gate.token().claim("aud", json!(["orders", 5])),
        gate.token().without("exp"),
        gate.token().claim("exp", "9999999999"),
        gate.token().claim("exp", -1),
        gate.token().claim("exp", 1e300),
        gate.token().claim("exp", json!(u64::MAX)),
        gate.token().claim("nbf", "soon"),
        gate.token().claim("iat", true),
        gate.token().claim("sub", 5),
        gate.token().claim("scope", 5),
        gate.token().claim("azp", json!(["shop"])),
        gate.token().claim("cnf", json!({ "jkt": "x" })),
    ] {
        let response = gate.ask_with(&token.sign()).await;
        assert_ne!(
            response.status.as_ref().map_or(0, |status| status.code),
            0,
            "{}",
            token.claims_text()
        );
    }
    for token in [
        gate.token().without("iss"),
        gate.token().claim("iss", json!([gate.issuer.url()])),
    ] {
        let response = gate.ask_with(&token.sign()).await;
        assert_ne!(
            response.status.as_ref().map_or(0, |status| status.code),
            0,
            "{}",
            token.claims_text()
        );
    }
}

#[tokio::test]
async fn expired_token_is_token_expired_only_if_the_signature_holds() {
    let gate = Gate::start();
    let expired = gate.token().expired_since(Duration::from_secs(60));
    let response = gate.ask_with(&expired.sign()).await;
    refused(&response, "token_expired");
    refused(
        &gate.ask_with(&spoiled(&expired.sign())).await,
        "signature_invalid",
    );
    let just_over = gate.token().expired_since(Duration::from_secs(1)).sign();
    allowed(&gate.ask_with(&just_over).await);
}

#[tokio::test]
async fn future_token_is_token_not_yet_valid() {
    let gate = Gate::start();
    let ahead = jiff::Timestamp::now().as_second() + 60;
    refused(
        &gate
            .ask_with(&gate.token().claim("nbf", ahead).sign())
            .await,
        "token_not_yet_valid",
    );
}

#[tokio::test]
async fn a_wrong_signature_is_signature_invalid() {
    let gate = Gate::start();
    let token = gate.token().sign();
    refused(&gate.ask_with(&spoiled(&token)).await, "signature_invalid");
    let (signed, _) = token.rsplit_once('.').unwrap();
    let other = gate.token().subject("mallory").sign();
    let (_, signature) = other.rsplit_once('.').unwrap();
    refused(
        &gate.ask_with(&format!("{signed}.{signature}")).await,
        "signature_invalid",
    );
}

#[tokio::test]
async fn a_foreign_issuer_is_issuer_untrusted() {
    let gate = Gate::start();
    let foreign = Issuer::start();
    let token = foreign.token().audience("orders").client_id("shop").sign();
    refused(&gate.ask_with(&token).await, "issuer_untrusted");
    let claims_ours = foreign
        .token()
        .claim("iss", gate.issuer.url())
        .audience("orders")
        .client_id("shop")
        .sign();
    let response = gate.ask_with(&claims_ours).await;
    assert_ne!(
        response.status.as_ref().map_or(0, |status| status.code),
        0,
        "another's key verified a token of ours"
    );
}

#[tokio::test]
async fn what_is_no_token_is_credential_invalid() {
    let gate = Gate::start();
    let good = gate.token().sign();
    let parts: Vec<&str> = good.split('.').collect();
    for text in [
        "x".to_owned(),
        "a.b".to_owned(),
        "a.b.c.d".to_owned(),
        "..".to_owned(),
        format!("{}.{}.", parts[0], parts[1]),
        format!("{good}="),
        format!("{}.{}..{}", parts[0], parts[1], parts[2]),
        "x".repeat(9000),
        format!("{}.{}.{}", parts[0], parts[1], "A".repeat(9000)),
    ] {
        refused(&gate.ask_with(&text).await, "credential_invalid");
    }
}

#[tokio::test]
async fn algorithms_of_the_token_are_not_believed() {
    let gate = Gate::start();
    refused(
        &gate.ask_with(&gate.token().unsigned()).await,
        "credential_invalid",
    );
    let public = gate.issuer.keys().public_pem(Algorithm::Rs256);
    let confused = gate.token().sign_with_secret(public.as_bytes());
    refused(&gate.ask_with(&confused).await, "credential_invalid");
}

#[tokio::test]
async fn header_parameters_that_change_the_meaning_are_credential_invalid() {
    let gate = Gate::start();
    for (name, value) in [
        ("crit", json!(["exp"])),
        ("crit", json!([])),
        ("b64", json!(false)),
        ("zip", json!("DEF")),
        ("enc", json!("A128GCM")),
        ("cty", json!("JWT")),
        ("typ", json!("logout+jwt")),
        ("typ", json!("dpop+jwt")),
    ] {
        refused(
            &gate
                .ask_with(&gate.token().header(name, value).sign())
                .await,
            "credential_invalid",
        );
    }
    for (name, value) in [
        ("ver", json!(1)),
        ("x5u", json!("http://127.0.0.1:1/")),
        ("typ", json!("application/AT+JWT")),
    ] {
        allowed(
            &gate
                .ask_with(&gate.token().header(name, value).sign())
                .await,
        );
    }
}

#[tokio::test]
async fn duplicate_members_are_credential_invalid() {
    let gate = Gate::start();
    let (url, exp) = (
        gate.issuer.url().to_owned(),
        jiff::Timestamp::now().as_second() + 60,
    );
    let kid = gate.issuer.keys().key_id(Algorithm::Rs256);
    let header = format!(r#"{{"alg":"RS256","kid":"{kid}"}}"#);
    let payload = |extra: &str| {
        format!(r#"{{"iss":"{url}","aud":"orders","sub":"a","azp":"shop","exp":{exp}{extra}}}"#)
    };
    let ask = |header: &str, payload: &str| gate.issuer.sign_raw(Algorithm::Rs256, header, payload);
    allowed(&gate.ask_with(&ask(&header, &payload(""))).await);
    for extra in [
        r#","scope":"a","scope":"b""#,
        r#","azp":"x""#,
        r#","t":{"a":1,"a":2}"#,
        r#","exp":1"#,
    ] {
        refused(
            &gate.ask_with(&ask(&header, &payload(extra))).await,
            "credential_invalid",
        );
    }
    let doubled = format!(r#"{{"alg":"RS256","kid":"{kid}","kid":"{kid}"}}"#);
    refused(
        &gate.ask_with(&ask(&doubled, &payload(""))).await,
        "credential_invalid",
    );
    let deep = format!(r#","deep":{}1{}"#, "[".repeat(40), "]".repeat(40));
    refused(
        &gate.ask_with(&ask(&header, &payload(&deep))).await,
        "credential_invalid",
    );
}

#[tokio::test]
async fn two_tokens_are_credential_invalid_whichever_is_good() {
    let gate = Gate::start();
    let token = gate.token().sign();
    for value in [
        format!("Bearer {token},Bearer {token}"),
        format!("Bearer {token}, Basic eDp5"),
        format!("Basic eDp5, Bearer {token}"),
        format!("Bearer  {token}"),
        format!("Bearer {token} {token}"),
    ] {
        refused(
            &gate.ask(get_order().header("authorization", &value)).await,
            "credential_invalid",
        );
    }
    let twice = get_order()
        .header("authorization", format!("Bearer {token}"))
        .header("authorization", "Bearer x");
    refused(&gate.ask(twice.raw_headers()).await, "credential_invalid");
}

#[tokio::test]
async fn the_scheme_is_compared_without_regard_to_case() {
    let gate = Gate::start();
    allowed(
        &gate
            .ask(get_order().header("authorization", format!("bEARER {}", gate.token().sign())))
            .await,
    );
}

#[tokio::test]
async fn a_token_can_sit_in_a_cookie_or_in_the_query() {
    let gate = Gate::with(|builder, _| {
        let places = json!([{ "header": "authorization", "scheme": "Bearer" }, { "cookie": "session" }, { "query": "access_token" }]);
        builder.set(&["authenticators", "partners", "credentials"], places)
    });
    let token = gate.token().sign();
    let response = gate
        .ask(get_order().header("cookie", format!("theme=dark; session={token}; lang=en")))
        .await;
    assert_eq!(
        headers(&allowed(&response).headers)["cookie"],
        "theme=dark; lang=en"
    );
    let response = gate
        .ask(get_order().header("cookie", format!("session={token}")))
        .await;
    assert!(
        allowed(&response)
            .headers_to_remove
            .contains(&"cookie".to_owned())
    );
    let in_query = CheckBuilder::new(
        "GET",
        "api.example",
        &format!("/orders/7?access_token={token}"),
    );
    assert_eq!(
        allowed(&gate.ask(in_query).await).query_parameters_to_remove,
        ["access_token"]
    );
    refused(
        &gate
            .ask(
                get_order()
                    .bearer(&token)
                    .header("cookie", format!("session={token}")),
            )
            .await,
        "credential_invalid",
    );
}

#[tokio::test]
async fn a_source_whose_signatures_fail_is_rate_limited_and_others_are_not() {
    let gate = Gate::with(|builder, _| {
        let limit = json!({ "perSource": { "perSecond": 1, "burst": 3 } });
        builder.set(&["checks", "failedVerifications"], limit)
    });
    let good = gate.token().sign();
    let hostile = |token: &str| {
        let source = Some(socket_address("198.51.100.7", 40_000));
        get_order().bearer(token).source(source)
    };
    let mut reasons = Vec::new();
    for number in 0..40 {
        let token = spoiled(&gate.token().subject(&format!("user-{number}")).sign());
        let answer = gate.ask(hostile(&token)).await;
        reasons.push(metadata(&answer, "reason").unwrap());
        if reasons
            .last()
            .is_some_and(|reason| reason == "rate_limited")
        {
            let denied = refused(&answer, "rate_limited");
            let wait = header(&denied.headers, "retry-after");
            assert_eq!(wait.as_deref(), Some("1"));
        }
    }
    assert_eq!(reasons[..3], ["signature_invalid"; 3]);
    let limited = reasons.iter().filter(|reason| *reason == "rate_limited");
    assert!(limited.count() > 20, "{reasons:?}");
    // not its API keys, and nobody else
    allowed(&gate.ask(hostile_key()).await);
    allowed(&gate.ask_with(&good).await);
    refused(&gate.ask_with(&spoiled(&good)).await, "signature_invalid");
}

/// A good API key from the source that also makes tokens up.
fn hostile_key() -> CheckBuilder {
    let source = Some(socket_address("198.51.100.7", 40_000));
    get_order().header("x-api-key", SHOP_KEY).source(source)
}

/// The token with one bit of its signature changed.
fn spoiled(token: &str) -> String {
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let first = if signature.starts_with('A') { 'B' } else { 'A' };
    format!("{signed}.{first}{}", &signature[1..])
}
