//! The story of a gate: an issuer, an upstream, Portcullis and a real Envoy are started, requests
//! go through them, and a table tells what each got and what the upstream saw.
//!
//! `make demo` tells the story and stops everything; `make demo-up` (`--stay`) leaves it running
//! and prints what to try. Every cell of the table is read from a real answer; the program fails
//! where an answer is another one than the story says.

#![expect(
    clippy::expect_used,
    reason = "a demo that cannot go on should stop and say why"
)]

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value, json};
use support::envoy::{Envoy, EnvoyBuilder};
use support::eventually;
use support::http::Response;
use support::issuer::Issuer;
use support::portcullis::{Portcullis, PortcullisBuilder};
use support::signing::key_digest;
use support::token::Token;
use support::upstream::Upstream;

#[path = "../tests/support.rs"]
mod support;

const HOST: &str = "orders.example";
const KEY: &str = "demo-8c1f0e9d7b6a5c4d3e2f1a0b9c8d7e6f";
const CATALOG_FILE: &str = "catalog.yaml";

/// Everything that runs. Fields stop in this order.
#[derive(Debug)]
struct Demo {
    envoy: Envoy,
    portcullis: Portcullis,
    upstream: Upstream,
    issuer: Issuer,
}

/// One request of the story, and what the story says about it.
#[derive(Debug)]
struct Step {
    title: &'static str,
    sent: String,
    method: &'static str,
    headers: Vec<(&'static str, String)>,
    status: u16,
    /// The public code of a denial; of an allow, who the upstream is told it is.
    outcome: Result<Option<&'static str>, &'static str>,
}

fn main() -> ExitCode {
    let stay = std::env::args().any(|argument| argument == "--stay");
    let demo = Demo::start();
    let told = demo.tell().and_then(|as_told| {
        if stay {
            demo.invite()?;
            wait_for_interrupt()?;
        }
        Ok(as_told)
    });
    match told {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            // Nobody reads this where standard output is gone.
            let _unread = writeln!(io::stderr(), "{error}");
            ExitCode::FAILURE
        }
    }
}

impl Demo {
    fn start() -> Self {
        let issuer = Issuer::start();
        let upstream = Upstream::start();
        let portcullis = PortcullisBuilder::new()
            .authenticator("partners", issuer.authenticator("orders"))
            .authenticator(
                "keys",
                json!({ "type": "apiKey", "credentials": [{ "header": "x-api-key" }] }),
            )
            .catalog(CATALOG_FILE, &catalog(&issuer, "active"))
            .start();
        let envoy = EnvoyBuilder::new(portcullis.check_address(), upstream.address()).start();
        Self {
            envoy,
            portcullis,
            upstream,
            issuer,
        }
    }

    /// A token that is good for everything but writing.
    fn token(&self) -> Token {
        self.issuer
            .token()
            .audience("orders")
            .client_id("shop-app")
            .scope("orders.read")
    }

    /// Tells the story; whether it went as it should.
    fn tell(&self) -> io::Result<bool> {
        let mut out = io::stdout().lock();
        writeln!(
            out,
            "Envoy {}, Portcullis {}",
            self.envoy.address(),
            self.portcullis.check_address()
        )?;
        writeln!(
            out,
            "Issuer {}, upstream {}\n",
            self.issuer.url(),
            self.upstream.address()
        )?;
        row(
            &mut out,
            ["", "sent", "got", "public code", "the upstream saw"],
        )?;
        let mut as_told = true;
        for step in self.steps() {
            as_told &= self.take(&step, &mut out)?;
        }
        self.portcullis
            .write_catalog(CATALOG_FILE, &catalog(&self.issuer, "suspended"));
        eventually("the suspension to take effect", || {
            (self.send(&self.with_key()).status == 403).then_some(())
        });
        let suspended = Step {
            title: "application suspended",
            status: 403,
            outcome: Err("access_denied"),
            ..self.with_key()
        };
        as_told &= self.take(&suspended, &mut out)?;
        self.portcullis
            .write_catalog(CATALOG_FILE, &catalog(&self.issuer, "active"));
        eventually("the suspension to end", || {
            (self.send(&self.with_key()).status == 200).then_some(())
        });
        as_told &= self.take(
            &Step {
                title: "and active again",
                ..self.with_key()
            },
            &mut out,
        )?;
        writeln!(
            out,
            "\n{}",
            if as_told {
                "Every answer is the one that the story says."
            } else {
                "An answer differs from the story (marked with !)."
            }
        )?;
        Ok(as_told)
    }

