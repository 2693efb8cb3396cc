//! `portcullis explain`: the real Checker decides a request, and every stage tells what it did.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::Bytes;
use clap::Args;
use serde_json::{Map, Value, json};

use crate::app::{install_cryptography, load_catalog, load_revocations};
use crate::authentication::config::Lasting;
use crate::authentication::key_refresh::KeySources;
use crate::authorization::Authorization;
use crate::authorization::quota::Quota;
use crate::catalog::model::Direction;
use crate::check::peer::{Asker, PeerRules};
use crate::check::{Asking, Checker};
use crate::cli::{Usage, print};
use crate::clock::Clock;
use crate::config::Config;
use crate::config::overrides::from_environment;
use crate::descriptor::{check_request_from_json, check_response_to_json};
use crate::explain::{Told, listen};
use crate::listener::ListenerConfig;
use crate::readiness::Readiness;
use crate::routing::{ListenerRules, NoHttpRule, Unmatched};
use crate::spiffe::SpiffeId;
use crate::task::Tasks;
use crate::telemetry::metrics::Metrics;
use crate::tls::leaf::Named;
use crate::upstream::provider::service::ProviderServices;
use crate::upstream::token_cache::TokenCache;
use crate::usage::Recorder;

/// Decide a request without serving. Touches no network unless told to. The exit code is 0 whatever
/// is decided.
#[derive(Debug, Args)]
pub(super) struct ExplainArgs {
    /// The configuration.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// A CheckRequest in JSON, as Envoy would send it; `-` reads standard input. Instead of the flags below.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["method", "host", "path", "header", "api"])]
    request: Option<PathBuf>,
    /// The method.
    #[arg(long, default_value = "GET")]
    method: String,
    /// The host.
    #[arg(long, default_value = "localhost")]
    host: String,
    /// The path, with the query.
    #[arg(long, default_value = "/")]
    path: String,
    /// A header, `name: value`; may be repeated.
    #[arg(long, value_name = "NAME: VALUE")]
    header: Vec<String>,
    /// The Api that the Envoy route names (`portcullis.api`).
    #[arg(long, value_name = "NAME")]
    api: Option<String>,
    /// The listener that is asked; left out, the first of type check.
    #[arg(long, value_name = "NAME")]
    listener: Option<String>,
    /// Who asks, by its SPIFFE ID; left out, somebody who may.
    #[arg(long, value_name = "SPIFFE ID")]
    peer: Option<String>,
    /// Fetch key sets from their issuers, and tokens from providers.
    #[arg(long)]
    online: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// What tokens of providers may take, in bytes.
const MAX_TOKENS: usize = 1024 * 1024;

/// How long the decision may take; nobody waits but the one who asks.
const BUDGET: Duration = Duration::from_secs(10);

pub(super) fn run(args: &ExplainArgs) -> anyhow::Result<()> {
    install_cryptography();
    let message = Bytes::from(message(args)?);
    let loaded = Config::load(&args.config, from_environment())?;
    let clock = Clock::system();
    let (listener, rules, peers) = listener(&loaded.config, args.listener.as_deref(), &clock)?;
    let asker = asker(args.peer.as_deref(), &peers)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let decision_header = loaded.config.checks.decision_header();
    let quota_headers = loaded.config.quota.headers;
    let revocations = load_revocations(&loaded, &clock)?;
    let snapshot = runtime.block_on(async {
        let mut lasting = Lasting::offline(clock.clone());
        if args.online {
            let (tasks, tokens) = (Tasks::new(), TokenCache::new(MAX_TOKENS));
            lasting.key_sources = KeySources::online(tasks.clone(), Readiness::new());
            let metrics = Metrics::new(clock.now());
            lasting.providers = ProviderServices::online(tasks, tokens, clock.clone(), metrics);
        }
        let (_sync, snapshot) = load_catalog(loaded, lasting)?;
        anyhow::Ok(snapshot)
    })?;
    let metrics = Metrics::new(clock.now());
    let (recorder, mut collected) = Recorder::collecting(metrics.clone(), clock.clone());
    let authorization = Authorization::new(
        clock,
        revocations,
        Quota::offline_with(quota_headers, metrics),
    );
    let checker = Checker::new(authorization, decision_header, recorder);
    let asking = Asking {
        listener,
        rules,
        asker,
        started: Instant::now(),
        budget: BUDGET,
    };
    let (answer, stages) = listen(|| runtime.block_on(checker.check(&snapshot, message, &asking)));
    let record = collected.take().context("the decision left no record")?;
    let mut answer = check_response_to_json(answer.0.message())?;
    redact(&mut answer, &stages);
    let report = json!({
        "stages": stages,
        "decision": record.verdict.name(),
        "shadow": record.shadow,
        "reason": record.reason,
        "detail": record.detail,
        "api": record.api,
        "operation": record.operation,
        "application": record.caller.application,
        "answer": answer,
    });
    if args.json {
        print(&format!("{report:#}\n"))
    } else {
        print(&text(&stages, &report)?)
    }
}

/// Takes what providers gave out of the answer: this is read by people, and pasted.
fn redact(answer: &mut Value, stages: &[Told]) {
    let provided = stages.iter().filter(|told| told.stage == "provide");
    let names = provided.filter_map(|told| told.fields.get("headers")?.as_str());
    let names: Vec<&str> = names.flat_map(|names| names.split(", ")).collect();
    let headers = answer.pointer_mut("/okResponse/headers");
    for header in headers.and_then(Value::as_array_mut).into_iter().flatten() {
        let header = header.get_mut("header").and_then(Value::as_object_mut);
        let Some(header) = header else { continue };
        let name = header.get("key").and_then(Value::as_str);
        if name.is_some_and(|name| names.contains(&name)) {
            header.insert("value".to_owned(), "redacted".into());
        }
    }
}

/// Who asks: the workload with this SPIFFE ID, or somebody who may.
fn asker(peer: Option<&str>, peers: &PeerRules) -> anyhow::Result<Arc<Asker>> {
    let Some(peer) = peer else {
        return Ok(peers.anybody());
    };
    let id = SpiffeId::parse(peer).map_err(|error| Usage(format!("--peer: {error}")))?;
    Ok(peers.asker(Named::Spiffe(id)))
}

/// The listener that is asked, its rules, and who may ask there.
fn listener(
    config: &Config,
    name: Option<&str>,
    clock: &Clock,
) -> anyhow::Result<(Arc<str>, ListenerRules, PeerRules)> {
    let checks = config
        .listeners
        .iter()
        .filter_map(|(name, listener)| match listener {
            ListenerConfig::Check(listener) => Some((name, listener)),
            ListenerConfig::Admin(_)
            | ListenerConfig::Observe(_)
            | ListenerConfig::Jwks(_)
            | ListenerConfig::Logout(_) => None,
        });
    let mut checks: Vec<_> = checks.collect();
    checks.sort_by_key(|(_, listener)| listener.rules() != PLAIN);
    let found = checks
        .into_iter()
        .find(|(found, _)| name.is_none_or(|name| name == found.as_str()));
    let (name, listener) =
        found.ok_or_else(|| Usage("there is no such listener of type check".to_owned()))?;
    let name: Arc<str> = name.as_str().into();
    let (mesh, metrics) = (Arc::new(config.spiffe.mesh()), Metrics::new(clock.now()));
    let peers = PeerRules::new(listener.peers.as_ref(), false, mesh, (&metrics, &name));
    Ok((name, listener.rules(), peers))
}

/// The rules of an ordinary inbound listener, which is asked where no other is named.
const PLAIN: ListenerRules = ListenerRules {
    direction: Direction::Inbound,
    unmatched: Unmatched::Deny,
    no_http: NoHttpRule::Deny,
};

/// The check to decide, encoded.
fn message(args: &ExplainArgs) -> anyhow::Result<Vec<u8>> {
    if let Some(path) = &args.request {
        return check_request_from_json(&read(path)?);
    }
    let mut headers = Map::new();
    for header in &args.header {
        let (name, value) = header
            .split_once(':')
            .ok_or_else(|| Usage("a header is written `name: value`".to_owned()))?;
        let (name, value) = (name.trim().to_ascii_lowercase(), value.trim());
        // as Envoy does with repeated lines
        let joined = match headers.get(&name).and_then(Value::as_str) {
            Some(first) => format!("{first},{value}"),
            None => value.to_owned(),
        };
        headers.insert(name, joined.into());
    }
    let extensions = args
        .api
        .iter()
        .map(|api| ("portcullis.api".to_owned(), Value::from(api.as_str())));
    let check = json!({ "attributes": {
        "request": { "http": { "method": args.method, "host": args.host, "path": args.path, "headers": headers } },
        "contextExtensions": extensions.collect::<Map<_, _>>(),
    } });
    check_request_from_json(&check.to_string())
}

fn read(path: &Path) -> anyhow::Result<String> {
    if path == Path::new("-") {
        return Ok(std::io::read_to_string(std::io::stdin().lock())?);
    }
    std::fs::read_to_string(path).with_context(|| format!("cannot read `{}`", path.display()))
}

/// What was found comes first, then what was compared, and why at the end.
fn rank(field: &str) -> usize {
    let first = ["found", "compared", "rule", "needed"];
    let last = ["reason", "detail"];
    let end = last.iter().position(|name| *name == field);
    end.map(|at| first.len() + 1 + at).unwrap_or_else(|| {
        first
            .iter()
            .position(|name| *name == field)
            .unwrap_or(first.len())
    })
}

/// The report for people.
fn text(stages: &[Told], report: &Value) -> anyhow::Result<String> {
    let mut text = String::new();
    for told in stages {
        writeln!(text, "{}", told.stage)?;
        let mut fields: Vec<_> = told.fields.iter().collect();
        fields.sort_by_key(|(name, _)| rank(name));
        for (name, value) in fields {
            let value = value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned);
            writeln!(text, "  {name}: {value}")?;
        }
    }
    let said = |name: &str| report.get(name).and_then(Value::as_str);
    writeln!(text, "decision: {}", said("decision").unwrap_or_default())?;
    for name in ["reason", "detail", "api", "operation", "application"] {
        if let Some(value) = said(name) {
            writeln!(text, "  {name}: {value}")?;
        }
    }
    writeln!(
        text,
        "answer:\n{:#}",
        report.get("answer").unwrap_or(&Value::Null)
    )?;
    Ok(text)
}
