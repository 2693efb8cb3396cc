//! Workloads through a real Envoy that demands their certificates: what it says of them decides, and
//! nothing that a client says of itself.

use std::net::TcpStream;
use std::sync::Arc;

use rcgen::SanType;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned};
use serde_json::json;

use crate::scene::seen;
use crate::support::authority::{Authority, Identity};
use crate::support::envoy::{Envoy, EnvoyBuilder, MutualTls};
use crate::support::http::{Connection, Response, request_bytes};
use crate::support::portcullis::{Portcullis, PortcullisBuilder};
use crate::support::upstream::Upstream;

const CHECKOUT: &str = "spiffe://cluster.local/ns/shop/sa/checkout";
const INTERN: &str = "spiffe://cluster.local/ns/shop/sa/intern";
const GATEWAY: &str = "spiffe://cluster.local/ns/istio-system/sa/gateway";

const CATALOG: &str = r#"
kind: Api
metadata: { name: orders, namespace: shop }
spec:
  title: orders
  version: 1.0.0
  hosts: [orders.example]
  authenticators: [workloads]
  subscription: none
  from: { namespaces: [shop, istio-system], notServiceAccounts: [intern] }
  unmatchedOperation: allow
  upstream:
    headers: { x-caller: "{principal.subject}", x-account: "{principal.serviceAccount}" }
---
kind: Api
metadata: { name: guarded, namespace: shop }
spec:
  title: guarded
  version: 1.0.0
  hosts: [guarded.example]
  authenticators: [anonymous]
  subscription: none
  from: { principals: ["cluster.local/ns/shop/sa/checkout"] }
  unmatchedOperation: allow
"#;

struct Scene {
    envoy: Envoy,
    _portcullis: Portcullis,
    _upstream: Upstream,
    authority: Authority,
}

fn start(xfcc: bool) -> Scene {
    let (authority, upstream) = (Authority::new(), Upstream::start());
    let spiffe = json!({
        "trustDomain": "cluster.local",
        "trustedProxies": ["spiffe://cluster.local/ns/istio-system/sa/*"],
    });
    let portcullis = PortcullisBuilder::new()
        .authenticator("workloads", json!({ "type": "mtls" }))
        .set(&["spiffe"], spiffe)
        .set(
            &["listeners", "inbound", "peers"],
            json!({ "requestXfcc": xfcc }),
        )
        .catalog("catalog.yaml", CATALOG)
        .start();
    let own = authority.svid("spiffe://cluster.local/ns/shop/sa/orders");
    let envoy = EnvoyBuilder::new(portcullis.check_address(), upstream.address())
        .mutual_tls(MutualTls {
            certificate: own.chain_pem(),
            key: own.key_pem(),
            client_authority: authority.pem(),
        })
        .start();
    Scene {
        envoy,
        _portcullis: portcullis,
        _upstream: upstream,
        authority,
    }
}

impl Scene {
    fn get(&self, who: &Identity, host: &str, headers: &[(&str, &str)]) -> Response {
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .expect("TLS 1.2 and 1.3")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyServer))
            .with_client_auth_cert(who.chain().to_vec(), who.key_der())
            .expect("a key and its certificate");
        let name = ServerName::try_from("localhost").expect("a name");
        let tls = ClientConnection::new(Arc::new(config), name).expect("a connection");
        let stream = TcpStream::connect(self.envoy.address()).expect("envoy takes connections");
        let mut connection = Connection::over(StreamOwned::new(tls, stream));
        let request = request_bytes("GET", host, "/orders/1", headers);
        connection.send(&request).expect("a response")
    }

    fn workload(&self, id: &str) -> Identity {
        self.authority.svid(id)
    }
}

/// The server is Envoy, whose certificate has no name of a host: that is not what is tested.
#[derive(Debug)]
struct AnyServer;

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        default_provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}

#[test]
fn s17_the_certificate_of_the_connection_says_who_calls() {
    for xfcc in [false, true] {
        let scene = start(xfcc);
        let checkout = scene.workload(CHECKOUT);
        let response = scene.get(&checkout, "orders.example", &[]);
        assert_eq!(response.status, 200, "{response:?}");
        assert_eq!(seen(&response, "x-caller"), [CHECKOUT]);
        assert_eq!(seen(&response, "x-account"), ["checkout"]);
        assert_eq!(scene.get(&checkout, "guarded.example", &[]).status, 200);
        let intern = scene.workload(INTERN);
        for host in ["orders.example", "guarded.example"] {
            let response = scene.get(&intern, host, &[]);
            assert_eq!(response.status, 403, "{host}: {response:?}");
        }
        // of a trust domain that is not taken, although Envoy trusts who signed it
        let stranger = scene.workload("spiffe://elsewhere.example/ns/shop/sa/checkout");
        assert_eq!(scene.get(&stranger, "orders.example", &[]).status, 401);
        assert_eq!(scene.get(&stranger, "guarded.example", &[]).status, 401);
    }
}

#[test]
fn s24_what_a_client_says_of_itself_has_no_effect() {
    let forged = format!("By=a;Hash={};Subject=\"\";URI={CHECKOUT}", "ab".repeat(32));
    let headers = [
        ("x-forwarded-client-cert", forged.as_str()),
        ("x-caller", CHECKOUT),
        ("X_Caller", CHECKOUT),
        ("x-account", "checkout"),
        ("x-envoy-downstream-service-cluster", CHECKOUT),
    ];
    for xfcc in [false, true] {
        let scene = start(xfcc);
        for host in ["orders.example", "guarded.example"] {
            let response = scene.get(&scene.workload(INTERN), host, &headers);
            assert_eq!(response.status, 403, "{host}: {response:?}");
        }
        let other = scene.workload("spiffe://cluster.local/ns/shop/sa/other");
        let response = scene.get(&other, "orders.example", &headers);
        assert_eq!(response.status, 200, "{response:?}");
        let own = ["spiffe://cluster.local/ns/shop/sa/other"];
        assert_eq!(seen(&response, "x-caller"), own);
        assert_eq!(seen(&response, "x-account"), ["other"]);
    }
}

#[test]
fn s19_a_gateway_that_is_trusted_says_who_called_it() {
    let forwarded = format!(
        "By={GATEWAY};Hash={};Subject=\"\";URI={CHECKOUT}",
        "ab".repeat(32)
    );
    let header = [("x-forwarded-client-cert", forwarded.as_str())];
    let scene = start(true);
    let gateway = scene.workload(GATEWAY);
    let response = scene.get(&gateway, "orders.example", &header);
    assert_eq!(response.status, 200, "{response:?}");
    assert_eq!(seen(&response, "x-caller"), [CHECKOUT]);
    let response = scene.get(&gateway, "orders.example", &[]);
    assert_eq!(seen(&response, "x-caller"), [GATEWAY]);
    // what a client of its puts into its own certificate is no hop
    let injected = format!("Hash=ab;Subject=\"\";URI=spiffe://evil/a,URI={CHECKOUT}");
    let header = [("x-forwarded-client-cert", injected.as_str())];
    assert_eq!(scene.get(&gateway, "orders.example", &header).status, 401);
}

#[test]
fn a_certificate_with_two_uris_is_nobodys_where_hops_count() {
    let scene = start(true);
    let two = scene.authority.certify(|params| {
        let uris = [CHECKOUT, INTERN].map(|uri| SanType::URI(uri.try_into().expect("a URI")));
        params.subject_alt_names = uris.to_vec();
    });
    assert_eq!(scene.get(&two, "orders.example", &[]).status, 401);
}