    fn steps(&self) -> Vec<Step> {
        let spoofed = |mut step: Step| {
            step.headers
                .extend([("x-user", "root".to_owned()), ("X_User", "root".to_owned())]);
            Step {
                title: "spoofed identity",
                sent: format!("{}, x-user and X_User: root", step.sent),
                ..step
            }
        };
        let denied = |title, sent, token: Token, status, code| {
            with_token(title, sent, &token, status, Err(code))
        };
        let stranger = self.token().client_id("stranger-app");
        let expired = self.token().expired_since(Duration::from_secs(600));
        let allowed = || {
            with_token(
                "allowed by JWT",
                "a good token",
                &self.token(),
                200,
                Ok(Some("alice")),
            )
        };
        vec![
            Step {
                title: "no token",
                sent: "no credential".to_owned(),
                headers: Vec::new(),
                status: 401,
                outcome: Err("unauthenticated"),
                ..self.with_key()
            },
            denied(
                "wrong audience",
                "token for invoices",
                self.token().audience("invoices"),
                401,
                "unauthenticated",
            ),
            denied(
                "expired",
                "token of ten minutes ago",
                expired,
                401,
                "token_expired",
            ),
            denied(
                "not subscribed",
                "token of stranger-app",
                stranger,
                403,
                "not_subscribed",
            ),
            Step {
                method: "POST",
                ..denied(
                    "missing scope",
                    "token with orders.read",
                    self.token(),
                    403,
                    "insufficient_scope",
                )
            },
            allowed(),
            self.with_key(),
            spoofed(allowed()),
        ]
    }

    fn with_key(&self) -> Step {
        let headers = vec![("x-api-key", KEY.to_owned())];
        Step {
            title: "allowed by API key",
            sent: "x-api-key".to_owned(),
            method: "GET",
            headers,
            status: 200,
            outcome: Ok(None),
        }
    }

    fn send(&self, step: &Step) -> Response {
        let headers: Vec<_> = step
            .headers
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        self.envoy.request(step.method, HOST, "/orders/1", &headers)
    }

    /// Sends one request and writes its row; whether the answer is the one of the story.
    fn take(&self, step: &Step, out: &mut impl Write) -> io::Result<bool> {
        let before = self.upstream.count();
        let response = self.send(step);
        let reached = self.upstream.count() > before;
        let code = response.denial_code();
        let seen = if reached { seen(&response) } else { Vec::new() };
        let values = |name: &str| -> Vec<&str> {
            let same = seen
                .iter()
                .filter(|(found, _)| found.replace('_', "-").eq_ignore_ascii_case(name));
            same.map(|(_, value)| value.as_str()).collect()
        };
        let as_told = response.status == step.status
            && match step.outcome {
                Ok(user) => {
                    reached
                        && values("x-user") == Vec::from_iter(user)
                        && values("x-application") == ["shop"]
                        && values("authorization").is_empty()
                        && values("x-api-key").is_empty()
                }
                Err(expected) => !reached && code.as_deref() == Some(expected),
            };
        let upstream = if reached {
            told_upstream(&seen)
        } else {
            "nothing".to_owned()
        };
        let title = format!("{}{}", if as_told { "  " } else { "! " }, step.title);
        let sent = format!("{} {}", step.method, step.sent);
        row(
            out,
            [
                &title,
                &sent,
                &response.status.to_string(),
                code.as_deref().unwrap_or("-"),
                &upstream,
            ],
        )?;
        Ok(as_told)
    }

