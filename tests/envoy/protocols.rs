//! Requests that are not a plain GET: CONNECT, preflights, upgrades, odd methods, HTTP/1.0.

use crate::scene::{HOST, SHOP_KEY, Scene, seen};
use crate::support::http::{Connection, request_bytes};

#[test]
fn connect_is_refused() {
    let scene = Scene::start();
    for key in ["", "x-api-key: shop-2f0c1a7e9b3d4c5e8f60718293a4b5c6\r\n"] {
        let response = scene.envoy.raw_request(format!(
            "CONNECT {HOST}:443 HTTP/1.1\r\nhost: {HOST}:443\r\n{key}\r\n"
        ));
        assert_eq!(
            (response.status, response.denial_code().as_deref()),
            (400, Some("bad_request")),
            "{response:?}"
        );
    }
    assert_eq!(scene.upstream.count(), 0);
}

#[test]
fn a_preflight_passes_only_where_the_api_says_so() {
    let scene = Scene::start();
    let preflight = [
        ("origin", "https://web.example"),
        ("access-control-request-method", "GET"),
        ("x-user", "root"),
    ];
    let response = scene
        .envoy
        .request("OPTIONS", HOST, "/open/admin", &preflight);
    assert_eq!(response.status, 200, "{response:?}");
    assert!(
        seen(&response, "x-user").is_empty(),
        "what we own is stripped from a preflight too"
    );
    let refused = scene
        .envoy
        .request("OPTIONS", HOST, "/orders/1", &preflight);
    assert!(matches!(refused.status, 401 | 404), "{refused:?}");
    // OPTIONS without what makes it a preflight is a method like any other.
    let plain = scene.envoy.request("OPTIONS", HOST, "/open/admin", &[]);
    assert_ne!(plain.status, 200, "{plain:?}");
    assert_eq!(scene.upstream.count(), 1);
}

#[test]
fn an_upgrade_is_decided_like_any_request() {
    let scene = Scene::start();
    let upgrade = [
        ("connection", "Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("sec-websocket-version", "13"),
    ];
    let refused = scene.envoy.get(HOST, "/orders/1", &upgrade);
    assert_eq!(refused.status, 401, "{refused:?}");
    assert_eq!(scene.upstream.count(), 0);
    let mut headers = upgrade.to_vec();
    headers.push(("x-api-key", SHOP_KEY));
    let mut connection = Connection::open(scene.envoy.address()).unwrap();
    let response = connection
        .send(&request_bytes("GET", HOST, "/orders/1", &headers))
        .unwrap();
    assert_eq!(response.status, 101, "{response:?}");
    assert_eq!(
        connection.echo(b"through the gate").unwrap(),
        b"through the gate"
    );
    assert!(
        scene
            .upstream
            .last()
            .unwrap()
            .values("x-api-key")
            .is_empty()
    );
}

#[test]
fn a_method_that_no_operation_has_is_refused() {
    let scene = Scene::start();
    for method in ["DELETE", "PATCH", "TRACE", "BREW", "get", "GETGET"] {
        let response = scene
            .envoy
            .request(method, HOST, "/orders/1", &[("x-api-key", SHOP_KEY)]);
        assert!(
            (400..500).contains(&response.status),
            "{method}: {response:?}"
        );
    }
    assert_eq!(scene.upstream.count(), 0);
}

#[test]
fn a_body_is_forwarded_untouched() {
    let scene = Scene::start();
    let token = crate::scene::bearer(&scene.token().scope("orders.write"));
    let body = "a=1&token=2";
    let head = format!(
        "PUT /orders/1 HTTP/1.1\r\nhost: {HOST}\r\nauthorization: {token}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let response = scene.envoy.raw_request(format!("{head}{body}"));
    assert_eq!(response.status, 200, "{response:?}");
    assert_eq!(scene.upstream.last().unwrap().body, body.as_bytes());
}

#[test]
fn requests_on_one_connection_are_decided_one_by_one() {
    let scene = Scene::start();
    let mut connection = Connection::open(scene.envoy.address()).unwrap();
    let with_key = request_bytes("GET", HOST, "/orders/1", &[("x-api-key", SHOP_KEY)]);
    let without = request_bytes("GET", HOST, "/orders/1", &[]);
    let statuses: Vec<u16> = [&with_key, &without, &with_key, &without]
        .map(|request| connection.send(request).unwrap().status)
        .to_vec();
    assert_eq!(statuses, [200, 401, 200, 401]);
}
