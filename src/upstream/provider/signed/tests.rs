use super::*;

/// 2027-01-01T00:00:00Z.
const NEW_YEAR: i64 = 1_798_761_600;

fn key(id: &str, from: Option<&str>) -> Key {
    let pem = rcgen::KeyPair::generate().unwrap().serialize_pem();
    let config = SignedKeyConfig {
        id: Some(id.to_owned()),
        file: None,
        env: None,
        from: from.map(|from| from.parse().unwrap()),
    };
    let key = SigningKey::from_pem(pem.as_bytes(), Some(Algorithm::Es256)).unwrap();
    Key::new(key, &config).unwrap()
}

fn signed(keys: Vec<Key>, clock: &Clock) -> Signed {
    Signed {
        issuer: "https://gw.example".into(),
        keys,
        lifetime: Duration::from_secs(60),
        claims: Vec::new(),
        clock: clock.clone(),
    }
}

#[test]
fn of_the_keys_that_may_sign_the_one_does_that_began_last() {
    let clock = Clock::at(NEW_YEAR - 10);
    let next = || key("next", Some("2027-01-01T00:00:00Z"));
    let signed = signed(vec![key("old", None), next(), key("older", None)], &clock);
    let id = || signed.key().map(|key| key.id.to_string());
    assert_eq!(id().as_deref(), Some("old"));
    let published = signed
        .public_keys()
        .map(|(_, key)| key.common.key_id.as_deref());
    let published: Vec<&str> = published.flatten().collect();
    assert_eq!(
        published,
        ["old", "next", "older"],
        "all of them, ahead of their use"
    );
    clock.set(NEW_YEAR);
    assert_eq!(id().as_deref(), Some("next"));
}

#[test]
fn an_assertion_is_for_one_upstream_and_short() {
    let clock = Clock::at(NEW_YEAR);
    let signed = signed(vec![key("a", None)], &clock);
    let want = Want {
        target: std::sync::Arc::new(Target::default()),
        host: "orders.example".into(),
        caller: Some(crate::secret::Secret::new(r#"{"sub":"alice"}"#.to_owned())),
    };
    let given = signed.sign(&want).unwrap();
    assert_eq!(given.life.lasts, Some(Duration::from_secs(60)));
    let token = given.headers[0].value().unwrap();
    let (_, public) = signed.public_keys().next().unwrap();
    let verifier = jsonwebtoken::DecodingKey::from_jwk(public).unwrap();
    let mut rules = jsonwebtoken::Validation::new(jsonwebtoken::Algorithm::ES256);
    rules.set_audience(&["orders.example"]);
    rules.set_issuer(&["https://gw.example"]);
    rules.validate_exp = false;
    let verified = jsonwebtoken::decode::<Value>(token, &verifier, &rules).unwrap();
    assert_eq!(verified.header.kid.as_deref(), Some("a"));
    assert_eq!(verified.claims["sub"], "alice");
    assert_eq!(verified.claims["exp"], NEW_YEAR + 60);
}

#[test]
fn what_is_published_is_public() {
    let text = serde_json::to_string(&key("a", None).public).unwrap();
    let parts: Map<String, Value> = serde_json::from_str(&text).unwrap();
    assert!(!parts.contains_key("d") && parts["use"] == "sig" && parts["alg"] == "ES256");
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_gone_stays_published_until_its_last_assertion_ended() {
    use std::sync::Arc;

    use crate::upstream::provider::Provider;
    let published = published::PublishedKeys::default();
    let provider = |id| {
        Arc::new(Provider::of_signed(signed(
            vec![key(id, None)],
            &Clock::at(0),
        )))
    };
    let (old, new) = (provider("old"), provider("new"));
    let in_force = |provider: &Arc<Provider>| [("assert".into(), Arc::clone(provider))].into();
    let ids = || -> Vec<String> {
        let set = published.key_set(Some("assert")).unwrap_or_default();
        let keys = set["keys"].as_array().cloned().unwrap_or_default();
        let ids = keys.iter();
        let ids = ids.map(|key| key["kid"].as_str().unwrap_or_default().to_owned());
        ids.collect::<std::collections::BTreeSet<_>>()
            .into_iter()
            .collect()
    };
    published.follow(&in_force(&old));
    published.follow(&in_force(&new));
    assert_eq!(ids(), ["new", "old"]);
    tokio::time::advance(Duration::from_secs(119)).await;
    published.follow(&in_force(&new));
    assert_eq!(ids(), ["new", "old"]);
    tokio::time::advance(Duration::from_secs(2)).await;
    assert_eq!(ids(), ["new"]);
}
