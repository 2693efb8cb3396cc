//! Tokens that were seen before.

use std::sync::Arc;

use super::*;
use crate::authentication::config::Lasting;
use crate::authentication::verified_tokens::VerifiedTokens;
use crate::clock::Clock;

fn lasting() -> Lasting {
    Lasting {
        verified_tokens: VerifiedTokens::new(1024 * 1024),
        ..Lasting::offline(Clock::at(NOW))
    }
}

fn build_again(extra: &str, lasting: &Lasting) -> Arc<Authenticator> {
    let built = build_with(&section(extra), lasting);
    Arc::clone(&built["a"])
}

#[tokio::test]
async fn a_token_seen_before_is_judged_again_on_its_times() {
    let lasting = lasting();
    let a = build_again("", &lasting);
    let times = json!({ "iat": NOW, "nbf": NOW, "exp": NOW + 60 });
    let token = RSA.token(Algorithm::Rs256, &header(), &with(claims(), times));
    let cases = [
        (NOW, Ended::Verified),
        (NOW + 64, Ended::Verified),
        (NOW + 65, Ended::Denied(Reason::TokenExpired)),
        (NOW - 6, Ended::Denied(Reason::TokenNotYetValid)),
        (NOW + 1, Ended::Verified),
    ];
    for (now, expected) in cases {
        lasting.clock.set(now);
        assert_eq!(ended(&present(&a, &token).await), expected, "{now}");
        assert_eq!(lasting.verified_tokens.len(), 1);
    }
}

#[tokio::test]
async fn an_expired_token_is_remembered_and_denied_for_the_same_reason() {
    let lasting = lasting();
    let a = build_again("", &lasting);
    let times = json!({ "iat": NOW - 900, "exp": NOW - 600 });
    let token = RSA.token(Algorithm::Rs256, &header(), &with(claims(), times));
    for _ in 0..2 {
        let outcome = present(&a, &token).await;
        assert_eq!(ended(&outcome), Ended::Denied(Reason::TokenExpired));
        assert_eq!(lasting.verified_tokens.len(), 1);
    }
}

#[tokio::test]
async fn what_does_not_hold_is_never_remembered() {
    let lasting = lasting();
    let a = build_again("", &lasting);
    let good = RSA.token(Algorithm::Rs256, &header(), &claims());
    assert_eq!(ended(&present(&a, &good).await), Ended::Verified);
    let forged = OTHER_RSA.token(Algorithm::Rs256, &header(), &claims());
    let wrong_audience = with(claims(), json!({ "aud": "others" }));
    let wrong_audience = RSA.token(Algorithm::Rs256, &header(), &wrong_audience);
    let last = good.chars().last().unwrap();
    let changed = format!(
        "{}{}",
        good.trim_end_matches(last),
        if last == 'A' { 'Q' } else { 'A' }
    );
    for (token, reason) in [
        (&forged, Reason::SignatureInvalid),
        (&wrong_audience, Reason::AudienceMismatch),
        (&changed, Reason::SignatureInvalid),
    ] {
        for _ in 0..2 {
            let outcome = present(&a, token).await;
            assert_eq!(ended(&outcome), Ended::Denied(reason), "{token}");
        }
    }
    assert_eq!(lasting.verified_tokens.len(), 1);
}

#[tokio::test]
async fn a_reload_with_other_rules_judges_every_token_anew() {
    let lasting = lasting();
    let token = RSA.token(Algorithm::Rs256, &header(), &claims());
    let before = build_again("", &lasting);
    assert_eq!(ended(&present(&before, &token).await), Ended::Verified);
    let after = build_again("audiences: [others]", &lasting);
    let outcome = present(&after, &token).await;
    assert_eq!(ended(&outcome), Ended::Denied(Reason::AudienceMismatch));
    assert_eq!(ended(&present(&before, &token).await), Ended::Verified);
}
