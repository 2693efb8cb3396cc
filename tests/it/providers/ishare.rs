//! Provider `ishare`: what identity providers are told, and the keys of parties.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Scene, Stage, get, merged, outcome, token};
use crate::support::authority::{Authority, Identity};
use crate::support::eventually;
use crate::support::providers::Providers;
use crate::support::providers::call::Call;

const PARTY: &str = "EU.EORI.NL000000001";

/// The provider of a party whose files begin with `files`.
fn ishare(fake: &Providers, party: &str, files: &str, changed: Value) -> Value {
    merged(
        json!({
            "type": "ishare", "party": party, "key": { "file": format!("{files}.key") },
            "certificates": { "file": format!("{files}.crt") }, "tokenUrl": fake.token_url(),
            "audience": "EU.EORI.NLIDP", "http": { "allowHttp": true },
        }),
        changed,
    )
}

/// One party at every host.
fn one(fake: &Providers, key: &str, certificates: &str) -> Stage {
    Stage::new()
        .file("party.key", key)
        .file("party.crt", certificates)
        .provider("partner", ishare(fake, PARTY, "party", json!({})))
        .api("all", "*", "/", json!({ "provider": "partner" }))
}

#[tokio::test]
async fn f23_the_assertion_is_what_ishare_asks_for() {
    let (fake, authority) = (Providers::start(), Authority::new());
    let party = authority.party(PARTY);
    let scene = one(&fake, &party.key_pem(), &party.chain_pem()).start();
    let mut ids = std::collections::HashSet::new();
    for number in 0..5 {
        let asked = jiff::Timestamp::now().as_second();
        scene.token(&format!("h{number}.org"), "/").await;
        let assertion = fake.last().certified_assertion();
        assert_eq!(assertion.header["typ"], "JWT");
        let chain: Vec<Vec<u8>> = party
            .chain()
            .iter()
            .map(|certificate| certificate.to_vec())
            .collect();
        assert_eq!(assertion.certificates(), chain, "all of them, leaf first");
        let claims = assertion.claims.as_object().unwrap();
        let mut names: Vec<&str> = claims.keys().map(String::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["aud", "exp", "iat", "iss", "jti", "nbf", "sub"]);
        assert_eq!(
            (&claims["iss"], &claims["sub"]),
            (&json!(PARTY), &json!(PARTY))
        );
        assert_eq!(claims["aud"], "EU.EORI.NLIDP");
        let seconds = |name: &str| claims[name].as_i64().unwrap();
        assert!((asked..=asked + 5).contains(&seconds("iat")));
        assert_eq!(seconds("nbf"), seconds("iat"));
        assert_eq!(seconds("exp"), seconds("iat") + 30);
        assert!(
            ids.insert(claims["jti"].as_str().unwrap().to_owned()),
            "a jti comes again"
        );
    }
}

