//! Envoy as Istio configures it: what istiod made of `deploy/istio`, frozen, on the newest and the
//! oldest Envoy of a supported Istio. `make test-mesh` asks istiod itself.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;

use serde_json::json;

use crate::support::PATIENCE;
use crate::support::envoy::Envoy;
use crate::support::frozen::{FOLDER, Frozen, INPUTS, digests};
use crate::support::http::{Response, get, raw_request, request_bytes};
use crate::support::portcullis::{Portcullis, PortcullisBuilder};
use crate::support::shop::{Around, HOST, PARTNER, SHOP_KEY, UNKNOWN_KEY};
use crate::support::upstream::Upstream;

/// The versions of Envoy that these tests start.
const ENVOYS: [&str; 2] = ["1.37.0", "1.40.0"];
/// A key that `orders` and `billing` take.
const KEY: (&str, &str) = ("x-api-key", SHOP_KEY);

/// An Envoy of a mesh, and what it asks and sends to.
struct Scene {
    envoy: Envoy,
    portcullis: Portcullis,
    around: Around,
    upstream: Upstream,
    version: &'static str,
    /// How the name of the listener that takes HTTP ends: it has that of the port in the mesh.
    listener: &'static str,
}

/// Which check listener an Envoy asks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    In,
    Out,
}

impl Scene {
    fn start(name: &str, way: Way, version: &'static str) -> Self {
        Self::start_with(name, way, version, |server| server)
    }

    fn start_with(
        name: &str,
        way: Way,
        version: &'static str,
        server: impl FnOnce(PortcullisBuilder) -> PortcullisBuilder,
    ) -> Self {
        let (around, upstream) = (Around::start(), Upstream::start());
        let portcullis = server(around.server()).start();
        let (listener, port) = match way {
            Way::In => ("inbound", "check"),
            Way::Out => ("outbound", "outbound"),
        };
        let frozen = Frozen::read(name)
            .port(port, portcullis.address(listener).port())
            .port("upstream", upstream.address().port());
        Self {
            envoy: frozen.start(version),
            portcullis,
            around,
            upstream,
            version,
            listener: if name == "egress-sidecar" {
                "_80"
            } else {
                "10080"
            },
        }
    }

    /// Where HTTP is taken.
    fn address(&self) -> SocketAddr {
        self.envoy.listener(self.listener)
    }

    fn get(&self, target: &str, headers: &[(&str, &str)]) -> Response {
        get(self.address(), HOST, target, headers)
    }

    #[track_caller]
    fn assert_denied(&self, response: &Response, status: u16, code: &str) {
        let version = self.version;
        let denied = (response.status, response.denial_code());
        assert_eq!(
            denied,
            (status, Some(code.to_owned())),
            "{version}: {response:?}"
        );
        assert_eq!(
            response.header("content-type"),
            Some("application/problem+json"),
            "{version}"
        );
    }
}

/// Runs a test on each version.
fn each(name: &str, way: Way, test: impl Fn(Scene)) {
    for version in ENVOYS {
        test(Scene::start(name, way, version));
    }
}

#[test]
fn the_frozen_files_are_made_of_what_is_in_deploy_now() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join(FOLDER)
        .join(INPUTS);
    let written = fs::read_to_string(path).expect("the digests of what they were made of");
    let paths: Vec<String> = written
        .lines()
        .filter_map(|line| line.split_once("  "))
        .map(|(_, path)| path.to_owned())
        .collect();
    assert!(paths.len() > 10, "{written}");
    let now = digests(&paths);
    let changed: Vec<_> = now.lines().filter(|line| !written.contains(line)).collect();
    assert!(
        changed.is_empty(),
        "{changed:#?} changed since; this writes them again: make freeze-istio"
    );
}

