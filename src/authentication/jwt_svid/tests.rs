use std::sync::Arc;

use bolero::check;
use serde_json::{Value, json};

use super::*;
use crate::authentication::Authenticator;
use crate::authentication::key_refresh::KeySources;
use crate::authentication::key_set::KeySet;
use crate::authentication::testing::{
    ED, NOW, OTHER_RSA, P256, P384, P521, RSA, SigningKey, b64, build, signing_input, with,
};
use crate::check::request::PeerAddress;
use crate::spiffe::config::SpiffeConfig;

const SECTION: &str =
    "a: { type: jwtSvid, audiences: [orders, shop], trustDomains: [td, partner.example] }";
const ID: &str = "spiffe://td/ns/a/sa/b";

fn mesh() -> Mesh {
    SpiffeConfig {
        trust_domain: Some("td".into()),
        trust_domain_aliases: vec!["old".into()],
        ..SpiffeConfig::default()
    }
    .mesh()
}

fn bundle(keys: &[(&str, &SigningKey)]) -> KeySet {
    let keys: Vec<Value> = keys.iter().map(|(kid, key)| key.jwk(kid)).collect();
    KeySet::from_jwks(&json!({ "keys": keys })).unwrap()
}

/// Every kind of key in the bundle of `td`; another key in that of the partner.
fn bundles() -> JwtBundles {
    let own = [
        ("rsa", &*RSA),
        ("p256", &*P256),
        ("p384", &*P384),
        ("p521", &*P521),
        ("ed", &*ED),
    ];
    [
        ("td", bundle(&own)),
        ("old", bundle(&own)),
        ("partner.example", bundle(&[("rsa", &*OTHER_RSA)])),
    ]
    .into_iter()
    .map(|(name, keys)| (TrustDomain::parse(name).unwrap(), keys))
    .collect()
}

fn changed(base: &Value, changes: &Value) -> Value {
    with(base.clone(), changes.clone())
}

fn claims() -> Value {
    json!({ "sub": ID, "aud": ["orders"], "exp": NOW + 300, "iat": NOW - 10 })
}

fn header() -> Value {
    json!({ "alg": "ES256", "kid": "p256", "typ": "JWT" })
}

/// Who it is, or the reason why it is nobody; `left` where it is another authenticator's.
fn judged_by(token: &str, bundles: &JwtBundles) -> Result<String, String> {
    let authenticator = build(SECTION, &KeySources::offline());
    let Authenticator::JwtSvid(svid) = &*authenticator else {
        panic!("another authenticator");
    };
    let mesh = mesh();
    let (token, id) = svid
        .read(token, &mesh)
        .map_err(|denial| format!("left: {}", denial.reason()))?;
    let verified = svid.verify(token, id, (bundles, &mesh), PeerAddress::Other);
    match verified {
        Ok(identity) => Ok(identity.subject.as_deref().unwrap().to_owned()),
        Err(Stop::Deny(denial)) => Err(denial.reason().to_string()),
        Err(Stop::Fail(fault)) => Err(fault.reason().to_string()),
    }
}

fn judged(token: &str) -> Result<String, String> {
    judged_by(token, &bundles())
}

fn signed(header: &Value, claims: &Value) -> String {
    P256.token(Algorithm::Es256, header, claims)
}

#[test]
fn s25_each_allowed_algorithm_is_taken_by_the_key_of_the_trust_domain() {
    for (algorithm, kid, key) in [
        (Algorithm::Rs256, "rsa", &*RSA),
        (Algorithm::Rs384, "rsa", &*RSA),
        (Algorithm::Rs512, "rsa", &*RSA),
        (Algorithm::Ps256, "rsa", &*RSA),
        (Algorithm::Ps384, "rsa", &*RSA),
        (Algorithm::Ps512, "rsa", &*RSA),
        (Algorithm::Es256, "p256", &*P256),
        (Algorithm::Es384, "p384", &*P384),
        (Algorithm::Es512, "p521", &*P521),
    ] {
        let header = json!({ "alg": algorithm.name(), "kid": kid });
        let token = key.token(algorithm, &header, &claims());
        assert_eq!(judged(&token).as_deref(), Ok(ID), "{}", algorithm.name());
        assert_eq!(judged(&token).as_deref(), Ok(ID), "again");
    }
    let header = json!({ "alg": "EdDSA", "kid": "ed" });
    let token = ED.token(Algorithm::EdDsa, &header, &claims());
    assert_eq!(judged(&token), Err("credential_invalid".to_owned()));
}

