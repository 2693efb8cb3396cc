//! The credentials of an Api's upstream: their providers, and what these are asked for.

use std::sync::Arc;

use url::Url;

use crate::authentication::ANONYMOUS;
use crate::catalog::build::Known;
use crate::catalog::model::{BasePath, CredentialRule, HostPattern, OnAbsent, OnFailure};
use crate::catalog::source::choice::{OnAbsentDocument, OnFailureDocument};
use crate::catalog::source::document::{ApiSpec, CredentialDocument};
use crate::config::findings::Findings;
use crate::header::{HeaderName, HeaderValue};
use crate::upstream::provider::{Abilities, PartyRule, Target};

/// What stands before a token where the Api does not say.
const BEARER: &str = "Bearer";

/// The credentials of the Api with this `spec`, below `base_path`.
pub(super) fn read(
    spec: &ApiSpec,
    base_path: Option<&BasePath>,
    known: &Known,
    findings: &mut Findings,
) -> Vec<CredentialRule> {
    let documents = &spec.upstream.credential.0;
    let mut rules = Vec::with_capacity(documents.len());
    for (at, document) in documents.iter().enumerate() {
        let path = if documents.len() == 1 {
            "credential".to_owned()
        } else {
            format!("credential[{at}]")
        };
        let rule = findings.within(&path, |findings| {
            let Some((name, abilities)) = known.providers.get_key_value(document.provider.as_str())
            else {
                findings.wrong("provider", unknown(&document.provider, known));
                return None;
            };
            if abilities.needs_token {
                check_token(spec, known, findings);
            }
            let names_hosts = spec.hosts.iter().all(|host| !host.contains('*'));
            if abilities.only_audience && document.audience.is_none() && !names_hosts {
                findings.wrong("audience", "is needed where `hosts` has a `*`: what a client writes into the host must not say for whom an assertion is");
            }
            warn(spec, document, abilities, findings);
            rule(Arc::clone(name), document, abilities, base_path, findings)
        });
        rules.extend(rule);
    }
    rules
}

fn unknown(name: &str, known: &Known) -> String {
    let names: Vec<&str> = known.providers.keys().map(AsRef::as_ref).collect();
    let names = if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    };
    format!("there is no provider `{name}` in the configuration; there are {names}")
}

/// Warns of what is allowed and refuses requests that were meant to pass.
fn warn(
    spec: &ApiSpec,
    document: &CredentialDocument,
    abilities: &Abilities,
    findings: &mut Findings,
) {
    if document.on_failure == OnFailureDocument::Stale && !abilities.may_be_stale {
        findings.warn(
            "onFailure",
            "`stale` is as `deny` while `cache.maxStale` of the provider is not set",
        );
    }
    if abilities.needs_caller && spec.authenticators.iter().any(|name| name == ANONYMOUS) {
        findings.warn(
            "provider",
            "it needs to know who calls: anonymous callers will be refused",
        );
    }
    for host in &spec.hosts {
        if let (Some(served), Ok(HostPattern::Exact(host))) =
            (&abilities.hosts, HostPattern::parse(host))
            && !served.iter().any(|pattern| pattern.matches(&host))
        {
            findings.warn(
                "provider",
                format!("its `hosts` do not have `{host}`: it gives nothing there"),
            );
        }
    }
}

/// Finds callers that bring no token which could be exchanged.
fn check_token(spec: &ApiSpec, known: &Known, findings: &mut Findings) {
    let operations = spec.operations.iter();
    let operations = operations.flat_map(|operation| operation.authenticators.iter().flatten());
    for name in spec.authenticators.iter().chain(operations) {
        if known.authenticators.contains_key(name.as_str())
            && !known.token_authenticators.contains(name.as_str())
        {
            findings.wrong(
                "provider",
                format!(
                    "it exchanges the caller's own token, and authenticator `{name}` verifies none"
                ),
            );
        }
    }
}

