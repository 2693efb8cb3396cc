mod claims;
mod fuzz;
mod keys;
mod seen;

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::authentication::algorithm::Algorithm;
use crate::authentication::key_refresh::KeySources;
use crate::authentication::principal::{ClientIdentity, Principal};
use crate::authentication::testing::*;
use crate::authentication::{Authenticator, Outcome};
use crate::check::decision::{Reason, Stop};
use crate::spiffe::config::Mesh;

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

async fn present<'a>(authenticator: &'a Authenticator, token: &str) -> Outcome<'a> {
    let Authenticator::Jwt(jwt) = authenticator else {
        panic!("a jwt authenticator");
    };
    let headers = [("authorization", &*format!("Bearer {token}"))];
    jwt.authenticate(&request("/", &headers), &Mesh::default())
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

async fn verified(extra: &str, changes: Value) -> Principal<'static> {
    let token = RSA.token(Algorithm::Rs256, &header(), &with(claims(), changes));
    let outcome = present(kept(authenticator(extra)), &token).await;
    let Outcome::Verified(principal) = outcome else {
        panic!("{outcome:?}");
    };
    principal
}

const INVALID: Ended = Ended::Denied(Reason::CredentialInvalid);

/// RFC 8725 section 2.1: a public key as the secret of an HMAC.
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
        let outcome = jwt
            .authenticate(&request(path, headers), &Mesh::default())
            .await;
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
