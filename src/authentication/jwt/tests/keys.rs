use aws_lc_rs::hmac;
use serde_json::json;

use super::*;

#[tokio::test]
async fn every_algorithm_verifies_by_its_own_key() {
    let a = authenticator("");
    let signers = [
        (&RSA, "a", Algorithm::Rs256),
        (&RSA, "a", Algorithm::Rs384),
        (&RSA, "a", Algorithm::Rs512),
        (&RSA, "a", Algorithm::Ps256),
        (&RSA, "a", Algorithm::Ps384),
        (&RSA, "a", Algorithm::Ps512),
        (&P256, "p256", Algorithm::Es256),
        (&P384, "p384", Algorithm::Es384),
        (&P521, "p521", Algorithm::Es512),
        (&ED, "ed", Algorithm::EdDsa),
    ];
    for (key, kid, algorithm) in signers {
        let header = json!({ "alg": algorithm.name(), "kid": kid });
        let token = key.token(algorithm, &header, &claims());
        assert_eq!(
            ended(&present(&a, &token).await),
            Ended::Verified,
            "{algorithm:?}"
        );
        // the same key under another's id
        let header =
            json!({ "alg": algorithm.name(), "kid": if kid == "a" { "p256" } else { "a" } });
        let token = key.token(algorithm, &header, &claims());
        assert_eq!(ended(&present(&a, &token).await), INVALID, "{algorithm:?}");
    }
}

#[tokio::test]
async fn header_rules_hold() {
    for changes in [
        json!({ "crit": ["x"] }),
        json!({ "crit": [] }),
        json!({ "b64": true }),
        json!({ "zip": "DEF" }),
        json!({ "enc": "A128GCM" }),
        json!({ "cty": "jwt" }),
        json!({ "cty": "application/JWT" }),
        json!({ "cty": 5 }),
        json!({ "typ": "logout+jwt" }),
        json!({ "typ": "dpop+jwt" }),
        json!({ "typ": 5 }),
        json!({ "kid": 5 }),
        json!({ "kid": "x".repeat(257) }),
        json!({ "alg": "none" }),
        json!({ "alg": "None" }),
        json!({ "alg": null }),
        json!({ "alg": ["RS256"] }),
        json!({ "alg": "ES256" }),
        json!({ "alg": "HS256" }),
    ] {
        assert_eq!(
            judge_header("", changes.clone()).await,
            INVALID,
            "{changes}"
        );
    }
    for changes in [
        json!({ "typ": null }),
        json!({ "typ": "application/AT+JWT" }),
        json!({ "cty": "json" }),
        json!({ "ver": 1, "foo": {}, "x5t": "AAAA" }),
        json!({ "jku": "https://evil.example", "x5u": "https://evil.example", "x5c": ["AA"] }),
    ] {
        let ended = judge_header("", changes.clone()).await;
        assert_eq!(ended, Ended::Verified, "{changes}");
    }
    let listed = "types: [at+jwt]";
    let at = judge_header(listed, json!({ "typ": "application/at+jwt" })).await;
    assert_eq!(at, Ended::Verified);
    assert_eq!(judge_header(listed, json!({})).await, INVALID);
    assert_eq!(judge_header(listed, json!({ "typ": null })).await, INVALID);
}

#[tokio::test]
async fn a_key_in_the_header_is_not_taken() {
    let header = with(header(), json!({ "jwk": OTHER_RSA.jwk("a") }));
    let token = OTHER_RSA.token(Algorithm::Rs256, &header, &claims());
    assert_eq!(
        judge("", &token).await,
        Ended::Denied(Reason::SignatureInvalid)
    );
}

#[tokio::test]
async fn key_ids_are_looked_up_exactly() {
    let unknown = || Ended::Denied(Reason::KeyUnknown);
    for kid in ["A", "", "../../etc/passwd", "a' OR 1=1"] {
        let ended = judge_header("", json!({ "kid": kid })).await;
        assert_eq!(ended, unknown(), "{kid}");
    }
    // one RSA key: no other is meant
    let ended = judge_header("", json!({ "kid": null })).await;
    assert_eq!(ended, Ended::Verified);
}

#[tokio::test]
async fn algorithms_that_are_not_configured_are_denied() {
    let rules = "algorithms: [ES256]";
    assert_eq!(judge_header(rules, json!({})).await, INVALID);
    let header = json!({ "alg": "ES256", "kid": "p256" });
    let token = P256.token(Algorithm::Es256, &header, &claims());
    assert_eq!(judge(rules, &token).await, Ended::Verified);
}

#[tokio::test]
async fn a_public_key_is_no_secret() {
    let jwk = RSA.jwk("a").to_string();
    let input = signing_input(r#"{"alg":"HS256","kid":"a"}"#, &claims().to_string());
    let key = hmac::Key::new(hmac::HMAC_SHA256, jwk.as_bytes());
    let token = format!(
        "{input}.{}",
        b64(hmac::sign(&key, input.as_bytes()).as_ref())
    );
    assert_eq!(judge("", &token).await, INVALID);
}

#[tokio::test]
async fn a_shared_secret_verifies_where_it_is_configured() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    std::fs::write(&file, "0123456789abcdef0123456789abcdef\n").unwrap();
    let section = format!(
        "a: {{ type: jwt, issuer: {ISSUER}, audiences: [orders], algorithms: [HS256], \
         keys: {{ secret: {{ file: {} }} }} }}",
        file.display()
    );
    let a = build(&section, &KeySources::offline());
    let token = |secret: &[u8], alg: &str| {
        let input = signing_input(&json!({ "alg": alg }).to_string(), &claims().to_string());
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        format!(
            "{input}.{}",
            b64(hmac::sign(&key, input.as_bytes()).as_ref())
        )
    };
    let good = token(b"0123456789abcdef0123456789abcdef", "HS256");
    assert_eq!(ended(&present(&a, &good).await), Ended::Verified);
    let bad = token(b"0123456789abcdef0123456789abcdeg", "HS256");
    assert_eq!(
        ended(&present(&a, &bad).await),
        Ended::Denied(Reason::SignatureInvalid)
    );
    let rsa = RSA.token(Algorithm::Rs256, &header(), &claims());
    assert_eq!(ended(&present(&a, &rsa).await), INVALID);
}

/// Another implementation reads our test tokens as we do.
#[tokio::test]
async fn jsonwebtoken_agrees() {
    use jsonwebtoken::{DecodingKey, Validation, decode};

    let signers = [
        (&RSA, Algorithm::Rs256),
        (&RSA, Algorithm::Ps512),
        (&P256, Algorithm::Es256),
        (&P384, Algorithm::Es384),
        (&ED, Algorithm::EdDsa),
    ];
    for (signer, algorithm) in signers {
        let header = json!({ "alg": algorithm.name(), "kid": "a" });
        let token = signer.token(
            algorithm,
            &header,
            &with(claims(), json!({ "exp": 1_u64 << 40 })),
        );
        let jwk = serde_json::from_value(signer.jwk("a")).unwrap();
        let mut validation = Validation::new(algorithm.name().parse().unwrap());
        validation.set_audience(&["orders"]);
        let key = DecodingKey::from_jwk(&jwk).unwrap();
        decode::<Value>(&token, &key, &validation).unwrap();
    }
}