    /// Prints what to try.
    fn invite(&self) -> io::Result<()> {
        let lifetime = Duration::from_secs(12 * 3600);
        let token = self.token().expires_in(lifetime);
        let url = format!("http://{}/orders/1", self.envoy.address());
        let curl = format!("curl -i -H 'host: {HOST}' {url}");
        let mut out = io::stdout().lock();
        writeln!(out, "\nEverything runs until Ctrl-C. To try:\n")?;
        writeln!(out, "{curl}\n")?;
        writeln!(out, "{curl} -H 'x-api-key: {KEY}'\n")?;
        writeln!(out, "{curl} -H 'authorization: Bearer {}'\n", token.sign())?;
        writeln!(
            out,
            "{curl} -H 'authorization: Bearer {}' -X POST\n",
            token.scope("orders.write").sign()
        )?;
        writeln!(
            out,
            "curl http://{}/metrics\n",
            self.portcullis.address("observe")
        )?;
        writeln!(
            out,
            "Edit the catalog, it takes effect at once:  {}",
            self.portcullis
                .folder()
                .join("catalog")
                .join(CATALOG_FILE)
                .display()
        )?;
        writeln!(
            out,
            "Decisions:  tail -f {}",
            self.portcullis.folder().join("stdout").display()
        )
    }
}

fn with_token(
    title: &'static str,
    sent: &str,
    token: &Token,
    status: u16,
    outcome: Result<Option<&'static str>, &'static str>,
) -> Step {
    let headers = vec![("authorization", format!("Bearer {}", token.sign()))];
    Step {
        title,
        sent: sent.to_owned(),
        method: "GET",
        headers,
        status,
        outcome,
    }
}

/// The headers that the upstream says that it saw.
fn seen(response: &Response) -> Vec<(String, String)> {
    serde_json::from_value(response.json()["headers"].take()).unwrap_or_default()
}

/// The headers by which an upstream is told who calls, and whether a credential came along.
fn told_upstream(seen: &[(String, String)]) -> String {
    let told = |name: &str| {
        ["x-user", "x-application"].contains(&&*name.to_ascii_lowercase().replace('_', "-"))
    };
    let identity = seen
        .iter()
        .filter(|(name, _)| told(name))
        .map(|(name, value)| format!("{name}: {value}"));
    let credential = |name: &str| ["authorization", "x-api-key"].contains(&name);
    let kept = seen.iter().any(|(name, _)| credential(name));
    let mut parts: Vec<String> = identity.collect();
    parts.push(
        if kept {
            "the credential"
        } else {
            "no credential"
        }
        .to_owned(),
    );
    parts.join(", ")
}

fn row(out: &mut impl Write, [step, sent, got, code, upstream]: [&str; 5]) -> io::Result<()> {
    writeln!(out, "{step:<24} {sent:<42} {got:<4} {code:<19} {upstream}")
}

fn wait_for_interrupt() -> io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            _ = interrupt.recv() => Ok(()),
            _ = terminate.recv() => Ok(()),
        }
    })
}

/// The catalog of the story, with the application `shop` in this state.
fn catalog(issuer: &Issuer, state: &str) -> String {
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
    let gold = json!({ "limits": [{ "amount": 10_000, "per": "day", "key": "application" }] });
    let documents = [
        ("Api", "orders", api),
        ("Application", "shop", shop),
        ("Application", "stranger", stranger),
        ("Plan", "gold", gold),
    ];
    documents
        .map(|(kind, name, spec)| document(kind, name, &spec))
        .join("---\n")
}

fn document(kind: &str, name: &str, spec: &Value) -> String {
    let document = json!({ "apiVersion": "portcullis.dev/v1alpha1", "kind": kind, "metadata": { "name": name }, "spec": spec });
    // JSON is YAML.
    format!(
        "{}\n",
        serde_json::to_string_pretty(&document).expect("JSON")
    )
}
