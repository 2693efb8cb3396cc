//! `portcullis import fiware`: FIWARE's endpoint-auth-service.

mod endpoints;
mod plugin;

use std::path::Path;

use serde_json::{Map, Value};

use crate::catalog::source::store::{endpoint_host, endpoint_path};
use crate::cli::import::document::{Imported, Node, text};
use crate::cli::import::input::Input;
use crate::cli::import::report::Report;
use crate::problem::Problems;

/// The namespace and the file of what is made.
const NAMESPACE: &str = "fiware";
const FILE: &str = "fiware.yaml";

/// Makes documents of `file`.
pub(super) fn import(
    file: &Path,
    credentials: Option<&Path>,
    report: &mut Report,
) -> Result<Imported, Problems> {
    let input = Input::read(file)?;
    let imported = if let [Value::Array(list)] = input.documents.as_slice() {
        endpoints::import(&input, list, credentials, report)?
    } else if let Some(credentials) = credentials {
        let name = credentials.display().to_string();
        return Err(input.problem(
            "",
            format!("`--credentials {name}` goes with the answer of GET /endpoint, a JSON list"),
        ));
    } else {
        plugin::import(&input, report)?
    };
    report.changed("a request whose token cannot be had goes on without one (onFailure: allow), as with FIWARE; `deny` is safer");
    report.changed("a path is matched by whole segments at any depth and without the query; FIWARE's filter matched one level below it");
    report.changed("the client's own header is replaced; FIWARE's filter added a second one");
    report.remains("the listener `outbound` is on loopback: give it the address that Envoy reaches, and `peers`");
    Ok(imported.with_rest_of_hosts(NAMESPACE))
}

/// A domain and path in our form; reports why not.
fn place(domain: &str, path: &str, at: &str, report: &mut Report) -> Option<(String, String)> {
    let found = endpoint_host(domain)
        .and_then(|host| Ok((host, endpoint_path(path)?)))
        .map_err(|reason| report.left_out(format!("{at}: `{domain}{path}`: {reason}")));
    let (host, base_path) = found.ok()?;
    if path.len() > 1 && path.ends_with('/') {
        report.changed(format!(
            "{at}: `{path}` is `{base_path}`: a final slash does not count"
        ));
    }
    Some((host, base_path))
}

/// What FIWARE does where there is no token: the request goes on.
fn lenient(mut keys: Vec<(&'static str, Node)>) -> Node {
    keys.push(("onFailure", text("allow")));
    keys.push(("onAbsent", text("allow")));
    Node::Map(keys)
}

/// Reports the keys that nothing reads.
fn report_unknown(path: &str, keys: &Map<String, Value>, known: &[&str], report: &mut Report) {
    for key in keys.keys() {
        if !known.contains(&key.as_str()) {
            report.left_out(format!("{path}{key}: unknown key"));
        }
    }
}
