//! The story of a gate: an issuer, an upstream, Portcullis and a real Envoy are started, requests
//! go through them, and a table tells what each got and what the upstream saw. Then the way out: a
//! workload calls partners, each of which gets a token of its own.
//!
//! `make demo` tells the story and stops everything; `make demo-up` (`--stay`) leaves it running
//! and prints what to try. Every cell of the table is read from a real answer; the program fails
//! where an answer is another one than the story says.

use std::io::{self, StdoutLock, Write};
use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value, json};

use outbound::Outbound;
use story::{HOST, KEY, Outcome, Step, catalog, good_token, quota_steps, steps};
use support::envoy::{Envoy, EnvoyBuilder};
use support::eventually;
use support::http::{self, Response};
use support::issuer::Issuer;
use support::portcullis::{Portcullis, PortcullisBuilder};
use support::providers::Providers;
use support::upstream::Upstream;

#[path = "demo/outbound.rs"]
mod outbound;
#[path = "demo/story.rs"]
mod story;
#[path = "../tests/support.rs"]
mod support;

const CATALOG_FILE: &str = "catalog.yaml";

/// Everything that runs. Fields stop in this order.
#[derive(Debug)]
struct Demo {
    outbound: Outbound,
    envoy: Envoy,
    portcullis: Portcullis,
    upstream: Upstream,
    issuer: Issuer,
}

/// What the upstream saw of a request.
#[derive(Debug)]
struct Seen(Vec<(String, String)>);

