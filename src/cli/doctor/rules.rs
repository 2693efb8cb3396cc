//! The rules of CUSTOM policies: what they match, what goes around them, what Istio refuses.

use crate::cli::doctor::kind::Kind;
use crate::cli::doctor::located::Located;
use crate::cli::doctor::manifests::{Manifests, Object};
use crate::cli::doctor::report::Findings;

/// The sources that CUSTOM may match.
const SOURCES: [&str; 4] = [
    "ipBlocks",
    "notIpBlocks",
    "remoteIpBlocks",
    "notRemoteIpBlocks",
];
/// What of an operation says by itself that some requests are not checked.
const PARTS: [&str; 5] = ["methods", "notMethods", "ports", "notPorts", "notHosts"];
/// The beginnings of conditions that CUSTOM may have.
const CONDITIONS: [&str; 8] = [
    "request.headers[",
    "source.ip",
    "remote.ip",
    "destination.ip",
    "destination.port",
    "connection.sni",
    "experimental.envoy.filters.",
    "request.regex.headers[",
];

/// Looks at every rule.
pub(super) fn examine(manifests: &Manifests<'_>, findings: &mut Findings) {
    let normalizes = manifests.mesh.iter().any(|mesh| {
        mesh.node.text_at("pathNormalization.normalization") == Some("DECODE_AND_MERGE_SLASHES")
    });
    for policy in manifests.custom_policies() {
        let rules = policy.node.items_at("spec.rules");
        if rules.is_empty() {
            let what = format!("the policy `{}` has no rules", policy.name);
            findings.add(
                Kind::PolicyWithoutRules,
                &policy.node.at_or_self("spec"),
                what,
            );
        }
        for rule in &rules {
            examine_sources(policy, rule, findings);
            examine_conditions(rule, findings);
            for to in rule.items_at("to") {
                if let Some(operation) = to.get("operation") {
                    examine_paths(&operation, normalizes, findings);
                    examine_hosts(&operation, findings);
                    examine_parts(&operation, findings);
                }
            }
        }
    }
}

fn examine_sources(policy: &Object<'_>, rule: &Located<'_>, findings: &mut Findings) {
    for from in rule.items_at("from") {
        let source = from.at_or_self("source");
        for (key, node) in source.entries() {
            if !SOURCES.contains(&key) {
                let what = format!("the policy `{}` matches `{key}`", policy.name);
                findings.add(Kind::SourceInCustom, &node, what);
            } else {
                tell_part(key, &node, findings);
            }
        }
    }
}

fn examine_conditions(rule: &Located<'_>, findings: &mut Findings) {
    for when in rule.items_at("when") {
        let key = when.text_at("key").unwrap_or_default();
        let node = when.at_or_self("key");
        if !CONDITIONS
            .iter()
            .any(|condition| key.starts_with(condition))
        {
            let what = format!("`{key}` is no condition of CUSTOM policies");
            findings.add(Kind::WhenInCustom, &node, what);
        } else if key.starts_with("request.") {
            let what = format!("whether a request is checked hangs on `{key}`");
            findings.add(Kind::RulesByHeader, &node, what);
        } else {
            tell_part(key, &node, findings);
        }
    }
}

fn examine_paths(operation: &Located<'_>, normalizes: bool, findings: &mut Findings) {
    if let Some(node) = operation.get("paths") {
        let what = "only requests to these paths are checked";
        findings.add(Kind::RulesByPath, &node, what);
        if !normalizes {
            let what = "another spelling of these paths is not checked";
            findings.add(Kind::PathBypass, &node, what);
        }
    }
    let Some(node) = operation.get("notPaths") else {
        return;
    };
    let is_open = |path: &str| path.contains(['*', '{']);
    for path in node.items() {
        let text = path.value.as_str().unwrap_or_default();
        if is_open(text) {
            let what = format!("`{text}` can be the beginning or end of another path");
            let kind = if normalizes {
                Kind::RulesInPart
            } else {
                Kind::PathBypass
            };
            findings.add(kind, &path, what);
        }
    }
}

fn examine_parts(operation: &Located<'_>, findings: &mut Findings) {
    for key in PARTS {
        if let Some(node) = operation.get(key) {
            tell_part(key, &node, findings);
        }
    }
}

fn tell_part(key: &str, node: &Located<'_>, findings: &mut Findings) {
    let what = format!("whether a request is checked hangs on `{key}`");
    findings.add(Kind::RulesInPart, node, what);
}

fn examine_hosts(operation: &Located<'_>, findings: &mut Findings) {
    let hosts = operation.items_at("hosts");
    let texts: Vec<&str> = hosts
        .iter()
        .filter_map(|host| host.value.as_str())
        .collect();
    for host in &hosts {
        let text = host.value.as_str().unwrap_or_default();
        let has_port = text.ends_with('*') || text.rsplit(':').next().is_some_and(is_number);
        let with_any = format!("{text}:*");
        if !has_port && !texts.contains(&with_any.as_str()) {
            let what = format!("`{text}` is matched without port alone");
            findings.add(Kind::HostWithoutPort, host, what);
        }
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}
