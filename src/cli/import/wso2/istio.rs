//! The objects that make Istio ask us, for what the adapter's rules matched.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::cli::import::document::{Node, text, yaml};
use crate::cli::import::report::Report;
use crate::cli::import::wso2::apis::bound_services;
use crate::cli::import::wso2::objects::Objects;
use crate::cli::made::Made;
use crate::cli::name::{is_label, slug};

/// The values of istiod's chart, as `init` writes them.
const MESH: &str = include_str!("mesh.yaml");

/// What a rule is for: a namespace, and a service of it.
type Destination = (String, Option<String>);

/// Adds the files.
pub(super) fn add(objects: &Objects, made: &mut Made, report: &mut Report) -> anyhow::Result<()> {
    let mut policies = Vec::new();
    for (namespace, service) in destinations(objects, report) {
        policies.push(policy(&namespace, service.as_deref(), objects, report)?);
    }
    made.add("istio/1-istiod-values.yaml", MESH);
    made.add("istio/2-policy.yaml", policies.join("---\n"));
    report.remains("apply istio/1-istiod-values.yaml, deploy Portcullis (deploy/helm/portcullis), then apply istio/2-policy.yaml; `portcullis doctor istio` looks through them");
    Ok(())
}

fn destinations(objects: &Objects, report: &mut Report) -> BTreeSet<Destination> {
    let mut found = BTreeSet::new();
    for rule in &objects.rules {
        let name = rule.name();
        match destination(rule.text("/spec/match").unwrap_or_default()) {
            Ok(destination) => {
                found.insert(destination);
            }
            Err(part) => report.left_out(format!("rule `{name}`: `{part}` of its `match` cannot be said in a policy; write one by hand")),
        }
    }
    if found.is_empty() {
        report.changed("the policies are for the services that an HTTPAPISpecBinding names, as no rule says otherwise");
        for spec in &objects.specs {
            for (service, namespace) in bound_services(objects, spec) {
                found.insert((namespace, Some(service)));
            }
        }
    }
    found
}

/// What a rule's expression is for, or the part of it that is not known.
fn destination(expression: &str) -> Result<Destination, String> {
    let (mut namespace, mut service) = (None, None);
    for part in expression.split("&&").map(str::trim) {
        let unknown = || part.to_owned();
        let (left, right) = part.split_once("==").ok_or_else(unknown)?;
        let value = right.trim().trim_matches('"');
        match left.trim() {
            "context.reporter.kind" if value == "inbound" => {}
            "destination.namespace" if is_label(value) => namespace = Some(value.to_owned()),
            "destination.service.name" if is_label(value) => service = Some(value.to_owned()),
            _ => return Err(unknown()),
        }
    }
    namespace
        .map(|namespace| (namespace, service))
        .ok_or_else(|| expression.to_owned())
}

fn policy(
    namespace: &str,
    service: Option<&str>,
    objects: &Objects,
    report: &mut Report,
) -> anyhow::Result<String> {
    let mut spec = Vec::new();
    match service {
        Some(name) => {
            let labels = labels(namespace, name, objects, report);
            let labels = Node::Map(vec![("matchLabels", Node::Named(labels))]);
            spec.push(("selector", labels));
        }
        None => report.changed(format!("the policy is for every workload of the namespace `{namespace}`, as the rule was: requests to services without an Api are denied")),
    }
    spec.extend([
        ("action", text("CUSTOM")),
        ("provider", Node::Map(vec![("name", text("portcullis"))])),
        ("rules", Node::List(vec![Node::Map(Vec::new())])),
    ]);
    let name = service.map_or_else(
        || "portcullis".to_owned(),
        |name| slug(&format!("portcullis-{name}")),
    );
    yaml(&Node::Map(vec![
        ("apiVersion", text("security.istio.io/v1")),
        ("kind", text("AuthorizationPolicy")),
        (
            "metadata",
            Node::Map(vec![("name", text(name)), ("namespace", text(namespace))]),
        ),
        ("spec", Node::Map(spec)),
    ]))
}

/// The labels of a service's pods: those that its Service selects, or the usual one.
fn labels(
    namespace: &str,
    name: &str,
    objects: &Objects,
    report: &mut Report,
) -> Vec<(String, Node)> {
    let mut services = objects.services.iter();
    let service = services.find(|one| one.name() == name && one.namespace() == namespace);
    let selector = service.and_then(|one| one.at("/spec/selector")?.as_object());
    let labels: Vec<_> = selector
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| Some((key.clone(), text(Value::as_str(value)?))))
        .collect();
    if labels.is_empty() {
        report.remains(format!("istio/2-policy.yaml selects `app: {name}`: write the labels of the pods of the Service `{name}`, or give its file too"));
        return vec![("app".to_owned(), text(name))];
    }
    labels
}
