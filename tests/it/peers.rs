//! Who may ask, and what of its word counts.

use rcgen::SanType;
use serde_json::{Value, json};

use crate::gate::{allowed, refused};
use crate::support::authority::{Authority, Identity};
use crate::support::check::{CheckBuilder, CheckClient, header};
use crate::support::eventually;
use crate::support::portcullis::{Portcullis, PortcullisBuilder};
use crate::tls::{GATEWAY, client, open_check, plain, with_tls};

const WAYPOINT: &str = "spiffe://cluster.local/ns/shop/sa/waypoint";
const STRANGER: &str = "spiffe://cluster.local/ns/shop/sa/orders";

/// Waits until as many checks were refused for `reason`.
fn counted(server: &Portcullis, reason: &str, count: u32) {
    let line = format!(
        r#"portcullis_peers_refused_total{{listener="inbound",reason="{reason}"}} {count}"#
    );
    eventually("the refusals to be counted", || {
        server.metrics().contains(&line).then_some(())
    });
}

/// What a server refuses at the start, and where it says so.
fn refused_at_start(builder: PortcullisBuilder, path: &str, said: &str) {
    let (status, told) = builder.start_refused();
    assert_eq!(status.code(), Some(78), "{told}");
    assert!(told.contains(path) && told.contains(said), "{told}");
}

#[tokio::test]
async fn s13_a_peer_that_is_not_listed_is_denied_peer_not_allowed() {
    let authority = Authority::new();
    let allow = json!([GATEWAY, { "id": "spiffe://cluster.local/ns/*/sa/waypoint" }]);
    let server = with_tls(&authority, json!({ "allow": allow })).start();
    for id in [GATEWAY, WAYPOINT] {
        let peer = authority.svid(id);
        allowed(&client(&server, Some(&peer)).check(open_check()).await);
    }
    let others = [
        STRANGER,
        "spiffe://cluster.local/ns/istio-system/sa/gateway-2",
        "spiffe://cluster.local/ns/istio-system/sa/gateway/x",
        "spiffe://cluster.local/ns/istio-system/sa/Gateway",
        "spiffe://cluster.local/ns/a/b/sa/waypoint",
    ];
    for id in others {
        let peer = authority.svid(id);
        let client = client(&server, Some(&peer));
        // every check, in a successful RPC, and whatever it says
        for check in [open_check(), open_check().without_http()] {
            refused(&client.check(check).await, "peer_not_allowed");
        }
        let answer = client.check_bytes("no check at all").await.unwrap();
        assert!(!answer.is_empty());
    }
    counted(&server, "not_listed", 15);
    let nobody = authority.client("a name that counts nowhere");
    let response = client(&server, Some(&nobody)).check(open_check()).await;
    refused(&response, "peer_not_allowed");
    counted(&server, "unidentified", 1);
    assert!(
        server.stdout().contains(STRANGER),
        "who asked is not in the decision log"
    );
}

#[tokio::test]
async fn s13_providers_and_no_word_about_who_may_ask_refuse_the_start() {
    let provider = json!({ "type": "static", "headers": { "x-token": { "file": "token" } } });
    let beyond = |peers: Value| {
        plain(peers)
            .file("token", "0123456789abcdef")
            .set(&["providers", "fixed"], provider.clone())
            .set(&["listeners", "inbound", "address"], json!("0.0.0.0:0"))
    };
    refused_at_start(
        beyond(json!({})),
        "listeners.inbound.peers",
        "is needed beyond loopback",
    );
    refused_at_start(
        beyond(json!({ "requestXfcc": true })),
        "listeners.inbound.peers",
        "is needed",
    );
    refused_at_start(beyond(json!({ "any": "why" })), "peers.any", "in words");
    refused_at_start(
        beyond(json!({ "allow": [] })),
        "peers.allow",
        "names nobody",
    );
    let why = "a network policy admits the gateway alone";
    drop(beyond(json!({ "any": why })).start());
}