#[tokio::test]
async fn f24_the_form_has_five_fields_and_those_that_are_configured() {
    let (fake, authority) = (Providers::start(), Authority::new());
    let party = authority.party(PARTY);
    let own = json!({
        "grantType": "urn:x", "scope": "own", "parameters": { "tenant": "t&1" },
        "tokenUrls": { "allow": [format!("{}/other/*", fake.url())] },
    });
    let credential = json!({
        "provider": "own", "grantType": "urn:y", "scope": "of the api", "audience": "EU.EORI.OTHER",
        "tokenUrl": format!("{}/other/token", fake.url()),
    });
    let scene = one(&fake, &party.key_pem(), &party.chain_pem())
        .provider("own", ishare(&fake, PARTY, "party", own))
        .api("own", "own.org", "/", json!({ "provider": "own" }))
        .api("named", "named.org", "/", credential)
        .start();
    let field = |call: &Call, name: &str| call.field(name).unwrap_or_default().to_owned();
    let five = [
        "client_assertion",
        "client_assertion_type",
        "client_id",
        "grant_type",
        "scope",
    ];
    scene.token("usual.org", "/").await;
    let call = fake.last();
    assert_eq!(call.field_names(), five);
    assert_eq!(
        call.header("content-type"),
        Some("application/x-www-form-urlencoded")
    );
    assert_eq!(call.header("authorization"), None);
    for (name, value) in [
        ("grant_type", "client_credentials"),
        ("scope", "iSHARE"),
        ("client_id", PARTY),
        (
            "client_assertion_type",
            "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        ),
    ] {
        assert_eq!(field(&call, name), value, "{name}");
    }
    scene.token("own.org", "/").await;
    let call = fake.last();
    assert_eq!(call.field_names().len(), 6);
    assert_eq!(
        (
            field(&call, "grant_type"),
            field(&call, "scope"),
            field(&call, "tenant")
        ),
        ("urn:x".to_owned(), "own".to_owned(), "t&1".to_owned())
    );
    scene.token("named.org", "/").await;
    let call = fake.last();
    assert_eq!(call.request.target, "/other/token");
    assert_eq!(
        (field(&call, "grant_type"), field(&call, "scope")),
        ("urn:y".to_owned(), "of the api".to_owned())
    );
    assert_eq!(call.certified_assertion().claims["aud"], "EU.EORI.OTHER");
}

#[tokio::test]
async fn f28_a_key_in_either_form_is_taken() {
    let (fake, authority) = (Providers::start(), Authority::new());
    let party = authority.party(PARTY);
    for key in [party.key_pem(), party.key_pem_pkcs1()] {
        let scene = one(&fake, &key, &party.chain_pem()).start();
        scene.token("d.org", "/").await;
        fake.last().certified_assertion();
    }
}

#[test]
fn f28_a_pair_that_does_not_hold_is_refused_when_it_is_loaded() {
    let (fake, authority) = (Providers::start(), Authority::new());
    let (party, other) = (
        authority.party(PARTY),
        authority.party("EU.EORI.NL000000002"),
    );
    let expired = authority.party_expired(PARTY);
    let client = authority.client("no RSA key");
    let chain = party.chain_pem();
    let reversed: String = {
        let mut blocks: Vec<&str> = chain
            .split_inclusive("-----END CERTIFICATE-----\n")
            .collect();
        blocks.reverse();
        blocks.concat()
    };
    for (what, key, certificates, told) in [
        (
            "another's key",
            other.key_pem(),
            chain.clone(),
            "does not belong",
        ),
        ("leaf last", party.key_pem(), reversed, "does not belong"),
        (
            "expired",
            expired.key_pem(),
            expired.chain_pem(),
            "has expired",
        ),
        (
            "no PEM",
            "not a key".to_owned(),
            chain.clone(),
            "providers.partner",
        ),
        (
            "cut short",
            party.key_pem()[..400].to_owned(),
            chain.clone(),
            "providers.partner",
        ),
        (
            "no certificate",
            party.key_pem(),
            String::new(),
            "providers.partner.certificates",
        ),
        (
            "a key for a certificate",
            party.key_pem(),
            party.key_pem(),
            "providers.partner.certificates",
        ),
        (
            "garbage in PEM",
            party.key_pem(),
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_owned(),
            "providers.partner.certificates",
        ),
        (
            "no RSA key",
            client.key_pem(),
            client.chain_pem(),
            "providers.partner",
        ),
    ] {
        let refused = one(&fake, &key, &certificates).refused();
        assert!(refused.contains(told), "{what}: {refused}");
        assert!(refused.contains("portcullis.yaml:"), "{what}: {refused}");
        assert!(
            !refused.contains("BEGIN") && !refused.contains("MII"),
            "{what}: {refused}"
        );
    }
}

/// Puts the key and certificates of `party` in the place of those that are mounted, at one moment.
fn mount(scene: &Scene, version: &str, key: &str, certificates: &str) {
    let mounted = scene.server.folder().join("mounted");
    lay_out(&mounted, version, key, certificates);
}

/// As kubelet lays a Secret out: files link to `..data`, which links to a dated folder.
fn lay_out(mounted: &std::path::Path, version: &str, key: &str, certificates: &str) {
    let folder = mounted.join(version);
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("party.key"), key).unwrap();
    fs::write(folder.join("party.crt"), certificates).unwrap();
    let link = mounted.join("..data_tmp");
    std::os::unix::fs::symlink(version, &link).unwrap();
    fs::rename(&link, mounted.join("..data")).unwrap();
    for name in ["party.key", "party.crt"] {
        let file = mounted.join(name);
        if !file.exists() {
            std::os::unix::fs::symlink(format!("..data/{name}"), file).unwrap();
        }
    }
}

fn mounted(fake: &Providers, party: &Identity) -> Scene {
    let stage = Stage::new();
    lay_out(
        &stage.0.folder().join("mounted"),
        "..v1",
        &party.key_pem(),
        &party.chain_pem(),
    );
    fake.answer_member("expires_in", 1);
    stage
        .provider("partner", ishare(fake, PARTY, "mounted/party", json!({})))
        .api("all", "*", "/", json!({ "provider": "partner" }))
        .start()
}

fn problems(scene: &Scene) -> String {
    scene.server.admin("/v1/problems").text()
}

#[tokio::test]
async fn f28_a_bad_pair_leaves_the_previous_one_in_place() {
    let (fake, authority) = (Providers::start(), Authority::new());
    let (party, next) = (authority.party(PARTY), authority.party(PARTY));
    let scene = mounted(&fake, &party);
    mount(&scene, "..v2", &next.key_pem(), &party.chain_pem());
    eventually("the mismatch to be told", || {
        problems(&scene).contains("does not belong").then_some(())
    });
    scene.token("one.org", "/").await;
    assert_eq!(
        fake.last().certified_assertion().certificates()[0],
        party.chain()[0].to_vec()
    );
    mount(&scene, "..v3", &next.key_pem(), &next.chain_pem());
    eventually("the mismatch to be over", || {
        (!problems(&scene).contains("does not belong")).then_some(())
    });
    scene.token("two.org", "/").await;
    assert_eq!(
        fake.last().certified_assertion().certificates()[0],
        next.chain()[0].to_vec()
    );
}

