//! Policies as wholes: which workloads they are for, and what else is for those.

use crate::cli::doctor::kind::Kind;
use crate::cli::doctor::located::Located;
use crate::cli::doctor::manifests::{Manifests, Object};
use crate::cli::doctor::report::Findings;
use crate::cli::doctor::scope::Scope;
use crate::cli::doctor::workloads::own_places;

/// Looks at every policy with action CUSTOM.
pub(super) fn examine(manifests: &Manifests<'_>, findings: &mut Findings) {
    let policies: Vec<_> = manifests
        .custom_policies()
        .map(|policy| (policy, Scope::of(policy, manifests)))
        .collect();
    let places = own_places(manifests);
    for (at, (policy, scope)) in policies.iter().enumerate() {
        let others = policies.iter().take(at);
        for (other, _) in others.filter(|(_, other)| other.overlaps(scope, manifests)) {
            examine_pair(policy, other, findings);
        }
        if places.iter().any(|place| scope.takes_in(place)) {
            let what = format!(
                "the policy `{}` matches the server that checks, too",
                policy.name
            );
            findings.add(Kind::OwnWorkload, &policy.node.at_or_self("spec"), what);
        }
        examine_ambient(policy, scope, manifests, findings);
        examine_dry_run(policy, findings);
    }
    let scopes: Vec<_> = policies.iter().map(|(_, scope)| scope).collect();
    examine_requests(&scopes, manifests, findings);
}

fn examine_pair(policy: &Object<'_>, other: &Object<'_>, findings: &mut Findings) {
    let name = "spec.provider.name";
    let (own, theirs) = (policy.node.text_at(name), other.node.text_at(name));
    // of one name, they are one object, of which the one that is applied last is there
    let is_same = (policy.name, policy.namespace) == (other.name, other.namespace);
    if let (Some(own), Some(theirs)) = (own, theirs)
        && own != theirs
        && !is_same
    {
        let what = format!(
            "`{own}` checks workloads that `{theirs}` checks by `{}/{}` ({}:{})",
            other.namespace,
            other.name,
            other.node.source.file(),
            other.node.at_or_self(name).line()
        );
        findings.add(Kind::ProvidersSeveral, &policy.node.at_or_self(name), what);
        let (short, long) = if own.len() < theirs.len() {
            (own, theirs)
        } else {
            (theirs, own)
        };
        if long.starts_with(short) {
            let what = format!("`{short}` is the beginning of `{long}`");
            findings.add(Kind::ProviderPrefix, &policy.node.at_or_self(name), what);
        }
    }
}

fn examine_ambient(
    policy: &Object<'_>,
    scope: &Scope<'_>,
    manifests: &Manifests<'_>,
    findings: &mut Findings,
) {
    let mut namespaces = manifests.of_kind("", "Namespace");
    let is_ambient = namespaces.any(|one| {
        let labels = one.node.labels_at("metadata.labels");
        one.name == policy.namespace && labels.contains(&("istio.io/dataplane-mode", "ambient"))
    });
    if is_ambient && scope.is_by_workload() {
        let what = format!("the namespace `{}` is ambient", policy.namespace);
        let node = policy.node.at_or_self("spec.selector");
        findings.add(Kind::AmbientWithoutWaypoint, &node, what);
    }
}

fn examine_dry_run(policy: &Object<'_>, findings: &mut Findings) {
    let annotations = policy.node.at("metadata.annotations");
    let Some(node) = annotations.and_then(|all| all.get("istio.io/dry-run")) else {
        return;
    };
    if node.value.as_str() != Some("false") {
        let what = format!("the policy `{}` asks for a dry run", policy.name);
        findings.add(Kind::DryRun, &node, what);
    }
}

/// Finds RequestAuthentications that read `authorization` where we were before them.
fn examine_requests(scopes: &[&Scope<'_>], manifests: &Manifests<'_>, findings: &mut Findings) {
    let mut apis = manifests.of_kind("portcullis.dev", "Api").peekable();
    if apis.peek().is_some() && !apis.any(|api| takes_authorization(&api.node)) {
        return;
    }
    for request in manifests.of_kind("security.istio.io", "RequestAuthentication") {
        let scope = Scope::of(request, manifests);
        if !scopes.iter().any(|other| other.overlaps(&scope, manifests)) {
            continue;
        }
        for rule in request.node.items_at("spec.jwtRules") {
            if reads_authorization(&rule) {
                let what = format!("`{}` reads `authorization`", request.name);
                findings.add(Kind::RequestAuthentication, &rule, what);
            }
        }
    }
}

/// Whether an Api removes or replaces `authorization`.
fn takes_authorization(api: &Located<'_>) -> bool {
    let keep = api.at("spec.upstream.keepCredential");
    let is_authorization = |credential: &Located<'_>| {
        let header = credential.text_at("header").unwrap_or("authorization");
        header.eq_ignore_ascii_case("authorization")
    };
    let credential = api.at("spec.upstream.credential");
    let replaces = credential.is_some_and(|credential| {
        let list = credential.items();
        if list.is_empty() {
            is_authorization(&credential)
        } else {
            list.iter().any(is_authorization)
        }
    });
    replaces || keep.is_none_or(|keep| keep.value.as_bool() != Some(true))
}

fn reads_authorization(rule: &Located<'_>) -> bool {
    let headers = rule.items_at("fromHeaders");
    let elsewhere = ["fromParams", "fromCookies"];
    let has_elsewhere = elsewhere.iter().any(|key| rule.get(key).is_some());
    let is_authorization = |header: &Located<'_>| {
        let name = header.text_at("name").unwrap_or_default();
        name.eq_ignore_ascii_case("authorization")
    };
    (headers.is_empty() && !has_elsewhere) || headers.iter().any(is_authorization)
}
