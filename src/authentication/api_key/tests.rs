use std::collections::BTreeMap;

use super::*;
use crate::authentication::Authenticator;
use crate::authentication::key_refresh::KeySources;
use crate::authentication::principal::ClientIdentity;
use crate::authentication::testing::{Case, Ended, NOW, build, ended, kept, request};
use crate::catalog::Contents;
use crate::catalog::model::{
    ApiKey, Application, ApplicationId, ApplicationIndex, ApplicationState, Origin,
};

const INVALID: Ended = Ended::Denied(Reason::CredentialInvalid);

fn catalog(keys: Vec<(KeyDigest, Option<i64>)>) -> Catalog {
    let keys = keys.into_iter().map(|(digest, expires)| ApiKey {
        name: None,
        digest,
        expires: expires.map(|seconds| jiff::Timestamp::from_second(seconds).unwrap()),
    });
    let application = Application {
        id: ApplicationId::new("default", "shop"),
        owner: None,
        state: ApplicationState::Active,
        clients: Vec::new(),
        api_keys: keys.collect(),
        app_id: None,
        app_keys: Vec::new(),
        plan: None,
        workloads: Vec::new(),
        subscriptions: BTreeMap::new(),
        origin: Origin {
            source: "s".into(),
            file: "f".into(),
            line: 1,
        },
    };
    Catalog::new(Contents {
        applications: vec![application],
        ..Contents::default()
    })
}

fn present(section: &str, request: &DownstreamRequest, catalog: &Catalog) -> Outcome<'static> {
    let built = kept(build(section, &KeySources::offline()));
    let Authenticator::ApiKey(api_key) = built else {
        panic!("an api key authenticator");
    };
    api_key.authenticate(request, catalog)
}

const PLACES: &str =
    "a: { type: apiKey, credentials: [{ header: x-api-key }, { query: k }, { basic: true }] }";

#[test]
fn a_key_is_found_wherever_it_sits() {
    let catalog = catalog(vec![(KeyDigest::of_key("key-1"), None)]);
    // key-1: / :key-1 / key-1:x
    let cases: &[Case] = &[
        ("/", &[("x-api-key", "key-1")], Ended::Verified),
        ("/?k=key%2d1", &[], Ended::Verified),
        ("/", &[("authorization", "Basic a2V5LTE6")], Ended::Verified),
        ("/", &[("authorization", "Basic OmtleS0x")], Ended::Verified),
        (
            "/",
            &[("authorization", "Basic a2V5LTE6eA==")],
            Ended::NotMine(Reason::CredentialInvalid),
        ),
        ("/", &[("x-api-key", "key-2")], INVALID),
        ("/", &[("x-api-key", "key-1,key-1")], INVALID),
        ("/?k=key-1", &[("x-api-key", "key-1")], INVALID),
        ("/", &[], Ended::Absent),
    ];
    for (path, headers, ends) in cases {
        let outcome = present(PLACES, &request(path, headers), &catalog);
        assert_eq!(&ended(&outcome), ends, "{path} {headers:?}");
        if let Outcome::Verified(principal) = outcome {
            let client = ClientIdentity::Application(ApplicationIndex(0));
            assert_eq!(principal.client(), client);
        }
    }
}

#[test]
fn a_key_that_has_ended_is_unknown() {
    let digest = KeyDigest::of_key("key-1");
    let request = request("/", &[("x-api-key", "key-1")]);
    for (expires, ends) in [(NOW, INVALID), (NOW + 1, Ended::Verified)] {
        let catalog = catalog(vec![(digest, Some(expires))]);
        assert_eq!(ended(&present(PLACES, &request, &catalog)), ends);
    }
}

#[test]
fn two_peppers_are_tried() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    for name in ["new", "old"] {
        std::fs::write(file(name), format!("pepper {name}")).unwrap();
    }
    let section = format!(
        "a: {{ type: apiKey, credentials: [{{ header: x }}], peppers: [{{ file: {} }}, {{ file: {} }}] }}",
        file("new").display(),
        file("old").display()
    );
    for (pepper, ends) in [
        ("pepper new", Ended::Verified),
        ("pepper old", Ended::Verified),
        ("pepper other", INVALID),
    ] {
        let digest = KeyDigest::of_key_with_pepper("pass", &MacKey::new(pepper.as_bytes()));
        let outcome = present(
            &section,
            &request("/", &[("x", "pass")]),
            &catalog(vec![(digest, None)]),
        );
        assert_eq!(ended(&outcome), ends, "{pepper}");
    }
}

#[test]
fn digests_print_as_read() {
    let text = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(KeyDigest::of_key("abc").to_text(), text);
    assert_eq!(KeyDigest::parse(text), Ok(KeyDigest::of_key("abc")));
    let (prefix, hex) = text.split_once(':').unwrap();
    let upper = format!("{prefix}:{}", hex.to_uppercase());
    assert_eq!(KeyDigest::parse(&upper), Ok(KeyDigest::of_key("abc")));
    let peppered = KeyDigest::of_key_with_pepper("abc", &MacKey::new(b"p"));
    assert_eq!(KeyDigest::parse(&peppered.to_text()), Ok(peppered));
    for wrong in [
        "",
        "sha256:",
        hex,
        &text[..text.len() - 1],
        &format!("{text}0"),
        &text.replace("ba", "+a"),
        &text.replace("sha256", "SHA256"),
        &text.replace("sha256", "md5"),
        &format!("sha256:{}", "é".repeat(32)),
    ] {
        assert_eq!(KeyDigest::parse(wrong), Err(KeyDigestError), "{wrong}");
    }
    assert!(!format!("{peppered:?}{:?}", peppered.keyed()).contains("1"));
}

/// The same 32 bytes are two digests where they were made in two ways.
#[test]
fn a_digest_is_of_its_kind() {
    let (plain, peppered) = (KeyDigest::Sha256([1; 32]), KeyDigest::HmacSha256([1; 32]));
    assert!(plain.keyed() != peppered.keyed() && !plain.equals(&peppered));
    assert!(plain.keyed() == plain.keyed() && plain.equals(&plain));
}