#[tokio::test]
async fn f30_key_and_certificate_change_at_one_moment_while_checks_go_on() {
    let (fake, authority) = (Providers::start(), Authority::new());
    let parties: Vec<Identity> = (0..4).map(|_| authority.party(PARTY)).collect();
    let scene = mounted(&fake, &parties[0]);
    let mut number = 0;
    for (version, party) in parties.iter().enumerate() {
        if version > 0 {
            mount(
                &scene,
                &format!("..w{version}"),
                &party.key_pem(),
                &party.chain_pem(),
            );
        }
        let start = Instant::now();
        loop {
            number += 1;
            // a host that was asked for before, and a new one
            for host in ["same.org".to_owned(), format!("h{number}.org")] {
                let answer = scene.get(&host, "/").await;
                assert!(token(&answer).is_some(), "{host}: {answer:?}");
            }
            // verified by the leaf in it: key and certificate are of one pair
            let assertion = fake.last().certified_assertion();
            if assertion.certificates()[0] == party.chain()[0].to_vec() {
                break;
            }
            assert!(start.elapsed() < Duration::from_secs(10), "never taken");
        }
    }
    for call in fake.calls() {
        call.certified_assertion();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f29_two_parties_never_mix() {
    let (fake, authority) = (Providers::start(), Authority::new());
    fake.answer_member("expires_in", 1);
    let ids = ["EU.EORI.ONE", "EU.EORI.TWO"];
    let mut stage = Stage::new();
    let mut leaves = Vec::new();
    for id in ids {
        let party = authority.party(id);
        leaves.push(party.chain()[0].to_vec());
        let name = id.rsplit('.').next().unwrap().to_ascii_lowercase();
        stage = stage
            .file(&format!("{name}.key"), &party.key_pem())
            .file(&format!("{name}.crt"), &party.chain_pem())
            .provider(&name, ishare(&fake, id, &name, json!({})))
            // the same hosts, audience and address: only the path tells them apart
            .api(&name, "*", &format!("/{name}"), json!({ "provider": name }));
    }
    let scene = stage.start();
    let mut asking = tokio::task::JoinSet::new();
    for worker in 0..4 {
        let client = scene.client.clone();
        asking.spawn(async move {
            for turn in 0..60 {
                let (id, path) = [(ids[0], "/one/x"), (ids[1], "/two/x")][(worker + turn) % 2];
                let host = format!("h{}.org", turn % 7);
                let answer = client.check(get(&host, path)).await;
                let token = token(&answer).unwrap_or_else(|| panic!("{answer:?}"));
                assert!(token.contains(&format!(".{id}.")), "{path}: {token}");
            }
        });
    }
    asking.join_all().await;
    for call in fake.calls() {
        let assertion = call.certified_assertion();
        let at = ids
            .iter()
            .position(|id| assertion.claims["iss"] == *id)
            .unwrap();
        assert_eq!(assertion.certificates()[0], leaves[at]);
        assert_eq!(call.field("client_id"), Some(ids[at]));
    }
}

#[tokio::test]
async fn an_address_that_is_not_allowed_is_told_no_assertion() {
    let (fake, authority) = (Providers::start(), Authority::new());
    let party = authority.party(PARTY);
    let own = json!({ "tokenUrls": { "allow": [format!("{}/allowed/*", fake.url())] } });
    let scene = Stage::new()
        .file("party.key", &party.key_pem())
        .file("party.crt", &party.chain_pem())
        .provider("partner", ishare(&fake, PARTY, "party", own))
        .api("good", "good.org", "/", json!({ "provider": "partner" }))
        .start();
    let evil = Providers::start();
    for url in [
        evil.token_url(),
        format!("{}/allowed/../token", fake.url()),
        format!("{}/token", fake.url()),
        fake.url().replace("http://", "http://x@") + "/allowed/token",
        "no address".to_owned(),
    ] {
        let document = super::api(
            "evil",
            "evil.org",
            "/",
            json!({ "provider": "partner", "tokenUrl": url }),
        );
        scene.server.write_catalog("evil.yaml", &document);
        eventually(&url, || problems(&scene).contains("tokenUrl").then_some(()));
        assert_eq!(outcome(&scene.get("evil.org", "/").await), "none");
        scene.server.remove_catalog("evil.yaml");
        eventually("it to be gone", || {
            (!problems(&scene).contains("tokenUrl")).then_some(())
        });
    }
    assert_eq!((evil.connections(), fake.count()), (0, 0));
}

#[tokio::test]
async fn a_party_that_nobody_wrote_gives_no_token_and_lets_nothing_pass() {
    let fake = Providers::start();
    let provider = merged(
        ishare(&fake, PARTY, "party", json!({})),
        json!({ "party": null, "key": null, "certificates": null }),
    );
    let scene = Stage::new()
        .provider("partner", provider)
        .api(
            "all",
            "*",
            "/",
            json!({ "provider": "partner", "party": "EU.EORI.NOBODY" }),
        )
        .start();
    let answer = scene.get("d.org", "/").await;
    super::refused(&answer);
    assert_eq!(fake.count(), 0);
    let error = scene.provider("partner")["lastError"].to_string();
    assert!(error.contains("EU.EORI.NOBODY"), "{error}");
}