fn rule(
    provider: Arc<str>,
    document: &CredentialDocument,
    abilities: &Abilities,
    base_path: Option<&BasePath>,
    findings: &mut Findings,
) -> Option<CredentialRule> {
    let before = findings.count();
    check_audience(document, abilities, findings);
    let token_url = token_url(document, abilities, findings);
    check_party(document, abilities, findings);
    let (header, scheme) = place(document, abilities, findings);
    let own = |text: &Option<String>| text.as_deref().map(Into::into);
    let removed = match &header {
        Some(header) => vec![header.clone()],
        None => abilities.headers.clone(),
    };
    let path = base_path.map_or("", BasePath::as_str);
    let target = Target {
        path: if path.is_empty() { "/" } else { path }.into(),
        audience: own(&document.audience),
        scope: own(&document.scope),
        resource: own(&document.resource),
        token_url,
        party: own(&document.party),
        grant_type: own(&document.grant_type),
        header,
        scheme,
    };
    (findings.count() == before).then(|| CredentialRule {
        provider,
        target: Arc::new(target),
        removed,
        on_failure: match document.on_failure {
            OnFailureDocument::Deny => OnFailure::Deny,
            OnFailureDocument::Stale => OnFailure::Stale,
            OnFailureDocument::Allow => OnFailure::Allow,
        },
        on_absent: match document.on_absent {
            OnAbsentDocument::Deny => OnAbsent::Deny,
            OnAbsentDocument::Allow => OnAbsent::Allow,
        },
    })
}

fn check_audience(document: &CredentialDocument, abilities: &Abilities, findings: &mut Findings) {
    for (path, text) in [
        ("audience", &document.audience),
        ("scope", &document.scope),
        ("resource", &document.resource),
    ] {
        match text.as_deref() {
            Some(_)
                if !abilities.takes_audience || abilities.only_audience && path != "audience" =>
            {
                findings.wrong(path, "this provider cannot be asked for it");
            }
            Some(text) if text.trim().is_empty() || text.chars().any(char::is_control) => {
                findings.wrong(path, "it must be text without control characters");
            }
            Some(_) | None => {}
        }
    }
    if abilities.takes_audience && !abilities.has_audience && document.audience.is_none() {
        findings.wrong("audience", "is needed, as the provider names none");
    }
    if let Some(resource) = &document.resource
        && Url::parse(resource).is_ok_and(|url| url.fragment().is_some())
    {
        // RFC 8707 section 2
        findings.wrong("resource", "must have no fragment");
    }
}

fn token_url(
    document: &CredentialDocument,
    abilities: &Abilities,
    findings: &mut Findings,
) -> Option<Url> {
    let Some(text) = &document.token_url else {
        if abilities.token_urls.is_some() && !abilities.has_token_url {
            findings.wrong("tokenUrl", "is needed, as the provider names none");
        }
        return None;
    };
    let Some(allowed) = &abilities.token_urls else {
        findings.wrong("tokenUrl", "is the provider's to name, not an api's");
        return None;
    };
    match Url::parse(text) {
        Ok(url) if allowed.allows(&url) => Some(url),
        Ok(_) => {
            findings.wrong(
                "tokenUrl",
                "is not among what the provider's `tokenUrls.allow` allows",
            );
            None
        }
        Err(_) => {
            findings.wrong(
                "tokenUrl",
                "must be an address, such as https://idp.example/token",
            );
            None
        }
    }
}

fn check_party(document: &CredentialDocument, abilities: &Abilities, findings: &mut Findings) {
    match (abilities.party, &document.party) {
        (PartyRule::Api, None) => {
            findings.wrong("party", "is needed, as the provider names none");
        }
        (PartyRule::Provider | PartyRule::None, Some(_)) => {
            findings.wrong("party", "is the provider's to name, not an api's");
        }
        (PartyRule::Api, Some(_)) | (PartyRule::Provider | PartyRule::None, None) => {}
    }
    if abilities.party == PartyRule::None && document.grant_type.is_some() {
        findings.wrong(
            "grantType",
            "this provider cannot be asked by another grant",
        );
    }
}

/// Where a token is put.
fn place(
    document: &CredentialDocument,
    abilities: &Abilities,
    findings: &mut Findings,
) -> (Option<HeaderName>, Option<Arc<str>>) {
    if !abilities.gives_token {
        for (path, text) in [("header", &document.header), ("scheme", &document.scheme)] {
            if text.is_some() {
                findings.wrong(path, "this provider gives whole headers");
            }
        }
        return (None, None);
    }
    let header = document.header.as_deref().unwrap_or("authorization");
    let header = HeaderName::parse(header)
        .map_err(|error| findings.wrong("header", error.to_string()))
        .ok();
    let scheme = document.scheme.as_deref().unwrap_or(BEARER);
    if scheme.contains(' ') || HeaderValue::check(scheme).is_err() {
        findings.wrong("scheme", "must be one word, such as Bearer, or empty");
    }
    (header, (!scheme.is_empty()).then(|| scheme.into()))
}
