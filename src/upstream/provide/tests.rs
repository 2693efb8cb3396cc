//! What tokens are kept under.

use std::collections::HashMap;

use serde_json::{from_value, json};

use super::*;
use crate::clock::Clock;
use crate::config::findings::Findings;
use crate::config::reader::Reader;
use crate::upstream::provider::config::{Ours, ProviderConfigs, ProviderContext, build_all};
use crate::upstream::provider::ishare::Parties;
use crate::upstream::provider::service::ProviderServices;

/// How many needs are made up: each is compared with every other, which is more than a million pairs.
const NEEDS: usize = 3_000;

/// Few texts, so that two needs differ in little, and what ends one text begins another.
const TEXTS: [&str; 6] = ["", "a", "aa", "b", "a\0", "/a"];

/// Everything that a token is kept apart by.
#[derive(Debug, Clone, PartialEq)]
struct MadeUp {
    provider: &'static str,
    target: Target,
    host: &'static str,
    caller: Option<&'static str>,
}

/// Two providers of one configuration, and one of another.
fn providers() -> Providers {
    let of = |kind: &str| {
        json!({ "authProvider": {
            "url": "http://localhost", "authType": kind, "http": { "allowHttp": true },
        } })
    };
    let configs = json!({ "one": of("A"), "two": of("A"), "three": of("B") });
    let configs: ProviderConfigs = from_value(configs).unwrap();
    let mut findings = Findings::default();
    let mut context = ProviderContext {
        reader: &mut Reader::new(""),
        findings: &mut findings,
        services: &ProviderServices::offline(Clock::system()),
        parties: &Parties::default(),
        ours: Ours::default(),
    };
    build_all(&configs, &mut context).unwrap()
}

fn made_up(random: &mut fastrand::Rng) -> MadeUp {
    let mut maybe = || {
        let text = random.choice(TEXTS).unwrap();
        random.bool().then_some(text)
    };
    let mut own = || maybe().map(Arc::from);
    let target = Target {
        path: own().unwrap_or_else(|| "/".into()),
        audience: own(),
        scope: own(),
        resource: own(),
        party: own(),
        grant_type: own(),
        ..Target::default()
    };
    MadeUp {
        target,
        host: maybe().unwrap_or("h"),
        caller: maybe(),
        provider: random.choice(["one", "two", "three"]).unwrap(),
    }
}

#[test]
fn f16_what_differs_in_anything_is_never_kept_under_one_key() {
    let providers = providers();
    let mut random = fastrand::Rng::with_seed(16);
    let mut known: HashMap<KeyedDigest, MadeUp> = HashMap::new();
    for _ in 0..NEEDS {
        let need = made_up(&mut random);
        let rule = CredentialRule {
            provider: need.provider.into(),
            target: Arc::new(need.target.clone()),
            removed: Vec::new(),
            on_failure: OnFailure::Deny,
            on_absent: OnAbsent::Deny,
        };
        let credential = PreparedCredential::of(&rule, &[], &providers).unwrap();
        let key = credential.key(need.host, need.caller);
        let before = known.entry(key).or_insert_with(|| need.clone());
        assert_eq!(*before, need, "two of them under one key");
    }
    let pairs = known.len() * (known.len() - 1) / 2;
    assert!(pairs > 1_000_000, "{pairs} pairs were compared");
}
