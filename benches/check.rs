//! The time of a check, from decoding to the encoded answer, in process and without a socket.
//!
//! `cargo bench --bench check`. What counts is how the rows relate: 10 Apis against 100,000, a denial
//! against an allow.

#![expect(clippy::unwrap_used, reason = "a benchmark: what fails ends it")]

use std::collections::HashMap;
use std::fmt::Write as _;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use divan::Bencher;
use envoy_types::pb::envoy::service::auth::v3::attribute_context::{HttpRequest, Request};
use envoy_types::pb::envoy::service::auth::v3::{AttributeContext, CheckRequest};
use portcullis::app::{install_cryptography, load_catalog};
use portcullis::authentication::api_key::KeyDigest;
use portcullis::authentication::config::Lasting;
use portcullis::authorization::Authorization;
use portcullis::catalog::model::Direction;
use portcullis::check::codec::Outgoing;
use portcullis::check::request::decode;
use portcullis::check::{Asking, Checker};
use portcullis::clock::Clock;
use portcullis::config::Config;
use portcullis::routing::{ListenerRules, NoHttpRule, Unmatched};
use portcullis::snapshot::Snapshot;
use portcullis::telemetry::metrics::Metrics;
use portcullis::usage::Recorder;
use prost::Message as _;
use tokio::runtime::Runtime;

const RULES: ListenerRules = ListenerRules {
    direction: Direction::Inbound,
    unmatched: Unmatched::Deny,
    no_http: NoHttpRule::Deny,
};

fn main() {
    install_cryptography();
    divan::main();
}

/// A catalog of as many Apis as subscriptions, each Api with a host, an application and a key.
struct Fixture {
    runtime: Runtime,
    checker: Checker,
    snapshot: Snapshot,
    listener: Arc<str>,
}

impl Fixture {
    fn new(apis: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = "authenticators: { keys: { type: apiKey, credentials: [{ header: x-api-key }] } }\n\
                      catalog: { sources: [{ name: main, type: file, path: catalog }] }\n";
        std::fs::write(folder.path().join("portcullis.yaml"), config).unwrap();
        std::fs::create_dir(folder.path().join("catalog")).unwrap();
        for part in 0..apis.div_ceil(1000) {
            let documents = (part * 1000..apis.min((part + 1) * 1000))
                .map(documents)
                .collect::<String>();
            std::fs::write(
                folder.path().join(format!("catalog/{part}.yaml")),
                documents,
            )
            .unwrap();
        }
        let loaded = Config::load(&folder.path().join("portcullis.yaml"), Vec::new()).unwrap();
        let (_, snapshot) = load_catalog(loaded, Lasting::offline(Clock::system())).unwrap();
        let metrics = Metrics::new(Clock::system().now());
        let (recorder, _) = Recorder::collecting(metrics, Clock::system());
        Self {
            runtime: tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap(),
            checker: Checker::new(Authorization::new(Clock::system()), None, recorder),
            snapshot,
            listener: "inbound".into(),
        }
    }

    fn check(&self, message: &Bytes) -> Outgoing {
        let asking = Asking {
            listener: Arc::clone(&self.listener),
            rules: RULES,
            started: Instant::now(),
            budget: Duration::from_secs(1),
        };
        let check = self.checker.check(&self.snapshot, message.clone(), &asking);
        self.runtime.block_on(check).0
    }
}

fn documents(number: usize) -> String {
    let digest = KeyDigest::of_key(&key(number)).to_text();
    let mut text = String::new();
    write!(
        text,
        "---\nkind: Api\nmetadata: {{ name: api-{number} }}\nspec:\n  title: api-{number}\n  version: 1.0.0\n  hosts: [h{number}.example]\n  basePath: /orders\n  authenticators: [keys]\n  operations: [{{ methods: [GET], path: '/{{id}}' }}]\n  upstream: {{ headers: {{ x-application: '{{application.name}}', x-plan: '{{subscription.plan}}' }} }}\n\
         ---\nkind: Application\nmetadata: {{ name: app-{number} }}\nspec:\n  apiKeys: [{{ digest: '{digest}' }}]\n  subscriptions: [{{ api: api-{number} }}]\n"
    )
    .unwrap();
    text
}

fn key(number: usize) -> String {
    format!("key-{number:06}-9f86d081884c7d659a2feaa0c55ad015")
}

fn message(host: &str, key: Option<&str>) -> Bytes {
    let fixed = [
        (":authority", host),
        (":path", "/orders/4711?expand=items"),
        (":method", "GET"),
        (":scheme", "https"),
        ("accept", "application/json, text/plain, */*"),
        ("accept-encoding", "gzip, deflate, br"),
        ("accept-language", "en-US,en;q=0.9"),
        (
            "user-agent",
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36",
        ),
        ("x-forwarded-proto", "https"),
        ("x-request-id", "d450d4c6-3f0b-4f5e-9d0f-7f3c1d2e4b5a"),
    ];
    let headers = fixed.into_iter().chain(key.map(|key| ("x-api-key", key)));
    let http = HttpRequest {
        id: "14665760763168702873".into(),
        method: "GET".into(),
        path: "/orders/4711?expand=items".into(),
        host: host.into(),
        headers: headers
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect::<HashMap<_, _>>(),
        ..HttpRequest::default()
    };
    let request = Some(Request {
        http: Some(http),
        ..Request::default()
    });
    let attributes = AttributeContext {
        request,
        ..AttributeContext::default()
    };
    CheckRequest {
        attributes: Some(attributes),
    }
    .encode_to_vec()
    .into()
}

#[divan::bench(args = [10, 1_000, 100_000])]
fn allow_by_key(bencher: Bencher<'_, '_>, apis: usize) {
    let fixture = Fixture::new(apis);
    let message = message("h7.example", Some(&key(7)));
    bencher.bench_local(|| fixture.check(black_box(&message)));
}

#[divan::bench(args = [10, 100_000])]
fn deny_without_credential(bencher: Bencher<'_, '_>, apis: usize) {
    let fixture = Fixture::new(apis);
    let message = message("h7.example", None);
    bencher.bench_local(|| fixture.check(black_box(&message)));
}

#[divan::bench(args = [10, 100_000])]
fn deny_an_unknown_key(bencher: Bencher<'_, '_>, apis: usize) {
    let fixture = Fixture::new(apis);
    let message = message("h7.example", Some("unknown"));
    bencher.bench_local(|| fixture.check(black_box(&message)));
}

#[divan::bench]
fn decode_only(bencher: Bencher<'_, '_>) {
    let message = message("h7.example", Some(&key(7)));
    bencher.bench_local(|| decode(black_box(message.clone())));
}