#[tokio::test]
async fn a_rule_that_nothing_can_tell_or_that_anybody_could_meet_refuses_the_start() {
    let authority = Authority::new();
    let listed = || json!({ "allow": [GATEWAY] });
    refused_at_start(plain(listed()), "peers.allow", "needs to know who asks");
    let without_clients = with_tls(&authority, listed())
        .set(&["listeners", "inbound", "tls", "clientCa"], Value::Null);
    refused_at_start(without_clients, "peers.allow", "needs to know who asks");
    let anybody = with_tls(&authority, json!({}))
        .set(&["listeners", "inbound", "tls", "clientCa"], Value::Null);
    refused_at_start(anybody, "listeners.inbound.tls", "takes anybody");
    let both =
        with_tls(&authority, listed()).set(&["listeners", "inbound", "trustXfcc"], json!(true));
    refused_at_start(both, "trustXfcc", "stands beside `tls`");
    let reachable = plain(listed())
        .set(&["listeners", "inbound", "trustXfcc"], json!(true))
        .set(&["listeners", "inbound", "address"], json!("0.0.0.0:0"));
    refused_at_start(reachable, "trustXfcc", "anybody could write it");
    for (entry, path) in [
        (json!("spiffe://cluster.local"), "allow[0]"),
        (json!({}), "allow[0]"),
        (json!({ "id": "*" }), "allow[0].id"),
        (
            json!({ "id": GATEWAY, "dnsName": "a.example" }),
            "allow[0].dnsName",
        ),
        (json!({ "dnsName": "*.example" }), "allow[0].dnsName"),
        (
            json!({ "id": GATEWAY, "trustDomains": ["a b"] }),
            "allow[0].trustDomains[0]",
        ),
        (json!({ "id": GATEWAY, "name": "x" }), "name"),
        (json!(5), "allow"),
    ] {
        let builder = with_tls(&authority, json!({ "allow": [entry] }));
        refused_at_start(builder, path, "");
    }
    let both = json!({ "allow": [GATEWAY], "any": "for a reason in words" });
    refused_at_start(with_tls(&authority, both), "peers.any", "beside");
}

#[tokio::test]
async fn s14_who_asks_for_another_workload_than_itself_is_denied() {
    let authority = Authority::new();
    let server = with_tls(
        &authority,
        json!({ "allow": ["spiffe://cluster.local/**"] }),
    )
    .set(&["spiffe", "trustDomainAliases"], json!(["old.example"]))
    .start();
    let peer = authority.svid(STRANGER);
    let client = client(&server, Some(&peer));
    let ask = |destination: &str| client.check(open_check().destination_principal(destination));
    for destination in [
        "",
        STRANGER,
        // a gateway shows hosts what they ask for
        "open.example",
        "CN=gateway",
        "spiffe://old.example/ns/shop/sa/orders",
        "SPIFFE://Cluster.Local/ns/shop/sa/orders",
    ] {
        allowed(&ask(destination).await);
    }
    let others = [
        GATEWAY,
        "spiffe://cluster.local/ns/shop/sa/orders-2",
        "spiffe://other.example/ns/shop/sa/orders",
        "spiffe://cluster.local/ns/shop/sa/orders/",
        "Spiffe:cluster.local",
    ];
    for destination in others {
        refused(&ask(destination).await, "peer_not_allowed");
    }
    counted(&server, "destination", 5);
    // who is no workload asks for none
    let hosts = with_tls(&authority, json!({ "allow": [{ "dnsName": "localhost" }] })).start();
    let host = authority.certify(|params| {
        let name = SanType::DnsName("localhost".try_into().unwrap());
        params.subject_alt_names = vec![name];
    });
    let gateway = crate::tls::client(&hosts, Some(&host));
    allowed(
        &gateway
            .check(open_check().destination_principal("open.example"))
            .await,
    );
    let response = gateway
        .check(open_check().destination_principal(STRANGER))
        .await;
    refused(&response, "peer_not_allowed");
}

