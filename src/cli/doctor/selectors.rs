//! Selectors and targets that match nothing.

use crate::cli::doctor::kind::Kind;
use crate::cli::doctor::located::Located;
use crate::cli::doctor::manifests::{Manifests, Object};
use crate::cli::doctor::report::Findings;

/// Labels of gateways that are installed by themselves and seldom stand among the files.
const GATEWAY_LABELS: [&str; 2] = ["istio", "gateway.networking.k8s.io/gateway-name"];

/// Looks at every selector and target.
pub(super) fn examine(manifests: &Manifests<'_>, findings: &mut Findings) {
    for object in &manifests.objects {
        match (object.group, object.kind) {
            ("networking.istio.io", "Gateway") => examine_gateway(object, manifests, findings),
            _ => {
                if let Some(path) = selector_path(object) {
                    examine_selector(object, path, manifests, findings);
                }
            }
        }
        if object.group == "security.istio.io" {
            examine_targets(object, manifests, findings);
        }
    }
}

/// Where an object's labels of pods stand.
fn selector_path(object: &Object<'_>) -> Option<&'static str> {
    Some(match (object.group, object.kind) {
        ("", "Service") => "spec.selector",
        ("security.istio.io", _) | ("telemetry.istio.io", _) | ("extensions.istio.io", _) => {
            "spec.selector.matchLabels"
        }
        ("policy", "PodDisruptionBudget") => "spec.selector.matchLabels",
        ("networking.k8s.io", "NetworkPolicy") => "spec.podSelector.matchLabels",
        ("networking.istio.io", "EnvoyFilter" | "Sidecar") => "spec.workloadSelector.labels",
        ("networking.istio.io", "DestinationRule") => "spec.workloadSelector.matchLabels",
        _ => return None,
    })
}

fn examine_selector(
    object: &Object<'_>,
    path: &str,
    manifests: &Manifests<'_>,
    findings: &mut Findings,
) {
    let labels = object.node.labels_at(path);
    let is_everywhere = object.namespace == manifests.root_namespace()
        && object.kind != "Service"
        && object.group.ends_with("istio.io");
    let in_reach = |namespace: &str| is_everywhere || namespace == object.namespace;
    let pods = || {
        manifests
            .workloads
            .iter()
            .filter(|pod| in_reach(pod.namespace))
    };
    let is_known = pods().any(|pod| {
        let has_name = |name| pod.labels.iter().any(|(own, _)| *own == name);
        !labels
            .iter()
            .any(|(name, _)| GATEWAY_LABELS.contains(name) && !has_name(*name))
    });
    if labels.is_empty() || !is_known || pods().any(|pod| pod.has(&labels)) {
        return;
    }
    let what = format!(
        "the {} `{}` selects {}, which no pod of the files has",
        object.kind,
        object.name,
        written(&labels)
    );
    findings.add(
        Kind::SelectorWithoutPods,
        &object.node.at_or_self(path),
        what,
    );
}

fn examine_gateway(object: &Object<'_>, manifests: &Manifests<'_>, findings: &mut Findings) {
    let labels = object.node.labels_at("spec.selector");
    let is_usual = labels
        .iter()
        .all(|label| [("istio", "ingressgateway"), ("istio", "egressgateway")].contains(label));
    if is_usual || manifests.workloads.iter().any(|pod| pod.has(&labels)) {
        return;
    }
    let what = format!("no pod of the files has {}", written(&labels));
    findings.add(
        Kind::GatewayWithoutPods,
        &object.node.at_or_self("spec.selector"),
        what,
    );
}

fn examine_targets(object: &Object<'_>, manifests: &Manifests<'_>, findings: &mut Findings) {
    let mut targets = object.node.items_at("spec.targetRefs");
    targets.extend(object.node.at("spec.targetRef"));
    for target in targets {
        let (kind, name) = (target.text_at("kind"), target.text_at("name"));
        let (Some(kind), Some(name)) = (kind, name) else {
            continue;
        };
        let group = target.text_at("group").unwrap_or_default();
        let group = if group == "core" { "" } else { group };
        // where none of the kind is in its namespace, it stands elsewhere
        let same = |one: &&Object<'_>| one.namespace == object.namespace;
        let mut there = manifests.of_kind(group, kind).filter(same).peekable();
        if there.peek().is_some() && !there.any(|one| one.name == name) {
            let what = format!("there is no {kind} `{name}` in `{}`", object.namespace);
            findings.add(Kind::TargetMissing, &name_of(&target), what);
        }
    }
}

fn name_of<'a>(target: &Located<'a>) -> Located<'a> {
    target.at_or_self("name")
}

fn written(labels: &[(&str, &str)]) -> String {
    let labels: Vec<String> = labels
        .iter()
        .map(|(name, value)| format!("`{name}: {value}`"))
        .collect();
    labels.join(", ")
}
