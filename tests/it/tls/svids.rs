//! SVIDs of the Workload API: what is shown, taken, renewed and taken away.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustls::pki_types::CertificateDer;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use super::{GATEWAY, open_check, plain};
use crate::gate::{allowed, refused};
use crate::support::check::CheckClient;
use crate::support::portcullis::{Portcullis, PortcullisBuilder};
use crate::support::tls::TlsClient;
use crate::support::workload_api::{ID, TRUST_DOMAIN, WorkloadApi};
use crate::support::{PATIENCE, eventually};

const PARTNER: &str = "partner.example";
const PARTNERS_GATEWAY: &str = "spiffe://partner.example/ns/istio-system/sa/gateway";

/// A server with its SVID from `agent`, which both gateways may ask.
fn with_svid(agent: &WorkloadApi) -> PortcullisBuilder {
    plain(json!({ "allow": [GATEWAY, PARTNERS_GATEWAY] }))
        .set(&["spiffe", "endpoint"], json!(agent.endpoint()))
        .set(&["spiffe", "trustDomain"], json!(TRUST_DOMAIN))
        .set(&["spiffe", "federated"], json!([PARTNER]))
        .set(&["listeners", "inbound", "tls"], json!({ "spiffe": {} }))
}

fn tls_of(agent: &WorkloadApi, id: &str) -> TlsClient {
    TlsClient::of(&agent.sign(id))
}

fn client(server: &Portcullis, tls: &TlsClient) -> CheckClient {
    CheckClient::secured(server.check_address(), tls)
}

/// Whom a certificate names.
fn named(certificate: &CertificateDer<'_>) -> String {
    let (_, certificate) = X509Certificate::from_der(certificate).unwrap();
    let names = certificate.subject_alternative_name().unwrap().unwrap();
    let uri = names
        .value
        .general_names
        .iter()
        .find_map(|name| match name {
            GeneralName::URI(uri) => Some((*uri).to_owned()),
            _ => None,
        });
    uri.unwrap()
}

