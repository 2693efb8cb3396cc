//! One Api of its document.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::authentication::ANONYMOUS;
use crate::authorization::source::SourceRule;
use crate::catalog::build::limit::{self, Holder, limits};
use crate::catalog::build::report::{Report, Site};
use crate::catalog::build::{Known, origin, path, source, upstream};
use crate::catalog::model::limit::{Limit, LimitKey, OnExceed};
use crate::catalog::model::{
    Api, ApiId, BasePath, Direction, Enforcement, HostPattern, Operation, PreflightRule, ScopeRule,
    SubscriptionRule, UnmatchedOperation,
};
use crate::catalog::source::choice::{
    DirectionDocument, EnforcementDocument, PreflightDocument, SubscriptionRuleDocument,
    UnmatchedOperationDocument,
};
use crate::catalog::source::document::{
    ApiDocument, ApiSpec, OperationDocument, ScopesDocument, SourceDocument,
};
use crate::check::peer::config::{check_patterns, patterns};
use crate::config::findings::Findings;
use crate::header::is_token_byte;

/// The Api of `document`; reports what is wrong with it.
pub(super) fn build(
    site: Site<'_>,
    document: &ApiDocument,
    known: &Known,
    report: &mut Report,
) -> Option<Api> {
    let mut findings = Findings::new();
    let api = findings.within("spec", |findings| read(site, document, known, findings));
    report.add(site, &findings);
    api.filter(|_| findings.count() == 0)
}

/// The limits that protect the Api from everybody together.
fn own_limits(id: &ApiId, spec: &ApiSpec, findings: &mut Findings) -> Vec<Limit> {
    let holder = Holder {
        id: &format!("api/{id}"),
        plan: None,
        key: &LimitKey::Api,
        on_exceed: OnExceed::Deny,
    };
    limits(&spec.limits, holder, findings)
}

fn read(
    site: Site<'_>,
    document: &ApiDocument,
    known: &Known,
    findings: &mut Findings,
) -> Option<Api> {
    let spec = &document.spec;
    check_texts(spec, findings);
    let hosts = hosts(&spec.hosts, findings);
    let base_path: Option<BasePath> = path::base_path(&spec.base_path)
        .map_err(|message| findings.wrong("basePath", message))
        .ok();
    let authenticators = authenticators("authenticators", &spec.authenticators, known, findings);
    warn_of_nobody(spec, findings);
    if spec.operations.is_empty()
        && spec.unmatched_operation == UnmatchedOperationDocument::Deny
        && !site.denies
    {
        findings.wrong("operations", "an api without operations denies everything; name operations, or write `unmatchedOperation: allow`");
    }
    let id = ApiId::new(&document.metadata.namespace, &document.metadata.name);
    let operations = operations(&id, spec, known, findings);
    let limits = own_limits(&id, spec, findings);
    let from = from(spec.from.as_ref(), &id, known, findings);
    let direction = direction(spec, known, findings);
    check_patterns("peers", &spec.peers, findings);
    let upstream = upstream::read(spec, base_path.as_ref(), known, findings);
    Some(Api {
        id,
        title: spec.title.as_str().into(),
        version: spec.version.as_str().into(),
        context: spec.context.as_deref().map(Into::into),
        direction,
        peers: patterns(&spec.peers),
        hosts,
        base_path: base_path?,
        precedence: spec.precedence,
        enforcement: match spec.enforcement {
            EnforcementDocument::Enforce => Enforcement::Enforce,
            EnforcementDocument::Shadow => Enforcement::Shadow,
        },
        authenticators,
        subscription: match spec.subscription {
            SubscriptionRuleDocument::Required => SubscriptionRule::Required,
            SubscriptionRuleDocument::Optional => SubscriptionRule::Optional,
            SubscriptionRuleDocument::None => SubscriptionRule::NotNeeded,
        },
        operations,
        unmatched_operation: match spec.unmatched_operation {
            UnmatchedOperationDocument::Deny => UnmatchedOperation::Deny,
            UnmatchedOperationDocument::Allow => UnmatchedOperation::Allow,
        },
        preflight: match spec.preflight {
            PreflightDocument::Deny => PreflightRule::Deny,
            PreflightDocument::Pass => PreflightRule::Pass,
        },
        from,
        limits,
        upstream,
        origin: origin(site),
    })
}

/// The workloads that an Api or operation of it is for.
fn from(
    document: Option<&SourceDocument>,
    api: &ApiId,
    known: &Known,
    findings: &mut Findings,
) -> Option<SourceRule> {
    let document = document?;
    Some(source::read(
        document,
        api.namespace(),
        &known.mesh,
        findings,
    ))
}

