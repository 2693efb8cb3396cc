//! Where an API is: the hosts and the base path of its servers.

use serde_json::Value;
use url::Url;

use crate::catalog::build::path::base_path;
use crate::catalog::model::HostPattern;
use crate::cli::import::input::Input;
use crate::cli::import::openapi::Dialect;
use crate::cli::import::report::Report;
use crate::problem::Problems;

/// Hosts and base path.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) hosts: Vec<String>,
    pub(super) base_path: String,
}

/// A server: its host, where it names one, and its path.
type Server = (Option<String>, String);

/// Where the API is; `hosts` take the place of those that it names.
pub(super) fn place(
    input: &Input,
    document: &Value,
    dialect: Dialect,
    hosts: &[String],
    report: &mut Report,
) -> Result<Place, Problems> {
    let servers = match dialect {
        Dialect::Openapi => of_servers(input, document, report)?,
        Dialect::Swagger => vec![of_swagger(document, report)],
    };
    let first = servers.first().map_or("/", |(_, path)| path.as_str());
    let mut place = Place {
        hosts: hosts.to_vec(),
        base_path: first.to_owned(),
    };
    for (host, path) in &servers {
        let Some(host) = host else { continue };
        if path != first {
            report.left_out(format!(
                "server `{host}{path}`: it has another base path than `{first}`; import the file again for it"
            ));
        } else if hosts.is_empty() && !place.hosts.contains(host) {
            place.hosts.push(host.clone());
        } else if !hosts.is_empty() && !hosts.contains(host) {
            report.left_out(format!("server `{host}`: `--host` takes its place"));
        }
    }
    if place.hosts.is_empty() {
        return Err(input.problem("", "no server of it names a host: say which with `--host`"));
    }
    for host in &place.hosts {
        if let Err(reason) = HostPattern::parse(host) {
            return Err(input.problem("", format!("the host `{host}`: {reason}")));
        }
    }
    match base_path(&place.base_path) {
        Ok(_) => Ok(place),
        Err(reason) => {
            Err(input.problem("", format!("the base path `{}`: {reason}", place.base_path)))
        }
    }
}

fn of_swagger(document: &Value, report: &mut Report) -> Server {
    let text = |key: &str| document.get(key).and_then(Value::as_str);
    let host = text("host").map(|host| without_port(host, report));
    (host, without_slash(text("basePath").unwrap_or("/")))
}

fn of_servers(
    input: &Input,
    document: &Value,
    report: &mut Report,
) -> Result<Vec<Server>, Problems> {
    let servers = document.get("servers").and_then(Value::as_array);
    let mut found = Vec::new();
    for (at, server) in servers.into_iter().flatten().enumerate() {
        let place = format!("servers[{at}].url");
        let url = server.get("url").and_then(Value::as_str).unwrap_or("/");
        let url = filled(url, server, &place, report).map_err(|name| {
            input.problem(&place, format!("the variable `{name}` has no default"))
        })?;
        if url.starts_with('/') {
            found.push((None, without_slash(&url)));
            continue;
        }
        let parsed = Url::parse(&url).ok();
        let Some((parsed, host)) = parsed.as_ref().and_then(|url| Some((url, url.host_str()?)))
        else {
            return Err(input.problem(&place, format!("`{url}` is no address")));
        };
        if let Some(port) = parsed.port() {
            report.changed(format!("{place}: the port {port} does not count"));
        }
        found.push((Some(host.to_owned()), without_slash(parsed.path())));
    }
    Ok(found)
}

/// The address with the defaults of its variables, or the name of one that has none.
fn filled(url: &str, server: &Value, place: &str, report: &mut Report) -> Result<String, String> {
    let (mut text, mut rest) = (String::new(), url);
    while let Some((before, after)) = rest.split_once('{') {
        let (name, after) = after.split_once('}').ok_or_else(|| after.to_owned())?;
        let variable = server.get("variables").and_then(|all| all.get(name));
        let default = variable.and_then(|variable| variable.get("default")?.as_str());
        let default = default.ok_or_else(|| name.to_owned())?;
        report.changed(format!("{place}: `{{{name}}}` is its default, `{default}`"));
        text.push_str(before);
        text.push_str(default);
        rest = after;
    }
    Ok(text + rest)
}

fn without_port(host: &str, report: &mut Report) -> String {
    match host.rsplit_once(':') {
        Some((name, port)) if port.parse::<u16>().is_ok() => {
            report.changed(format!("host: the port {port} does not count"));
            name.to_owned()
        }
        _ => host.to_owned(),
    }
}

fn without_slash(path: &str) -> String {
    match path.trim_end_matches('/') {
        "" => "/".to_owned(),
        path => path.to_owned(),
    }
}
