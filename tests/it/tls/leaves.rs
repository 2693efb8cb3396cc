//! Whose certificates are taken at the handshake.

use rcgen::{BasicConstraints, IsCa, KeyUsagePurpose, SanType};
use serde_json::json;

use super::{GATEWAY, client, open_check, with_tls};
use crate::gate::allowed;
use crate::support::authority::{Authority, Identity, uri};
use crate::support::eventually;
use crate::support::portcullis::Portcullis;
use crate::support::tls::TlsClient;

/// A server that lets any peer ask whose certificate it takes.
fn server(authority: &Authority) -> Portcullis {
    with_tls(
        authority,
        json!({ "any": "the certificate alone is tested here" }),
    )
    .start()
}

/// Asserts that a handshake by which a client shows `shown` fails with this outcome, with both
/// versions of TLS, and that one by which it shows what is good holds.
async fn refused(authority: &Authority, shown: Option<&Identity>, outcome: &str) {
    let server = server(authority);
    let good = authority.svid(GATEWAY);
    allowed(&client(&server, Some(&good)).check(open_check()).await);
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let client = TlsClient::with(shown, &[b"h2"], &[version]);
        let opened = client.open(server.check_address()).await;
        assert!(opened.is_err(), "{version:?}: the handshake held");
    }
    let line =
        format!(r#"portcullis_tls_handshakes_total{{listener="inbound",outcome="{outcome}"}} 2"#);
    eventually("the handshakes to be counted", || {
        server.metrics().contains(&line).then_some(())
    });
}

#[tokio::test]
async fn s11_a_client_without_a_certificate_is_refused() {
    refused(&Authority::new(), None, "client_certificate_missing").await;
}

#[tokio::test]
async fn s11_a_certificate_of_a_foreign_authority_is_refused() {
    let foreign = Authority::new().svid(GATEWAY);
    refused(
        &Authority::new(),
        Some(&foreign),
        "client_certificate_refused",
    )
    .await;
}

#[tokio::test]
async fn s11_an_expired_certificate_is_refused() {
    let authority = Authority::new();
    let shown = authority.certify(|params| {
        params.subject_alt_names = vec![uri(GATEWAY)];
        params.not_before = rcgen::date_time_ymd(2019, 1, 1);
        params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    });
    refused(&authority, Some(&shown), "client_certificate_refused").await;
}

#[tokio::test]
async fn s11_a_leaf_that_is_an_authority_is_refused() {
    let authority = Authority::new();
    let shown = authority.certify(|params| {
        params.subject_alt_names = vec![uri(GATEWAY)];
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    });
    refused(&authority, Some(&shown), "client_certificate_refused").await;
}

#[tokio::test]
async fn s11_a_leaf_that_may_sign_certificates_is_refused() {
    let authority = Authority::new();
    for usage in [KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign] {
        let shown = authority.certify(|params| {
            params.subject_alt_names = vec![uri(GATEWAY)];
            params.key_usages.push(usage);
        });
        refused(&authority, Some(&shown), "client_certificate_refused").await;
    }
}

#[tokio::test]
async fn s11_a_leaf_with_two_uris_is_refused() {
    let authority = Authority::new();
    for other in ["spiffe://cluster.local/ns/a/sa/b", "https://example.com/"] {
        let shown = authority.certify(|params| {
            params.subject_alt_names = vec![uri(other), uri(GATEWAY)];
        });
        refused(&authority, Some(&shown), "client_certificate_refused").await;
    }
}

#[tokio::test]
async fn s11_a_leaf_that_names_a_trust_domain_and_no_workload_is_refused() {
    let authority = Authority::new();
    for id in ["spiffe://cluster.local", "spiffe://cluster.local/a/../b"] {
        let shown = authority.svid(id);
        refused(&authority, Some(&shown), "client_certificate_refused").await;
    }
}

#[tokio::test]
async fn s11_a_workload_of_an_unknown_trust_domain_is_refused() {
    let authority = Authority::new();
    let shown = authority.svid("spiffe://elsewhere.example/ns/istio-system/sa/gateway");
    refused(&authority, Some(&shown), "client_certificate_refused").await;
}

#[tokio::test]
async fn a_certificate_that_says_spiffe_never_counts_by_its_dns_name() {
    let authority = Authority::new();
    let server = with_tls(
        &authority,
        json!({ "allow": [{ "dnsName": "Envoy.example" }] }),
    )
    .start();
    let named = |id: Option<&str>| {
        authority.certify(|params| {
            let dns = SanType::DnsName("envoy.example".try_into().unwrap());
            params.subject_alt_names = id.map(uri).into_iter().chain([dns]).collect();
        })
    };
    allowed(
        &client(&server, Some(&named(None)))
            .check(open_check())
            .await,
    );
    let svid = named(Some(GATEWAY));
    let response = client(&server, Some(&svid)).check(open_check()).await;
    crate::gate::refused(&response, "peer_not_allowed");
    let broken = named(Some("spiffe://cluster.local"));
    let opened = TlsClient::new(Some(&broken))
        .open(server.check_address())
        .await;
    assert!(opened.is_err());
}
