//! `portcullis import header-filter`: the header-augmenting WASM filter.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use url::Url;

use crate::catalog::model::HostPattern;
use crate::cli::import::document::{ApiNode, Imported, Node, text, texts};
use crate::cli::import::input::{Cluster, Input, Plugin};
use crate::cli::import::report::Report;
use crate::config::value::HumanDuration;
use crate::problem::Problems;

/// The provider and the namespace of what is made.
const PROVIDER: &str = "header-service";
const NAMESPACE: &str = "default";

/// What stands where the file tells no address that we could ask.
const NOWHERE: &str = "http://header-service.invalid";

const CLUSTER: &str = "header_providing_service_cluster";
const PATH: &str = "header_providing_service_path";
const AUTHORITY: &str = "header_providing_service_authority";
const EXPIRY: &str = "header_cache_expiry";
const KEYS: [&str; 4] = [CLUSTER, PATH, AUTHORITY, EXPIRY];

/// What the command line says.
#[derive(Debug)]
pub(super) struct Asked<'a> {
    pub(super) url: Option<&'a str>,
    pub(super) hosts: &'a [String],
}

/// Makes documents of `file`.
pub(super) fn import(
    file: &Path,
    asked: &Asked<'_>,
    report: &mut Report,
) -> Result<Imported, Problems> {
    let input = Input::read(file)?;
    let plugins = input.plugins()?;
    let [plugin] = plugins.as_slice() else {
        return Err(input.problem(
            "",
            "it holds several plugin configurations: import each by itself",
        ));
    };
    if plugin.keys.is_empty() {
        report.changed("there is no key in it: the filter's defaults count");
    } else {
        input.expect_any(plugin, "the header-augmenting filter", &KEYS)?;
    }
    let own = |key: &str, default: &str| text_of(&input, plugin, key, default);
    let (cluster, path) = (own(CLUSTER, "sidecar")?, own(PATH, "/headers")?);
    let authority = own(AUTHORITY, "sidecar")?;
    let interval = interval(&input, plugin, &own(EXPIRY, "360s")?)?;
    let url = match asked.url {
        Some(url) => url.to_owned(),
        None => format!("{}{path}", address(&cluster, report)),
    };
    let plain = match Url::parse(&url) {
        Ok(url) if url.has_host() => url.scheme() == "http",
        _ => return Err(input.problem("", format!("`{url}` is no address of a service"))),
    };
    for key in plugin.keys.keys() {
        if !KEYS.contains(&key.as_str()) {
            report.left_out(format!("{}{key}: unknown key", plugin.path));
        }
    }
    let hosts = hosts(&input, asked, report)?;
    report_behavior(report);
    let mut provider = vec![
        ("type", text("headerService")),
        ("url", text(url)),
        ("hosts", texts(&hosts)),
        ("authority", text(authority)),
        ("interval", text(interval.to_string())),
    ];
    if plain {
        report.changed(format!(
            "providers.{PROVIDER}: the header service is asked by plain http, as before"
        ));
        provider.push(("http", Node::Map(vec![("allowHttp", Node::True)])));
    }
    Ok(Imported {
        file: "header-filter.yaml",
        providers: vec![(PROVIDER.to_owned(), Node::Map(provider))],
        apis: vec![ApiNode {
            namespace: NAMESPACE,
            hosts,
            base_path: "/".to_owned(),
            credential: Some(Node::Map(vec![
                ("provider", text(PROVIDER)),
                ("onFailure", text("deny")),
            ])),
        }],
    })
}

fn report_behavior(report: &mut Report) {
    report.changed("requests are denied until the headers were fetched once, as before (503 instead of 500), and when they are older than three intervals; the filter used them for ever (`onFailure: allow` sends such requests on without headers)");
    report.changed(
        "an answer that is no JSON object of texts is not used, and the headers before it stay",
    );
    report.changed(
        "a reload keeps the headers; the filter denied every request for 3 seconds and more",
    );
    report.remains(format!("providers.{PROVIDER}.headers: name the headers that the service gives, where there are others than authorization"));
    report.remains("the listener `outbound` is on loopback: give it the address that Envoy reaches, and `peers`");
}

