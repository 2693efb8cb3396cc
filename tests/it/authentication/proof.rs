//! Tokens that are bound to a key or to a certificate: what is shown beside them, and what is not.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use envoy_types::pb::envoy::service::auth::v3::CheckResponse;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::gate::{Gate, allowed, metadata, refused};
use crate::support::authority::Authority;
use crate::support::check::{CheckBuilder, header};
use crate::support::portcullis::PortcullisBuilder;
use crate::support::proof::{Proof, Prover, sha256_text};
use crate::support::providers::Providers;
use crate::support::redis::{RedisOptions, RedisServer};
use crate::support::signing::{Algorithm, SigningKeys};

const URL: &str = "http://api.example/orders/7";

/// A gate whose `partners` has this `binding`.
fn gate(binding: Value) -> Gate {
    gate_with(binding, |builder| builder)
}

fn gate_with(binding: Value, change: impl FnOnce(PortcullisBuilder) -> PortcullisBuilder) -> Gate {
    Gate::with(|builder, _| {
        change(builder.set(&["authenticators", "partners", "binding"], binding))
    })
}

/// `GET /orders/7`, a request of its own.
fn get() -> CheckBuilder {
    static REQUESTS: AtomicU64 = AtomicU64::new(1);
    let id = REQUESTS.fetch_add(1, Ordering::Relaxed).to_string();
    CheckBuilder::new("GET", "api.example", "/orders/7").http(|http| http.id = id)
}

fn with_proof(token: &str, proof: &str) -> CheckBuilder {
    get()
        .header("authorization", format!("DPoP {token}"))
        .header("dpop", proof)
}

fn bound(gate: &Gate, confirmation: Value) -> String {
    gate.token().claim("cnf", confirmation).sign()
}

fn challenge(response: &CheckResponse, reason: &str) -> String {
    header(&refused(response, reason).headers, "www-authenticate").unwrap()
}

#[tokio::test]
async fn a_bound_token_passes_with_a_proof_for_each_request() {
    let gate = gate(json!({ "dpop": {} }));
    let prover = Prover::new();
    let token = bound(&gate, prover.confirmation());
    for _ in 0..2 {
        let proof = prover.proof("GET", URL, &token).sign();
        let response = gate.ask(with_proof(&token, &proof)).await;
        let removed = &allowed(&response).headers_to_remove;
        for name in ["authorization", "dpop"] {
            assert!(
                removed.contains(&name.to_owned()),
                "{name} goes no further: {removed:?}"
            );
        }
    }
    // tokens that are bound to nothing pass as before
    allowed(&gate.ask(get().bearer(&gate.token().sign())).await);
}

#[tokio::test]
async fn proofs_may_be_signed_by_keys_of_every_kind() {
    let gate = gate(json!({ "dpop": {} }));
    let keys = SigningKeys::generate(1);
    for algorithm in Algorithm::ALL {
        let prover = Prover::with(&keys, algorithm);
        let token = bound(&gate, prover.confirmation());
        let proof = prover.proof("GET", URL, &token).sign();
        allowed(&gate.ask(with_proof(&token, &proof)).await);
    }
}

