//! The second scene: a workload calls partners through another Envoy, and each partner gets the
//! token that its own identity provider gave us. The workload has none of them.

use std::io::{self, StdoutLock, Write};

use serde_json::json;

use crate::story::document;
use crate::support::envoy::{Envoy, EnvoyBuilder};
use crate::support::portcullis::{Portcullis, PortcullisBuilder};
use crate::support::providers::Providers;
use crate::support::upstream::Upstream;
use crate::{Seen, row};

/// The value of `authorization` that the workload has of its own.
const OWN: &str = "Bearer of-the-workload";

/// The way out, and where the partners' tokens come from. Fields stop in this order.
#[derive(Debug)]
pub(crate) struct Outbound {
    pub(crate) envoy: Envoy,
    providers: Providers,
}

/// One request of the workload, and what the story says about it.
struct Step {
    title: &'static str,
    host: &'static str,
    /// Whether the workload sends an `authorization` of its own.
    own: bool,
    /// What the partner sees as `authorization`; none where nothing reaches it.
    seen: Option<&'static str>,
    /// How often the provider was asked by then.
    calls: usize,
}

/// Adds what the scene needs: an outbound listener, the provider and the partners.
pub(crate) fn configure(builder: PortcullisBuilder, providers: &Providers) -> PortcullisBuilder {
    let listener = json!({
        "type": "check", "address": "127.0.0.1:0", "direction": "outbound", "unmatched": "allow",
    });
    let provider = json!({
        "type": "clientCredentials", "tokenUrl": providers.token_url(),
        "client": { "id": "us", "secret": { "file": "partners.secret" } },
        "http": { "allowHttp": true },
    });
    let partners = ["north", "south", "east"].map(partner).join("---\n");
    builder
        .set(&["listeners", "outbound"], listener)
        .set(&["providers", "partners"], provider)
        .file(
            "partners.secret",
            "the secret that the identity provider knows",
        )
        .catalog("partners.yaml", &partners)
}

fn partner(name: &str) -> String {
    let api = json!({
        "title": name, "version": "1.0.0", "direction": "outbound",
        "hosts": [format!("{name}.example")], "basePath": "/orders",
        "authenticators": ["anonymous"], "subscription": "none", "unmatchedOperation": "allow",
        "upstream": { "credential": { "provider": "partners", "audience": name } },
    });
    document("Api", name, &api)
}

fn steps() -> [Step; 4] {
    let step = |title, host, own, seen, calls| Step {
        title,
        host,
        own,
        seen: Some(seen),
        calls,
    };
    let north = "Bearer token-1.us.north";
    [
        step("a token is fetched", "north.example", false, north, 1),
        step("and remembered", "north.example", false, north, 1),
        step(
            "another partner's own",
            "south.example",
            true,
            "Bearer token-2.us.south",
            2,
        ),
        step("a host of no Api", "elsewhere.example", true, OWN, 2),
    ]
}

/// The requests while the provider cannot be reached.
fn steps_without_provider() -> [Step; 2] {
    let step = |title, host, seen| Step {
        title,
        host,
        own: true,
        seen,
        calls: 2,
    };
    [
        step(
            "provider down",
            "north.example",
            Some("Bearer token-1.us.north"),
        ),
        step("no token, no way out", "east.example", None),
    ]
}

impl Outbound {
    /// Starts the Envoy of the way out.
    pub(crate) fn start(
        portcullis: &Portcullis,
        upstream: &Upstream,
        providers: Providers,
    ) -> Self {
        let authz = portcullis.address("outbound");
        Self {
            envoy: EnvoyBuilder::new(authz, upstream.address()).start(),
            providers,
        }
    }

    /// Tells the scene; whether it went as it should.
    pub(crate) fn tell(&self, upstream: &Upstream, out: &mut StdoutLock<'_>) -> io::Result<bool> {
        writeln!(
            out,
            "\nworkload > Envoy {} > partners, whose tokens come from {}\n",
            self.envoy.address(),
            self.providers.token_url()
        )?;
        row(
            out,
            ["  step", "sent", "got", "public code", "the partner saw"],
        )?;
        let mut as_told = true;
        for step in steps() {
            as_told &= self.take(&step, upstream, out)?;
        }
        self.providers.refuse_connections();
        for step in steps_without_provider() {
            as_told &= self.take(&step, upstream, out)?;
        }
        self.providers.recover();
        Ok(as_told)
    }

    /// Sends one request and writes its row; whether the answer is the one of the story.
    fn take(&self, step: &Step, upstream: &Upstream, out: &mut StdoutLock<'_>) -> io::Result<bool> {
        let before = upstream.count();
        let own = [("authorization", OWN)];
        let headers = if step.own { &own[..] } else { &[] };
        let response = self.envoy.get(step.host, "/orders/1", headers);
        let reached = upstream.count() > before;
        let seen = Seen::in_answer(&response);
        let tokens = if reached {
            seen.values("authorization")
        } else {
            Vec::new()
        };
        let calls = self.providers.count();
        let as_told = reached == step.seen.is_some()
            && tokens == Vec::from_iter(step.seen)
            && calls == step.calls
            && response.status == if reached { 200 } else { 503 };
        let title = format!("{} {}", if as_told { ' ' } else { '!' }, step.title);
        let credential = if step.own {
            "a token of its own"
        } else {
            "nothing"
        };
        let sent = format!("GET {} with {credential}", step.host);
        let what = if reached {
            tokens.join(" and ")
        } else {
            "nothing".to_owned()
        };
        let seen = format!("{what}; calls to the provider: {calls}");
        let code = response.denial_code();
        let got = response.status.to_string();
        row(
            out,
            [&title, &sent, &got, code.as_deref().unwrap_or("-"), &seen],
        )?;
        Ok(as_told)
    }

    /// What to try with curl.
    pub(crate) fn invitation(&self) -> String {
        format!(
            "curl -i -H 'host: north.example' http://{}/orders/1",
            self.envoy.address()
        )
    }
}