#[test]
fn a_gateway_of_istio_lets_pass_what_is_allowed_and_says_who_calls() {
    each("gateway", Way::In, |scene| {
        let version = scene.version;
        let headers = [
            ("authorization", scene.around.bearer()),
            ("x-user", "root".to_owned()),
            ("X-User", "admin".to_owned()),
        ];
        let headers = headers
            .each_ref()
            .map(|(name, value)| (*name, value.as_str()));
        let allowed = scene.get("/orders/1", &headers);
        assert_eq!(allowed.status, 200, "{version}: {allowed:?}");
        assert_eq!(allowed.values("x-served-by"), ["orders"], "{version}");
        let seen = scene.upstream.last().expect("a request");
        assert_eq!(seen.values("x-user"), ["alice"], "{version}");
        assert_eq!(seen.values("x-api"), ["orders"], "{version}");
        assert!(
            seen.values("authorization").is_empty(),
            "{version}: {seen:?}"
        );
    });
}

#[test]
fn a_gateway_of_istio_gives_our_denials_to_clients() {
    each("gateway", Way::In, |scene| {
        let anonymous = scene.get("/orders/1", &[]);
        scene.assert_denied(&anonymous, 401, "unauthenticated");
        assert!(
            anonymous.header("www-authenticate").is_some(),
            "{anonymous:?}"
        );
        let unknown = scene.get("/billing/1", &[("x-api-key", UNKNOWN_KEY)]);
        scene.assert_denied(&unknown, 401, "unauthenticated");
        scene.assert_denied(&scene.get("/elsewhere", &[KEY]), 404, "not_found");
        assert_eq!(scene.upstream.count(), 0, "{}", scene.version);
    });
}

#[test]
fn a_gateway_of_istio_puts_the_providers_token_in_place_of_the_clients() {
    each("gateway", Way::In, |scene| {
        let own = [
            KEY,
            ("authorization", "Bearer mine"),
            ("Authorization", "Bearer too"),
        ];
        let response = scene.get("/billing/1", &own);
        assert_eq!(response.status, 200, "{}: {response:?}", scene.version);
        let seen = scene.upstream.last().expect("a request");
        let expected = ["Bearer token-1.us.billing"];
        assert_eq!(seen.values("authorization"), expected, "{}", scene.version);
        assert!(
            seen.values("x-api-key").is_empty(),
            "{}: {seen:?}",
            scene.version
        );
    });
}

#[test]
fn what_the_policy_leaves_out_is_not_asked_about_and_nothing_else_is_taken_for_it() {
    each("gateway", Way::In, |scene| {
        assert_eq!(scene.get("/healthz", &[]).status, 200, "{}", scene.version);
        let checks = scene.portcullis.metrics();
        assert!(!checks.contains("portcullis_checks_total{"), "{checks}");
        for target in [
            "/healthz/",
            "/healthz/../orders/1",
            "/HEALTHZ",
            "/healthz;x=1",
        ] {
            let response = scene.get(target, &[]);
            assert!(
                response.denial_code().is_some(),
                "{}: {target}",
                scene.version
            );
        }
        assert_eq!(scene.upstream.count(), 1, "{}", scene.version);
    });
}

#[test]
fn a_preflight_passes_a_gateway_of_istio_where_the_api_says_so() {
    each("gateway", Way::In, |scene| {
        let headers = [
            ("origin", "https://shop.example"),
            ("access-control-request-method", "GET"),
        ];
        let ask = |target| {
            let request = request_bytes("OPTIONS", HOST, target, &headers);
            raw_request(scene.address(), request)
        };
        assert_eq!(ask("/orders/1").status, 200, "{}", scene.version);
        scene.assert_denied(&ask("/billing/1"), 401, "unauthenticated");
    });
}

#[test]
fn the_hardening_sends_headers_raw_and_refuses_underscores_and_final_dots() {
    each("gateway", Way::In, |scene| {
        // two lines of one header arrive apart, and so does what is no UTF-8
        let twice = [KEY, ("x-api-key", SHOP_KEY)];
        let response = scene.get("/orders/1", &twice);
        assert!(
            response.denial_code().is_some(),
            "{}: {response:?}",
            scene.version
        );
        let start = b"GET /orders/1 HTTP/1.1\r\nhost: orders.example.com\r\nx-api-key: ".as_slice();
        let not_utf_8 = raw_request(scene.address(), [start, b"\xe9\xff\r\n\r\n"].concat());
        assert!(
            not_utf_8.denial_code().is_some(),
            "{}: {not_utf_8:?}",
            scene.version
        );
        let underscored = scene.get("/orders/1", &[KEY, ("x_user", "root")]);
        assert_eq!(
            underscored.status, 400,
            "{}: {underscored:?}",
            scene.version
        );
        let dotted = get(scene.address(), "orders.example.com.", "/orders/1", &[KEY]);
        assert_eq!(dotted.status, 200, "{}: {dotted:?}", scene.version);
        assert_eq!(scene.upstream.count(), 1, "{}", scene.version);
    });
}

