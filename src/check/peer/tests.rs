//! Tests of who asks and what of its word counts.

use jiff::Timestamp;

use super::*;
use crate::check::peer::config::PeerObject;
use crate::spiffe::config::SpiffeConfig;

const GATEWAY: &str = "spiffe://cluster.local/ns/istio-system/sa/gateway";

fn mesh() -> Arc<Mesh> {
    let config = SpiffeConfig {
        trust_domain: Some("cluster.local".into()),
        trust_domain_aliases: vec!["old.example".into()],
        federated: vec!["partner.example".into()],
        ..SpiffeConfig::default()
    };
    Arc::new(config.mesh())
}

fn rules(peers: Option<&PeersConfig>, mesh: Arc<Mesh>) -> PeerRules {
    let metrics = Metrics::new(Timestamp::UNIX_EPOCH);
    PeerRules::new(peers, false, mesh, (&metrics, &"inbound".into()))
}

fn named(id: &str) -> Named {
    Named::Spiffe(SpiffeId::parse(id).unwrap())
}

/// Which of these principals an asker is believed to name.
fn believed<'p>(asker: &Asker, principals: &[&'p str]) -> Vec<&'p str> {
    let believed = principals.iter().copied();
    believed
        .filter(|principal| asker.is_believed_to_name(principal))
        .collect()
}

const OWN: &str = "spiffe://cluster.local/ns/a/sa/b";
const ALIAS: &str = "SPIFFE://Old.Example/ns/a/sa/b";
const PARTNER: &str = "spiffe://partner.example/ns/a/sa/b";
const EVIL: &str = "spiffe://evil.example/ns/a/sa/b";
const LIKE: &str = "spiffe://cluster.local.evil.example/ns/a/sa/b";
const HOST: &str = "client.example";
const ALL: [&str; 6] = [OWN, ALIAS, PARTNER, EVIL, LIKE, HOST];

#[test]
fn a_peers_word_counts_about_its_own_trust_domain_and_those_of_its_entries() {
    let object = PeerObject {
        id: Some("spiffe://cluster.local/ns/*/sa/waypoint".into()),
        trust_domains: vec!["partner.example".into()],
        request_xfcc: true,
        ..PeerObject::default()
    };
    let host = PeerObject {
        dns_name: Some("Envoy.example".into()),
        ..PeerObject::default()
    };
    let config = PeersConfig {
        allow: Some(vec![
            PeerEntry::Pattern(GATEWAY.into()),
            PeerEntry::Object(object),
            PeerEntry::Object(host),
        ]),
        ..PeersConfig::default()
    };
    let rules = rules(Some(&config), mesh());
    let gateway = rules.asker(named(GATEWAY));
    assert!(gateway.may_ask().is_ok() && !gateway.writes_xfcc());
    assert_eq!(believed(&gateway, &ALL), [OWN, ALIAS, HOST]);
    let waypoint = rules.asker(named("spiffe://old.example/ns/shop/sa/waypoint"));
    assert!(waypoint.may_ask().is_ok() && waypoint.writes_xfcc());
    assert_eq!(believed(&waypoint, &ALL), [OWN, ALIAS, PARTNER, HOST]);
    let host = rules.asker(Named::Dns([Box::from("envoy.example")].into()));
    assert!(host.may_ask().is_ok());
    assert_eq!(believed(&host, &ALL), [HOST]);
    for other in [named(OWN), named(PARTNER), Named::Nobody] {
        assert!(rules.asker(other).may_ask().is_err());
    }
}

#[test]
fn anybodys_word_counts_about_the_meshs_trust_domains_or_all_where_there_are_none() {
    let asker = rules(None, mesh()).asker(Named::Nobody);
    assert!(asker.may_ask().is_ok() && !asker.writes_xfcc());
    assert_eq!(believed(&asker, &ALL), [OWN, ALIAS, PARTNER, HOST]);
    // the same for a check that comes from no connection
    let asker = rules(None, mesh()).anybody();
    assert_eq!(believed(&asker, &ALL), [OWN, ALIAS, PARTNER, HOST]);
    let asker = rules(None, Arc::default()).asker(Named::Nobody);
    assert_eq!(believed(&asker, &ALL), ALL);
}

#[test]
fn what_our_sidecar_wrote_is_judged_once_and_remembered() {
    let config = PeersConfig {
        allow: Some(vec![PeerEntry::Pattern(GATEWAY.into())]),
        ..PeersConfig::default()
    };
    let mut rules = rules(Some(&config), mesh());
    rules.from_metadata = true;
    let connected = rules.asker(Named::Nobody);
    let ask = |value: &str| {
        let mut metadata = HeaderMap::new();
        metadata.append(xfcc::HEADER, value.parse().unwrap());
        rules.asker_of(&connected, &metadata)
    };
    let first = ask(&format!("By=a;URI={GATEWAY}"));
    assert!(first.may_ask().is_ok());
    assert!(Arc::ptr_eq(&first, &ask(&format!("By=a;URI={GATEWAY}"))));
    for at in 0..2 * MAX_REMEMBERED {
        assert!(ask(&format!("By=a;Hash={at};URI={OWN}")).may_ask().is_err());
    }
    let remembered = rules.remembered.lock().unwrap().len();
    assert!(remembered <= MAX_REMEMBERED, "{remembered}");
}
