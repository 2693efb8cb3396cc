use rcgen::{CertificateParams, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256};

use super::*;

/// An RSA key and a certificate for it, both in PEM.
pub(crate) struct Pair {
    pub(crate) key: String,
    pub(crate) chain: String,
}

/// A pair of its own; `years` is when the certificate begins and ends.
pub(crate) fn pair_valid(years: (i32, i32)) -> Pair {
    let key = rcgen::KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap();
    Pair {
        chain: certificate(&key, years),
        key: key.serialize_pem(),
    }
}

pub(crate) fn pair() -> Pair {
    pair_valid((2020, 2090))
}

fn certificate(key: &rcgen::KeyPair, (from, to): (i32, i32)) -> String {
    let mut params = CertificateParams::new(vec!["party.example".to_owned()]).unwrap();
    params.not_before = rcgen::date_time_ymd(from, 1, 1);
    params.not_after = rcgen::date_time_ymd(to, 1, 1);
    params.self_signed(key).unwrap().pem()
}

#[test]
fn a_chain_and_its_key_are_read() {
    let (own, other) = (pair(), pair());
    let long = format!("subject=CN = party\n{}{}", own.chain, other.chain);
    let chain = CertificateChain::parse(long.as_bytes()).unwrap();
    assert_eq!(chain.pem().matches("BEGIN CERTIFICATE").count(), 2);
    assert!(!chain.pem().contains("subject"), "the certificates alone");
    let key = SigningKey::parse(own.key.as_bytes()).unwrap();
    assert!(chain.is_of(&key));
    assert!(!chain.is_of(&SigningKey::parse(other.key.as_bytes()).unwrap()));
    assert_eq!(
        SigningKey::parse(key.pem().expose()).unwrap().public,
        key.public
    );
}

#[test]
fn keys_are_read_in_pkcs_1_too() {
    let own = pair();
    let block = Pem::iter_from_buffer(own.key.as_bytes()).next().unwrap();
    let pkcs8 = block.unwrap().contents;
    // PrivateKeyInfo (RFC 5208): version, algorithm, and the PKCS #1 key in an octet string
    let pkcs1 = armored("RSA PRIVATE KEY", &pkcs8[26..]);
    let key = SigningKey::parse(pkcs1.as_bytes()).unwrap();
    assert!(
        CertificateChain::parse(own.chain.as_bytes())
            .unwrap()
            .is_of(&key)
    );
}

#[test]
fn what_is_no_chain_is_refused() {
    let own = pair();
    let elliptic = rcgen::KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let broken = own.chain.replacen("MII", "AII", 1);
    for (text, why) in [
        (String::new(), MaterialError::NoCertificate),
        ("garbage".to_owned(), MaterialError::NoCertificate),
        (broken, MaterialError::BadCertificate),
        (
            format!("{}{}", own.chain, own.key),
            MaterialError::NotOnlyCertificates,
        ),
        (own.key.clone(), MaterialError::NotOnlyCertificates),
        (
            certificate(&elliptic, (2020, 2090)),
            MaterialError::NotRsaCertificate,
        ),
        (own.chain.repeat(17), MaterialError::TooManyCertificates),
    ] {
        assert_eq!(CertificateChain::parse(text.as_bytes()), Err(why), "{text}");
    }
}

#[test]
fn the_dates_of_the_leaf_count() {
    let now: Timestamp = "2026-06-01T00:00:00Z".parse().unwrap();
    for (years, expected) in [
        ((2020, 2090), Ok(())),
        ((2020, 2026), Err(MaterialError::Expired)),
        ((2027, 2090), Err(MaterialError::NotYetValid)),
    ] {
        let chain = CertificateChain::parse(pair_valid(years).chain.as_bytes()).unwrap();
        assert_eq!(chain.check_dates(now), expected, "{years:?}");
    }
}

#[test]
fn what_is_no_key_is_refused_without_being_told() {
    let own = pair();
    let elliptic = rcgen::KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    for (text, why) in [
        (String::new(), MaterialError::NoKey),
        (own.chain.clone(), MaterialError::NoKey),
        (own.key.repeat(2), MaterialError::NoKey),
        (elliptic.serialize_pem(), MaterialError::BadKey),
        (
            own.key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY"),
            MaterialError::EncryptedKey,
        ),
        (own.key.replacen("MII", "AII", 1), MaterialError::BadKey),
    ] {
        let error = SigningKey::parse(text.as_bytes()).unwrap_err();
        assert_eq!(error, why, "{text}");
    }
    let key = SigningKey::parse(own.key.as_bytes()).unwrap();
    assert!(!format!("{key:?}").contains("PRIVATE"));
}
