//! OpenID Connect back-channel logout: what an issuer says is over is refused, and nobody else's word
//! counts.

use std::time::Duration;

use serde_json::{Value, json};

use super::later;
use crate::gate::{Gate, allowed, get_order, refused};
use crate::support::check::socket_address;
use crate::support::http::{self, Response};
use crate::support::issuer::Issuer;
use crate::support::token::Token;

const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";

fn start() -> Gate {
    Gate::with(|builder, _| {
        builder
            .set(
                &["listeners", "logout"],
                json!({ "type": "logout", "address": "127.0.0.1:0" }),
            )
            .set(
                &["revocation"],
                json!({ "logout": { "authenticators": ["partners"], "clients": ["gw", "gw2"] } }),
            )
    })
}

/// A logout token for the session `s1`.
fn logout(issuer: &Issuer, id: &str) -> Token {
    issuer
        .token()
        .without("sub")
        .header("typ", "logout+jwt")
        .audience("gw")
        .claim("jti", id)
        .claim("sid", "s1")
        .claim("events", json!({ EVENT: {} }))
}

fn form(gate: &Gate, body: &str) -> Response {
    let kind = [("content-type", "application/x-www-form-urlencoded")];
    http::post(
        gate.server.address("logout"),
        "/backchannel-logout",
        &kind,
        body,
    )
}

fn send(gate: &Gate, token: &str) -> Response {
    let answer = form(gate, &format!("logout_token={token}"));
    assert_eq!(answer.values("cache-control"), ["no-store"], "{answer:?}");
    answer
}

fn entries(gate: &Gate) -> Value {
    gate.server.admin("/v1/revocations").json()
}

#[tokio::test]
async fn the_tokens_of_a_session_that_is_over_are_refused() {
    let gate = start();
    let token = |sid: &str| gate.token().claim("sid", sid);
    let (one, other) = (token("s1").sign(), token("s2").sign());
    allowed(&gate.ask_with(&one).await);
    assert_eq!(send(&gate, &logout(&gate.issuer, "1").sign()).status, 200);
    refused(&gate.ask_with(&one).await, "token_revoked");
    allowed(&gate.ask_with(&other).await);
    let listed = entries(&gate);
    let entry = &listed["revocations"][0];
    assert_eq!(
        (&entry["kind"], &entry["by"]),
        (&json!("session"), &json!("logout"))
    );
    // with another client, in a list, and of the type of before there was one of its own
    let second = logout(&gate.issuer, "2")
        .claim("sid", "s2")
        .claim("aud", json!(["x", "gw2"]));
    let second = second.header("typ", Value::Null);
    assert_eq!(send(&gate, &second.sign()).status, 200);
    refused(&gate.ask_with(&other).await, "token_revoked");
}

#[tokio::test]
async fn without_a_session_every_token_of_the_subject_is_refused_until_the_next_login() {
    let gate = start();
    let token = gate.token().sign();
    let logout = logout(&gate.issuer, "1").without("sid").subject("alice");
    assert_eq!(send(&gate, &logout.sign()).status, 200);
    refused(&gate.ask_with(&token).await, "token_revoked");
    allowed(
        &gate
            .ask_with(&gate.token().claim("iat", later()).sign())
            .await,
    );
    allowed(&gate.ask_with(&gate.token().subject("bob").sign()).await);
}