/// Waits until a handshake by `tls` holds, or fails.
async fn until_handshakes(server: &Portcullis, tls: &TlsClient, hold: bool) {
    let start = Instant::now();
    while tls.open(server.check_address()).await.is_ok() != hold {
        assert!(start.elapsed() < PATIENCE, "handshakes should hold: {hold}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn s3_every_renewed_svid_is_shown_while_checks_go_on_without_an_error() {
    let agent = WorkloadApi::start();
    let server = with_svid(&agent).start();
    let tls = tls_of(&agent, GATEWAY);
    let done = Arc::new(AtomicBool::new(false));
    let asking = |client: CheckClient, done: Arc<AtomicBool>| async move {
        let mut asked = 0_u32;
        while !done.load(Ordering::Relaxed) {
            allowed(&client.check(open_check()).await);
            asked += 1;
        }
        asked
    };
    let stays = tls_of(&agent, GATEWAY);
    let running = client(&server, &stays);
    allowed(&running.check(open_check()).await);
    let shown = stays.shown();
    let running = tokio::spawn(asking(running, Arc::clone(&done)));
    let mut before = None;
    for _ in 0..50 {
        agent.rotate();
        let start = Instant::now();
        loop {
            tls.open(server.check_address()).await.unwrap();
            let shown = tls.shown();
            if shown != before {
                assert_eq!(named(shown.as_ref().unwrap()), ID);
                before = shown;
                break;
            }
            assert!(start.elapsed() < PATIENCE, "the new svid is not shown");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    done.store(true, Ordering::Relaxed);
    assert!(running.await.unwrap() > 0);
    assert_eq!(stays.shown(), shown, "the running connection was made anew");
}

#[tokio::test]
async fn s4_without_the_agent_an_svid_is_shown_to_its_end_and_no_longer() {
    let agent = WorkloadApi::start();
    agent.set(json!({ "svids": [{ "id": ID, "ttl": "6s" }] }));
    let mut server = with_svid(&agent).start();
    let tls = tls_of(&agent, GATEWAY);
    until_handshakes(&server, &tls, true).await;
    agent.stop();
    allowed(&client(&server, &tls).check(open_check()).await);
    assert_eq!(server.observe("/readyz").status, 200);
    until_handshakes(&server, &tls, false).await;
    eventually("readiness to end", || {
        (server.observe("/readyz").status == 503).then_some(())
    });
    let line = r#"portcullis_tls_handshakes_total{listener="inbound",outcome="no_certificate"}"#;
    let told = server.metrics();
    assert!(told.contains(line) && !told.contains(&format!("{line} 0")));
    agent.set(json!({ "svids": [{ "id": ID }] }));
    agent.start_again();
    until_handshakes(&server, &tls, true).await;
    server.wait_until_ready();
    allowed(&client(&server, &tls).check(open_check()).await);
}

#[tokio::test]
async fn s4_before_the_first_svid_no_handshake_holds_and_it_is_not_ready() {
    let agent = WorkloadApi::start_empty();
    let mut server = with_svid(&agent).without_waiting().start();
    let tls = tls_of(&agent, GATEWAY);
    assert!(tls.open(server.check_address()).await.is_err());
    assert_eq!(server.observe("/readyz").status, 503);
    agent.set(json!({ "svids": [{ "id": ID }] }));
    server.wait_until_ready();
    allowed(&client(&server, &tls).check(open_check()).await);
}

#[tokio::test]
async fn s5_a_bundle_that_is_taken_away_ends_the_connections_of_its_trust_domain_alone() {
    let agent = WorkloadApi::start();
    agent.set(json!({ "svids": [{ "id": ID }], "federated": [PARTNER] }));
    let server = with_svid(&agent)
        .set(
            &["listeners", "inbound", "maxConnectionAgeGrace"],
            json!("1s"),
        )
        .start();
    let (own, partner) = (tls_of(&agent, GATEWAY), tls_of(&agent, PARTNERS_GATEWAY));
    until_handshakes(&server, &partner, true).await;
    let mut theirs = partner.open(server.check_address()).await.unwrap();
    let ours = client(&server, &own);
    allowed(&ours.check(open_check()).await);
    let shown = own.shown();
    agent.set(json!({ "svids": [{ "id": ID }], "federated": [] }));
    let mut rest = Vec::new();
    let ended = tokio::time::timeout(PATIENCE, theirs.read_to_end(&mut rest)).await;
    assert!(ended.is_ok(), "the connection goes on");
    assert!(partner.open(server.check_address()).await.is_err());
    allowed(&ours.check(open_check()).await);
    assert_eq!(own.shown(), shown, "our own connection was not made anew");
    // our SVID is taken away: nobody is served any more
    let mut running = own.open(server.check_address()).await.unwrap();
    agent.set(json!({ "svids": [], "errors": { "x509": "PermissionDenied" } }));
    agent.end_streams();
    let ended = tokio::time::timeout(PATIENCE, running.read_to_end(&mut rest)).await;
    assert!(ended.is_ok(), "the connection goes on");
    assert!(own.open(server.check_address()).await.is_err());
    eventually("readiness to end", || {
        (server.observe("/readyz").status == 503).then_some(())
    });
}

#[tokio::test]
async fn s5_a_bundle_that_is_taken_away_ends_connections_of_the_admin_api_too() {
    let agent = WorkloadApi::start();
    agent.set(json!({ "svids": [{ "id": ID }], "federated": [PARTNER] }));
    let server = with_svid(&agent)
        .set(&["listeners", "admin", "tls"], json!({ "spiffe": {} }))
        .start();
    let partner = tls_of(&agent, PARTNERS_GATEWAY);
    until_handshakes(&server, &partner, true).await;
    let admin = partner.speaking_http1();
    let mut theirs = admin.connect(server.address("admin")).await.unwrap();
    let request = b"GET /v1/apis HTTP/1.1\r\nhost: admin\r\n\r\n";
    theirs.write_all(request).await.unwrap();
    let mut answer = [0; 9];
    theirs.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 ");
    agent.set(json!({ "svids": [{ "id": ID }], "federated": [] }));
    // before its silence would end it
    let mut rest = Vec::new();
    let ended = tokio::time::timeout(PATIENCE, theirs.read_to_end(&mut rest)).await;
    assert!(ended.is_ok(), "the connection goes on");
}

#[tokio::test]
async fn s12_a_federated_workload_is_verified_by_its_own_bundle_alone() {
    let agent = WorkloadApi::start();
    let both = json!({ "svids": [{ "id": ID }], "federated": [PARTNER, "third.example"] });
    agent.set(both);
    let server = with_svid(&agent).start();
    let (own, partner) = (tls_of(&agent, GATEWAY), tls_of(&agent, PARTNERS_GATEWAY));
    for tls in [&own, &partner] {
        until_handshakes(&server, tls, true).await;
        allowed(&client(&server, tls).check(open_check()).await);
    }
    // each names a workload of the other's trust domain
    let foreign = WorkloadApi::start();
    for id in [GATEWAY, PARTNERS_GATEWAY] {
        let swapped = tls_of(&foreign, id);
        assert!(swapped.open(server.check_address()).await.is_err(), "{id}");
    }
    for (id, authority) in [(PARTNERS_GATEWAY, TRUST_DOMAIN), (GATEWAY, PARTNER)] {
        let signed = agent.sign_with(&json!({ "id": id, "signedBy": authority }));
        let opened = TlsClient::of(&signed).open(server.check_address()).await;
        assert!(opened.is_err(), "{id} signed by {authority}");
    }
    // a bundle is there, and the configuration does not take its trust domain
    let third = tls_of(&agent, "spiffe://third.example/ns/istio-system/sa/gateway");
    assert!(third.open(server.check_address()).await.is_err());
    // a new root, with nothing that the old one signed
    agent.renew_root(PARTNER);
    until_handshakes(&server, &partner, false).await;
    until_handshakes(&server, &tls_of(&agent, PARTNERS_GATEWAY), true).await;
    allowed(&client(&server, &own).check(open_check()).await);
}

#[tokio::test]
async fn what_a_peer_says_of_another_trust_domain_counts_only_where_that_is_configured() {
    let agent = WorkloadApi::start();
    let server = with_svid(&agent).start();
    let stranger = tls_of(&agent, "spiffe://cluster.local/ns/shop/sa/orders");
    let response = client(&server, &stranger).check(open_check()).await;
    refused(&response, "peer_not_allowed");
    let (status, told) = plain(json!({}))
        .set(&["listeners", "inbound", "tls"], json!({ "spiffe": {} }))
        .start_refused();
    assert_eq!(status.code(), Some(78), "{told}");
    assert!(told.contains("SPIFFE_ENDPOINT_SOCKET"), "{told}");
}
