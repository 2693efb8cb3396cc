//! The catalog in the store: an Api for each of FIWARE's endpoints.
//!
//! A host that an Api claims is judged on all its paths, and FIWARE lets pass what no endpoint is for.
//! So each host without an endpoint at `/` has one Api more, which adds nothing.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::catalog::build::base_path;
use crate::catalog::source::document::API_VERSION;
use crate::catalog::source::file::{SourceFiles, SourceText};
use crate::check::request::Host;
use crate::secret::{hexadecimal, sha256};
use crate::store::Store;
use crate::store::endpoint::Endpoint;

/// The longest path of an endpoint, in bytes.
const MAX_PATH: usize = 2048;
/// The namespace of these Apis.
pub const NAMESPACE: &str = "fiware";

/// The endpoints of a store as documents, and what they all say.
#[derive(Debug, Clone)]
pub struct StoreSource {
    /// Where they are.
    pub store: Store,
    /// What the Api of each says of its token.
    pub rule: EndpointRule,
}

/// What the Apis of all endpoints say of their tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointRule {
    /// The provider that gives them.
    pub provider: String,
    /// What becomes of a request without one.
    pub on_failure: EndpointFailure,
    /// Whether an endpoint names its party: it must not where the provider does.
    pub names_party: bool,
}

/// What becomes of a request to an endpoint whose token cannot be had.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum EndpointFailure {
    /// It is denied.
    Deny,
    /// It goes with the last token, for as long as the provider lets it.
    Stale,
    /// It goes without a token, as with FIWARE.
    #[default]
    Allow,
}

impl StoreSource {
    /// The documents now. None at all is no mistake: nothing was registered.
    #[must_use]
    pub fn documents(&self) -> SourceFiles {
        documents(&self.store.endpoints(), &self.rule)
    }
}

/// The documents of these endpoints. None of them makes the source invalid: where an endpoint is not
/// valid any more, its host and path stay claimed, and what comes there is denied.
#[must_use]
pub fn documents(endpoints: &[Endpoint], rule: &EndpointRule) -> SourceFiles {
    let own = endpoints.iter().map(|endpoint| {
        // as the provider may have come to name the party, or not to
        let other = EndpointRule {
            names_party: !rule.names_party,
            ..rule.clone()
        };
        let api = endpoint_api(endpoint, rule);
        SourceText {
            name: endpoint_name(endpoint),
            text: text(&api),
            instead: vec![
                text(&endpoint_api(endpoint, &other)),
                text(&denying_api(api)),
            ],
        }
    });
    let places = endpoints
        .iter()
        .map(|endpoint| (endpoint.host.as_str(), endpoint.base_path.as_str()));
    let others = hosts_without_root(places).into_iter().map(|host| {
        let api = host_api(host);
        SourceText {
            name: format!("host {host}"),
            text: text(&api),
            instead: vec![text(&denying_api(api))],
        }
    });
    SourceFiles::of_texts("store", own.chain(others).collect())
}

/// What the document of `endpoint` is called.
fn endpoint_name(endpoint: &Endpoint) -> String {
    format!("endpoint {}", endpoint.id)
}

fn text(api: &Value) -> String {
    format!("{api:#}")
}

/// The host of an endpoint in normal form.
///
/// # Errors
/// Says why it is none.
pub fn endpoint_host(domain: &str) -> Result<String, String> {
    let after_address = domain
        .rfind(']')
        .map_or(domain, |end| domain.get(end..).unwrap_or(domain));
    if after_address.contains(':') {
        return Err("a host has no port, and an IPv6 address stands in brackets".to_owned());
    }
    Host::parse(domain)
        .map(|host| host.into_text().into_owned())
        .map_err(ToOwned::to_owned)
}

/// The path of an endpoint without a final slash.
///
/// # Errors
/// Says why it is none, or never matches.
pub fn endpoint_path(path: &str) -> Result<String, String> {
    let base = match path.strip_suffix('/') {
        Some("") => "/",
        Some(base) => base,
        None => path,
    };
    if !base.starts_with('/') || path.len() > MAX_PATH {
        return Err("it must begin with a slash, and have 2048 bytes at most".to_owned());
    }
    let base = base_path(base)?;
    Ok(match base.as_str() {
        "" => "/".to_owned(),
        base => base.to_owned(),
    })
}

/// The hosts that have no endpoint at `/`, of these hosts and base paths.
pub(crate) fn hosts_without_root<'a>(
    endpoints: impl Iterator<Item = (&'a str, &'a str)> + Clone,
) -> BTreeSet<&'a str> {
    let roots: BTreeSet<&str> = endpoints
        .clone()
        .filter(|(_, base_path)| *base_path == "/")
        .map(|(host, _)| host)
        .collect();
    endpoints
        .map(|(host, _)| host)
        .filter(|host| !roots.contains(host))
        .collect()
}

fn endpoint_api(endpoint: &Endpoint, rule: &EndpointRule) -> Value {
    let mut credential = json!({
        "provider": rule.provider,
        "audience": endpoint.idp_id,
        "tokenUrl": endpoint.idp_address,
        "grantType": endpoint.grant_type,
        "onFailure": rule.on_failure,
        // without a credential of its client there is no token either
        "onAbsent": match rule.on_failure {
            EndpointFailure::Allow => "allow",
            EndpointFailure::Deny | EndpointFailure::Stale => "deny",
        },
    });
    if let Some(credential) = credential.as_object_mut().filter(|_| rule.names_party) {
        credential.insert("party".to_owned(), json!(endpoint.client_id));
    }
    // paths may differ by case alone, which titles must not
    let title = format!("{}{} ({})", endpoint.host, endpoint.base_path, endpoint.id);
    let mut api = passing_api(&endpoint.id.to_string(), &title, &endpoint.host);
    if let Some(spec) = api.get_mut("spec").and_then(Value::as_object_mut) {
        spec.insert("basePath".to_owned(), json!(endpoint.base_path));
        spec.insert("upstream".to_owned(), json!({ "credential": credential }));
    }
    api
}

/// What no endpoint of `host` is for.
fn host_api(host: &str) -> Value {
    let digest: String = hexadecimal(&sha256(host.as_bytes()))
        .chars()
        .take(32)
        .collect();
    let title = format!("{host}: what no endpoint is for");
    passing_api(&format!("host-{digest}"), &title, host)
}

/// What takes the place of `api`: it adds nothing, and denies.
fn denying_api(mut api: Value) -> Value {
    if let Some(spec) = api.get_mut("spec").and_then(Value::as_object_mut) {
        spec.remove("upstream");
        spec.insert("unmatchedOperation".to_owned(), json!("deny"));
    }
    api
}

fn passing_api(name: &str, title: &str, host: &str) -> Value {
    json!({
        "apiVersion": API_VERSION,
        "kind": "Api",
        "metadata": { "name": name, "namespace": NAMESPACE },
        "spec": {
            "title": title,
            "version": "fiware",
            "direction": "outbound",
            "hosts": [host],
            "basePath": "/",
            "authenticators": ["anonymous"],
            "subscription": "none",
            "unmatchedOperation": "allow",
        },
    })
}

#[cfg(test)]
mod tests;
