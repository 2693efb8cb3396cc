//! The story: the requests, what is sent with each, and what each should get; and the catalog
//! that it plays in.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::issuer::Issuer;
use crate::support::signing::key_digest;
use crate::support::token::Token;

/// The host of the Api.
pub(crate) const HOST: &str = "orders.example";
/// The API key of the application `shop`.
pub(crate) const KEY: &str = "demo-8c1f0e9d7b6a5c4d3e2f1a0b9c8d7e6f";

/// The API key of the application `trial`.
const TRIAL_KEY: &str = "demo-trial-3f2e1d0c9b8a79685746352413021f0e";

/// One request of the story, and what the story says about it.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) title: &'static str,
    /// What is sent, in words.
    pub(crate) sent: &'static str,
    pub(crate) method: &'static str,
    pub(crate) headers: Vec<(&'static str, String)>,
    /// For which application it is sent.
    pub(crate) application: &'static str,
    pub(crate) status: u16,
    pub(crate) outcome: Outcome,
}

/// How a request should end.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// It reaches the upstream, which is told this user, or none.
    Allowed { user: Option<&'static str> },
    /// It ends at the gate, with this public code.
    Denied { code: &'static str },
}

impl Step {
    fn new(title: &'static str, sent: &'static str) -> Self {
        let outcome = Outcome::Allowed { user: None };
        Self {
            title,
            sent,
            method: "GET",
            headers: Vec::new(),
            application: "shop",
            status: 200,
            outcome,
        }
    }

    /// An API key, allowed.
    pub(crate) fn with_key(title: &'static str) -> Self {
        Self::new(title, "API key").header("x-api-key", KEY)
    }

    fn with_token(title: &'static str, sent: &'static str, token: &Token) -> Self {
        Self::with_bearer(title, sent, &token.sign())
    }

    /// A bearer token.
    pub(crate) fn with_bearer(title: &'static str, sent: &'static str, token: &str) -> Self {
        Self::new(title, sent).header("authorization", &format!("Bearer {token}"))
    }

    fn method(mut self, method: &'static str) -> Self {
        self.method = method;
        self
    }

    fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    /// The same request, whose upstream is told this user.
    pub(crate) fn for_user(mut self, user: &'static str) -> Self {
        self.outcome = Outcome::Allowed { user: Some(user) };
        self
    }

    /// The same request, denied.
    pub(crate) fn denied(mut self, status: u16, code: &'static str) -> Self {
        self.status = status;
        self.outcome = Outcome::Denied { code };
        self
    }
}

/// A token of `alice` at the application `shop`, good for everything but writing.
pub(crate) fn good_token(issuer: &Issuer) -> Token {
    issuer
        .token()
        .audience("orders")
        .client_id("shop-app")
        .scope("orders.read")
}

/// The requests of the story, up to where the catalog is edited.
pub(crate) fn steps(issuer: &Issuer) -> Vec<Step> {
    let good = good_token(issuer);
    let other = good.clone().audience("invoices");
    let expired = good.clone().expired_since(Duration::from_secs(600));
    let stranger = good.clone().client_id("stranger-app");
    let spoofed = "good token, x-user and X_User: root";
    vec![
        Step::new("no token", "nothing").denied(401, "unauthenticated"),
        Step::with_token("wrong audience", "token for invoices", &other)
            .denied(401, "unauthenticated"),
        Step::with_token("expired", "token of ten minutes ago", &expired)
            .denied(401, "token_expired"),
        Step::with_token("not subscribed", "token of stranger-app", &stranger)
            .denied(403, "not_subscribed"),
        Step::with_token("missing scope", "token with orders.read", &good)
            .method("POST")
            .denied(403, "insufficient_scope"),
        Step::with_token("allowed by JWT", "good token", &good).for_user("alice"),
        Step::with_key("allowed by API key"),
        Step::with_token("spoofed identity", spoofed, &good)
            .header("x-user", "root")
            .header("X_User", "root")
            .for_user("alice"),
    ]
}

/// The requests of an application on trial, whose plan has room for two in a year.
pub(crate) fn quota_steps() -> Vec<Step> {
    let ask = |title| {
        let step = Step::new(title, "API key on trial").header("x-api-key", TRIAL_KEY);
        Step {
            application: "trial",
            ..step
        }
    };
    vec![
        ask("first of two a year"),
        ask("second of two a year"),
        ask("quota has run out").denied(429, "quota_exceeded"),
    ]
}

/// The catalog of the story, with the application `shop` in this state.
pub(crate) fn catalog(issuer: &Issuer, state: &str) -> String {
    let api = json!({
        "title": "orders", "version": "1.0.0", "hosts": [HOST], "basePath": "/orders",
        "authenticators": ["partners", "keys"],
        "operations": [
            { "methods": ["GET"], "path": "/{id}" },
            { "methods": ["POST"], "path": "/{id}", "scopes": { "anyOf": ["orders.write"] } },
        ],
        "upstream": { "headers": { "x-user": "{principal.subject}", "x-application": "{application.name}" } },
    });
    let shop = json!({
        "state": state,
        "clients": [{ "issuer": issuer.url(), "clientId": "shop-app" }],
        "apiKeys": [{ "name": "demo", "digest": key_digest(KEY) }],
        "subscriptions": [{ "api": "orders", "plan": "gold" }],
    });
    let stranger = json!({ "clients": [{ "issuer": issuer.url(), "clientId": "stranger-app" }] });
    let trial = json!({
        "apiKeys": [{ "name": "demo", "digest": key_digest(TRIAL_KEY) }],
        "subscriptions": [{ "api": "orders", "plan": "trial" }],
    });
    let two = json!({ "limits": [{ "amount": 2, "per": "year", "key": "application" }] });
    let gold = json!({ "limits": [{ "amount": 10_000, "per": "day", "key": "application" }] });
    [
        document("Api", "orders", &api),
        document("Application", "shop", &shop),
        document("Application", "stranger", &stranger),
        document("Application", "trial", &trial),
        document("Plan", "gold", &gold),
        document("Plan", "trial", &two),
    ]
    .join("---\n")
}

/// A document of the catalog.
pub(crate) fn document(kind: &str, name: &str, spec: &Value) -> String {
    let document = json!({
        "apiVersion": "portcullis.dev/v1alpha1", "kind": kind, "metadata": { "name": name }, "spec": spec,
    });
    // JSON is YAML.
    format!("{document:#}\n")
}