fn main() -> io::Result<ExitCode> {
    let stay = std::env::args().any(|argument| argument == "--stay");
    let demo = Demo::start();
    let as_told = demo.tell()?;
    if stay {
        demo.invite()?;
        wait_for_interrupt()?;
    }
    Ok(if as_told {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

impl Demo {
    fn start() -> Self {
        let issuer = Issuer::start();
        let upstream = Upstream::start();
        let keys = json!({ "type": "apiKey", "credentials": [{ "header": "x-api-key" }] });
        let providers = Providers::start();
        let builder = PortcullisBuilder::new()
            .authenticator("partners", issuer.authenticator("orders"))
            .authenticator("keys", keys)
            .catalog(CATALOG_FILE, &catalog(&issuer, "active"));
        let portcullis = outbound::configure(builder, &providers).start();
        let envoy = EnvoyBuilder::new(portcullis.check_address(), upstream.address()).start();
        Self {
            outbound: Outbound::start(&portcullis, &upstream, providers),
            envoy,
            portcullis,
            upstream,
            issuer,
        }
    }

    /// Tells the story; whether it went as it should.
    fn tell(&self) -> io::Result<bool> {
        let mut out = io::stdout().lock();
        writeln!(
            out,
            "client > Envoy {} > upstream {}",
            self.envoy.address(),
            self.upstream.address()
        )?;
        writeln!(
            out,
            "Envoy asks Portcullis {}, which trusts the issuer {}\n",
            self.portcullis.check_address(),
            self.issuer.url()
        )?;
        row(
            &mut out,
            ["  step", "sent", "got", "public code", "the upstream saw"],
        )?;
        let mut as_told = true;
        for step in steps(&self.issuer) {
            as_told &= self.take(&step, &mut out)?;
        }
        self.edit_catalog("suspended", 403);
        as_told &= self.take(
            &Step::with_key("application suspended").denied(403, "access_denied"),
            &mut out,
        )?;
        self.edit_catalog("active", 200);
        as_told &= self.take(&Step::with_key("and active again"), &mut out)?;
        for step in quota_steps() {
            as_told &= self.take(&step, &mut out)?;
        }
        let lost = good_token(&self.issuer).claim("jti", "lost-laptop").sign();
        let with_it = |title| Step::with_bearer(title, "token of a lost laptop", &lost);
        as_told &= self.take(&with_it("before it is revoked").for_user("alice"), &mut out)?;
        self.revoke("lost-laptop");
        let refused = with_it("and revoked").denied(401, "unauthenticated");
        as_told &= self.take(&refused, &mut out)?;
        as_told &= self.outbound.tell(&self.upstream, &mut out)?;
        let verdict = if as_told {
            "Every answer is the one that the story says."
        } else {
            "An answer marked with ! is not the one that the story says."
        };
        writeln!(out, "\n{verdict}")?;
        Ok(as_told)
    }

    /// Writes the catalog anew while everything runs, and waits until that shows.
    fn edit_catalog(&self, state: &str, status: u16) {
        self.portcullis
            .write_catalog(CATALOG_FILE, &catalog(&self.issuer, state));
        eventually("the edited catalog to take effect", || {
            (self.send(&Step::with_key("poll")).status == status).then_some(())
        });
    }

    /// Revokes the token with this `jti`, by the admin API.
    fn revoke(&self, jti: &str) {
        let until = jiff::Timestamp::now() + Duration::from_secs(3600);
        let entry = json!({
            "kind": "jti", "issuer": self.issuer.url(), "value": jti, "until": until.to_string(),
        });
        let admin = self.portcullis.address("admin");
        let json = ("content-type", "application/json");
        let response = http::post(admin, "/v1/revocations", &[json], &entry.to_string());
        assert_eq!(response.status, 201, "{response:?}");
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
    fn take(&self, step: &Step, out: &mut StdoutLock<'_>) -> io::Result<bool> {
        let before = self.upstream.count();
        let response = self.send(step);
        let seen = (self.upstream.count() > before).then(|| Seen::in_answer(&response));
        let code = response.denial_code();
        let as_told = response.status == step.status
            && match (&step.outcome, &seen) {
                (Outcome::Allowed { user }, Some(seen)) => {
                    seen.values("x-user") == Vec::from_iter(*user)
                        && seen.values("x-application") == [step.application]
                        && !seen.a_credential()
                }
                (Outcome::Denied { code: expected }, None) => code.as_deref() == Some(*expected),
                (Outcome::Allowed { .. }, None) | (Outcome::Denied { .. }, Some(_)) => false,
            };
        let title = format!("{} {}", if as_told { ' ' } else { '!' }, step.title);
        let sent = format!("{} with {}", step.method, step.sent);
        let seen = seen.map_or("nothing".to_owned(), |seen| seen.in_words());
        row(
            out,
            [
                &title,
                &sent,
                &response.status.to_string(),
                code.as_deref().unwrap_or("-"),
                &seen,
            ],
        )?;
        Ok(as_told)
    }

    /// Prints what to try.
    fn invite(&self) -> io::Result<()> {
        let token = good_token(&self.issuer).expires_in(Duration::from_secs(12 * 3600));
        let curl = format!(
            "curl -i -H 'host: {HOST}' http://{}/orders/1",
            self.envoy.address()
        );
        let folder = self.portcullis.folder();
        let mut out = io::stdout().lock();
        writeln!(out, "\nEverything runs until Ctrl-C. To try:\n")?;
        writeln!(out, "{curl}\n")?;
        writeln!(out, "{curl} -H 'x-api-key: {KEY}'\n")?;
        writeln!(out, "{curl} -H 'authorization: Bearer {}'\n", token.sign())?;
        writeln!(
            out,
            "{curl} -X POST -H 'authorization: Bearer {}'\n",
            token.scope("orders.write").sign()
        )?;
        writeln!(out, "{}\n", self.outbound.invitation())?;
        writeln!(
            out,
            "curl http://{}/metrics\n",
            self.portcullis.address("observe")
        )?;
        writeln!(
            out,
            "The catalog, which takes effect once saved: {}",
            folder.join("catalog").join(CATALOG_FILE).display()
        )?;
        writeln!(
            out,
            "The decisions: tail -f {}",
            folder.join("output/stdout").display()
        )
    }
}

impl Seen {
    /// The upstream answers with what it saw.
    fn in_answer(response: &Response) -> Self {
        let mut answer = response.json();
        let headers = answer
            .get_mut("headers")
            .map(Value::take)
            .unwrap_or_default();
        Self(serde_json::from_value(headers).unwrap_or_default())
    }

    /// Every value of what an upstream may take for this header.
    fn values(&self, name: &str) -> Vec<&str> {
        let same = self
            .0
            .iter()
            .filter(|(found, _)| found.replace('_', "-").eq_ignore_ascii_case(name));
        same.map(|(_, value)| value.as_str()).collect()
    }

    fn a_credential(&self) -> bool {
        !(self.values("authorization").is_empty() && self.values("x-api-key").is_empty())
    }

    fn in_words(&self) -> String {
        let mut words = Vec::new();
        for name in ["x-user", "x-application"] {
            words.extend(
                self.values(name)
                    .iter()
                    .map(|value| format!("{name}: {value}")),
            );
        }
        words.push(
            if self.a_credential() {
                "the credential"
            } else {
                "no credential"
            }
            .to_owned(),
        );
        words.join(", ")
    }
}

fn row(out: &mut StdoutLock<'_>, [step, sent, got, code, seen]: [&str; 5]) -> io::Result<()> {
    writeln!(out, "{step:<24} {sent:<46} {got:<4} {code:<19} {seen}")
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