fn hosts(input: &Input, asked: &Asked<'_>, report: &mut Report) -> Result<Vec<String>, Problems> {
    if asked.hosts.is_empty() {
        report.changed("every host that a workload calls gets the headers, tokens among them, as before; name those that should with `--host`");
        return Ok(vec!["*".to_owned()]);
    }
    for host in asked.hosts {
        if let Err(message) = HostPattern::parse(host) {
            return Err(input.problem("--host", message));
        }
    }
    Ok(asked.hosts.to_vec())
}

/// Where the service of a cluster is.
fn address(cluster: &str, report: &mut Report) -> String {
    match Cluster::parse(cluster) {
        Cluster::Service(url) => url,
        Cluster::Name(url) => {
            report.remains(format!("providers.{PROVIDER}.url: `{cluster}` is the name of an Envoy cluster; write where that service is reached (`--url`)"));
            url
        }
        Cluster::Unreachable => {
            report.remains(format!("providers.{PROVIDER}.url: `{cluster}` is the pod's own and cannot be reached from here: make the header service a service of its own; `{NOWHERE}` stands there: fill in its address before you use it (`--url`)"));
            NOWHERE.to_owned()
        }
    }
}

fn text_of(input: &Input, plugin: &Plugin, key: &str, default: &str) -> Result<String, Problems> {
    match plugin.keys.get(key) {
        None => Ok(default.to_owned()),
        Some(Value::String(text)) => Ok(text.clone()),
        Some(Value::Number(_)) if key == EXPIRY => Err(input.problem(
            &format!("{}{key}", plugin.path),
            "a duration has a unit, such as 360s",
        )),
        Some(_) => Err(input.problem(
            &format!("{}{key}", plugin.path),
            "it must be a text; the filter does not start with anything else",
        )),
    }
}

fn interval(input: &Input, plugin: &Plugin, text: &str) -> Result<HumanDuration, Problems> {
    let wrong = |message: &str| input.problem(&format!("{}{EXPIRY}", plugin.path), message);
    let duration = parse_human(text)
        .ok_or_else(|| wrong("it is no duration with units, such as 360s, 6m or 1h 30m"))?;
    if duration < Duration::from_secs(1) || duration > Duration::from_secs(24 * 60 * 60) {
        return Err(wrong("it must be 1s or more and 24h at most"));
    }
    Ok(HumanDuration(duration))
}

const UNITS: [(&[&str], u64); 7] = [
    (&["ms", "msec", "millis"], 1),
    (&["s", "sec", "secs", "second", "seconds"], 1000),
    (&["m", "min", "mins", "minute", "minutes"], 60_000),
    (&["h", "hr", "hrs", "hour", "hours"], 3_600_000),
    (&["d", "day", "days"], 86_400_000),
    (&["w", "week", "weeks"], 604_800_000),
    (&["M", "month", "months"], 2_630_016_000),
];

/// Reads a duration as Rust's `humantime` writes it: `360s`, `6m`, `1h 30m`.
fn parse_human(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    let mut millis: u64 = 0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, after) = rest.split_at_checked(digits)?;
        let after = after.trim_start();
        let letters = after.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, after) = after.split_at_checked(letters)?;
        let (_, factor) = UNITS.iter().find(|(names, _)| names.contains(&unit))?;
        millis = millis.checked_add(number.parse::<u64>().ok()?.checked_mul(*factor)?)?;
        rest = after.trim_start();
    }
    Some(Duration::from_millis(millis))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h2_durations_are_read_in_humantimes_forms() {
        for (text, seconds) in [
            ("360s", 360),
            ("6m", 360),
            ("1h 30m", 5400),
            ("1h30m", 5400),
            ("2 minutes", 120),
            ("1day", 86_400),
            ("1000ms", 1),
        ] {
            assert_eq!(
                parse_human(text),
                Some(Duration::from_secs(seconds)),
                "{text}"
            );
        }
        for text in [
            "",
            "360",
            "s",
            "-1s",
            "1.5s",
            "1y!",
            "1h -30m",
            "99999999999999999999s",
        ] {
            assert_eq!(parse_human(text), None, "{text}");
        }
    }
}
