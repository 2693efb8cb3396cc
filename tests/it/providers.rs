//! What upstreams see in place of the client's credential: the real server, and a fake of
//! everything that credentials come from.
//!
//! Tests that begin with `f` or `h` and a number hold a row of `docs/ACCEPTANCE.md`.

mod admin;
mod auth_provider;
mod cache;
mod client_credentials;
mod documents;
mod exchange;
mod failure;
mod fixed;
mod header_polling;
mod header_service;
mod ishare;
mod lives;
mod matching;
mod pauses;
mod policy;
mod reach;
mod secrets;
mod signed;
mod startup;
mod stripping;
mod svid;
mod transport;

use std::process::ExitStatus;
use std::time::{Duration, Instant};

use envoy_types::pb::envoy::service::auth::v3::{CheckResponse, OkHttpResponse};
use serde_json::{Value, json};

use crate::gate::metadata;
use crate::support::check::{CheckBuilder, CheckClient, assert_allowed, assert_denied, headers};
use crate::support::http::{self, Response};
use crate::support::portcullis::{Portcullis, PortcullisBuilder};
use crate::support::providers::Providers;

/// The client secret of every scene.
pub(crate) const SECRET: &str = "canary-secret: +%&=ü";

/// A server that is being set up: an outbound listener where what no Api claims passes.
pub(crate) struct Stage(pub(crate) PortcullisBuilder);

/// A running server, and a client of it.
pub(crate) struct Scene {
    pub(crate) server: Portcullis,
    pub(crate) client: CheckClient,
}

impl Stage {
    /// With the file `secret`, and an Api that no test calls.
    pub(crate) fn new() -> Self {
        let listener = json!({
            "type": "check", "address": "127.0.0.1:0", "direction": "outbound", "unmatched": "allow",
        });
        let builder = PortcullisBuilder::new()
            .set(&["listeners", "inbound"], listener)
            // tests that run beside these take their share of the machine
            .set(&["checks", "maxWait"], json!("1s"))
            .file("secret", SECRET);
        Self(builder).api("nobody", "nobody.invalid", "/", Value::Null)
    }

    /// Adds a provider.
    pub(crate) fn provider(self, name: &str, provider: Value) -> Self {
        Self(self.0.set(&["providers", name], provider))
    }

    /// Adds an outbound Api for everybody, with `credential` where it is not null.
    pub(crate) fn api(self, name: &str, host: &str, path: &str, credential: Value) -> Self {
        Self(
            self.0
                .catalog(&format!("{name}.yaml"), &api(name, host, path, credential)),
        )
    }

    /// Sets a value of the configuration.
    pub(crate) fn set(self, path: &[&str], value: Value) -> Self {
        Self(self.0.set(path, value))
    }

    /// Writes a file beside the configuration.
    pub(crate) fn file(self, name: &str, content: &str) -> Self {
        Self(self.0.file(name, content))
    }

    /// Starts it and waits until it is ready.
    pub(crate) fn start(self) -> Scene {
        let server = self.0.start();
        let client = CheckClient::new(server.check_address());
        Scene { server, client }
    }

    /// Starts it and does not wait.
    pub(crate) fn start_unready(self) -> Scene {
        Self(self.0.without_waiting()).start()
    }

    /// Starts it where it must refuse: with what it says.
    pub(crate) fn refused(self) -> String {
        let (status, told): (ExitStatus, String) = self.0.start_refused();
        assert_eq!(status.code(), Some(78), "{told}");
        told
    }
}

impl Scene {
    /// The answer to a check.
    pub(crate) async fn ask(&self, check: CheckBuilder) -> CheckResponse {
        self.client.check(check).await
    }

    /// The answer to a GET request, in which the client brings a credential of its own.
    pub(crate) async fn get(&self, host: &str, path: &str) -> CheckResponse {
        self.ask(get(host, path)).await
    }

    /// What stands in `authorization` after a GET request that is allowed.
    pub(crate) async fn token(&self, host: &str, path: &str) -> String {
        let answer = self.get(host, path).await;
        token(&answer).unwrap_or_else(|| panic!("no token: {answer:?}\n{}", self.server.stderr()))
    }

