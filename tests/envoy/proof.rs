//! Tokens that are bound to a key, through a real Envoy: the proof is about the address that the
//! client called, and goes no further than the gate.

use serde_json::json;

use crate::scene::{HOST, Scene, portcullis, seen};
use crate::support::envoy::EnvoyBuilder;
use crate::support::http::Response;
use crate::support::issuer::Issuer;
use crate::support::proof::Prover;
use crate::support::upstream::Upstream;

fn start() -> Scene {
    let (issuer, upstream) = (Issuer::start(), Upstream::start());
    let binding = json!({ "dpop": {} });
    let portcullis = portcullis(&issuer)
        .set(&["authenticators", "partners", "binding"], binding)
        .start();
    let envoy = EnvoyBuilder::new(portcullis.check_address(), upstream.address()).start();
    Scene {
        envoy,
        portcullis,
        upstream,
        issuer,
    }
}

#[test]
fn a_bound_token_passes_with_a_proof_and_not_with_the_same_one_again() {
    let scene = start();
    let prover = Prover::new();
    let token = scene.token().claim("cnf", prover.confirmation()).sign();
    let get = |target: &str, scheme: &str, proof: &str| -> Response {
        let authorization = format!("{scheme} {token}");
        let headers = [("authorization", authorization.as_str()), ("dpop", proof)];
        scene.envoy.get(HOST, target, &headers)
    };
    let proof = |url: &str| prover.proof("GET", url, &token).sign();
    let first = proof("http://api.example/orders/1");
    let response = get("/orders/1?x=1", "DPoP", &first);
    assert_eq!(response.status, 200, "{response:?}");
    for name in ["dpop", "authorization"] {
        assert!(seen(&response, name).is_empty(), "{response:?}");
    }
    for (why, response) in [
        ("again", get("/orders/1", "DPoP", &first)),
        (
            "another address",
            get("/orders/1", "DPoP", &proof("http://api.example/orders/2")),
        ),
        (
            "another scheme",
            get("/orders/1", "DPoP", &proof("https://api.example/orders/1")),
        ),
        (
            "a bearer token",
            get("/orders/1", "Bearer", &proof("http://api.example/orders/1")),
        ),
    ] {
        assert_eq!(response.status, 401, "{why}: {response:?}");
        let challenge = response.values("www-authenticate").join(", ");
        assert!(
            challenge.contains("DPoP") && challenge.contains("algs="),
            "{why}: {challenge}"
        );
    }
    // the path is compared in its normal form, as it is judged and goes on
    let response = get("/orders//1", "DPoP", &proof("http://api.example/orders/1"));
    assert_eq!(response.status, 200, "{response:?}");
}
