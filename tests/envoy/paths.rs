//! Paths: however a client spells one, nobody without a key gets to what needs a key.

use crate::scene::{BAKERY_KEY, HOST, Scene};
use crate::support::envoy::PathHandling;

/// Spellings of `/open/admin` and of ways to it from `/open/public`.
const WAYS_TO_ADMIN: [&str; 44] = [
    "/open/admin",
    "/open/admin/",
    "/open//admin",
    "//open/admin",
    "/open/./admin",
    "/open/public/../admin",
    "/open/public/..//admin",
    "/open/public/%2e%2e/admin",
    "/open/public/%2E%2E/admin",
    "/open/public/.%2e/admin",
    "/open/public/%2e./admin",
    "/open/public/..%2fadmin",
    "/open/public/..%2Fadmin",
    "/open/public%2f..%2fadmin",
    "/open/public%2f%2e%2e%2fadmin",
    "/open/public/..%5cadmin",
    "/open/public/..\\admin",
    "/open/public\\..\\admin",
    "/open/public/%252e%252e/admin",
    "/open/public/..%252fadmin",
    "/open/public/..;/admin",
    "/open/public/..;x=1/admin",
    "/open/public/%2e%2e;/admin",
    "/open/public/..%3b/admin",
    "/open/public/.;/../admin",
    "/open/public;/../admin",
    "/open/public/;/../admin",
    "/open/admin;x=1",
    "/open/;x/admin",
    "/open/%61dmin",
    "/open/adm%69n",
    "/open/admin%2f",
    "/open/admin%00",
    "/open/public%00/../admin",
    "/open/admin%20",
    "/open/public/%c0%ae%c0%ae/admin",
    "/open/public/%u002e%u002e/admin",
    "/open/public#/../admin",
    "/open/public?/../admin",
    "/open/public/x?y=/open/admin",
    "/open/public%3f/../admin",
    "/open/public/%2e%2e%00/admin",
    "/open/public/%%32%65%%32%65/admin",
    "/open/public/..%c0%afadmin",
];

/// The path as the most obliging upstream may read it: unescaped again and again, parameters cut
/// off, backslashes turned, dot segments resolved, case and doubled slashes ignored.
fn most_obliging_reading(path: &str) -> String {
    let mut path = path.split('?').next().unwrap_or_default().to_owned();
    for _ in 0..3 {
        path = unescape(&path);
    }
    let mut segments = Vec::new();
    for segment in path.replace('\\', "/").split('/') {
        match segment
            .split([';', '\0', '#', '?'])
            .next()
            .unwrap_or_default()
            .trim()
        {
            "" | "." => {}
            ".." => drop(segments.pop()),
            name => segments.push(name.to_ascii_lowercase()),
        }
    }
    format!("/{}", segments.join("/"))
}

fn unescape(path: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = path.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let escaped = tail
            .get(..2)
            .and_then(|digits| std::str::from_utf8(digits).ok());
        match escaped.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(decoded) if byte == b'%' => {
                bytes.push(decoded);
                rest = tail.get(2..).unwrap_or_default();
            }
            _ => {
                bytes.push(byte);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[test]
fn no_spelling_of_a_path_gets_past_its_operation() {
    for handling in [
        PathHandling::AsSent,
        PathHandling::Normalized,
        PathHandling::Unescaped,
    ] {
        let scene = Scene::start_with(|envoy| envoy.paths(handling));
        for path in WAYS_TO_ADMIN {
            let before = scene.upstream.count();
            let response = scene.envoy.get(HOST, path, &[]);
            if response.status == 200 {
                let seen = response.json()["path"].as_str().unwrap().to_owned();
                let read = most_obliging_reading(&seen);
                assert!(
                    !read.starts_with("/open/admin"),
                    "{handling:?}: {path} reached the upstream as {seen}"
                );
            } else {
                assert_eq!(
                    scene.upstream.count(),
                    before,
                    "{handling:?}: {path}: {response:?}"
                );
                assert!(
                    (400..500).contains(&response.status),
                    "{handling:?}: {path}: {response:?}"
                );
            }
        }
        assert_eq!(
            scene
                .envoy
                .get(HOST, "/open/admin", &[("x-api-key", BAKERY_KEY)])
                .status,
            200
        );
        assert_eq!(
            scene.envoy.get(HOST, "/open/public/a.b/c?d=..", &[]).status,
            200
        );
    }
}

#[test]
fn the_reading_of_an_obliging_upstream_is_obliging() {
    for path in [
        "/open/public/..;x/admin",
        "/open/public/%252e%252e/admin",
        "/Open\\ADMIN/x",
        "/open/%2561dmin;a=b?c",
    ] {
        assert!(
            most_obliging_reading(path).starts_with("/open/admin"),
            "{path}"
        );
    }
    assert_eq!(most_obliging_reading("/open/public/a"), "/open/public/a");
}

#[test]
fn ambiguous_paths_are_bad_requests() {
    let scene = Scene::start_with(|envoy| envoy.paths(PathHandling::AsSent));
    for path in [
        "/open/public/../admin",
        "/open/public%2fx",
        "/open/public/%2e%2e/x",
        "/open/public/..;/x",
        "/open/public/%5cx",
    ] {
        let response = scene.envoy.get(HOST, path, &[]);
        assert_eq!(
            (response.status, response.denial_code().as_deref()),
            (400, Some("bad_request")),
            "{path}"
        );
    }
}
