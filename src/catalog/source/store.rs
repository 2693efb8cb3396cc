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
use crate::catalog::source::file::SourceFiles;
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
        let endpoints = self.store.endpoints();
        let own = endpoints.iter().map(|endpoint| {
            (
                format!("endpoint {}", endpoint.id),
                endpoint_api(endpoint, &self.rule),
            )
        });
        let hosts = hosts_without_root(
            endpoints
                .iter()
                .map(|endpoint| (endpoint.host.as_str(), endpoint.base_path.as_str())),
        );
        let others = hosts
            .into_iter()
            .map(|host| (format!("host {host}"), host_api(host)));
        let texts = own
            .chain(others)
            .map(|(name, api)| (name, format!("{api:#}")));
        SourceFiles::of_texts("store", texts.collect())
    }
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
    base_path(base).map(|_| base.to_owned())
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
    let title = format!("{}{}", endpoint.host, endpoint.base_path);
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
mod tests {
    use super::*;
    use crate::config::reader::Reader;
    use crate::store::StoreConfig;
    use crate::store::tests::endpoint;

    fn source(names_party: bool) -> (tempfile::TempDir, StoreSource) {
        let folder = tempfile::tempdir().unwrap();
        let config = StoreConfig {
            path: "state.db".into(),
            encryption_key: None,
        };
        let source = StoreSource {
            store: Store::open(&config, &mut Reader::new(folder.path())).unwrap(),
            rule: EndpointRule {
                provider: "partner".to_owned(),
                on_failure: EndpointFailure::Allow,
                names_party,
            },
        };
        (folder, source)
    }

    #[test]
    fn an_empty_store_is_no_mistake() {
        let (_folder, source) = source(true);
        let (documents, problems) = source.documents().parse_each(&"admin".into());
        assert!(documents.documents.is_empty() && problems.is_empty());
        let before = documents.digest;
        source
            .store
            .add_endpoint(&endpoint("a.example", "/"))
            .unwrap();
        assert_ne!(source.documents().digest(), before);
    }

    #[test]
    fn each_endpoint_is_an_api_and_so_is_the_rest_of_its_host() {
        let own = endpoint("a.example", "/x");
        let rule = EndpointRule {
            provider: "partner".to_owned(),
            on_failure: EndpointFailure::Allow,
            names_party: true,
        };
        let api = endpoint_api(&own, &rule);
        assert_eq!(api["metadata"]["name"], own.id.to_string());
        assert_eq!(api["spec"]["basePath"], "/x");
        let expected = json!({
            "provider": "partner", "audience": "EU.EORI.IDP", "party": "EU.EORI.A",
            "tokenUrl": "https://idp.example/token", "grantType": "client_credentials",
            "onFailure": "allow", "onAbsent": "allow",
        });
        assert_eq!(api["spec"]["upstream"]["credential"], expected);
        let rule = EndpointRule {
            on_failure: EndpointFailure::Stale,
            names_party: false,
            ..rule
        };
        let credential = &endpoint_api(&own, &rule)["spec"]["upstream"]["credential"];
        assert_eq!(
            (&credential["onFailure"], &credential["onAbsent"]),
            (&json!("stale"), &json!("deny"))
        );
        assert!(credential.get("party").is_none());
        assert!(host_api("[::1]")["spec"].get("upstream").is_none());
        let endpoints = [
            ("a", "/x"),
            ("a", "/y"),
            ("b", "/"),
            ("b", "/x"),
            ("c", "/z"),
        ];
        let hosts = hosts_without_root(endpoints.into_iter());
        assert_eq!(hosts.into_iter().collect::<Vec<_>>(), ["a", "c"]);
    }
}
