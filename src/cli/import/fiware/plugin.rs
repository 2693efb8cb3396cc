//! The configuration of FIWARE's cached-auth-filter.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::cli::import::document::{ApiNode, Imported, Node, text};
use crate::cli::import::fiware::{FILE, NAMESPACE, lenient, place, report_unknown};
use crate::cli::import::input::{Cluster, Input, Plugin, type_name};
use crate::cli::import::report::Report;
use crate::cli::name::slug;
use crate::config::value::HumanDuration;
use crate::problem::Problems;

const GENERAL: [&str; 4] = [
    "authRequestTimeout",
    "authProviderName",
    "authType",
    "enableEndpointMatching",
];

/// What stands where the file tells no address that we could ask.
const NOWHERE: &str = "http://auth-provider.invalid";

/// What stands beside them.
const TOP: [&str; 2] = ["general", "endpoints"];

/// What `general` says, with FIWARE's defaults.
#[derive(Debug)]
struct General {
    timeout: Duration,
    provider: String,
    auth_type: String,
    matching: bool,
}

/// The type of authentication of each host and base path.
type Endpoints = BTreeMap<(String, String), String>;

/// Makes documents of the one plugin configuration in `input`.
pub(super) fn import(input: &Input, report: &mut Report) -> Result<Imported, Problems> {
    let plugins = input.plugins()?;
    let [plugin] = plugins.as_slice() else {
        return Err(input.problem(
            "",
            "it holds several plugin configurations: import each by itself",
        ));
    };
    let own = [TOP.as_slice(), &GENERAL].concat();
    input.expect_any(plugin, "FIWARE's filter", &own)?;
    report_resource(input, report);
    let general = general(plugin, report);
    let endpoints = endpoints(plugin, report);
    let mut imported = Imported {
        file: FILE,
        providers: Vec::new(),
        apis: Vec::new(),
    };
    if general.matching {
        for ((host, base_path), auth_type) in endpoints {
            imported.apis.push(ApiNode {
                namespace: NAMESPACE,
                hosts: vec![host],
                base_path,
                credential: Some(credential(&auth_type)),
            });
            add_provider(&mut imported, &auth_type, &general, report);
        }
    } else {
        if !endpoints.is_empty() {
            report.left_out(format!(
                "{}endpoints: FIWARE does not look at them while enableEndpointMatching is false",
                plugin.path
            ));
        }
        report.changed("every request of every host gets a header, as enableEndpointMatching is false; one host's token is never sent to another, which FIWARE's filter did");
        imported.apis.push(ApiNode {
            namespace: NAMESPACE,
            hosts: vec!["*".to_owned()],
            base_path: "/".to_owned(),
            credential: Some(credential(&general.auth_type)),
        });
        add_provider(&mut imported, &general.auth_type, &general, report);
    }
    if imported.apis.is_empty() {
        return Err(input.problem("", "there is no endpoint in it that can be imported"));
    }
    report.changed("the auth-provider gets no header of the client's request; FIWARE's filter sent all of them (forwardHeaders names those that it needs)");
    report.changed("a check waits for the auth-provider no longer than `checks.deadline`; a slower answer serves the checks after it");
    Ok(imported)
}

/// What stands around the configuration says where a filter runs, which is not ours to say.
fn report_resource(input: &Input, report: &mut Report) {
    for document in &input.documents {
        let Some(spec) = document.get("spec").and_then(Value::as_object) else {
            continue;
        };
        for key in spec.keys().filter(|key| key.as_str() != "config") {
            report.left_out(format!(
                "spec.{key}: where a filter runs; Envoy or an AuthorizationPolicy says who asks portcullis"
            ));
        }
    }
}

fn provider_name(auth_type: &str) -> String {
    format!("fiware-{}", slug(auth_type))
}

fn credential(auth_type: &str) -> Node {
    lenient(vec![("provider", text(provider_name(auth_type)))])
}

fn add_provider(imported: &mut Imported, auth_type: &str, general: &General, report: &mut Report) {
    let name = provider_name(auth_type);
    if imported.providers.iter().any(|(known, _)| *known == name) {
        return;
    }
    let cluster = &general.provider;
    let url = match Cluster::parse(cluster) {
        Cluster::Service(url) => url,
        Cluster::Name(url) => {
            report.remains(format!("providers.{name}.url: `{cluster}` is the name of an Envoy cluster; write where that auth-provider is reached"));
            url
        }
        Cluster::Unreachable => {
            report.remains(format!("providers.{name}.url: `{cluster}` cannot be reached from here; `{NOWHERE}` stands there: fill in before you use it where that auth-provider is reached"));
            NOWHERE.to_owned()
        }
    };
    report.changed(format!(
        "providers.{name}: the auth-provider is asked by plain http, as before"
    ));
    let http = Node::Map(vec![
        ("timeout", text(HumanDuration(general.timeout).to_string())),
        ("allowHttp", Node::True),
    ]);
    let provider = Node::Map(vec![
        ("type", text("authProvider")),
        ("url", text(url)),
        ("authType", text(auth_type)),
        ("http", http),
    ]);
    imported.providers.push((name, provider));
}

