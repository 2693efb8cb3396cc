//! `deploy/envoy/egress.yaml` as it is, but for the addresses: the way out of a workload, to
//! partners on loopback.

use std::fs;
use std::path::Path;

use serde_json::json;

use crate::scene::seen;
use crate::support::authority::{Authority, Shown};
use crate::support::envoy::{Envoy, validate};
use crate::support::http::Response;
use crate::support::portcullis::{Portcullis, PortcullisBuilder};
use crate::support::providers::Providers;
use crate::support::upstream::Upstream;

/// The network that stands for this machine in the configuration, and where the partners of these
/// tests are.
const LOOPBACK: &str = "{ address_prefix: 127.0.0.0, prefix_len: 8 }";
/// A network where nobody is (RFC 5737).
const NOBODY: &str = "{ address_prefix: 192.0.2.0, prefix_len: 24 }";

/// The way out, and what stands at both ends of it.
#[derive(Debug)]
pub(crate) struct Egress {
    pub(crate) envoy: Envoy,
    pub(crate) portcullis: Portcullis,
    /// At the host `one.localhost`.
    pub(crate) one: Upstream,
    /// At the host `two.localhost`.
    pub(crate) two: Upstream,
}

impl Egress {
    /// Starts it with this catalog, which may be empty, and with whatever `change` adds to the configuration.
    pub(crate) fn start(
        catalog: &str,
        change: impl FnOnce(PortcullisBuilder) -> PortcullisBuilder,
    ) -> Self {
        let mut server = change(server());
        if !catalog.is_empty() {
            server = server.catalog("partners.yaml", catalog);
        }
        let portcullis = server.start();
        Self {
            envoy: start_envoy(&portcullis, &[(LOOPBACK, NOBODY)]),
            portcullis,
            one: Upstream::start(),
            two: Upstream::start(),
        }
    }

    /// A GET request to `one.localhost`, at its port.
    pub(crate) fn get_one(&self, target: &str, headers: &[(&str, &str)]) -> Response {
        let host = format!("one.localhost:{}", self.one.address().port());
        self.envoy.get(&host, target, headers)
    }

    /// A GET request to `two.localhost`, at its port.
    pub(crate) fn get_two(&self, target: &str, headers: &[(&str, &str)]) -> Response {
        let host = format!("two.localhost:{}", self.two.address().port());
        self.envoy.get(&host, target, headers)
    }
}

/// A server with the outbound listener of the sample, and an Api that no test calls.
fn server() -> PortcullisBuilder {
    let outbound = json!({
        "type": "check", "address": "127.0.0.1:0", "direction": "outbound", "unmatched": "allow",
    });
    PortcullisBuilder::new()
        .set(&["listeners", "outbound"], outbound)
        .catalog("nobody.yaml", &partner("nobody", "nobody.example", "{}"))
}

fn start_envoy(portcullis: &Portcullis, replaced: &[(&str, &str)]) -> Envoy {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/envoy/egress.yaml");
    let mut configuration = fs::read_to_string(path).expect("a readable file");
    let authz = portcullis.address("outbound").port();
    let authz = format!("127.0.0.1, port_value: {authz}");
    let ports = [
        ("127.0.0.1, port_value: 9902", "127.0.0.1, port_value: 0"),
        ("127.0.0.1, port_value: 10001", "127.0.0.1, port_value: 0"),
        ("127.0.0.1, port_value: 9003", &authz),
    ];
    for (from, to) in ports.iter().chain(replaced) {
        assert!(configuration.contains(from), "nothing to replace: {from}");
        configuration = configuration.replace(from, to);
    }
    Envoy::start_with(&configuration)
}

/// An Api at `host`, through which everybody may call.
pub(crate) fn partner(name: &str, host: &str, upstream: &str) -> String {
    format!(
        r#"
apiVersion: portcullis.dev/v1alpha1
kind: Api
metadata: {{ name: {name} }}
spec:
  title: {name}
  version: 1.0.0
  direction: outbound
  hosts: ["{host}"]
  basePath: /orders
  authenticators: [anonymous]
  subscription: none
  unmatchedOperation: allow
  upstream: {upstream}
---
"#
    )
}

#[test]
fn envoy_takes_the_configuration_of_the_way_out() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/envoy/egress.yaml");
    validate(&path).expect("Envoy takes it");
}

#[test]
fn the_way_out_is_judged_by_host_and_tells_partners_nothing_of_its_own() {
    let catalog = partner(
        "one",
        "one.localhost",
        r#"{ headers: { x-api: "{api.title}" } }"#,
    );
    let egress = Egress::start(&catalog, |server| server);
    let claimed = egress.get_one("/orders/1?x=1", &[("x-api", "spoofed")]);
    assert_eq!(claimed.status, 200, "{claimed:?}");
    assert_eq!(seen(&claimed, "x-api"), ["one"]);
    assert_eq!(egress.get_one("/elsewhere", &[]).status, 404);
    let unclaimed = egress.get_two("/orders/1", &[("x-api", "mine"), ("x_api", "mine")]);
    assert_eq!(seen(&unclaimed, "x-api"), ["mine", "mine"]);
    for name in ["x-forwarded-for", "x-forwarded-proto", "x-request-id"] {
        assert!(seen(&unclaimed, name).is_empty(), "{unclaimed:?}");
    }
    assert!(!unclaimed.text().contains("x-envoy"), "{unclaimed:?}");
    assert_eq!((egress.one.count(), egress.two.count()), (1, 1));
}

