use rcgen::{CertificateParams, CertifiedIssuer, KeyPair, PKCS_RSA_SHA256, date_time_ymd};

use super::*;

/// 2026-01-01.
const NOW: i64 = 1_767_225_600;

/// A party's key and chain in PEM: its own certificate, which ends in this year, and its issuer's.
fn pair(year: i32) -> (String, String) {
    let generate = || KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap();
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.not_after = date_time_ymd(2040, 1, 1);
    let authority = CertifiedIssuer::self_signed(authority, generate()).unwrap();
    let mut params = CertificateParams::new(vec!["party.example".to_owned()]).unwrap();
    params.not_after = date_time_ymd(year, 1, 1);
    let key = generate();
    let own = params.signed_by(&key, &authority).unwrap();
    (
        key.serialize_pem(),
        format!("{}{}", own.pem(), authority.pem()),
    )
}

#[test]
fn f28_a_party_is_refused_at_load_where_key_and_certificates_do_not_fit() {
    let (key, chain) = pair(2030);
    let party = Party::new(key.as_bytes(), chain.as_bytes(), None, NOW).unwrap();
    assert_eq!(party.chain.len(), 2);
    assert!(party.chain.iter().all(|one| !one.contains('\n')));
    let wrong = |key: &str, chain: &str| {
        Party::new(key.as_bytes(), chain.as_bytes(), None, NOW).unwrap_err()
    };
    let (other, over) = pair(2025);
    assert_eq!(
        wrong(&other, &chain),
        "the key does not belong to the first certificate"
    );
    assert_eq!(
        wrong(&other, &over),
        "certificate 1 of the chain has expired"
    );
    assert!(wrong("garbage", &chain).contains("no private key"));
    assert_eq!(wrong(&key, "garbage"), "there is no CERTIFICATE block");
    assert_eq!(wrong(&key, &key), "there is no CERTIFICATE block");
    let cut = chain.replacen("MII", "!!!", 1);
    assert!(
        wrong(&key, &cut).contains("cannot be read"),
        "{}",
        wrong(&key, &cut)
    );
    let told = format!("{party:?}");
    assert!(!told.contains("PRIVATE"), "{told}");
}
