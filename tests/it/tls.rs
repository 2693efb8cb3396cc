//! TLS of the ports: whose certificates are taken, what is shown, and what changes while it runs.

mod files;
mod leaves;
mod svids;

use serde_json::{Value, json};

use crate::support::authority::{Authority, Identity};
use crate::support::check::{CheckBuilder, CheckClient};
use crate::support::portcullis::{Portcullis, PortcullisBuilder};
use crate::support::tls::TlsClient;

/// The workload that asks in these tests.
pub(crate) const GATEWAY: &str = "spiffe://cluster.local/ns/istio-system/sa/gateway";

/// A server with TLS from files, which takes clients of `authority` in the mesh `cluster.local`.
pub(crate) fn with_tls(authority: &Authority, peers: Value) -> PortcullisBuilder {
    let own = authority.host();
    plain(peers)
        .file("tls.crt", &own.chain_pem())
        .file("tls.key", &own.key_pem())
        .file("ca.crt", &authority.pem())
        .set(&["spiffe", "trustDomain"], json!("cluster.local"))
        .set(&["listeners", "inbound", "tls"], tls())
}

/// TLS from the files of [`with_tls`].
pub(crate) fn tls() -> Value {
    json!({
        "certificate": { "file": "tls.crt" },
        "key": { "file": "tls.key" },
        "clientCa": { "file": "ca.crt" },
    })
}

/// A server without TLS that says who may ask.
pub(crate) fn plain(peers: Value) -> PortcullisBuilder {
    PortcullisBuilder::new()
        .catalog("apis.yaml", APIS)
        .set(&["listeners", "inbound", "peers"], peers)
}

/// Apis that let everybody call, one of them only about whom certain peers ask.
const APIS: &str = r#"
apiVersion: portcullis.dev/v1alpha1
kind: Api
metadata: { name: open }
spec:
  title: open
  version: 1.0.0
  hosts: [open.example]
  authenticators: [anonymous]
  subscription: none
  unmatchedOperation: allow
---
apiVersion: portcullis.dev/v1alpha1
kind: Api
metadata: { name: kept }
spec:
  title: kept
  version: 1.0.0
  hosts: [kept.example]
  peers: ["spiffe://cluster.local/ns/istio-system/sa/*"]
  authenticators: [anonymous]
  subscription: none
  preflight: pass
  unmatchedOperation: allow
"#;

/// A check that passes whoever may ask.
pub(crate) fn open_check() -> CheckBuilder {
    CheckBuilder::new("GET", "open.example", "/")
}

/// A client of the check port that shows `identity`.
pub(crate) fn client(server: &Portcullis, identity: Option<&Identity>) -> CheckClient {
    CheckClient::secured(server.check_address(), &TlsClient::new(identity))
}