#[test]
fn the_way_out_takes_the_requests_that_are_sent_to_a_proxy() {
    let egress = Egress::start(&partner("one", "one.localhost", "{}"), |server| server);
    let port = egress.two.address().port();
    let target = format!("http://two.localhost:{port}/orders/1");
    // What stands in the target counts (RFC 9112 section 3.2.2).
    let response = egress.envoy.get("one.localhost", &target, &[]);
    assert_eq!(response.json()["path"], "/orders/1", "{response:?}");
    let tunnel = egress
        .envoy
        .request("CONNECT", "two.localhost:443", "two.localhost:443", &[]);
    assert!(tunnel.status >= 400, "{tunnel:?}");
    assert_eq!(egress.two.count(), 1);
}

#[test]
fn the_way_out_is_closed_once_the_server_is_gone() {
    let mut egress = Egress::start(&partner("one", "one.localhost", "{}"), |server| server);
    egress.portcullis.kill();
    assert_eq!(egress.get_two("/orders/1", &[]).status, 503);
    assert_eq!(egress.two.count(), 0);
}

#[test]
fn the_way_out_does_not_lead_back_to_this_machine() {
    let portcullis = server().start();
    let envoy = start_envoy(&portcullis, &[]);
    let upstream = Upstream::start();
    let port = upstream.address().port();
    for name in [
        "127.0.0.1",
        "127.1.2.3",
        "0.0.0.0",
        "localhost",
        "[::1]",
        "[::ffff:127.0.0.1]",
    ] {
        let response = envoy.get(&format!("{name}:{port}"), "/", &[]);
        assert_eq!(response.status, 403, "{name}: {response:?}");
        assert_eq!(response.text(), "RBAC: access denied", "{name}");
    }
    assert_eq!(upstream.count(), 0);
}

#[test]
fn the_way_out_speaks_tls_to_the_partners_that_are_listed_and_knows_them_by_name() {
    let authority = Authority::new();
    let portcullis = server().file("ca.pem", &authority.pem()).start();
    let ca = portcullis.folder().join("ca.pem");
    let domains = r#"["partner.example", "partner.example:*"]"#;
    let envoy = start_envoy(
        &portcullis,
        &[
            (LOOPBACK, NOBODY),
            (domains, r#"["localhost:*"]"#),
            ("/etc/ssl/certs/ca-certificates.crt", &ca.to_string_lossy()),
        ],
    );
    let get = |partner: &Providers| {
        let host = format!("localhost:{}", partner.address().port());
        envoy.get(&host, "/headers", &[])
    };
    let good = Providers::start_tls(&authority, Shown::Good);
    assert_eq!(get(&good).status, 200);
    for shown in [Shown::OfAnotherHost, Shown::Expired] {
        let bad = Providers::start_tls(&authority, shown);
        assert_eq!(get(&bad).status, 503);
        assert_eq!(bad.count(), 0);
    }
}

#[test]
fn a_host_with_a_final_dot_goes_where_the_host_without_it_goes() {
    let (authority, idp) = (Authority::new(), Providers::start());
    let provider = json!({
        "type": "clientCredentials", "tokenUrl": idp.token_url(),
        "client": { "id": "us", "secret": { "file": "secret" } }, "http": { "allowHttp": true },
    });
    let credential = "{ credential: { provider: idp, audience: partner } }";
    let portcullis = server()
        .set(&["providers", "idp"], provider)
        .file("secret", "a secret of the test")
        .file("ca.pem", &authority.pem())
        .catalog("partner.yaml", &partner("one", "localhost", credential))
        .start();
    let ca = portcullis.folder().join("ca.pem");
    let envoy = start_envoy(
        &portcullis,
        &[
            (LOOPBACK, NOBODY),
            (
                r#"["partner.example", "partner.example:*"]"#,
                r#"["localhost", "localhost:*"]"#,
            ),
            ("/etc/ssl/certs/ca-certificates.crt", &ca.to_string_lossy()),
        ],
    );
    let by_tls = Providers::start_tls(&authority, Shown::Good);
    let in_plaintext = Upstream::start();
    let (tls, plain) = (by_tls.address().port(), in_plaintext.address().port());
    for (count, host) in ["localhost.", "LOCALHOST.", "localhost"].iter().enumerate() {
        // the fake knows no such path, and remembers what it was asked
        let response = envoy.get(&format!("{host}:{tls}"), "/orders", &[]);
        assert_eq!(response.status, 404, "{host}: {response:?}");
        assert_eq!(by_tls.count(), count + 1, "{host}: {response:?}");
        let call = by_tls.last();
        let token = call.header("authorization");
        assert_eq!(token, Some("Bearer token-1.us.partner"), "{host}");
        let named = call.header("host").map(str::to_lowercase);
        assert_eq!(named, Some(format!("localhost:{tls}")));
    }
    // nor does it leave in plaintext by another port, by none, or by the form for proxies; each
    // handshake with what speaks no TLS is given up after seconds
    let with_port = format!("localhost.:{plain}");
    let for_proxy = format!("http://{with_port}/orders");
    for (authority, target) in [
        (with_port.as_str(), "/orders"),
        ("localhost", &for_proxy),
        ("localhost.", "/orders"),
    ] {
        let response = envoy.get(authority, target, &[]);
        assert_eq!(response.status, 503, "{authority} {target}: {response:?}");
    }
    // of two dots Envoy takes one away, and the other is judged as a final dot
    for dots in ["..", "..."] {
        for host in [
            format!("localhost{dots}:{plain}"),
            format!("localhost{dots}"),
        ] {
            let response = envoy.get(&host, "/orders", &[]);
            assert_eq!(response.status, 400, "{host}: {response:?}");
        }
    }
    assert_eq!(in_plaintext.count(), 0);
    assert_eq!(envoy.stat("cluster.plain.upstream_rq_total"), 0);
}