#[test]
fn istios_envoys_are_closed_once_the_server_is_gone() {
    for (name, way, target) in [
        ("gateway", Way::In, "/orders/1"),
        ("sidecar", Way::In, "/orders/1"),
        ("egress-gateway", Way::Out, "/any"),
        ("egress-sidecar", Way::Out, "/any"),
    ] {
        each(name, way, |mut scene| {
            scene.portcullis.kill();
            let host = if way == Way::In { HOST } else { PARTNER };
            let response = get(scene.address(), host, target, &[KEY]);
            let said = (response.status, response.denial_code());
            assert_eq!(said, (503, None), "{name}, {}: {response:?}", scene.version);
            assert_eq!(scene.upstream.count(), 0, "{name}, {}", scene.version);
        });
    }
}

#[test]
fn a_sidecar_of_istio_asks_about_what_comes_to_its_workload() {
    each("sidecar", Way::In, |scene| {
        let allowed = scene.get("/orders/1", &[KEY, ("x-user", "root")]);
        assert_eq!(allowed.status, 200, "{}: {allowed:?}", scene.version);
        let seen = scene.upstream.last().expect("a request");
        assert_eq!(seen.values("x-api"), ["orders"], "{}", scene.version);
        assert!(
            !seen.values("x-user").contains(&"root"),
            "{}",
            scene.version
        );
        // nothing is left out here, and no Api has it
        scene.assert_denied(&scene.get("/healthz", &[]), 404, "not_found");
        scene.assert_denied(&scene.get("/orders/1", &[]), 401, "unauthenticated");
    });
}

#[test]
fn a_request_that_leaves_by_istios_egress_gets_the_partners_token() {
    for name in ["egress-gateway", "egress-sidecar"] {
        each(name, Way::Out, |scene| {
            let own = [
                ("authorization", "Bearer mine"),
                ("Authorization", "Basic bWluZQ=="),
            ];
            for host in [PARTNER, "PARTNER.example", "partner.example:80"] {
                let response = get(scene.address(), host, "/any", &own);
                assert_eq!(
                    response.status, 200,
                    "{name}, {}, {host}: {response:?}",
                    scene.version
                );
                let seen = scene.upstream.last().expect("a request");
                let expected = ["Bearer token-1.us.partner"];
                assert_eq!(
                    seen.values("authorization"),
                    expected,
                    "{name}, {}",
                    scene.version
                );
            }
        });
    }
}

#[test]
fn a_tcp_connection_through_istios_filter_is_closed_unless_the_listener_lets_it_pass() {
    for (no_http, passes) in [("deny", false), ("allow", true)] {
        for version in ENVOYS {
            let scene = Scene::start_with("gateway", Way::In, version, |server| {
                server.set(&["listeners", "inbound", "noHttp"], json!(no_http))
            });
            let address = scene.envoy.listener("10081");
            let mut stream = TcpStream::connect(address).expect("a connection");
            let request = request_bytes("GET", HOST, "/any", &[("connection", "close")]);
            stream.write_all(&request).expect("sent");
            stream.set_read_timeout(Some(PATIENCE)).expect("a time");
            let mut answer = [0; 12];
            // what is denied may be reset
            let answered = stream.read_exact(&mut answer).is_ok();
            assert_eq!(answered, passes, "{version}: {no_http}");
            assert_eq!(
                scene.upstream.count(),
                usize::from(passes),
                "{version}: {no_http}"
            );
        }
    }
}
