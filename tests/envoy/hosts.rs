//! Hosts through a route for every host: Envoy asks about whatever a client wrote.

use crate::scene::{SHOP_KEY, Scene};
use crate::support::envoy::Envoy;
use crate::support::http::Response;

/// `GET /open/public`, which everybody may see on every host that is one.
fn get_public(envoy: &Envoy, host: &str) -> Response {
    envoy.get(host, "/open/public", &[])
}

#[test]
fn hosts_in_any_spelling_pass() {
    let scene = Scene::start();
    for host in [
        "api.example",
        "API.EXAMPLE",
        "Api.Example.",
        "api.example:80",
        "api.example.:8080",
        "nobody.example",
        "localhost",
        "127.0.0.1",
        "127.0.0.1:8080",
        "[::1]",
        "[::1]:8080",
        "a--b.example",
    ] {
        let response = get_public(&scene.envoy, host);
        assert_eq!(response.status, 200, "{host}: {response:?}");
    }
}

#[test]
fn what_is_no_host_never_passes() {
    let scene = Scene::start();
    let mut asked = 0;
    for host in [
        "a,b",
        "a, b",
        "api.example,api.example",
        ".a",
        "_a",
        "_dmarc.a",
        "-a",
        "a-",
        "a..b",
        "a:99999",
        "a:0",
        "a:",
        "a:b",
        "a:+80",
        "a:80:80",
        "a%2eb",
        "a%00b",
        "u@a",
        "api.example@evil.example",
        "*.a",
        "*",
        "a b",
        "a;b",
        "a'b",
        "[::1",
        "[zz]",
        "::1",
        ".",
        "..",
        "a|b",
        "a\\b",
        "a?b",
        "a#b",
        "\u{e4}.example",
        "xn--\u{e4}",
    ] {
        let response = get_public(&scene.envoy, host);
        assert_ne!(response.status, 200, "{host:?}: {response:?}");
        assert!(
            (400..500).contains(&response.status),
            "{host:?}: {response:?}"
        );
        asked += usize::from(response.denial_code().as_deref() == Some("bad_request"));
    }
    assert_eq!(scene.upstream.count(), 0);
    assert!(
        asked >= 10,
        "Envoy itself refused all but {asked} of them: this test proves nothing any more"
    );
}

#[test]
fn two_host_lines_never_pass() {
    let scene = Scene::start();
    for (first, second) in [
        ("api.example", "evil.example"),
        ("api.example", "api.example"),
        ("", "api.example,"),
    ] {
        let request =
            format!("GET /open/public HTTP/1.1\r\nhost: {first}\r\nhost: {second}\r\n\r\n");
        let response = scene.envoy.raw_request(&request);
        assert_ne!(response.status, 200, "{first} and {second}: {response:?}");
    }
    assert_eq!(scene.upstream.count(), 0);
}

#[test]
fn the_host_of_an_absolute_target_decides() {
    let scene = Scene::start();
    let get = |target: &str, host: &str| {
        let key = format!("x-api-key: {SHOP_KEY}");
        scene.envoy.raw_request(format!(
            "GET {target} HTTP/1.1\r\nhost: {host}\r\n{key}\r\n\r\n"
        ))
    };
    assert_eq!(
        get("http://api.example/orders/1", "nobody.example").status,
        200
    );
    assert_eq!(
        get("http://nobody.example/orders/1", "api.example").status,
        404
    );
    assert_ne!(get("http://a,b/open/public", "api.example").status, 200);
}
