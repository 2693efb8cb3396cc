mod claims;

use aws_lc_rs::hmac;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::authentication::algorithm::Algorithm;
use crate::authentication::key_refresh::KeySources;
use crate::authentication::principal::{ClientIdentity, Principal};
use crate::authentication::testing::*;
use crate::authentication::{Authenticator, Outcome};
use crate::check::decision::{Reason, Stop};

fn section(extra: &str) -> String {
    let keys = json!({ "keys": [
        RSA.jwk("a"), P256.jwk("p256"), P384.jwk("p384"), P521.jwk("p521"), ED.jwk("ed"),
    ] });
    let audiences = if extra.contains("audience") {
        ""
    } else {
        "audiences: [orders, billing]"
    };
    format!(
        "a:\n  type: jwt\n  issuer: {ISSUER}\n  keys: {{ jwks: {keys} }}\n  {audiences}\n  {extra}\n"
    )
}

fn authenticator(extra: &str) -> std::sync::Arc<Authenticator> {
    build(&section(extra), &KeySources::offline())
}

async fn present(authenticator: &Authenticator, token: &str) -> Outcome {
    let Authenticator::Jwt(jwt) = authenticator else {
        panic!("a jwt authenticator");
    };
    jwt.authenticate(&request(
        "/",
        &[("authorization", &format!("Bearer {token}"))],
    ))
    .await
}

async fn judge(extra: &str, token: &str) -> Ended {
    ended(&present(&authenticator(extra), token).await)
}

async fn judge_claims(extra: &str, changes: Value) -> Ended {
    let token = RSA.token(Algorithm::Rs256, &header(), &with(claims(), changes));
    judge(extra, &token).await
}

async fn judge_header(extra: &str, changes: Value) -> Ended {
    let token = RSA.token(Algorithm::Rs256, &with(header(), changes), &claims());
    judge(extra, &token).await
}

async fn verified(extra: &str, changes: Value) -> Principal {
    let token = RSA.token(Algorithm::Rs256, &header(), &with(claims(), changes));
    let outcome = present(&authenticator(extra), &token).await;
    let Outcome::Verified(principal) = outcome else {
        panic!("{outcome:?}");
    };
    principal
}

const INVALID: Ended = Ended::Denied(Reason::CredentialInvalid);

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

/// RFC 8725 section 2.1: a public key as the secret of an HMAC.
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

