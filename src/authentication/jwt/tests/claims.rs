use serde_json::json;

use super::*;

#[tokio::test]
async fn the_principal_says_what_the_claims_say() {
    let principal = verified("", json!({})).await;
    let identity = principal.identity();
    assert_eq!(identity.subject.as_deref(), Some("alice"));
    assert_eq!(identity.client_id.as_deref(), Some("shop"));
    assert_eq!(identity.issuer.as_deref(), Some(ISSUER));
    assert_eq!(principal.client(), ClientIdentity::Client);
    assert!(principal.has_scope("read") && !principal.has_scope("rea"));
    assert_eq!(identity.subscribed_apis, None);
}

#[tokio::test]
async fn claims_are_found_by_paths() {
    let rules = "claims: { clientId: app.key, subject: https://t.example/id, scopes: scp }";
    let changes = json!({ "app": { "key": "k" }, "https://t.example/id": "u", "scp": ["x", "y"] });
    let principal = verified(rules, changes).await;
    let identity = principal.identity();
    assert_eq!(identity.client_id.as_deref(), Some("k"));
    assert_eq!(identity.subject.as_deref(), Some("u"));
    assert_eq!(identity.scopes, ["x".into(), "y".into()] as [Box<str>; 2]);
    let without = verified("", json!({ "azp": null, "client_id": null })).await;
    assert_eq!(without.client(), ClientIdentity::None);
    let consumer = verified("", json!({ "azp": null, "consumerKey": "c" })).await;
    assert_eq!(consumer.identity().client_id.as_deref(), Some("c"));
}

#[tokio::test]
async fn claims_of_the_wrong_type_are_denied() {
    for changes in [
        json!({ "sub": 5 }),
        json!({ "sub": "a\r\nb" }),
        json!({ "sub": "x".repeat(1025) }),
        json!({ "azp": ["shop"] }),
        json!({ "azp": "" }),
        json!({ "scope": 5 }),
        json!({ "scope": ["a", 5] }),
        json!({ "aud": 5 }),
        json!({ "aud": ["orders", 5] }),
        json!({ "aud": {} }),
        json!({ "exp": "1800000300" }),
        json!({ "exp": -1 }),
        json!({ "exp": u64::MAX }),
        json!({ "exp": 1e300 }),
        json!({ "exp": true }),
        json!({ "exp": [] }),
        json!({ "exp": null }),
        json!({ "nbf": "now" }),
        json!({ "iat": {} }),
        json!({ "cnf": { "jkt": "x" } }),
    ] {
        assert_eq!(
            judge_claims("", changes.clone()).await,
            INVALID,
            "{changes}"
        );
    }
    // iss as a list is nobody's token
    let list = judge_claims("", json!({ "iss": ["evil", ISSUER] })).await;
    assert_eq!(list, Ended::NotMine(Reason::IssuerUntrusted));
}

#[tokio::test]
async fn times_are_judged_with_leeway() {
    let expired = Ended::Denied(Reason::TokenExpired);
    let early = Ended::Denied(Reason::TokenNotYetValid);
    for (changes, ends) in [
        (json!({ "exp": NOW - 4 }), Ended::Verified),
        (json!({ "exp": NOW - 5 }), expired),
        (json!({ "exp": 1.5 }), Ended::Denied(Reason::TokenExpired)),
        (json!({ "exp": (NOW + 1) as f64 + 0.5 }), Ended::Verified),
        (json!({ "nbf": NOW + 5 }), Ended::Verified),
        (json!({ "nbf": NOW + 6 }), early),
        (
            json!({ "iat": NOW + 6 }),
            Ended::Denied(Reason::TokenNotYetValid),
        ),
        (json!({ "nbf": null, "iat": null }), Ended::Verified),
    ] {
        assert_eq!(judge_claims("", changes.clone()).await, ends, "{changes}");
    }
    let lifetime = "maxLifetime: 1h";
    let long = json!({ "iat": NOW, "exp": NOW + 3601 });
    assert_eq!(judge_claims(lifetime, long).await, INVALID);
    assert_eq!(
        judge_claims(lifetime, json!({ "iat": null })).await,
        INVALID
    );
    let exact = json!({ "iat": NOW, "exp": NOW + 3600 });
    assert_eq!(judge_claims(lifetime, exact).await, Ended::Verified);
}