#[tokio::test]
async fn what_is_no_logout_token_for_us_revokes_nothing() {
    let gate = start();
    let good = |id: &str| logout(&gate.issuer, id);
    let other = Issuer::start();
    let now = jiff::Timestamp::now().as_second();
    let wrong = [
        ("another audience", good("a").audience("orders").sign()),
        ("no audience", good("b").without("aud").sign()),
        ("no events", good("c").without("events").sign()),
        (
            "another event",
            good("d").claim("events", json!({ "x": {} })).sign(),
        ),
        (
            "an event of another form",
            good("e").claim("events", json!({ EVENT: true })).sign(),
        ),
        (
            "events as a list",
            good("f").claim("events", json!([EVENT])).sign(),
        ),
        ("a nonce", good("g").claim("nonce", "n").sign()),
        ("no signature", good("h").unsigned()),
        (
            "a shared secret",
            good("i").sign_with_secret(b"a secret that is long enough, as it seems"),
        ),
        ("issued long ago", good("j").claim("iat", now - 1000).sign()),
        (
            "issued in the future",
            good("k").claim("iat", now + 1000).sign(),
        ),
        ("not issued", good("l").without("iat").sign()),
        (
            "expired",
            good("m")
                .expired_since(Duration::from_secs(60))
                .claim("iat", now - 100)
                .sign(),
        ),
        (
            "the keys of another issuer",
            good("n").keys(&other.keys()).sign(),
        ),
        ("another issuer", logout(&other, "o").sign()),
        (
            "another issuer's name",
            good("p").claim("iss", other.url()).sign(),
        ),
        (
            "neither session nor subject",
            good("q").without("sid").sign(),
        ),
        (
            "a session that is no text",
            good("r").claim("sid", 7).sign(),
        ),
        ("no id", good("s").without("jti").sign()),
        (
            "the type of another token",
            good("t").header("typ", "at+jwt").sign(),
        ),
        ("an access token", gate.token().sign()),
        ("no token", "hunter2".to_owned()),
    ];
    for (what, token) in wrong {
        let answer = send(&gate, &token);
        assert_eq!(answer.status, 400, "{what}: {answer:?}");
        assert_eq!(answer.json()["error"], "invalid_request", "{what}");
    }
    assert_eq!(entries(&gate)["total"], 0);
    assert!(!gate.server.stderr().contains("hunter2"));
    let token = good("z").sign();
    assert_eq!(send(&gate, &token).status, 200);
    // a second time, it may be somebody else's
    assert_eq!(send(&gate, &token).status, 400);
}

#[tokio::test]
async fn a_logout_token_is_no_access_token() {
    let gate = start();
    let token = gate.token().claim("jti", "1").claim("sid", "s1");
    allowed(&gate.ask_with(&token.sign()).await);
    let logout = token.claim("events", json!({ EVENT: {} }));
    refused(&gate.ask_with(&logout.sign()).await, "credential_invalid");
}

#[tokio::test]
async fn only_a_form_with_one_token_is_read() {
    let gate = start();
    let token = logout(&gate.issuer, "1").sign();
    let address = gate.server.address("logout");
    for (kind, body) in [
        (
            "application/x-www-form-urlencoded",
            format!("logout_token={token}&logout_token={token}"),
        ),
        ("application/x-www-form-urlencoded", "other=1".to_owned()),
        (
            "application/x-www-form-urlencoded",
            format!("logout_token={}", "x".repeat(30_000)),
        ),
        ("application/json", format!("logout_token={token}")),
    ] {
        let answer = http::post(
            address,
            "/backchannel-logout",
            &[("content-type", kind)],
            &body,
        );
        assert_eq!(answer.status, 400, "{kind}: {answer:?}");
        assert_eq!(answer.values("cache-control"), ["no-store"]);
    }
    assert_eq!(
        http::get(address, "localhost", "/backchannel-logout", &[]).status,
        405
    );
    assert_eq!(http::get(address, "localhost", "/metrics", &[]).status, 404);
    assert_eq!(
        form(&gate, &format!("x=1&logout_token={token}")).status,
        200
    );
}

#[tokio::test]
async fn a_sender_of_many_that_do_not_hold_is_not_looked_at() {
    let gate = Gate::with(|builder, _| {
        builder
            .set(
                &["listeners", "logout"],
                json!({ "type": "logout", "address": "127.0.0.1:0" }),
            )
            .set(
                &["revocation"],
                json!({ "logout": { "authenticators": ["partners"], "clients": ["gw"] } }),
            )
            .set(
                &["checks", "failedVerifications"],
                json!({ "perSource": { "perSecond": 1, "burst": 2 } }),
            )
    });
    let other = Issuer::start();
    for id in 0..4 {
        let forged = logout(&gate.issuer, &id.to_string())
            .keys(&other.keys())
            .header(
                "kid",
                gate.issuer
                    .keys()
                    .key_id(crate::support::signing::Algorithm::Rs256),
            );
        assert_eq!(send(&gate, &forged.sign()).status, 400);
    }
    assert!(
        gate.server.stderr().contains("too many signatures"),
        "{}",
        gate.server.stderr()
    );
    // what clients have left is another matter
    let client = get_order()
        .bearer(&gate.token().sign())
        .source(Some(socket_address("127.0.0.1", 40_000)));
    allowed(&gate.ask(client).await);
}