#[tokio::test]
async fn a_proof_that_was_used_is_proof_invalid() {
    let gate = gate(json!({ "dpop": { "algorithms": ["ES256", "EdDSA"] } }));
    let prover = Prover::new();
    let token = bound(&gate, prover.confirmation());
    let proof = prover.proof("GET", URL, &token);
    let first = with_proof(&token, &proof.sign()).http(|http| http.id = "same".to_owned());
    allowed(&gate.ask(first).await);
    // another signature over the same makes no other proof of it
    for again in [
        proof.sign(),
        proof
            .clone()
            .claim("iat", Timestamp::now().as_second() - 1)
            .sign(),
    ] {
        let response = gate.ask(with_proof(&token, &again)).await;
        let challenge = challenge(&response, "proof_invalid");
        assert!(
            challenge.contains(
                r#"DPoP realm="ordersAPI", error="invalid_dpop_proof", algs="ES256 EdDSA""#
            ),
            "{challenge}"
        );
        assert!(
            challenge.contains(r#"Bearer realm="ordersAPI","#),
            "{challenge}"
        );
        assert!(!challenge.contains("invalid_token"), "{challenge}");
    }
    // Envoy asks once more about one request
    let retried = with_proof(&token, &proof.sign()).http(|http| http.id = "same".to_owned());
    allowed(&gate.ask(retried).await);
}

#[tokio::test]
async fn each_of_the_checks_of_a_proof_is_made() {
    let gate = gate(json!({ "dpop": { "algorithms": ["ES256", "RS256"] } }));
    let keys = SigningKeys::generate(1);
    let prover = Prover::with(&keys, Algorithm::Es256);
    let token = bound(&gate, prover.confirmation());
    let good = || prover.proof("GET", URL, &token);
    let now = Timestamp::now().as_second();
    let with_private = |name: &str| {
        let mut jwk = prover.jwk();
        jwk[name] = json!("AQAB");
        jwk
    };
    let jwk_with = |name: &str, value: &str| {
        let mut jwk = prover.jwk();
        jwk[name] = json!(value);
        jwk
    };
    let other = Prover::new();
    let bad: Vec<(&str, Proof)> = vec![
        ("typ", good().header("typ", "JWT")),
        ("no typ", good().header("typ", Value::Null)),
        ("crit", good().header("crit", json!(["x"]))),
        ("alg", good().header("alg", "ES384")),
        ("no alg", good().header("alg", Value::Null)),
        ("no jwk", good().header("jwk", Value::Null)),
        ("jwk text", good().header("jwk", prover.jwk().to_string())),
        ("jwk private", good().header("jwk", with_private("d"))),
        ("jwk use", good().header("jwk", jwk_with("use", "enc"))),
        ("jwk alg", good().header("jwk", jwk_with("alg", "ES384"))),
        (
            "jwk oct",
            good().header("jwk", json!({ "kty": "oct", "k": "AQAB" })),
        ),
        ("jwk of another", good().header("jwk", other.jwk())),
        ("key of another", other.proof("GET", URL, &token)),
        ("htm", good().claim("htm", "POST")),
        ("htm case", good().claim("htm", "get")),
        ("no htm", good().claim("htm", Value::Null)),
        ("no htu", good().claim("htu", Value::Null)),
        (
            "htu path",
            good().claim("htu", "http://api.example/orders/8"),
        ),
        (
            "htu case",
            good().claim("htu", "http://api.example/Orders/7"),
        ),
        (
            "htu host",
            good().claim("htu", "http://evil.example/orders/7"),
        ),
        (
            "htu scheme",
            good().claim("htu", "https://api.example/orders/7"),
        ),
        (
            "htu port",
            good().claim("htu", "http://api.example:8080/orders/7"),
        ),
        (
            "htu user",
            good().claim("htu", "http://a@api.example/orders/7"),
        ),
        ("htu relative", good().claim("htu", "/orders/7")),
        (
            "htu dots",
            good().claim("htu", "http://api.example/x/../orders/7"),
        ),
        ("htu list", good().claim("htu", json!([URL]))),
        ("iat old", good().claim("iat", now - 70)),
        ("iat future", good().claim("iat", now + 30)),
        ("no iat", good().claim("iat", Value::Null)),
        ("iat text", good().claim("iat", now.to_string())),
        ("exp", good().claim("exp", now - 10)),
        ("nbf", good().claim("nbf", now + 30)),
        ("no jti", good().claim("jti", Value::Null)),
        ("jti empty", good().claim("jti", "")),
        ("jti number", good().claim("jti", 5)),
        ("jti long", good().claim("jti", "x".repeat(300))),
        ("no ath", good().claim("ath", Value::Null)),
        ("ath", good().claim("ath", sha256_text(b"another"))),
        ("ath text", good().claim("ath", token.clone())),
    ];
    let signed = bad.into_iter().map(|(why, proof)| (why, proof.sign()));
    let (head, _) = good()
        .sign()
        .rsplit_once('.')
        .map(|(head, sign)| (head.to_owned(), sign.to_owned()))
        .unwrap();
    let odd = [
        ("HS256", good().sign_with_secret(b"secret")),
        (
            "HS256 by the public key",
            good().sign_with_secret(prover.jwk().to_string().as_bytes()),
        ),
        ("none", good().unsigned()),
        ("signature", format!("{head}.{}", sha256_text(b"x"))),
        ("no signature", format!("{head}.")),
        ("no proof", "x".to_owned()),
        ("two proofs", format!("{},{}", good().sign(), good().sign())),
        ("too long", good().header("x", "y".repeat(9000)).sign()),
    ];
    for (why, proof) in signed.chain(odd.into_iter()) {
        let response = gate.ask(with_proof(&token, &proof)).await;
        assert!(
            challenge(&response, "proof_invalid").contains("invalid_dpop_proof"),
            "{why}"
        );
    }
    let twice = with_proof(&token, &good().sign()).header("dpop", good().sign());
    refused(&gate.ask(twice.raw_headers()).await, "proof_invalid");
    let none = get().header("authorization", format!("DPoP {token}"));
    refused(&gate.ask(none).await, "proof_invalid");
    for (why, proof) in [
        (
            "query and fragment are not compared",
            good().claim("htu", format!("{URL}?a=b#c")),
        ),
        (
            "the usual port",
            good().claim("htu", "HTTP://API.example:80/orders/7"),
        ),
        (
            "escapes",
            good().claim("htu", "http://api.example/%6frders/7"),
        ),
        ("a clock a little ahead", good().claim("iat", now + 3)),
    ] {
        let response = gate.ask(with_proof(&token, &proof.sign())).await;
        assert_eq!(
            response.status.as_ref().map_or(0, |status| status.code),
            0,
            "{why}"
        );
    }
}

#[tokio::test]
async fn a_bound_token_is_no_bearer_token_wherever_it_is_shown() {
    let prover = Prover::new();
    // also where the configuration says nothing of proofs
    for binding in [json!({}), json!({ "dpop": {} })] {
        let gate = gate(binding);
        let token = bound(&gate, prover.confirmation());
        let proof = prover.proof("GET", URL, &token).sign();
        for check in [
            get().bearer(&token),
            get().bearer(&token).header("dpop", &proof),
        ] {
            let response = gate.ask(check).await;
            assert!(challenge(&response, "proof_invalid").contains(r#"error="invalid_token""#));
        }
    }
    let gate = gate_with(json!({ "dpop": {} }), |builder| {
        let places =
            json!([{ "cookie": "session" }, { "header": "authorization", "scheme": "DPoP" }]);
        builder.set(&["authenticators", "partners", "credentials"], places)
    });
    let token = bound(&gate, prover.confirmation());
    let proof = prover.proof("GET", URL, &token).sign();
    let cookie = get()
        .header("cookie", format!("session={token}"))
        .header("dpop", &proof);
    refused(&gate.ask(cookie).await, "proof_invalid");
    allowed(&gate.ask(with_proof(&token, &proof)).await);
}

#[tokio::test]
async fn a_token_that_is_bound_to_nothing_is_none_for_a_proof() {
    let gate = gate(json!({ "dpop": {} }));
    let prover = Prover::new();
    let token = gate.token().sign();
    let proof = prover.proof("GET", URL, &token).sign();
    refused(&gate.ask(with_proof(&token, &proof)).await, "proof_invalid");
}

#[tokio::test]
async fn what_a_token_must_be_bound_to_is_asked_of_every_token() {
    let prover = Prover::new();
    let (certificate, digest) = certificate();
    let to_both = json!({ "jkt": prover.thumbprint(), "x5t#S256": digest });
    for (required, nothing, key, certified) in [
        ("none", true, true, true),
        ("any", false, true, true),
        ("dpop", false, true, false),
        ("certificate", false, false, true),
    ] {
        let gate = gate(json!({ "required": required, "dpop": {} }));
        let plain = gate.token().sign();
        let to_key = bound(&gate, prover.confirmation());
        let to_certificate = bound(&gate, json!({ "x5t#S256": digest }));
        let to_both = bound(&gate, to_both.clone());
        let proof = |token: &str| prover.proof("GET", URL, token).sign();
        for (check, passes) in [
            (get().bearer(&plain), nothing),
            (with_proof(&to_key, &proof(&to_key)), key),
            (
                get().bearer(&to_certificate).certificate(&certificate),
                certified,
            ),
            (
                with_proof(&to_both, &proof(&to_both)).certificate(&certificate),
                true,
            ),
        ] {
            let response = gate.ask(check).await;
            if passes {
                allowed(&response);
            } else {
                refused(&response, "proof_invalid");
            }
        }
        // both, where it is bound to both
        for check in [
            with_proof(&to_both, &proof(&to_both)),
            get().bearer(&to_both).certificate(&certificate),
        ] {
            refused(&gate.ask(check).await, "proof_invalid");
        }
    }
}

/// A certificate as Envoy sends it, and its digest.
fn certificate() -> (String, String) {
    let pem = Authority::new().client("shop").chain_pem();
    let end = "-----END CERTIFICATE-----\n";
    let leaf = pem.split_inclusive(end).next().unwrap();
    let der = x509_parser::pem::parse_x509_pem(leaf.as_bytes())
        .unwrap()
        .1
        .contents;
    let encoded: String = leaf
        .bytes()
        .map(|byte| match byte {
            b'\n' | b' ' | b'+' | b'/' | b'=' => format!("%{byte:02X}"),
            byte => char::from(byte).to_string(),
        })
        .collect();
    (encoded, sha256_text(&der))
}

#[tokio::test]
async fn a_certificate_that_is_missing_or_another_is_proof_invalid() {
    let gate = gate(json!({}));
    let (certificate, digest) = certificate();
    let (other, _) = self::certificate();
    let token = bound(&gate, json!({ "x5t#S256": digest }));
    allowed(
        &gate
            .ask(get().bearer(&token).certificate(&certificate))
            .await,
    );
    let both = format!("{certificate}{certificate}");
    let unencoded = certificate.replace("%0A", "\n");
    for shown in [
        "",
        "x",
        "%zz",
        &other,
        &both,
        &certificate[..certificate.len() / 2],
    ] {
        let response = gate.ask(get().bearer(&token).certificate(shown)).await;
        assert!(
            challenge(&response, "proof_invalid").contains("invalid_token"),
            "{shown}"
        );
    }
    // no `+` is a space in it
    drop(gate.ask(get().bearer(&token).certificate(&unencoded)).await);
}

#[tokio::test]
async fn a_forwarded_certificate_counts_only_where_listener_and_authenticator_say_so() {
    let (certificate, digest) = certificate();
    let der = {
        let text = certificate
            .replace("%0A", "\n")
            .replace("%20", " ")
            .replace("%2B", "+");
        let text = text.replace("%2F", "/").replace("%3D", "=");
        x509_parser::pem::parse_x509_pem(text.as_bytes())
            .unwrap()
            .1
            .contents
    };
    let hex: String = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &der)
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let other = "0".repeat(64);
    let good = format!("By=spiffe://a;Hash={hex};Subject=\"CN=shop\"");
    for (listener, authenticator) in [(false, false), (true, false), (false, true), (true, true)] {
        let gate = gate_with(
            json!({ "certificate": { "xfcc": authenticator } }),
            |builder| {
                builder.set(
                    &["listeners", "inbound", "peers"],
                    json!({ "requestXfcc": listener }),
                )
            },
        );
        let token = bound(&gate, json!({ "x5t#S256": digest }));
        let ask =
            |xfcc: String| gate.ask(get().bearer(&token).header("x-forwarded-client-cert", xfcc));
        let response = ask(good.clone()).await;
        if listener && authenticator {
            allowed(&response);
            allowed(&ask(format!("Hash={other},{good}")).await);
            for xfcc in [
                format!("{good},Hash={other}"),
                format!("Hash={other};Subject=\"Hash={hex}\""),
                format!("Hash={hex};Hash={other}"),
                "URI=spiffe://a".to_owned(),
                String::new(),
            ] {
                refused(&ask(xfcc).await, "proof_invalid");
            }
            // the certificate of the connection is the proxy's, for which the token is not shown
            let through = |xfcc: String| {
                let check = get().bearer(&token).certificate(&certificate);
                gate.ask(check.header("x-forwarded-client-cert", xfcc))
            };
            allowed(&through(good.clone()).await);
            refused(&through(format!("Hash={other}")).await, "proof_invalid");
        } else {
            refused(&response, "proof_invalid");
        }
    }
    let (status, told) = PortcullisBuilder::new()
        .set(&["listeners", "admin", "trustXfcc"], json!(true))
        .start_refused();
    assert_eq!(status.code(), Some(78), "{told}");
    assert!(told.contains("trustXfcc"), "{told}");
}

#[tokio::test]
async fn a_confirmation_that_cannot_be_checked_refuses_the_token() {
    let gate = gate(json!({ "dpop": {} }));
    let prover = Prover::new();
    let key = prover.thumbprint();
    for confirmation in [
        json!({}),
        json!("x"),
        json!([prover.confirmation()]),
        Value::Null,
        json!({ "jwk": prover.jwk() }),
        json!({ "kid": "k" }),
        json!({ "jku": "https://idp.example" }),
        json!({ "jkt": key, "kid": "k" }),
        json!({ "jkt": 5 }),
        json!({ "jkt": "x" }),
        json!({ "jkt": format!("{key}=") }),
        json!({ "JKT": key }),
        json!({ "x5t": key }),
        json!({ "x5t#S256": null }),
    ] {
        let token = bound(&gate, confirmation.clone());
        let proof = prover.proof("GET", URL, &token).sign();
        for check in [with_proof(&token, &proof), get().bearer(&token)] {
            let response = gate.ask(check).await;
            refused(&response, "credential_invalid");
        }
    }
}

#[tokio::test]
async fn the_address_is_compared_with_what_the_client_sees() {
    let prover = Prover::new();
    // TLS ends before Envoy
    let gate = gate(json!({ "dpop": { "scheme": "https" } }));
    let token = bound(&gate, prover.confirmation());
    for (url, host, passes) in [
        ("https://api.example/orders/7", "api.example", true),
        ("https://api.example:443/orders/7", "api.example", true),
        ("https://api.example/orders/7", "API.example:443", true),
        (
            "https://api.example:8443/orders/7",
            "api.example:8443",
            true,
        ),
        ("https://api.example/orders/7", "api.example:8443", false),
        ("http://api.example/orders/7", "api.example", false),
    ] {
        let proof = prover.proof("GET", url, &token).sign();
        let check = with_proof(&token, &proof).http(|http| http.host = host.to_owned());
        let response = gate.ask(check).await;
        if passes {
            allowed(&response);
        } else {
            refused(&response, "proof_invalid");
        }
    }
    // Envoy does not say
    let gate = self::gate(json!({ "dpop": {} }));
    let token = bound(&gate, prover.confirmation());
    let proof = prover
        .proof("GET", "://api.example/orders/7", &token)
        .sign();
    let check = with_proof(&token, &proof).http(|http| http.scheme = String::new());
    refused(&gate.ask(check).await, "proof_invalid");
}

#[tokio::test]
async fn who_makes_proofs_up_is_rate_limited() {
    let gate = gate_with(json!({ "dpop": {} }), |builder| {
        let limit = json!({ "perSource": { "perSecond": 1, "burst": 3 } });
        builder.set(&["checks", "failedVerifications"], limit)
    });
    let prover = Prover::new();
    let token = bound(&gate, prover.confirmation());
    let forged = prover.proof("GET", URL, &token).sign();
    let (head, _) = forged.rsplit_once('.').unwrap();
    let forged = format!("{head}.{}", "A".repeat(86));
    for _ in 0..3 {
        refused(
            &gate.ask(with_proof(&token, &forged)).await,
            "proof_invalid",
        );
    }
    refused(&gate.ask(with_proof(&token, &forged)).await, "rate_limited");
}

#[tokio::test]
async fn a_token_that_is_introspected_is_bound_too() {
    let server = Providers::start();
    let prover = Prover::new();
    let authenticator = json!({
        "type": "introspection", "url": server.introspection_url(), "issuer": "https://idp.example",
        "client": { "id": "gw", "secret": { "file": "secret" } }, "http": { "allowHttp": true },
        "audience": "any", "binding": { "dpop": {} },
    });
    let gate = Gate::with(|builder, _| {
        builder.file("secret", "s").authenticator("opaque", authenticator).catalog(
            "opaque.yaml",
            "apiVersion: portcullis.dev/v1alpha1\nkind: Api\nmetadata: { name: opaque }\nspec: { title: o, version: 1.0.0, hosts: [opaque.example], authenticators: [opaque], subscription: none, unmatchedOperation: allow }\n",
        )
    });
    server.knows(
        "opaque",
        json!({ "active": true, "token_type": "DPoP", "cnf": prover.confirmation() }),
    );
    let ask = || get().http(|http| "opaque.example".clone_into(&mut http.host));
    let proof = prover
        .proof("GET", "http://opaque.example/orders/7", "opaque")
        .sign();
    for _ in 0..2 {
        refused(&gate.ask(ask().bearer("opaque")).await, "proof_invalid");
    }
    let with_proof = || {
        ask()
            .header("authorization", "dpop opaque")
            .header("dpop", &proof)
    };
    allowed(&gate.ask(with_proof()).await);
    refused(&gate.ask(with_proof()).await, "proof_invalid");
    assert_eq!(server.count(), 1);
}

#[tokio::test]
async fn replicas_that_share_redis_take_a_proof_once_and_none_without_it() {
    let mut redis = RedisServer::start_with(RedisOptions {
        acl: true,
        ..RedisOptions::default()
    });
    let start = |redis: &RedisServer| {
        let mut store = redis.config();
        store["type"] = json!("redis");
        store["budget"] = json!("500ms");
        gate_with(json!({ "dpop": { "replay": "redis" } }), |builder| {
            builder.set(&["quota", "store"], store)
        })
    };
    let (one, other) = (start(&redis), start(&redis));
    let prover = Prover::new();
    let ask = async |gate: &Gate, check: CheckBuilder| {
        // its connections are made beside the first checks
        for _ in 0..100 {
            let response = gate.ask(check.clone()).await;
            if metadata(&response, "reason").as_deref() != Some("dependency_unavailable") {
                return response;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        gate.ask(check).await
    };
    let tokens = [&one, &other].map(|gate| bound(gate, prover.confirmation()));
    // each gate has an issuer of its own, so that what is the same is made the same
    let id = "the same";
    let proofs = tokens.each_ref().map(|token| {
        let proof = prover.proof("GET", URL, token);
        proof.claim("jti", id).sign()
    });
    let first = with_proof(&tokens[0], &proofs[0]).http(|http| http.id = "a".to_owned());
    allowed(&ask(&one, first.clone()).await);
    allowed(&ask(&one, first).await);
    refused(
        &ask(&other, with_proof(&tokens[1], &proofs[1])).await,
        "proof_invalid",
    );
    assert!(redis.keys().iter().all(|key| !key.contains(id)));
    redis.kill();
    let proof = prover.proof("GET", URL, &tokens[0]).sign();
    let response = one.ask(with_proof(&tokens[0], &proof)).await;
    refused(&response, "dependency_unavailable");
}

#[tokio::test]
async fn a_binding_that_cannot_work_is_refused() {
    for (binding, at) in [
        (json!({ "dpop": { "algorithms": [] } }), "dpop.algorithms"),
        (
            json!({ "dpop": { "algorithms": ["HS256"] } }),
            "dpop.algorithms[0]",
        ),
        (json!({ "dpop": { "maxAge": "0s" } }), "dpop.maxAge"),
        (json!({ "dpop": { "maxAge": "1h" } }), "dpop.maxAge"),
        (json!({ "dpop": { "leeway": "5m" } }), "dpop.leeway"),
        (json!({ "dpop": { "replay": "redis" } }), "dpop.replay"),
        (json!({ "required": "always" }), "required"),
        (json!({ "cnf": true }), "cnf"),
    ] {
        let authenticator = json!({
            "type": "jwt", "issuer": "https://idp.example", "audiences": ["orders"], "binding": binding,
        });
        let builder = PortcullisBuilder::new().authenticator("partners", authenticator);
        let (status, told) = builder.start_refused();
        assert_eq!(status.code(), Some(78), "{told}");
        assert!(told.contains(&format!("binding.{at}")), "{binding}: {told}");
    }
    let authenticator = json!({
        "type": "jwt", "issuer": "https://idp.example", "audiences": ["orders"],
        "credentials": [{ "header": "authorization", "scheme": "Bearer" }], "binding": { "required": "dpop" },
    });
    let builder = PortcullisBuilder::new().authenticator("partners", authenticator);
    let (_, told) = builder.start_refused();
    assert!(told.contains("which `credentials` does not name"), "{told}");
}