fn warn_of_nobody(spec: &ApiSpec, findings: &mut Findings) {
    if spec.subscription == SubscriptionRuleDocument::Required
        && spec.authenticators.iter().all(|name| name == ANONYMOUS)
        && !spec.authenticators.is_empty()
    {
        findings.warn("subscription", "every request will be denied: anonymous callers have no application; write `subscription: none`");
    }
}

/// Which listeners serve it; warns where there is none.
fn direction(spec: &ApiSpec, known: &Known, findings: &mut Findings) -> Direction {
    let direction = match spec.direction {
        DirectionDocument::Inbound => Direction::Inbound,
        DirectionDocument::Outbound => Direction::Outbound,
    };
    if !known.directions.is_empty() && !known.directions.contains(&direction) {
        findings.warn(
            "direction",
            "no listener of type check serves this direction: nobody will ask about this api",
        );
    }
    direction
}

fn check_texts(spec: &ApiSpec, findings: &mut Findings) {
    let context = spec.context.as_deref().unwrap_or("-");
    for (field, text) in [
        ("title", &*spec.title),
        ("version", &spec.version),
        ("context", context),
    ] {
        if text.trim().is_empty() || text.chars().any(char::is_control) {
            findings.wrong(field, "it must be text without control characters");
        }
    }
}

fn hosts(hosts: &[String], findings: &mut Findings) -> Vec<HostPattern> {
    if hosts.is_empty() {
        findings.wrong("hosts", "name a host at least; \"*\" is every host");
    }
    let mut patterns = Vec::with_capacity(hosts.len());
    for (at, host) in hosts.iter().enumerate() {
        match HostPattern::parse(host) {
            Ok(pattern) if patterns.contains(&pattern) => {
                findings.wrong(&format!("hosts[{at}]"), format!("`{host}` stands twice"));
            }
            Ok(pattern) => patterns.push(pattern),
            Err(message) => findings.wrong(&format!("hosts[{at}]"), message),
        }
    }
    patterns
}

/// One of `before` that takes for a key of its own what stands where `name` looks for one, and where.
fn same_place<'k>(
    name: &str,
    before: &'k [Arc<str>],
    known: &'k Known,
) -> Option<(&'k str, &'k str)> {
    let places = known.key_places.get(name)?;
    before.iter().find_map(|before| {
        let theirs = known.key_places.get(before)?;
        let place = theirs.iter().find(|place| places.contains(place))?;
        Some((&**before, place.as_str()))
    })
}

fn authenticators(
    field: &str,
    names: &[String],
    known: &Known,
    findings: &mut Findings,
) -> Vec<Arc<str>> {
    if names.is_empty() {
        findings.wrong(
            field,
            "name an authenticator at least; `anonymous` lets everybody in",
        );
    }
    let mut found: Vec<Arc<str>> = Vec::with_capacity(names.len());
    for (at, name) in names.iter().enumerate() {
        match known.authenticators.get_key_value(name.as_str()) {
            Some((name, _)) if found.contains(name) => {
                findings.wrong(&format!("{field}[{at}]"), format!("`{name}` stands twice"));
            }
            Some((name, _)) => {
                if let Some((before, place)) = same_place(name, &found, known) {
                    let message = format!(
                        "`{before}` looks in {place} too and stands before it: it would never be asked"
                    );
                    findings.wrong(&format!("{field}[{at}]"), message);
                }
                found.push(Arc::clone(name));
            }
            None => {
                let names: Vec<&str> = known.authenticators.keys().map(AsRef::as_ref).collect();
                findings.wrong(
                    &format!("{field}[{at}]"),
                    format!(
                        "there is no authenticator `{name}` in the configuration; there are {}",
                        names.join(", ")
                    ),
                );
            }
        }
    }
    found
}

fn operations(
    api: &ApiId,
    spec: &ApiSpec,
    known: &Known,
    findings: &mut Findings,
) -> Vec<Operation> {
    let mut seen: HashMap<(String, String), usize> = HashMap::new();
    let mut operations = Vec::with_capacity(spec.operations.len());
    for (at, document) in spec.operations.iter().enumerate() {
        let Some(operation) = findings.within(&format!("operations[{at}]"), |findings| {
            operation(api, document, known, findings)
        }) else {
            continue;
        };
        let shape = path::shape(&operation.path);
        let any = [Box::from("")];
        let methods = if operation.methods.is_empty() {
            &any[..]
        } else {
            &operation.methods
        };
        for method in methods {
            let first = *seen
                .entry((shape.clone(), method.to_string()))
                .or_insert(at);
            if first != at {
                findings.wrong(
                    &format!("operations[{at}]"),
                    format!(
                        "never matches: operations[{first}] has the same {} and paths",
                        if method.is_empty() { "methods" } else { method }
                    ),
                );
            }
        }
        operations.push(operation);
    }
    warn_of_variants(spec, findings);
    operations
}