    /// Asks again until `is_so`, and gives the answer that is.
    pub(crate) async fn until(
        &self,
        what: &str,
        check: impl Fn() -> CheckBuilder,
        is_so: impl Fn(&CheckResponse) -> bool,
    ) -> CheckResponse {
        let start = Instant::now();
        loop {
            let answer = self.ask(check()).await;
            if is_so(&answer) {
                return answer;
            }
            assert!(
                start.elapsed() < Duration::from_secs(10),
                "waited in vain: {what}: {answer:?}\n{}",
                self.server.stderr()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// One provider, as the admin API shows it.
    pub(crate) fn provider(&self, name: &str) -> Value {
        let all = self.server.admin("/v1/providers").json();
        let found = all["providers"].as_array().unwrap().iter();
        let mut found = found.filter(|provider| provider["name"] == name);
        found
            .next()
            .cloned()
            .unwrap_or_else(|| panic!("no {name} in {all}"))
    }

    /// The tokens that are kept, as the admin API shows them.
    pub(crate) fn tokens(&self) -> Vec<Value> {
        let told = self.server.admin("/v1/tokens").json();
        told["tokens"].as_array().unwrap().clone()
    }

    /// A POST request to the admin listener.
    pub(crate) fn post(&self, target: &str) -> Response {
        http::post(self.server.address("admin"), target, &[], "")
    }

    /// The value of a counter or gauge, where it is there.
    pub(crate) fn metric(&self, series: &str) -> Option<f64> {
        let metrics = self.server.metrics();
        let line = metrics.lines().find_map(|line| line.strip_prefix(series));
        line.and_then(|rest| rest.trim().parse().ok())
    }
}

/// A GET request, in which the client brings a credential of its own.
pub(crate) fn get(host: &str, path: &str) -> CheckBuilder {
    CheckBuilder::new("GET", host, path).header("authorization", "Bearer the-clients-own")
}

/// The document of an outbound Api for everybody, with `credential` where it is not null.
pub(crate) fn api(name: &str, host: &str, path: &str, credential: Value) -> String {
    let mut document = json!({
        "apiVersion": "portcullis.dev/v1alpha1",
        "kind": "Api",
        "metadata": { "name": name },
        "spec": {
            "title": name, "version": "1.0.0", "direction": "outbound", "hosts": [host],
            "basePath": path, "authenticators": ["anonymous"], "subscription": "none",
            "unmatchedOperation": "allow",
        },
    });
    if !credential.is_null() {
        document["spec"]["upstream"] = json!({ "credential": credential });
    }
    document.to_string()
}

/// A `clientCredentials` provider at `fake`, with something changed.
pub(crate) fn client_credentials(fake: &Providers, changed: Value) -> Value {
    merged(
        json!({
            "type": "clientCredentials", "tokenUrl": fake.token_url(),
            "client": { "id": "gw", "secret": { "file": "secret" } },
            "http": { "allowHttp": true },
        }),
        changed,
    )
}

/// An `authProvider` at `fake`, with something changed.
pub(crate) fn auth_provider(fake: &Providers, changed: Value) -> Value {
    merged(
        json!({
            "type": "authProvider", "url": fake.url(), "authType": "ISHARE",
            "http": { "allowHttp": true },
        }),
        changed,
    )
}

/// A `headerService` at `fake` for `*.example`, with something changed.
pub(crate) fn header_service(fake: &Providers, changed: Value) -> Value {
    merged(
        json!({
            "type": "headerService", "url": fake.headers_url(), "hosts": ["*.example"],
            "headers": ["authorization", "x-anothersecretheader"],
            "http": { "allowHttp": true },
        }),
        changed,
    )
}

/// `value` with the members of `changed`, map by map; null removes one.
pub(crate) fn merged(mut value: Value, changed: Value) -> Value {
    match (value.as_object_mut(), changed) {
        (Some(members), Value::Object(changed)) => {
            for (name, new) in changed {
                let merged = merged(members.remove(&name).unwrap_or_default(), new);
                if !merged.is_null() {
                    members.insert(name, merged);
                }
            }
            value
        }
        (_, changed) => changed,
    }
}

/// Asserts that it is an allow, and gives what it changes.
#[track_caller]
pub(crate) fn allowed(answer: &CheckResponse) -> &OkHttpResponse {
    assert_allowed(answer)
}

/// Asserts that it is the fault of a provider that gives no token.
#[track_caller]
pub(crate) fn refused(answer: &CheckResponse) {
    assert_eq!(
        metadata(answer, "reason").as_deref(),
        Some("dependency_unavailable")
    );
    assert_denied(answer, 503, "unavailable");
}

/// What stands in `authorization`, where it is an allow that sets it.
pub(crate) fn token(answer: &CheckResponse) -> Option<String> {
    let decision = metadata(answer, "decision");
    (decision.as_deref() == Some("allow"))
        .then(|| headers(&allowed(answer).headers).remove("authorization"))?
}

/// Asserts that it is an allow without any credential, the client's own included.
#[track_caller]
pub(crate) fn bare(answer: &CheckResponse) {
    let ok = allowed(answer);
    assert!(ok.headers.is_empty(), "{ok:?}");
    let removed = ok
        .headers_to_remove
        .iter()
        .any(|name| name == "authorization");
    assert!(removed, "the client's own stays: {ok:?}");
}

/// Asserts that it was met by what was there, renewed since the last use or not.
#[track_caller]
pub(crate) fn at_once(answer: &CheckResponse) {
    let outcome = outcome(answer);
    assert!(
        ["hit", "refreshed"].contains(&outcome.as_str()),
        "{outcome}: {answer:?}"
    );
}

/// How the need for a token was met.
pub(crate) fn outcome(answer: &CheckResponse) -> String {
    metadata(answer, "provider_token").unwrap_or_else(|| "none".to_owned())
}
