//! What a client claims about itself never reaches an upstream as if we had said it.

use crate::scene::{HOST, SHOP_KEY, Scene, bearer, seen};

/// Spellings of `x-user` and `x-client-id` that some upstream may take for them.
const SPELLINGS: [&str; 10] = [
    "x-user",
    "X-User",
    "X-USER",
    "x_user",
    "X_User",
    "X_USER",
    "x-client-id",
    "x_client_id",
    "x-client_id",
    "X_Client-Id",
];

#[test]
fn a_spoofed_identity_is_replaced_by_the_verified_one() {
    let scene = Scene::start();
    let token = bearer(&scene.token());
    for spelling in SPELLINGS {
        let response = scene.get_order(&[
            ("authorization", &token),
            (spelling, "root"),
            (spelling, "admin"),
        ]);
        assert_eq!(response.status, 200, "{spelling}: {response:?}");
        assert_eq!(seen(&response, "x-user"), ["alice"], "{spelling}");
        assert_eq!(
            seen(&response, "x-client-id"),
            ["shop-client"],
            "{spelling}"
        );
    }
}

#[test]
fn all_spellings_at_once_are_replaced() {
    let scene = Scene::start();
    let token = bearer(&scene.token());
    let mut headers = SPELLINGS.map(|spelling| (spelling, "root")).to_vec();
    headers.push(("authorization", &token));
    let response = scene.get_order(&headers);
    assert_eq!(response.status, 200, "{response:?}");
    assert_eq!(seen(&response, "x-user"), ["alice"]);
    assert_eq!(seen(&response, "x-client-id"), ["shop-client"]);
}

#[test]
fn a_spoofed_identity_is_removed_where_we_have_nothing_to_say() {
    let scene = Scene::start();
    for spelling in ["x-nickname", "X_Nickname", "x_nickname"] {
        let response = scene.get_order(&[
            ("authorization", &bearer(&scene.token())),
            (spelling, "root"),
        ]);
        assert_eq!(response.status, 200, "{response:?}");
        assert!(
            seen(&response, "x-nickname").is_empty(),
            "{spelling}: {:?}",
            response.text()
        );
    }
    for spelling in SPELLINGS {
        let response = scene.envoy.get(HOST, "/open/public", &[(spelling, "root")]);
        assert_eq!(response.status, 200, "{response:?}");
        assert!(
            seen(&response, "x-user").is_empty(),
            "{spelling}: {:?}",
            response.text()
        );
    }
}

#[test]
fn the_same_holds_where_headers_come_as_a_map() {
    let scene = Scene::start_with(|envoy| envoy.headers_as_map());
    let token = bearer(&scene.token());
    let mut headers = SPELLINGS.map(|spelling| (spelling, "root")).to_vec();
    headers.push(("authorization", &token));
    let response = scene.get_order(&headers);
    assert_eq!(response.status, 200, "{response:?}");
    assert_eq!(seen(&response, "x-user"), ["alice"]);
    assert_eq!(seen(&response, "x-client-id"), ["shop-client"]);
}

#[test]
fn a_header_named_as_hop_by_hop_is_not_lost() {
    let scene = Scene::start();
    // A proxy drops what `connection` names (RFC 9110 section 7.6.1); ours must not be dropped.
    let response = scene.get_order(&[
        ("authorization", &bearer(&scene.token())),
        ("connection", "x-user, close"),
    ]);
    assert!(
        response.status != 200 || seen(&response, "x-user") == ["alice"],
        "{response:?}"
    );
}

#[test]
fn two_values_in_one_credential_place_are_refused() {
    for map in [false, true] {
        let scene = Scene::start_with(|envoy| if map { envoy.headers_as_map() } else { envoy });
        let good = bearer(&scene.token());
        let listed = format!("{good},{good}");
        let spaced = format!("{good}, {good}");
        let keys = format!("{SHOP_KEY},{SHOP_KEY}");
        let other = bearer(&scene.token().subject("mallory"));
        for headers in [
            &[("authorization", &*good), ("authorization", &*good)][..],
            &[("authorization", &*good), ("Authorization", &*other)][..],
            &[("authorization", &*listed)][..],
            &[("authorization", &*spaced)][..],
            &[("x-api-key", SHOP_KEY), ("x-api-key", SHOP_KEY)][..],
            &[("x-api-key", SHOP_KEY), ("X-Api-Key", "other")][..],
            &[("x-api-key", &*keys)][..],
        ] {
            let response = scene.get_order(headers);
            assert!(
                matches!(response.status, 400 | 401),
                "{headers:?}: {response:?}"
            );
            assert!(
                response.denial_code().is_some(),
                "{headers:?}: {response:?}"
            );
        }
        assert_eq!(scene.upstream.count(), 0);
    }
}

#[test]
fn a_bad_credential_is_not_made_good_by_another_one() {
    let scene = Scene::start();
    let expired = bearer(
        &scene
            .token()
            .expired_since(std::time::Duration::from_secs(60)),
    );
    let response = scene.get_order(&[("authorization", &expired), ("x-api-key", SHOP_KEY)]);
    assert_eq!(response.status, 401, "{response:?}");
}

#[test]
fn headers_of_proxies_and_of_other_filters_are_no_identity() {
    let scene = Scene::start();
    let response = scene.get_order(&[
        (
            "x-forwarded-client-cert",
            "URI=spiffe://cluster.local/ns/shop/sa/shop",
        ),
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-host", HOST),
        ("x-envoy-original-path", "/open/public"),
        ("x-original-url", "/open/public"),
        ("x-jwt-payload", "eyJzdWIiOiJhbGljZSJ9"),
        ("x-http-method-override", "OPTIONS"),
        ("x-envoy-internal", "true"),
        ("x-envoy-downstream-service-cluster", "shop"),
    ]);
    assert_eq!(response.status, 401, "{response:?}");
    assert_eq!(scene.upstream.count(), 0);
}