/// Where what matches no operation is let through, a rule of an operation holds for exactly what
/// the operation matches.
fn warn_of_variants(spec: &ApiSpec, findings: &mut Findings) {
    if spec.unmatched_operation != UnmatchedOperationDocument::Allow {
        return;
    }
    for (at, operation) in spec.operations.iter().enumerate() {
        let has_rules = operation.scopes.is_some()
            || operation.authenticators.is_some()
            || operation.from.is_some()
            || operation.cost.is_some()
            || !operation.metrics.is_empty()
            || !operation.limits.is_empty();
        if has_rules {
            findings.warn(&format!("operations[{at}]"), "another method, a slash at the end or other case of this path matches no operation and, by `unmatchedOperation: allow`, is judged by the api's own rules only, without this operation's `scopes`, `authenticators`, `from`, `cost`, `metrics` and `limits`");
        }
    }
}

fn operation(
    api: &ApiId,
    document: &OperationDocument,
    known: &Known,
    findings: &mut Findings,
) -> Option<Operation> {
    let path = path::template(&document.path)
        .map_err(|message| findings.wrong("path", message))
        .ok();
    let methods = methods(document.methods.as_deref(), findings);
    let scopes = document.scopes.as_ref().map_or(ScopeRule::None, |scopes| {
        findings.within("scopes", |findings| scope_rule(scopes, findings))
    });
    let authenticators = document
        .authenticators
        .as_ref()
        .map(|names| authenticators("authenticators", names, known, findings));
    let from = from(document.from.as_ref(), api, known, findings);
    let cost = document.cost.unwrap_or(1);
    limit::check_amount("cost", cost, findings);
    let path = path?;
    let id = format!("{} {}", methods.join(","), path.text);
    let holder = Holder {
        id: &format!("operation/{api} {id}"),
        plan: None,
        key: &LimitKey::Operation,
        on_exceed: OnExceed::Deny,
    };
    Some(Operation {
        limits: limits(&document.limits, holder, findings),
        id: id.trim_start().into(),
        cost,
        metrics: limit::metrics(&document.metrics, findings),
        methods,
        scopes,
        authenticators,
        from,
        path,
    })
}

fn methods(methods: Option<&[String]>, findings: &mut Findings) -> Vec<Box<str>> {
    let Some(methods) = methods else {
        return Vec::new();
    };
    if methods.is_empty() {
        findings.wrong(
            "methods",
            "name a method at least, or leave `methods` out for every method",
        );
    }
    let mut seen = HashSet::new();
    for (at, method) in methods.iter().enumerate() {
        let message = if method.is_empty() || !method.bytes().all(is_token_byte) {
            format!("`{method}` is no method")
        } else if method.bytes().any(|byte| byte.is_ascii_lowercase()) {
            format!("`{method}` never matches: write it in upper case")
        } else if !seen.insert(method) {
            format!("`{method}` stands twice")
        } else {
            continue;
        };
        findings.wrong(&format!("methods[{at}]"), message);
    }
    methods
        .iter()
        .map(|method| method.as_str().into())
        .collect()
}

fn scope_rule(scopes: &ScopesDocument, findings: &mut Findings) -> ScopeRule {
    let (field, names, is_any) = match (&scopes.any_of, &scopes.all_of) {
        (Some(names), None) => ("anyOf", names, true),
        (None, Some(names)) => ("allOf", names, false),
        _ => {
            findings.wrong("", "write one of `anyOf` and `allOf`");
            return ScopeRule::None;
        }
    };
    if names.is_empty() {
        findings.wrong(field, "name a scope at least, or leave `scopes` out");
    }
    for (at, name) in names.iter().enumerate() {
        // RFC 6749 section 3.3
        let is_scope = !name.is_empty()
            && name
                .bytes()
                .all(|byte| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e));
        if !is_scope {
            findings.wrong(
                &format!("{field}[{at}]"),
                format!(
                    "`{name}` is no scope: it has visible ASCII without space, quote and backslash"
                ),
            );
        }
    }
    let scopes = names.iter().map(|name| name.as_str().into()).collect();
    if is_any {
        ScopeRule::AnyOf(scopes)
    } else {
        ScopeRule::AllOf(scopes)
    }
}
