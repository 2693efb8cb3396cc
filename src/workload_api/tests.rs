//! Tests of what the Workload API's client reads, without an agent; `tests/it/workload_api.rs` has one.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::jwt_bundles::keys;
use super::jwt_svid::check;
use super::messages::X509Given;
use crate::authentication::algorithm::Algorithm;
use crate::authentication::key_set::KeySet;
use crate::spiffe::TrustDomain;

const X: &str = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU";
const Y: &str = "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0";

fn read(document: &Value) -> Result<KeySet, String> {
    let domain = TrustDomain::parse("td").unwrap();
    keys(&domain, document.to_string().as_bytes())
}

#[test]
fn keys_for_something_else_than_jwt_svids_are_left_out() {
    let key = |id: &str, purpose: Value| {
        let mut key = json!({ "kty": "EC", "crv": "P-256", "kid": id, "x": X, "y": Y });
        if !purpose.is_null() {
            key["use"] = purpose;
        }
        key
    };
    let document = json!({ "keys": [
        key("plain", Value::Null), key("svid", json!("jwt-svid")), key("sig", json!("sig")),
        key("x509", json!("x509-svid")), key("wit", json!("wit-svid")), key("number", json!(7)),
    ] });
    let keys = read(&document).unwrap();
    for id in ["plain", "svid", "sig"] {
        assert!(keys.find(Some(id), Algorithm::Es256).is_ok(), "{id}");
    }
    assert_eq!(keys.len(), 3);
}

#[test]
fn a_bundle_that_shows_a_private_key_is_refused() {
    let key = json!({ "kty": "EC", "crv": "P-256", "kid": "k", "x": X, "y": Y, "d": "AA" });
    assert!(read(&json!({ "keys": [key] })).is_err());
}

fn svid(expires: i64) -> spiffe::JwtSvid {
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let header = part(json!({ "alg": "ES256", "kid": "k", "typ": "JWT" }));
    let claims = json!({ "sub": "spiffe://td/a", "aud": ["idp"], "exp": expires });
    let token = format!(
        "{header}.{}.{}",
        part(claims),
        URL_SAFE_NO_PAD.encode([1; 64])
    );
    spiffe::JwtSvid::parse_insecure(&token).unwrap()
}

#[test]
fn s29_a_jwt_svid_is_asked_for_again_while_a_quarter_or_30_seconds_are_left() {
    let now = Timestamp::from_second(1_700_000_000).unwrap();
    let renewed_after = |seconds: i64| {
        let svid = check(&svid(now.as_second() + seconds), "idp", now).unwrap();
        svid.renew.duration_since(now).as_secs()
    };
    assert_eq!(renewed_after(300), 225);
    assert_eq!(renewed_after(100), 70);
    assert_eq!(renewed_after(31), 1);
    assert_eq!(
        renewed_after(20),
        0,
        "it is for those who wait for it alone"
    );
}

#[test]
fn a_jwt_svid_that_is_over_or_for_somebody_else_is_not_used() {
    let now = Timestamp::from_second(1_700_000_000).unwrap();
    let of = |seconds: i64, audience: &str| {
        let svid = check(&svid(now.as_second() + seconds), audience, now);
        svid.map(|_| ())
    };
    assert_eq!(of(0, "idp"), Err("has expired already"));
    assert_eq!(of(-60, "idp"), Err("has expired already"));
    let why = "is not for the audience that was asked for";
    assert_eq!(of(60, "other"), Err(why));
    assert_eq!(of(60, "idp"), Ok(()));
}

#[test]
fn no_private_key_of_a_message_is_told() {
    let mut given = X509Given::default();
    given.id.push_str("spiffe://td/a");
    given.key.extend([7; 4]);
    assert_eq!(
        format!("{given:?}"),
        r#"X509Given { id: "spiffe://td/a", .. }"#
    );
}