/// The keys of `general`, and those at the top level although FIWARE reads them in `general` alone.
fn general_keys(plugin: &Plugin, report: &mut Report) -> Map<String, Value> {
    let path = &plugin.path;
    let mut keys = match plugin.keys.get("general") {
        Some(Value::Object(keys)) => keys.clone(),
        None | Some(Value::Null) => Map::new(),
        Some(other) => {
            report.left_out(format!(
                "{path}general: it is {}, and no object",
                type_name(other)
            ));
            Map::new()
        }
    };
    report_unknown(&format!("{path}general."), &keys, &GENERAL, report);
    for (key, value) in &plugin.keys {
        if !GENERAL.contains(&key.as_str()) {
            continue;
        }
        if keys.contains_key(key) {
            report.left_out(format!("{path}{key}: `general` has it too, which counts"));
        } else {
            report.changed(format!("{path}{key}: FIWARE ignored it, as it does not stand in `general`; it is taken as it was meant"));
            keys.insert(key.clone(), value.clone());
        }
    }
    let known = [TOP.as_slice(), &GENERAL].concat();
    report_unknown(path, &plugin.keys, &known, report);
    keys
}

/// What `general` says; each value that is none is FIWARE's default.
fn general(plugin: &Plugin, report: &mut Report) -> General {
    let keys = general_keys(plugin, report);
    let mut fall_back = |key: &str, default: &str| {
        if let Some(value) = keys.get(key) {
            report.changed(format!(
                "{}general.{key}: it is {} that FIWARE does not take; its default, `{default}`, counts",
                plugin.path,
                type_name(value)
            ));
        }
    };
    let mut name = |key: &str, default: &str| match keys.get(key) {
        Some(Value::String(text)) if !text.is_empty() => text.clone(),
        _ => {
            fall_back(key, default);
            default.to_owned()
        }
    };
    let provider = name("authProviderName", "ext-authz");
    let auth_type = name("authType", "ISHARE");
    let timeout = keys.get("authRequestTimeout").and_then(Value::as_u64);
    let timeout = timeout.filter(|timeout| *timeout > 0).unwrap_or_else(|| {
        fall_back("authRequestTimeout", "5000");
        5000
    });
    let matching = keys.get("enableEndpointMatching").and_then(Value::as_bool);
    General {
        timeout: Duration::from_millis(timeout),
        provider,
        auth_type,
        matching: matching.unwrap_or_else(|| {
            fall_back("enableEndpointMatching", "false");
            false
        }),
    }
}

fn endpoints(plugin: &Plugin, report: &mut Report) -> Endpoints {
    let mut endpoints = Endpoints::new();
    let path = format!("{}endpoints", plugin.path);
    let types = match plugin.keys.get("endpoints") {
        Some(Value::Object(types)) => types,
        None | Some(Value::Null) => return endpoints,
        Some(other) => {
            report.left_out(format!("{path}: it is {}, and no object", type_name(other)));
            return endpoints;
        }
    };
    for (auth_type, domains) in types {
        let path = format!("{path}.{auth_type}");
        let is_type = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if !auth_type.bytes().all(is_type) || auth_type.is_empty() || auth_type.starts_with('.') {
            report.left_out(format!("{path}: it is no segment of a path"));
            continue;
        }
        let Value::Object(domains) = domains else {
            report.left_out(format!(
                "{path}: it is {}, and no object",
                type_name(domains)
            ));
            continue;
        };
        for (domain, paths) in domains {
            let at = format!("{path}.{domain}");
            let Value::Array(paths) = paths else {
                report.left_out(format!("{at}: it is {}, and no list", type_name(paths)));
                continue;
            };
            for value in paths {
                let Value::String(text) = value else {
                    report.left_out(format!("{at}: {} in the list of paths", type_name(value)));
                    continue;
                };
                if let Some(place) = place(domain, text, &at, report) {
                    add_endpoint(&mut endpoints, place, auth_type, report);
                }
            }
        }
    }
    endpoints
}

fn add_endpoint(
    endpoints: &mut Endpoints,
    place: (String, String),
    auth_type: &str,
    report: &mut Report,
) {
    let name = format!("{}{}", place.0, place.1);
    if let Some(first) = endpoints.insert(place, auth_type.to_owned())
        && first != auth_type
    {
        report.changed(format!("`{name}` stands under `{first}` and `{auth_type}`; `{auth_type}` counts, as FIWARE takes one of them"));
    }
}