#[test]
fn s25_headers_of_another_form_are_refused() {
    for good in [
        json!({ "alg": "ES256", "kid": "p256" }),
        json!({ "alg": "ES256", "kid": "p256", "typ": "jose" }),
        // one key only can be meant
        json!({ "alg": "ES256" }),
    ] {
        assert_eq!(
            judged(&signed(&good, &claims())).as_deref(),
            Ok(ID),
            "{good}"
        );
    }
    for (changes, reason) in [
        (json!({ "typ": "at+jwt" }), "credential_invalid"),
        (json!({ "typ": "dpop+jwt" }), "credential_invalid"),
        (json!({ "typ": 1 }), "credential_invalid"),
        (json!({ "crit": ["exp"] }), "credential_invalid"),
        (json!({ "jku": "https://evil" }), "credential_invalid"),
        (json!({ "x5c": [] }), "credential_invalid"),
        (json!({ "cty": "x" }), "credential_invalid"),
        (json!({ "alg": "none" }), "credential_invalid"),
        (json!({ "alg": "HS256" }), "credential_invalid"),
        (json!({ "alg": "RS256" }), "credential_invalid"),
        (json!({ "kid": "other" }), "key_unknown"),
        (json!({ "kid": "rsa" }), "credential_invalid"),
    ] {
        let token = signed(&changed(&header(), &changes), &claims());
        assert_eq!(judged(&token), Err(reason.to_owned()), "{changes}");
    }
    // by a public key as a secret, and by none at all
    let input = signing_input(r#"{"alg":"none"}"#, &claims().to_string());
    assert!(judged(&format!("{input}.")).is_err());
    assert!(judged(&format!("{input}.{}", b64(b"x"))).is_err());
}

#[test]
fn s25_claims_that_are_missing_or_wrong_are_refused() {
    for (changes, reason) in [
        (json!({ "aud": null }), "audience_mismatch"),
        (json!({ "aud": "other" }), "audience_mismatch"),
        (json!({ "aud": [] }), "audience_mismatch"),
        (json!({ "aud": 5 }), "credential_invalid"),
        (json!({ "exp": null }), "credential_invalid"),
        (json!({ "exp": "soon" }), "credential_invalid"),
        (json!({ "exp": NOW - 60 }), "token_expired"),
        (json!({ "nbf": NOW + 60 }), "token_not_yet_valid"),
        (json!({ "sub": null }), "left: credential_invalid"),
        (json!({ "sub": "alice" }), "left: credential_invalid"),
        (json!({ "sub": "spiffe://td" }), "left: credential_invalid"),
        (
            json!({ "sub": "spiffe://td/a/../b" }),
            "left: credential_invalid",
        ),
        (
            json!({ "sub": "spiffe://other/a" }),
            "left: issuer_untrusted",
        ),
        // signed by another trust domain's key
        (
            json!({ "sub": "spiffe://partner.example/a" }),
            "key_unknown",
        ),
    ] {
        let token = signed(&header(), &changed(&claims(), &changes));
        assert_eq!(judged(&token), Err(reason.to_owned()), "{changes}");
    }
    for changes in [
        json!({ "iss": "https://whoever.example" }),
        json!({ "aud": "shop" }),
        json!({ "exp": NOW - 3 }),
        json!({ "iat": null }),
    ] {
        let token = signed(&header(), &changed(&claims(), &changes));
        assert_eq!(judged(&token).as_deref(), Ok(ID), "{changes}");
    }
}

#[test]
fn s25_the_key_is_that_of_the_trust_domain_in_the_subject() {
    let header = json!({ "alg": "RS256", "kid": "rsa" });
    let of = |key: &SigningKey, id: &str| {
        let claims = changed(&claims(), &json!({ "sub": id }));
        judged(&key.token(Algorithm::Rs256, &header, &claims))
    };
    let partner = "spiffe://partner.example/pump";
    assert_eq!(of(&OTHER_RSA, partner).as_deref(), Ok(partner));
    assert_eq!(of(&RSA, partner), Err("signature_invalid".to_owned()));
    assert_eq!(of(&OTHER_RSA, ID), Err("signature_invalid".to_owned()));
    // an alias is the same workload, by its own bundle
    assert_eq!(of(&RSA, "spiffe://old/ns/a/sa/b").as_deref(), Ok(ID));
}

#[test]
fn s26_what_is_not_known_is_a_fault_and_what_was_taken_away_is_refused() {
    let token = signed(&header(), &claims());
    let none = JwtBundles::default();
    assert_eq!(
        judged_by(&token, &none),
        Err("dependency_unavailable".to_owned())
    );
    let partner = TrustDomain::parse("partner.example").unwrap();
    let others: JwtBundles = [(partner, bundle(&[("rsa", &*OTHER_RSA)]))]
        .into_iter()
        .collect();
    assert_eq!(
        judged_by(&token, &others),
        Err("issuer_untrusted".to_owned())
    );
}

#[test]
fn s26_remembered_tokens_hold_with_the_very_keys_that_verified_them() {
    let (now, next) = (bundles(), bundles());
    let td = TrustDomain::parse("td").unwrap();
    let keys = Arc::downgrade(now.get(&td).unwrap());
    assert!(now.holds(&keys));
    assert!(!next.holds(&keys));
    drop(now);
    assert!(!next.holds(&keys) && keys.upgrade().is_none());
}

#[test]
fn s26_fuzz_bad_tokens_are_nobodys_and_never_panic() {
    let good = signed(&header(), &claims());
    let bundles = std::panic::AssertUnwindSafe(bundles());
    check!()
        .with_type::<(Vec<(u16, u8)>, bool)>()
        .for_each(|(edits, cut)| {
            let mut bytes = good.clone().into_bytes();
            for (at, byte) in edits.iter().take(8) {
                let at = usize::from(*at) % bytes.len();
                bytes[at] = *byte;
            }
            if *cut {
                bytes.truncate(bytes.len() / 2);
            }
            let text = String::from_utf8_lossy(&bytes).into_owned();
            if text != good {
                assert!(judged_by(&text, &bundles).is_err(), "{text}");
            }
        });
}
