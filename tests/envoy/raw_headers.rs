//! Envoy sends headers as a list or as a map, by its configuration. That changes no decision.

use std::time::Duration;

use crate::scene::{BAKERY_KEY, GUEST_KEY, HOST, SHOP_KEY, Scene, UNKNOWN_KEY, bearer};
use crate::support::envoy::EnvoyBuilder;
use crate::support::http::{self, request_bytes};

#[test]
fn a_list_and_a_map_of_headers_give_the_same_decisions() {
    let scene = Scene::start();
    let map = EnvoyBuilder::new(scene.portcullis.check_address(), scene.upstream.address())
        .headers_as_map()
        .start();
    for (name, bytes) in requests(&scene) {
        let [raw, joined] = [&scene.envoy, &map].map(|envoy| {
            let response = http::raw_request(envoy.address(), &bytes);
            let challenge = response.header("www-authenticate").map(ToOwned::to_owned);
            (response.status, response.denial_code(), challenge)
        });
        assert_eq!(raw, joined, "{name}");
    }
}

/// Requests that have the same credentials, or none, in every way that differs between the two.
fn requests(scene: &Scene) -> Vec<(String, Vec<u8>)> {
    let key = [("x-api-key", SHOP_KEY)];
    let mut requests = with_credentials(scene);
    for (method, host, path) in [
        ("GET", "a,b", "/orders/1"),
        ("GET", "API.example.:80", "/orders/1"),
        ("GET", HOST, "/orders/%2e%2e%2fopen/public"),
        ("PUT", HOST, "/orders/1"),
        ("BREW", HOST, "/orders/1"),
        ("GET", HOST, "/open/public?x=1"),
    ] {
        let name = format!("{method} {host}{path}");
        requests.push((name, request_bytes(method, host, path, &key)));
    }
    let start = b"GET /orders/1 HTTP/1.1\r\nhost: api.example\r\nx-api-key: ".as_slice();
    let not_utf_8 = [start, b"\xe9\xff\r\n\r\n"].concat();
    requests.push(("a key that is no UTF-8".to_owned(), not_utf_8));
    requests
}

fn with_credentials(scene: &Scene) -> Vec<(String, Vec<u8>)> {
    let good = bearer(&scene.token());
    let expired = bearer(&scene.token().expired_since(Duration::from_secs(60)));
    let list = format!("{good},{good}");
    let keys = format!("{SHOP_KEY},{BAKERY_KEY}");
    let tables: [&[(&str, &str)]; 20] = [
        &[],
        &[("authorization", &good)],
        &[("authorization", &expired)],
        &[("authorization", "Bearer")],
        &[("authorization", "Bearer ")],
        &[("authorization", "Basic dTpw")],
        &[("authorization", "")],
        &[("authorization", &list)],
        &[("authorization", &good), ("authorization", &good)],
        &[("authorization", &good), ("authorization", "Basic dTpw")],
        &[("x-api-key", SHOP_KEY)],
        &[("x-api-key", GUEST_KEY)],
        &[("x-api-key", UNKNOWN_KEY)],
        &[("x-api-key", "")],
        &[("x-api-key", &keys)],
        &[("x-api-key", SHOP_KEY), ("x-api-key", SHOP_KEY)],
        &[("x-api-key", SHOP_KEY), ("x-api-key", "")],
        &[("authorization", &good), ("x-api-key", UNKNOWN_KEY)],
        &[
            ("x-user", "root"),
            ("x-user", "admin"),
            ("x-api-key", SHOP_KEY),
        ],
        &[
            ("cookie", "a=1"),
            ("cookie", "b=2"),
            ("x-api-key", SHOP_KEY),
        ],
    ];
    let request = |headers: &&[(&str, &str)]| request_bytes("GET", HOST, "/orders/1", headers);
    tables
        .iter()
        .map(|headers| (format!("{headers:?}"), request(headers)))
        .collect()
}
