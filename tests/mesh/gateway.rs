//! The ingress gateway.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use serde_json::json;

use crate::bed::{Mesh, Objects, text};
use crate::ingress::{APPLIED, ENVOY, ENVOYS, Ingress, applied, pods};
use crate::support::PATIENCE;
use crate::support::http::{Response, raw_request, request_bytes};
use crate::support::shop::{HOST, SHOP_KEY, UNKNOWN_KEY};
use crate::support::upstream::Upstream;

const KEY: (&str, &str) = ("x-api-key", SHOP_KEY);

#[track_caller]
fn assert_denied(response: &Response, status: u16, code: &str) {
    let denied = (response.status, response.denial_code());
    assert_eq!(denied, (status, Some(code.to_owned())), "{response:?}");
    assert_eq!(
        response.header("content-type"),
        Some("application/problem+json")
    );
}

#[test]
fn every_supported_envoy_takes_what_istio_makes_and_lets_pass_what_is_allowed() {
    for version in ENVOYS {
        let scene = Ingress::start(version);
        let allowed = scene.get(
            "/orders/1",
            &[
                ("authorization", &scene.around.bearer()),
                ("x-user", "root"),
                ("X-User", "admin"),
            ],
        );
        assert_eq!(allowed.status, 200, "{version}: {allowed:?}");
        assert_eq!(allowed.values("x-served-by"), ["orders"], "{version}");
        let seen = scene.upstream.last().expect("a request");
        assert_eq!(seen.values("x-user"), ["alice"], "{version}");
        assert!(
            seen.values("authorization").is_empty(),
            "{version}: {seen:?}"
        );
        assert_denied(&scene.get("/orders/1", &[]), 401, "unauthenticated");
        assert_denied(&scene.get("/elsewhere", &[KEY]), 404, "not_found");
        assert_eq!(scene.get("/healthz", &[]).status, 200, "{version}");
        assert_eq!(scene.upstream.count(), 2, "{version}");
        scene.assert_nothing_rejected();
    }
}

#[test]
fn several_apis_stand_behind_one_extension_provider() {
    let scene = Ingress::start(ENVOY);
    assert_eq!(scene.get("/orders/1", &[KEY]).status, 200);
    let orders = scene.upstream.last().expect("a request");
    assert_eq!(orders.values("x-api"), ["orders"]);
    assert!(orders.values("authorization").is_empty(), "{orders:?}");
    let own = [KEY, ("authorization", "Bearer mine")];
    assert_eq!(scene.get("/billing/1", &own).status, 200);
    let billing = scene.upstream.last().expect("a request");
    assert_eq!(billing.values("x-api"), ["billing"]);
    assert_eq!(
        billing.values("authorization"),
        ["Bearer token-1.us.billing"]
    );
    assert_denied(
        &scene.get("/billing/1", &[("x-api-key", UNKNOWN_KEY)]),
        401,
        "unauthenticated",
    );
}

#[test]
fn without_portcullis_what_it_is_asked_about_is_503_and_what_not_passes() {
    let mut scene = Ingress::start(ENVOY);
    assert_eq!(scene.get("/orders/1", &[KEY]).status, 200);
    scene.portcullis.kill();
    let response = scene.get("/orders/1", &[KEY]);
    assert_eq!((response.status, response.denial_code()), (503, None));
    assert_eq!(scene.get("/healthz", &[]).status, 200);
    assert_eq!(scene.upstream.count(), 2);
}

#[test]
fn an_extension_provider_that_is_unknown_denies_what_is_matched() {
    let policy = text("deploy/istio/gateway.yaml");
    let unknown = policy.replace("name: portcullis\n  rules", "name: nobody\n  rules");
    assert_ne!(policy, unknown);
    let scene = Ingress::start(ENVOY);
    scene.mesh.set("deploy/istio/gateway.yaml", Some(&unknown));
    scene.wait_for(403, "/orders/1", &[KEY]);
    assert_eq!(scene.get("/healthz", &[]).status, 200);
    scene.assert_nothing_rejected();
}

