use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::*;
use crate::authentication::testing::*;

fn set(keys: Vec<Value>) -> Result<KeySet, KeySetError> {
    KeySet::from_jwks(&json!({ "keys": keys }))
}

fn verifies(keys: &KeySet, kid: Option<&str>, algorithm: Algorithm, signer: &SigningKey) -> bool {
    let signature = signer.sign(algorithm, b"message");
    keys.find(kid, algorithm)
        .unwrap()
        .verifies(b"message", &signature)
}

#[test]
fn a_key_that_cannot_be_used_does_not_spoil_the_set() {
    let rsa = |n: &[u8], e: &[u8]| json!({ "kty": "RSA", "kid": "x", "n": b64(n), "e": b64(e) });
    let mut odd_modulus = [0xff_u8; 256];
    odd_modulus[255] = 1;
    let off_curve = with(P256.jwk("x"), json!({ "y": b64(&[1; 32]) }));
    for bad in [
        json!(5),
        with(RSA.jwk("x"), json!({ "kid": 5 })),
        with(RSA.jwk("x"), json!({ "kid": "x".repeat(257) })),
        with(RSA.jwk("x"), json!({ "use": "enc" })),
        with(RSA.jwk("x"), json!({ "use": 5 })),
        with(RSA.jwk("x"), json!({ "key_ops": ["encrypt"] })),
        with(RSA.jwk("x"), json!({ "key_ops": "verify" })),
        with(RSA.jwk("x"), json!({ "alg": "RSA-OAEP" })),
        with(RSA.jwk("x"), json!({ "alg": "ES256" })),
        with(RSA.jwk("x"), json!({ "alg": "HS256" })),
        with(RSA.jwk("x"), json!({ "n": null })),
        with(RSA.jwk("x"), json!({ "n": "a+/=" })),
        rsa(&[0xff; 128], &[1, 0, 1]),
        rsa(&[0xff; 1025], &[1, 0, 1]),
        rsa(&odd_modulus, &[1]),
        rsa(&odd_modulus, &[2]),
        rsa(&odd_modulus, &[1, 0, 0, 0, 1]),
        off_curve,
        with(P256.jwk("x"), json!({ "crv": "P-384" })),
        with(P256.jwk("x"), json!({ "crv": "secp256k1" })),
        with(P256.jwk("x"), json!({ "alg": "ES384" })),
        with(P256.jwk("x"), json!({ "x": b64(&[1; 31]) })),
        with(ED.jwk("x"), json!({ "crv": "Ed448" })),
        with(ED.jwk("x"), json!({ "x": b64(&[1; 31]) })),
        json!({ "kty": "oct", "kid": "x", "k": b64(&[7; 64]) }),
        json!({ "kty": "AKP", "kid": "x" }),
        json!({}),
    ] {
        let keys = set(vec![bad.clone(), ED.jwk("good")]).unwrap();
        assert_eq!((keys.len(), keys.skipped().len()), (1, 1), "{bad}");
        assert!(verifies(&keys, Some("good"), Algorithm::EdDsa, &ED));
        assert_eq!(
            keys.find(Some("x"), Algorithm::Hs256).unwrap_err(),
            NoKey::Unknown
        );
    }
}

#[test]
fn what_makes_a_set_doubtful_refuses_it_whole() {
    for member in PRIVATE {
        let burnt = with(RSA.jwk("x"), json!({ member: "AQAB" }));
        assert_eq!(
            set(vec![ED.jwk("good"), burnt]).unwrap_err(),
            KeySetError::PrivateMembers(1)
        );
    }
    let same = set(vec![RSA.jwk("a"), OTHER_RSA.jwk("a")]);
    assert_eq!(same.unwrap_err(), KeySetError::SameId);
    let many = set(vec![ED.jwk("a"); 101]);
    assert_eq!(many.unwrap_err(), KeySetError::TooManyKeys);
    for document in [json!({}), json!([]), json!({ "keys": {} })] {
        let error = KeySet::from_jwks(&document).unwrap_err();
        assert_eq!(error, KeySetError::NotASet);
    }
}

const PRIVATE: [&str; 7] = ["d", "p", "q", "dp", "dq", "qi", "oth"];

