//! Response splitting and its kin: a claim is a text of the issuer's choice, and Envoy writes into
//! headers what we send, line feeds included, unless it is told to check.

use crate::scene::{HOST, Scene, bearer, seen_headers};

/// Claims that would begin a new header, or a new message, where they are written as they are.
const HOSTILE: [&str; 9] = [
    "eve\r\nx-admin: true",
    "eve\nx-admin: true",
    "eve\rx-admin: true",
    "eve\r\n\r\nHTTP/1.1 200 OK\r\nx-admin: true\r\n\r\n",
    "eve\0x-admin: true",
    "eve\u{85}x-admin: true",
    "\r\nx-admin: true",
    "eve\r\n x-admin: folded",
    "eve\u{7f}",
];

#[test]
fn a_claim_with_line_feeds_reaches_neither_the_upstream_nor_the_client() {
    for check_mutations in [false, true] {
        let scene = Scene::start_with(|envoy| {
            if check_mutations {
                envoy
            } else {
                envoy.without_mutation_checks()
            }
        });
        for claim in HOSTILE {
            let response = scene.get_order_with(&scene.token().claim("nickname", claim));
            assert!(
                !response.head.contains("x-admin"),
                "{claim:?}: {}",
                response.head
            );
            if response.status == 200 {
                for (name, value) in seen_headers(&response) {
                    assert!(
                        !name.contains("admin") && !value.contains("admin"),
                        "{claim:?}: {name}: {value}"
                    );
                }
            } else {
                assert!(
                    response.denial_code().is_some(),
                    "Envoy had to stop {claim:?}: {response:?}"
                );
            }
        }
        assert_eq!(
            scene.envoy.ext_authz_stat("invalid"),
            0,
            "Envoy never finds anything to refuse"
        );
    }
}

#[test]
fn a_subject_with_line_feeds_reaches_no_header() {
    let scene = Scene::start_with(|envoy| envoy.without_mutation_checks());
    for claim in HOSTILE {
        let response = scene.get_order_with(&scene.token().subject(claim));
        assert!(
            !response.head.contains("x-admin"),
            "{claim:?}: {}",
            response.head
        );
        if response.status == 200 {
            assert!(
                seen_headers(&response)
                    .iter()
                    .all(|(name, value)| !name.contains("admin") && !value.contains("admin"))
            );
        } else {
            assert!(
                response.denial_code().is_some(),
                "Envoy had to stop {claim:?}: {response:?}"
            );
        }
    }
}

#[test]
fn nothing_that_a_client_sends_is_reflected_in_a_denial() {
    let scene = Scene::start_with(|envoy| envoy.without_mutation_checks());
    let mark = "reflect-me-4711";
    let scope = scene.token().audience(mark).scope(mark).claim("kid", mark);
    for response in [
        scene.envoy.get(
            HOST,
            &format!("/orders/{mark}?{mark}=1"),
            &[("x-api-key", mark), ("user-agent", mark)],
        ),
        scene.envoy.get(
            &format!("{mark}.example"),
            &format!("/{mark}"),
            &[("x-request-id", mark)],
        ),
        scene.get_order(&[("authorization", &bearer(&scope))]),
        scene.get_order(&[("authorization", &format!("Bearer {mark}"))]),
        scene.envoy.request(mark, HOST, "/orders/1", &[]),
    ] {
        assert_ne!(response.status, 200);
        assert!(
            !response.head.contains(mark) && !response.text().contains(mark),
            "{response:?}"
        );
    }
}

#[test]
fn a_long_claim_reaches_nobody() {
    let scene = Scene::start_with(|envoy| envoy.without_mutation_checks());
    let response = scene.get_order_with(&scene.token().claim("nickname", "n".repeat(9000)));
    assert!(
        response.status == 200 || response.denial_code().is_some(),
        "{response:?}"
    );
    assert!(
        response
            .header("x-served-for")
            .is_none_or(|value| value.len() <= 8192)
    );
}