#[test]
fn a_second_extension_provider_on_one_workload_denies_what_is_matched() {
    let second = text("deploy/istio/gateway.yaml")
        .replace("name: portcullis\n  namespace", "name: second\n  namespace")
        .replace(
            "name: portcullis\n  rules",
            "name: portcullis-outbound\n  rules",
        );
    let scene = Ingress::start(ENVOY);
    assert_eq!(scene.get("/orders/1", &[KEY]).status, 200);
    scene.mesh.set("second", Some(&second));
    scene.wait_for(403, "/orders/1", &[KEY]);
    scene.mesh.set("second", None);
    scene.wait_for(200, "/orders/1", &[KEY]);
}

#[test]
fn one_host_with_a_final_dot_and_slashes_and_underscores_make_no_other_request_of_it() {
    let scene = Ingress::start(ENVOY);
    let send = |host: &str, target: &str, headers: &[(&str, &str)]| {
        let address = ([127, 0, 0, 1], scene.port).into();
        raw_request(address, request_bytes("GET", host, target, headers))
    };
    assert_eq!(send("orders.example.com.", "/orders/1", &[KEY]).status, 200);
    let underscored = send(HOST, "/orders/1", &[KEY, ("x_user", "root")]);
    assert_eq!(underscored.status, 400, "{underscored:?}");
    // the path that is judged is the path that the upstream gets
    for target in ["//orders//1", "/x/../orders/1", "/x%2f..%2forders/1"] {
        assert_eq!(send(HOST, target, &[KEY]).status, 200, "{target}");
        let seen = scene.upstream.last().expect("a request").target;
        assert_eq!(seen, "/orders/1", "{target}");
    }
    for target in ["/healthz/../orders/1", "//healthz%2f..%2forders/1"] {
        assert_denied(&send(HOST, target, &[]), 401, "unauthenticated");
    }
}

#[test]
fn a_preflight_passes_where_the_api_says_so() {
    let scene = Ingress::start(ENVOY);
    let headers = [
        ("origin", "https://shop.example"),
        ("access-control-request-method", "GET"),
    ];
    let send = |target| {
        let address = ([127, 0, 0, 1], scene.port).into();
        raw_request(address, request_bytes("OPTIONS", HOST, target, &headers))
    };
    assert_eq!(send("/orders/1").status, 200);
    assert_denied(&send("/billing/1"), 401, "unauthenticated");
}

#[test]
fn a_tcp_port_of_the_gateway_is_closed_by_the_policy_and_opened_by_no_http_allow() {
    for (no_http, answered) in [("deny", false), ("allow", true)] {
        let scene = Ingress::start_with(
            ENVOY,
            |server| server.set(&["listeners", "inbound", "noHttp"], json!(no_http)),
            |objects| applied(objects).bed("tcp", &[]),
        );
        let mut stream = TcpStream::connect(("127.0.0.1", scene.tcp)).expect("a connection");
        let request = request_bytes("GET", HOST, "/any", &[("connection", "close")]);
        stream.write_all(&request).expect("sent");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time");
        let mut start = [0; 12];
        // what is denied may be reset
        let read = stream.read_exact(&mut start).is_ok();
        assert_eq!(read, answered, "{no_http}");
        assert_eq!(scene.upstream.count(), usize::from(answered), "{no_http}");
        scene.assert_nothing_rejected();
    }
}

#[test]
fn istio_itself_refuses_what_a_policy_that_asks_cannot_have() {
    let with = |rules: &str| {
        let policy = text("deploy/istio/gateway.yaml");
        let start = policy.find("  rules:").expect("rules");
        let upstream = Upstream::start();
        let objects: Objects = pods(&upstream, &[]);
        Mesh::refused(objects.text("policy", &format!("{}  rules:\n{rules}", &policy[..start])))
    };
    for rules in [
        "    - from: [{ source: { principals: [\"*\"] } }]\n",
        "    - when: [{ key: \"request.auth.claims[iss]\", values: [\"*\"] }]\n",
    ] {
        let said = with(rules);
        assert!(said.contains("REFUSED"), "{rules}: {said}");
        assert!(said.contains("CUSTOM"), "{rules}: {said}");
    }
    assert!(APPLIED.contains(&"deploy/istio/gateway.yaml"));
}
