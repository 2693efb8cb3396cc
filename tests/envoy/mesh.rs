//! Envoy asks over mutual TLS, as the proxies of a mesh do.

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;

use crate::scene::{self, HOST, SHOP_KEY};
use crate::support::authority::Authority;
use crate::support::envoy::{Envoy, EnvoyBuilder};
use crate::support::eventually;
use crate::support::http::{Connection, request_bytes};
use crate::support::issuer::Issuer;
use crate::support::portcullis::{Portcullis, PortcullisBuilder};
use crate::support::upstream::Upstream;

const GATEWAY: &str = "spiffe://cluster.local/ns/istio-system/sa/gateway";
/// The name that Istio's proxies ask for.
const SNI: &str = "outbound_.9001_._.portcullis.portcullis.svc.cluster.local";

/// Portcullis with TLS, which the gateway alone may ask.
fn portcullis(issuer: &Issuer, authority: &Authority) -> PortcullisBuilder {
    let own = authority.svid("spiffe://cluster.local/ns/portcullis/sa/portcullis");
    let tls = json!({
        "certificate": { "file": "tls.crt" }, "key": { "file": "tls.key" }, "clientCa": { "file": "ca.crt" },
    });
    scene::portcullis(issuer)
        .file("tls.crt", &own.chain_pem())
        .file("tls.key", &own.key_pem())
        .file("ca.crt", &authority.pem())
        .set(&["spiffe", "trustDomain"], json!("cluster.local"))
        .set(&["listeners", "inbound", "tls"], tls)
        .set(
            &["listeners", "inbound", "peers"],
            json!({ "allow": [GATEWAY] }),
        )
}

fn envoy(server: &Portcullis, upstream: &Upstream, authority: &Authority, id: &str) -> Envoy {
    EnvoyBuilder::new(server.check_address(), upstream.address())
        .over_tls(&authority.svid(id), &authority.pem(), SNI)
        .start()
}

/// How many handshakes were completed.
fn handshakes(server: &Portcullis) -> u64 {
    let name = r#"portcullis_tls_handshakes_total{listener="inbound",outcome="completed"} "#;
    let told = server.metrics();
    let value = told.lines().find_map(|line| line.strip_prefix(name));
    value.and_then(|value| value.parse().ok()).unwrap_or(0)
}

#[test]
fn s10_envoy_with_istios_protocols_and_name_asks_over_mutual_tls() {
    let (issuer, upstream) = (Issuer::start(), Upstream::start());
    let authority = Authority::new();
    let server = portcullis(&issuer, &authority).start();
    let gateway = envoy(&server, &upstream, &authority, GATEWAY);
    let key = [("x-api-key", SHOP_KEY)];
    let response = gateway.get(HOST, "/orders/1", &key);
    assert_eq!(response.status, 200, "{response:?}");
    assert_eq!(gateway.get(HOST, "/orders/1", &[]).status, 401);
    assert_eq!(gateway.ext_authz_stat("error"), 0);
    assert_eq!(handshakes(&server), 1);
    // another workload's proxy is answered, and denied
    let other = "spiffe://cluster.local/ns/shop/sa/orders";
    let sidecar = envoy(&server, &upstream, &authority, other);
    assert_eq!(sidecar.get(HOST, "/orders/1", &key).status, 403);
    assert_eq!(sidecar.ext_authz_stat("denied"), 1);
    // one of another authority is not answered
    let stranger = EnvoyBuilder::new(server.check_address(), upstream.address())
        .over_tls(&Authority::new().svid(GATEWAY), &authority.pem(), SNI)
        .start();
    assert_ne!(stranger.get(HOST, "/orders/1", &key).status, 200);
    assert_eq!(stranger.ext_authz_stat("error"), 1);
}

#[test]
fn s7_connections_that_end_by_age_fail_no_check() {
    let (issuer, upstream) = (Issuer::start(), Upstream::start());
    let authority = Authority::new();
    let server = portcullis(&issuer, &authority)
        .set(
            &["listeners", "inbound", "maxConnectionAge"],
            json!("500ms"),
        )
        .start();
    let gateway = envoy(&server, &upstream, &authority, GATEWAY);
    let request = request_bytes("GET", HOST, "/orders/1", &[("x-api-key", SHOP_KEY)]);
    let stop = AtomicBool::new(false);
    let ask = || {
        let mut connection = Connection::open(gateway.address()).expect("a connection");
        let mut statuses = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            statuses.push(connection.send(&request).expect("a response").status);
        }
        statuses
    };
    std::thread::scope(|threads| {
        let clients: Vec<_> = (0..4).map(|_| threads.spawn(ask)).collect();
        eventually("connections to end by age", || {
            (handshakes(&server) > 10).then_some(())
        });
        stop.store(true, Ordering::Relaxed);
        for client in clients {
            let statuses = client.join().expect("a client");
            let failed = statuses.iter().filter(|status| **status != 200).count();
            assert_eq!(failed, 0, "of {}", statuses.len());
        }
    });
    assert_eq!(gateway.ext_authz_stat("error"), 0);
}
