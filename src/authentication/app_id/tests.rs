use std::collections::BTreeMap;

use super::*;
use crate::authentication::Authenticator;
use crate::authentication::key_refresh::KeySources;
use crate::authentication::testing::{Ended, build, ended, kept, request};
use crate::catalog::Contents;
use crate::catalog::model::{Application, ApplicationId, ApplicationState, Origin};

const INVALID: Ended = Ended::Denied(Reason::CredentialInvalid);

fn application(app_id: &str, keys: &[&str]) -> Application {
    Application {
        id: ApplicationId::new("default", app_id),
        owner: None,
        state: ApplicationState::Active,
        clients: Vec::new(),
        api_keys: Vec::new(),
        app_id: Some(app_id.into()),
        app_keys: keys.iter().map(|key| KeyDigest::of_key(key)).collect(),
        plan: None,
        workloads: Vec::new(),
        subscriptions: BTreeMap::new(),
        origin: Origin {
            source: "s".into(),
            file: "f".into(),
            line: 1,
        },
    }
}

fn present(path: &str, headers: &[(&str, &str)]) -> Outcome<'static> {
    let section = "a: { type: appId, id: [{ header: app_id }, { basic: true }, { query: id }], \
                   key: [{ header: app_key }, { basic: true }] }";
    let built = kept(build(section, &KeySources::offline()));
    let Authenticator::AppId(app_id) = built else {
        panic!("an app id authenticator");
    };
    let applications = vec![
        application("open", &[]),
        application("one", &["k1"]),
        application("two", &["k1", "k2"]),
    ];
    let catalog = Catalog::new(Contents {
        applications,
        ..Contents::default()
    });
    app_id.authenticate(&request(path, headers), &catalog)
}

#[test]
fn an_id_needs_one_of_its_keys_where_it_has_any() {
    let cases: &[(&[(&str, &str)], Ended)] = &[
        (&[("app_id", "open")], Ended::Verified),
        (
            &[("app_id", "open"), ("app_key", "whatever")],
            Ended::Verified,
        ),
        (&[("app_id", "one")], INVALID),
        (&[("app_id", "one"), ("app_key", "k1")], Ended::Verified),
        (&[("app_id", "one"), ("app_key", "k2")], INVALID),
        (&[("app_id", "two"), ("app_key", "k2")], Ended::Verified),
        (&[("app_id", "none"), ("app_key", "k1")], INVALID),
        (&[("app_id", "one,two"), ("app_key", "k1")], INVALID),
        (&[("app_id", "two"), ("app_key", "k1,k2")], INVALID),
        (
            &[("app_key", "k1")],
            Ended::NotMine(Reason::CredentialInvalid),
        ),
        (&[], Ended::Absent),
        // one:k1, and a key elsewhere
        (
            &[("authorization", "Basic b25lOmsx"), ("app_key", "k1")],
            INVALID,
        ),
    ];
    for (headers, ends) in cases {
        assert_eq!(&ended(&present("/", headers)), ends, "{headers:?}");
    }
}

#[test]
fn basic_gives_both() {
    for (basic, ends) in [
        ("b25lOmsx", Ended::Verified), // one:k1
        ("b25lOg==", INVALID),         // one:
        ("b3Blbjo=", Ended::Verified), // open:
        ("b25l", INVALID),             // one
    ] {
        let outcome = present("/", &[("authorization", &format!("Basic {basic}"))]);
        assert_eq!(ended(&outcome), ends, "{basic}");
    }
}

/// What tells an unknown id from a wrong key stays with us.
#[test]
fn an_unknown_id_and_a_wrong_key_are_the_same_to_the_caller() {
    for headers in [
        [("app_id", "none"), ("app_key", "k1")],
        [("app_id", "one"), ("app_key", "x")],
    ] {
        assert_eq!(ended(&present("/", &headers)), INVALID);
    }
}