#[tokio::test]
async fn expired_is_said_only_after_the_signature_held() {
    let claims = with(claims(), json!({ "exp": NOW - 100 }));
    let forged = OTHER_RSA.token(Algorithm::Rs256, &header(), &claims);
    assert_eq!(
        judge("", &forged).await,
        Ended::Denied(Reason::SignatureInvalid)
    );
}

#[tokio::test]
async fn the_audience_must_be_ours() {
    let other = || Ended::Denied(Reason::AudienceMismatch);
    for (aud, ends) in [
        (json!("billing"), Ended::Verified),
        (json!(["x", "orders"]), Ended::Verified),
        (json!("Orders"), other()),
        (json!(["x"]), other()),
        (json!([]), other()),
        (json!(null), other()),
    ] {
        let ended = judge_claims("", json!({ "aud": aud })).await;
        assert_eq!(ended, ends, "{aud}");
    }
    let any = judge_claims("audience: any", json!({ "aud": null })).await;
    assert_eq!(any, Ended::Verified);
}

#[tokio::test]
async fn an_audience_can_be_the_client() {
    let rules = "audience: clientId";
    let principal = verified(rules, json!({ "aud": ["c1"], "azp": null })).await;
    assert_eq!(principal.identity().client_id.as_deref(), Some("c1"));
    let equal = judge_claims(rules, json!({ "aud": "shop" })).await;
    assert_eq!(equal, Ended::Verified);
    for aud in [json!("other"), json!(["shop", "x"]), json!([]), json!(null)] {
        let ended = judge_claims(rules, json!({ "aud": aud })).await;
        assert_eq!(ended, Ended::Denied(Reason::AudienceMismatch), "{aud}");
    }
}

#[tokio::test]
async fn required_claims_must_be_there() {
    let rules = "requiredClaims: [tenant.id, jti]";
    let both = json!({ "tenant": { "id": 1 }, "jti": "x" });
    assert_eq!(judge_claims(rules, both).await, Ended::Verified);
    assert_eq!(judge_claims(rules, json!({ "jti": "x" })).await, INVALID);
}

#[tokio::test]
async fn subscriptions_are_read_where_the_token_counts() {
    let apis = json!([
        { "name": "httpbinAPI", "version": "1.0.0", "context": "/x", "subscriptionTier": "Gold" },
        { "name": "b", "version": "2" },
    ]);
    let changes = json!({
        "subscribedAPIs": apis,
        "application": { "id": 2, "name": "App1", "tier": "Unlimited", "owner": "admin" },
    });
    let rules = "subscriptions: tokenThenCatalog";
    let principal = verified(rules, changes.clone()).await;
    let identity = principal.identity();
    let claimed = identity.subscribed_apis.as_deref().unwrap();
    assert_eq!(claimed[0].plan.as_deref(), Some("Gold"));
    assert_eq!((&*claimed[1].name, &*claimed[1].version), ("b", "2"));
    let application = identity.claimed_application.as_ref().unwrap();
    assert_eq!(application.id.as_deref(), Some("2"));
    assert_eq!(application.owner.as_deref(), Some("admin"));
    for wrong in [
        json!({ "subscribedAPIs": "x" }),
        json!({ "subscribedAPIs": [5] }),
        json!({ "subscribedAPIs": [{ "name": "a" }] }),
        json!({ "subscribedAPIs": [{ "name": "a", "version": "1", "subscriptionTier": 5 }] }),
        json!({ "application": "x" }),
        json!({ "application": { "uuid": 5 } }),
    ] {
        assert_eq!(judge_claims(rules, wrong.clone()).await, INVALID, "{wrong}");
    }
    // where the catalog alone counts, the claim means nothing
    let ended = judge_claims("", json!({ "subscribedAPIs": "x", "application": "y" })).await;
    assert_eq!(ended, Ended::Verified);
}

#[tokio::test]
async fn no_detail_tells_a_claim_or_the_token() {
    let marked = "mark-of-the-token";
    for changes in [
        json!({ "sub": [marked] }),
        json!({ "iss": marked }),
        json!({ "aud": marked }),
        json!({ "exp": marked }),
        json!({ "scope": { marked: 1 } }),
    ] {
        let token = RSA.token(Algorithm::Rs256, &header(), &with(claims(), changes));
        let outcome = present(kept(authenticator("")), &token).await;
        let (Outcome::NotMine(detail) | Outcome::Stopped(Stop::Deny(detail))) = outcome else {
            panic!("{outcome:?}");
        };
        assert!(!format!("{detail:?}").contains(marked), "{detail:?}");
    }
}
