//! What the upstream and the client see: header names and templates, and where they contradict.

use std::collections::{BTreeMap, HashSet};

use crate::catalog::build::{Known, credential};
use crate::catalog::model::{BasePath, CredentialRule, UpstreamRules};
use crate::catalog::source::document::ApiSpec;
use crate::config::findings::Findings;
use crate::header::HeaderName;
use crate::upstream::template::HeaderTemplate;

/// The rules of the Api with this `spec`, below `base_path`.
pub(super) fn read(
    spec: &ApiSpec,
    base_path: Option<&BasePath>,
    known: &Known,
    findings: &mut Findings,
) -> UpstreamRules {
    let document = &spec.upstream;
    findings.within("upstream", |findings| {
        let headers = templates("headers", &document.headers, findings);
        let response_headers = templates("responseHeaders", &document.response_headers, findings);
        let remove_headers = names(&document.remove_headers, findings);
        let set: HashSet<String> = headers.iter().map(|(name, _)| plain(name)).collect();
        for (at, name) in remove_headers.iter().enumerate() {
            if set.contains(&plain(name)) {
                findings.wrong(&format!("removeHeaders[{at}]"), format!("`{name}` is set by `headers` too, which removes the client's own value already"));
            }
        }
        for (name, _) in &response_headers {
            if known.decision_header.as_ref() == Some(name) {
                findings.wrong(&format!("responseHeaders.{name}"), "this header carries the decision id (`checks.decisionHeader`)");
            }
        }
        let credentials = credential::read(spec, base_path, known, findings);
        check_credentials(&credentials, &set, findings);
        let ours = credentials.iter().flat_map(|rule| &rule.removed);
        let ours: HashSet<String> = ours.map(plain).chain(set).collect();
        let credential_headers = spec
            .authenticators
            .iter()
            .filter_map(|name| known.authenticators.get(name.as_str()))
            .flatten();
        for name in credential_headers {
            if document.keep_credential && ours.contains(&plain(name)) {
                findings.wrong("keepCredential", format!("`{name}` cannot both keep the client's credential and be set by `headers` or `credential`"));
            }
        }
        UpstreamRules {
            headers,
            remove_headers,
            keep_credential: document.keep_credential,
            response_headers,
            credentials,
        }
    })
}

/// Finds headers that are set twice: by `headers` and a credential, or by two credentials.
fn check_credentials(
    credentials: &[CredentialRule],
    headers: &HashSet<String>,
    findings: &mut Findings,
) {
    let mut set: HashSet<String> = HashSet::new();
    for (at, rule) in credentials.iter().enumerate() {
        let path = if credentials.len() == 1 {
            "credential".to_owned()
        } else {
            format!("credential[{at}]")
        };
        for name in &rule.removed {
            if headers.contains(&plain(name)) {
                findings.wrong(&path, format!("`{name}` is set by `headers` too"));
            }
            if !set.insert(plain(name)) {
                findings.wrong(&path, format!("`{name}` is set by another credential too"));
            }
        }
    }
}

fn templates(
    field: &str,
    headers: &BTreeMap<String, String>,
    findings: &mut Findings,
) -> Vec<(HeaderName, HeaderTemplate)> {
    let mut seen = HashSet::new();
    let mut templates = Vec::with_capacity(headers.len());
    for (name, template) in headers {
        let path = format!("{field}.{name}");
        let name =
            HeaderName::parse(name).map_err(|error| findings.wrong(&path, error.to_string()));
        let template = HeaderTemplate::parse(template)
            .map_err(|error| findings.wrong(&path, error.to_string()));
        let (Ok(name), Ok(template)) = (name, template) else {
            continue;
        };
        if !seen.insert(plain(&name)) {
            findings.wrong(
                &path,
                "this header stands twice; case and `_` for `-` do not count",
            );
        }
        templates.push((name, template));
    }
    templates
}

fn names(names: &[String], findings: &mut Findings) -> Vec<HeaderName> {
    let mut seen = HashSet::new();
    let mut parsed = Vec::with_capacity(names.len());
    for (at, name) in names.iter().enumerate() {
        let path = format!("removeHeaders[{at}]");
        match HeaderName::parse(name) {
            Ok(name) => {
                if !seen.insert(plain(&name)) {
                    findings.wrong(&path, format!("`{name}` stands twice"));
                }
                parsed.push(name);
            }
            Err(error) => findings.wrong(&path, error.to_string()),
        }
    }
    parsed
}

/// The spelling with `-`, in which upstreams behind CGI read it.
fn plain(name: &HeaderName) -> String {
    name.as_str().replace('_', "-")
}
