//! The line in process: what a check runs through between its bytes and those of the answer, without
//! a socket, HTTP/2 or gRPC.

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::json;
use tempfile::TempDir;

use portcullis::app::{install_cryptography, load_catalog};
use portcullis::authentication::config::Lasting;
use portcullis::authentication::revocation::Revocations;
use portcullis::authentication::verified_tokens::VerifiedTokens;
use portcullis::authorization::Authorization;
use portcullis::authorization::quota::Quota;
use portcullis::catalog::model::Direction;
use portcullis::check::answer::Answer;
use portcullis::check::codec::Outgoing;
use portcullis::check::peer::Asker;
use portcullis::check::{Asking, Checker};
use portcullis::clock::Clock;
use portcullis::config::Config;
use portcullis::header::HeaderName;
use portcullis::routing::{ListenerRules, NoHttpRule, Unmatched};
use portcullis::snapshot::SnapshotReader;
use portcullis::telemetry::metrics::Metrics;
use portcullis::usage::Recorder;
use portcullis::usage::decision_log::DecisionLogConfig;

use super::gate::{self, Others, TOKEN_HOST};
use super::requests::{browser, encode};
use super::support::issuer::Issuer;
use super::support::signing::Algorithm;

const RULES: ListenerRules = ListenerRules {
    direction: Direction::Inbound,
    unmatched: Unmatched::Deny,
    no_http: NoHttpRule::Deny,
};

/// What all threads share.
#[derive(Debug)]
pub(crate) struct Line {
    checker: Checker,
    snapshots: SnapshotReader,
    listener: Arc<str>,
    issuer: Issuer,
    others: Others,
}

impl Line {
    /// With as many Apis beside the one that takes tokens.
    pub(crate) fn new(others: Others) -> Self {
        install_cryptography();
        let folder = TempDir::new().expect("a temporary folder");
        let issuer = Issuer::start();
        let file = folder.path().join("portcullis.yaml");
        fs::write(&file, configuration(&issuer)).expect("a file can be written");
        let pem = issuer.keys().public_pem(Algorithm::Rs256);
        fs::write(folder.path().join("key.pem"), pem).expect("a file can be written");
        fs::create_dir(folder.path().join("catalog")).expect("a folder can be made");
        for (name, documents) in gate::catalog(&issuer, others) {
            let file = folder.path().join("catalog").join(name);
            fs::write(file, documents).expect("a file can be written");
        }
        let loaded = Config::load(&file, Vec::new()).expect("a good configuration");
        let clock = Clock::system();
        let lasting = Lasting {
            verified_tokens: VerifiedTokens::new(loaded.config.checks.verified_tokens.0),
            ..Lasting::offline(clock.clone())
        };
        let (_, snapshot) = load_catalog(loaded, lasting).expect("a good catalog");
        let metrics = Metrics::new(clock.now());
        let quota = Quota::offline(metrics.clone());
        // the queue of a log that nobody writes: what it is told of is dropped and counted
        let log = DecisionLogConfig::default();
        let (recorder, _) = Recorder::build(&log, metrics, clock.clone()).expect("a log");
        let decision_header = HeaderName::parse("x-decision-id").expect("a name");
        Self {
            checker: Checker::new(
                Authorization::new(clock, Revocations::new(0), quota),
                Some(decision_header),
                recorder,
            ),
            snapshots: SnapshotReader::new(snapshot),
            listener: "inbound".into(),
            issuer,
            others,
        }
    }

    /// A request with a good token.
    pub(crate) fn by_token(&self) -> Bytes {
        let bearer = format!("Bearer {}", gate::token(&self.issuer).sign());
        encode(browser(TOKEN_HOST, Some(("authorization", &bearer))))
    }

    /// A request with this API key, or without any.
    pub(crate) fn by_key(&self, key: Option<&str>) -> Bytes {
        let host = gate::key_host(self.others.0 - 1);
        encode(browser(&host, key.map(|key| ("x-api-key", key))))
    }

    /// The key that is good for [`Line::by_key`].
    pub(crate) fn good_key(&self) -> String {
        gate::key(self.others.0 - 1)
    }

    /// Checks, and records it.
    pub(crate) async fn check(&self, message: Bytes) -> Outgoing {
        let asking = Asking {
            listener: Arc::clone(&self.listener),
            rules: RULES,
            asker: Asker::anybody(),
            started: Instant::now(),
            budget: Duration::from_secs(1),
        };
        let snapshot = self.snapshots.borrow();
        let Answer(message) = self.checker.check(&snapshot, message, &asking).await;
        message
    }
}

fn configuration(issuer: &Issuer) -> String {
    let mut tokens = issuer.authenticator(gate::AUDIENCE);
    tokens["keys"] = json!({ "pemFile": "key.pem" });
    let keys = json!({ "type": "apiKey", "credentials": [{ "header": "x-api-key" }] });
    // JSON is YAML.
    json!({
        "authenticators": { "issuer": tokens, "keys": keys },
        "catalog": { "sources": [{ "name": "main", "type": "file", "path": "catalog" }] },
    })
    .to_string()
}