#[test]
fn a_key_may_stand_twice_for_two_algorithms() {
    let only = |alg| with(RSA.jwk("a"), json!({ "alg": alg, "use": "sig" }));
    let keys = set(vec![only("RS256"), only("PS256")]).unwrap();
    assert_eq!(keys.len(), 1);
    assert!(verifies(&keys, Some("a"), Algorithm::Rs256, &RSA));
    assert!(verifies(&keys, Some("a"), Algorithm::Ps256, &RSA));
    let other = keys.find(Some("a"), Algorithm::Rs512).unwrap_err();
    assert_eq!(other, NoKey::OtherAlgorithm);
}

#[test]
fn a_token_without_key_id_needs_exactly_one_key() {
    let keys = set(vec![RSA.jwk("a"), P256.jwk("b")]).unwrap();
    assert!(keys.find(None, Algorithm::Rs256).is_ok());
    let keys = set(vec![RSA.jwk("a"), OTHER_RSA.jwk("b")]).unwrap();
    for algorithm in [Algorithm::Rs256, Algorithm::Es256] {
        assert_eq!(keys.find(None, algorithm).unwrap_err(), NoKey::NotNamed);
    }
    assert!(keys.knows(None) && keys.knows(Some("a")) && !keys.knows(Some("c")));
}

fn pem(label: &str, der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n")
}

fn info<T: AsDer<PublicKeyX509Der<'static>>>(key: &T) -> String {
    pem("PUBLIC KEY", key.as_der().unwrap().as_ref())
}

#[test]
fn public_keys_are_read_from_pem_and_the_key_id_is_ignored() {
    let signers = [
        (&RSA, Algorithm::Ps256),
        (&P256, Algorithm::Es256),
        (&P384, Algorithm::Es384),
        (&P521, Algorithm::Es512),
        (&ED, Algorithm::EdDsa),
    ];
    for (signer, algorithm) in signers {
        let text = match &**signer {
            SigningKey::Rsa(key) => info(key.public_key()),
            SigningKey::Ec(key) => info(key.public_key()),
            SigningKey::Ed(key) => info(key.public_key()),
        };
        let keys = KeySet::from_pem(text.as_bytes()).unwrap();
        assert!(verifies(&keys, Some("whatever"), algorithm, signer));
        assert!(keys.knows(Some("whatever")));
        assert_eq!(
            keys.find(None, Algorithm::Hs256).unwrap_err(),
            NoKey::OtherAlgorithm
        );
    }
    let SigningKey::Rsa(rsa) = &*RSA else {
        panic!("an RSA key")
    };
    let pkcs1 = pem("RSA PUBLIC KEY", rsa.public_key().as_ref());
    let keys = KeySet::from_pem(pkcs1.as_bytes()).unwrap();
    assert!(verifies(&keys, None, Algorithm::Rs256, &RSA));
}

#[test]
fn the_key_of_a_certificate_is_read() {
    let made = rcgen::generate_simple_self_signed(vec!["idp.example".to_owned()]).unwrap();
    let signer = EcdsaKeyPair::from_pkcs8(
        &ECDSA_P256_SHA256_FIXED_SIGNING,
        &made.signing_key.serialize_der(),
    );
    let signer = SigningKey::Ec(signer.unwrap());
    let keys = KeySet::from_pem(made.cert.pem().as_bytes()).unwrap();
    assert!(verifies(&keys, None, Algorithm::Es256, &signer));
}

#[test]
fn what_is_no_public_key_is_refused() {
    let private = pem("PRIVATE KEY", b"x");
    for text in [
        "",
        "x",
        &private,
        &pem("PUBLIC KEY", b"x"),
        &pem("CERTIFICATE", b"x"),
    ] {
        assert!(
            matches!(KeySet::from_pem(text.as_bytes()), Err(KeySetError::Pem(_))),
            "{text}"
        );
    }
}

#[test]
fn a_secret_is_at_least_as_long_as_the_hash() {
    let secret = |bytes| Secret::new(vec![7; bytes]);
    assert!(KeySet::from_secret(&secret(32), &[Algorithm::Hs256]).is_ok());
    for (bytes, algorithm) in [(31, Algorithm::Hs256), (63, Algorithm::Hs512)] {
        let error = KeySet::from_secret(&secret(bytes), &[algorithm]).unwrap_err();
        assert_eq!(error, KeySetError::ShortSecret(algorithm, bytes + 1));
    }
}

#[test]
fn debug_tells_no_key() {
    let keys = KeySet::from_secret(&Secret::new(vec![b'7'; 32]), &[Algorithm::Hs256]).unwrap();
    assert_eq!(format!("{keys:?}"), r#"[(None, ["HS256"])]"#);
}