#[tokio::test]
async fn what_is_no_token_of_ours_is_left_to_others() {
    let good = RSA.token(Algorithm::Rs256, &header(), &claims());
    let parts: Vec<&str> = good.split('.').collect();
    let (h, c, s) = (parts[0], parts[1], parts[2]);
    let twice = b64(claims()
        .to_string()
        .replacen('{', r#"{"sub":"x","#, 1)
        .as_bytes());
    let long_header = b64(json!({ "alg": "RS256", "x": "y".repeat(2048) })
        .to_string()
        .as_bytes());
    let deep = b64(format!(
        "{{\"iss\":\"{ISSUER}\",\"x\":{}{}}}",
        "[".repeat(17),
        "]".repeat(17)
    )
    .as_bytes());
    for token in [
        "opaque".to_owned(),
        format!("{h}.{c}"),
        format!("{h}.{c}."),
        format!("{h}..{s}"),
        format!(".{c}.{s}"),
        format!("{h}.{c}.{s}."),
        format!("{h}.{c}.{s}.{s}.{s}"),
        format!("{h}=.{c}.{s}"),
        format!("{h}.{c}+.{s}"),
        format!("{h}.{twice}.{s}"),
        format!("{h}.{deep}.{s}"),
        format!("{long_header}.{c}.{s}"),
        format!("{}.{c}.{s}", b64(b"[]")),
        format!("{}.{c}.{s}", b64(b"{} {}")),
        format!("{h}.{c}.{}", "A".repeat(8192)),
    ] {
        let ended = judge("", &token).await;
        assert_eq!(ended, Ended::NotMine(Reason::CredentialInvalid), "{token}");
    }
    let other = judge_claims("", json!({ "iss": "https://idp.example/" })).await;
    assert_eq!(other, Ended::NotMine(Reason::IssuerUntrusted));
    let none = judge_claims("", json!({ "iss": null })).await;
    assert_eq!(none, Ended::NotMine(Reason::IssuerUntrusted));
}

#[tokio::test]
async fn the_longest_token_is_a_setting() {
    let sized = |bytes: usize| {
        let bare = |pad: usize| {
            let claims = with(claims(), json!({ "pad": "x".repeat(pad) }));
            RSA.token(Algorithm::Rs256, &header(), &claims)
        };
        let mut pad = (bytes - bare(0).len()) * 3 / 4;
        while bare(pad).len() > bytes {
            pad -= 1;
        }
        while bare(pad + 1).len() <= bytes {
            pad += 1;
        }
        bare(pad)
    };
    let (fits, long) = (sized(8192), sized(8200));
    assert!(fits.len() <= 8192 && long.len() > 8192);
    assert_eq!(judge("", &fits).await, Ended::Verified);
    assert_eq!(
        judge("", &long).await,
        Ended::NotMine(Reason::CredentialInvalid)
    );
    assert_eq!(judge("maxToken: 16KiB", &long).await, Ended::Verified);
}

#[tokio::test]
async fn two_credentials_or_a_list_are_denied() {
    let a = authenticator(
        "credentials: [{ header: authorization, scheme: Bearer }, { cookie: s }, { query: t }]",
    );
    let Authenticator::Jwt(jwt) = &*a else {
        panic!()
    };
    let good = RSA.token(Algorithm::Rs256, &header(), &claims());
    let bearer = format!("bEaReR {good}");
    let cookie = format!("s={good}");
    let path = format!("/?t={good}");
    let cases: &[Case] = &[
        ("/", &[("authorization", &bearer)], Ended::Verified),
        ("/", &[("cookie", &cookie)], Ended::Verified),
        (&path, &[], Ended::Verified),
        (&path, &[("cookie", &cookie)], INVALID),
        (
            "/",
            &[("authorization", &bearer), ("cookie", &cookie)],
            INVALID,
        ),
        (
            "/",
            &[("authorization", "Bearer a.b.c,Bearer d.e.f")],
            INVALID,
        ),
        ("/", &[("authorization", "Basic YTpi")], Ended::Absent),
    ];
    for (path, headers, ends) in cases {
        let outcome = jwt.authenticate(&request(path, headers)).await;
        assert_eq!(&ended(&outcome), ends, "{path} {headers:?}");
    }
}

#[tokio::test]
async fn a_shared_issuer_is_told_apart_by_audience() {
    let keys = json!({ "keys": [RSA.jwk("a")] });
    let one = |name: &str, audience: &str| {
        format!(
            "{name}: {{ type: jwt, issuer: {ISSUER}, keys: {{ jwks: {keys} }}, audiences: [{audience}] }}\n"
        )
    };
    let a = build(
        &(one("a", "orders") + &one("b", "billing")),
        &KeySources::offline(),
    );
    let token = |aud: &str| {
        RSA.token(
            Algorithm::Rs256,
            &header(),
            &with(claims(), json!({ "aud": aud })),
        )
    };
    assert_eq!(ended(&present(&a, &token("orders")).await), Ended::Verified);
    for aud in ["billing", "nobody"] {
        assert_eq!(
            ended(&present(&a, &token(aud)).await),
            Ended::NotMine(Reason::AudienceMismatch)
        );
    }
}

proptest! {
    #[test]
    fn arbitrary_text_never_verifies(
        text in "\\PC*", header in "\\PC{0,40}", claims in "\\PC{0,40}", signature in any::<Vec<u8>>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let a = authenticator("");
        let made = format!("{}.{}", signing_input(&header, &claims), b64(&signature));
        let known = format!("{}.{}", signing_input(r#"{"alg":"RS256","kid":"a"}"#, &crate::authentication::testing::claims().to_string()), b64(&signature));
        for token in [text, made, known] {
            let outcome = runtime.block_on(present(&a, &token));
            prop_assert!(!matches!(outcome, Outcome::Verified(_)));
        }
    }
}