#[tokio::test]
async fn s15_metadata_name_who_asks_only_where_our_own_sidecar_writes_them() {
    let authority = Authority::new();
    let xfcc = |id: &str| {
        format!("By=spiffe://cluster.local/ns/portcullis/sa/portcullis;Hash=00;URI={id}")
    };
    let peers = json!({ "allow": [GATEWAY] });
    let behind = plain(peers.clone())
        .set(&["spiffe", "trustDomain"], json!("cluster.local"))
        .set(&["listeners", "inbound", "trustXfcc"], json!(true))
        .start();
    let sidecar = CheckClient::new(behind.check_address());
    let ask = |value: String| {
        let client = sidecar.clone();
        async move {
            let metadata = [("x-forwarded-client-cert", value.as_str())];
            client.check_with(open_check(), &metadata).await
        }
    };
    allowed(&ask(xfcc(GATEWAY)).await);
    // what a client sent stands before what the sidecar wrote
    allowed(&ask(format!("{},{}", xfcc(STRANGER), xfcc(GATEWAY))).await);
    for spoofed in [
        xfcc(STRANGER),
        format!("{},{}", xfcc(GATEWAY), xfcc(STRANGER)),
        format!("{};URI={GATEWAY}", xfcc(STRANGER)),
        format!("{},\"", xfcc(GATEWAY)),
        "URI=".to_owned(),
        String::new(),
        "URI=spiffe://cluster.local".to_owned(),
    ] {
        refused(&ask(spoofed).await, "peer_not_allowed");
    }
    refused(&sidecar.check(open_check()).await, "peer_not_allowed");
    let (own, other) = (xfcc(GATEWAY), xfcc(STRANGER));
    for pair in [[&own, &other], [&other, &own], [&own, &own]] {
        let metadata = pair.map(|value| ("x-forwarded-client-cert", value.as_str()));
        refused(
            &sidecar.check_with(open_check(), &metadata).await,
            "peer_not_allowed",
        );
    }
    // the destination is compared with whom the metadata name
    let check = open_check().destination_principal(STRANGER);
    let metadata = [("x-forwarded-client-cert", own.as_str())];
    refused(
        &sidecar.check_with(check, &metadata).await,
        "peer_not_allowed",
    );
    // elsewhere the same metadata are nothing
    let direct = with_tls(&authority, peers).start();
    let (gateway, stranger) = (authority.svid(GATEWAY), authority.svid(STRANGER));
    let metadata = [("x-forwarded-client-cert", own.as_str())];
    let spoofing = client(&direct, Some(&stranger));
    refused(
        &spoofing.check_with(open_check(), &metadata).await,
        "peer_not_allowed",
    );
    let metadata = [("x-forwarded-client-cert", other.as_str())];
    let honest = client(&direct, Some(&gateway));
    allowed(&honest.check_with(open_check(), &metadata).await);
}

#[tokio::test]
async fn an_api_is_asked_about_by_its_own_peers_alone() {
    let authority = Authority::new();
    let server = with_tls(
        &authority,
        json!({ "allow": ["spiffe://cluster.local/**"] }),
    )
    .start();
    let kept = || CheckBuilder::new("GET", "kept.example", "/");
    let preflight = || {
        CheckBuilder::new("OPTIONS", "kept.example", "/")
            .header("origin", "https://a.example")
            .header("access-control-request-method", "GET")
    };
    let of = |identity: &Identity| client(&server, Some(identity));
    let (gateway, stranger) = (authority.svid(GATEWAY), authority.svid(STRANGER));
    for check in [kept(), preflight()] {
        allowed(&of(&gateway).check(check.clone()).await);
        refused(&of(&stranger).check(check).await, "peer_not_allowed");
    }
    counted(&server, "api", 2);
    allowed(&of(&stranger).check(open_check()).await);
}

#[tokio::test]
async fn a_provider_gives_nothing_to_another_peer() {
    let authority = Authority::new();
    let server = with_tls(
        &authority,
        json!({ "allow": ["spiffe://cluster.local/**"] }),
    )
    .file("token", "a-token-for-the-upstream")
    .set(
        &["providers", "fixed"],
        json!({
            "type": "static", "headers": { "x-token": { "file": "token" } }, "peers": [GATEWAY],
        }),
    )
    .catalog(
        "given.yaml",
        r#"
apiVersion: portcullis.dev/v1alpha1
kind: Api
metadata: { name: given }
spec:
  title: given
  version: 1.0.0
  hosts: [given.example]
  authenticators: [anonymous]
  subscription: none
  unmatchedOperation: allow
  upstream: { credential: { provider: fixed } }
"#,
    )
    .start();
    let given = || CheckBuilder::new("GET", "given.example", "/");
    let gateway = client(&server, Some(&authority.svid(GATEWAY)));
    let answer = gateway.check(given()).await;
    let token = header(&allowed(&answer).headers, "x-token");
    assert_eq!(token.as_deref(), Some("a-token-for-the-upstream"));
    let stranger = client(&server, Some(&authority.svid(STRANGER)));
    let answer = stranger.check(given()).await;
    refused(&answer, "peer_not_allowed");
    assert!(!format!("{answer:?}").contains("a-token-for-the-upstream"));
    counted(&server, "provider", 1);
}
