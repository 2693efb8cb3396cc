//! EnvoyFilters that change how Envoy asks.

use std::time::Duration;

use crate::cli::doctor::kind::Kind;
use crate::cli::doctor::located::Located;
use crate::cli::doctor::manifests::Manifests;
use crate::cli::doctor::own;
use crate::cli::doctor::providers::duration;
use crate::cli::doctor::report::Findings;

/// How deep an EnvoyFilter is looked into.
const MAX_DEPTH: usize = 64;

/// Looks at every EnvoyFilter.
pub(super) fn examine(manifests: &Manifests<'_>, findings: &mut Findings) {
    for filter in manifests.of_kind("networking.istio.io", "EnvoyFilter") {
        for patch in filter.node.items_at("spec.configPatches") {
            if patch.value.to_string().contains("ext_authz") {
                search(&patch.at_or_self("patch"), 0, &mut |node| {
                    examine_node(node, manifests, findings);
                });
            }
        }
    }
}

fn search<'a>(node: &Located<'a>, depth: usize, visit: &mut impl FnMut(&Located<'a>)) {
    if depth == MAX_DEPTH {
        return;
    }
    visit(node);
    let keys = node.entries().into_iter().map(|(_, value)| value);
    for inner in keys.chain(node.items()) {
        search(&inner, depth + 1, visit);
    }
}

fn examine_node(node: &Located<'_>, manifests: &Manifests<'_>, findings: &mut Findings) {
    if let Some(open) = node.either(["failure_mode_allow", "failureModeAllow"])
        && open.value.as_bool() != Some(false)
    {
        let what = "the filter lets pass what cannot be checked";
        findings.add(Kind::FailOpen, &open, what);
    }
    let policy = node
        .either(["grpc_service", "grpcService"])
        .and_then(|service| service.either(["retry_policy", "retryPolicy"]));
    let back_off = policy.and_then(|policy| policy.either(["retry_back_off", "retryBackOff"]));
    let Some(back_off) = back_off else { return };
    let max = back_off.either(["max_interval", "maxInterval"]);
    let base = back_off.either(["base_interval", "baseInterval"]);
    let read = |node: &Located<'_>| duration(node.value.as_str().unwrap_or_default());
    let (at, per_try) = match (max, base) {
        (Some(max), _) => (max.clone(), read(&max)),
        (None, Some(base)) => (base.clone(), read(&base).map(|base| base * 10)),
        (None, None) => return,
    };
    let (deadline, _) = own::deadline(manifests);
    if per_try.unwrap_or(Duration::ZERO) < deadline {
        let what = format!(
            "one try may take {}ms, and Portcullis answers within {}ms",
            per_try.unwrap_or_default().as_millis(),
            deadline.as_millis()
        );
        findings.add(Kind::RetryCutsChecks, &at, what);
    }
}
