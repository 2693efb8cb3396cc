//! The Apis of HTTPAPISpecs and their bindings.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::catalog::model::HostPattern;
use crate::catalog::source::document::API_VERSION;
use crate::cli::import::document::{Node, text, texts, yaml};
use crate::cli::import::report::Report;
use crate::cli::import::wso2::AUTHENTICATOR;
use crate::cli::import::wso2::objects::{Object, Objects};
use crate::cli::import::wso2::patterns::{operations, takes};
use crate::cli::import::wso2::settings::Settings;
use crate::cli::name::slug;

/// The Apis, as documents.
pub(super) fn documents(
    objects: &Objects,
    hosts: &[String],
    settings: &Settings,
    report: &mut Report,
) -> anyhow::Result<Vec<String>> {
    if hosts.is_empty() {
        report.remains("hosts: add the names by which clients reach the gateway (`--host`); there are those of the Services alone");
    }
    let (mut documents, mut taken) = (Vec::new(), BTreeMap::new());
    for spec in &objects.specs {
        let mut all = hosts.to_vec();
        all.extend(service_hosts(objects, spec));
        let mut own = Vec::new();
        for host in all {
            HostPattern::parse(&host)
                .map_err(|reason| spec.problem("", format!("the host `{host}`: {reason}")))?;
            let other: &Object = taken.entry(host.clone()).or_insert(spec);
            if std::ptr::eq(other, spec) {
                if !own.contains(&host) {
                    own.push(host);
                }
            } else if takes(other, spec) {
                return Err(spec.problem("", format!("HTTPAPISpec `{}` has the host `{host}` too, and would judge requests of this one: import them by themselves, with hosts of their own", other.name())).into());
            } else {
                report.left_out(format!("HTTPAPISpec `{}`: another has the host `{host}` already; tell them apart by `basePath` or host", spec.name()));
            }
        }
        if own.is_empty() {
            report.left_out(format!("HTTPAPISpec `{}`: no HTTPAPISpecBinding names a service for it, or another has all of its hosts", spec.name()));
            continue;
        }
        documents.push(document(spec, &own, settings, report)?);
    }
    if documents.is_empty() {
        let first = objects.specs.first();
        let problem = first.map(|spec| spec.problem("", "no HTTPAPISpecBinding binds it to a service: give the file that holds it, or `--host`"));
        return Err(problem.unwrap_or_default().into());
    }
    Ok(documents)
}

/// The hosts of the services that a spec is bound to.
fn service_hosts(objects: &Objects, spec: &Object) -> Vec<String> {
    let services = bound_services(objects, spec);
    let names = services.into_iter().flat_map(|(name, namespace)| {
        [
            name.clone(),
            format!("{name}.{namespace}"),
            format!("{name}.{namespace}.svc"),
            format!("{name}.{namespace}.svc.cluster.local"),
        ]
    });
    names.collect()
}

/// The services that a spec is bound to, with their namespaces.
pub(super) fn bound_services(objects: &Objects, spec: &Object) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let text = |value: &Value, key: &str| Some(value.get(key)?.as_str()?.to_owned());
    for binding in &objects.bindings {
        let in_namespace = |value: &Value| {
            text(value, "namespace").unwrap_or_else(|| binding.namespace().to_owned())
        };
        let mut specs = binding
            .list("/spec/api_specs")
            .iter()
            .chain(binding.list("/spec/apiSpecs"));
        let is_bound = specs.any(|one| {
            text(one, "name").as_deref() == Some(spec.name())
                && in_namespace(one) == spec.namespace()
        });
        if is_bound {
            let services = binding.list("/spec/services").iter();
            found.extend(services.filter_map(|one| Some((text(one, "name")?, in_namespace(one)))));
        }
    }
    found
}

fn document(
    spec: &Object,
    hosts: &[String],
    settings: &Settings,
    report: &mut Report,
) -> anyhow::Result<String> {
    let attributes = spec.at("/spec/attributes");
    let of_api = |name: &str| attribute(attributes, name);
    let title = of_api("api.service").ok_or_else(|| {
        spec.problem(
            "spec.attributes",
            "api.service is missing: the name of the API",
        )
    })?;
    let version = of_api("api.version")
        .ok_or_else(|| spec.problem("spec.attributes", "api.version is missing"))?;
    let mut body = vec![("title", text(&title)), ("version", text(&version))];
    if let Some(context) = of_api("api.context") {
        report.changed(format!("`{title}`: the context `{context}` is kept for people; requests are matched by host and path"));
        body.push(("context", text(context)));
    }
    body.extend([
        ("hosts", texts(hosts)),
        ("authenticators", texts([AUTHENTICATOR])),
    ]);
    let rule = if settings.subscriptions {
        "required"
    } else {
        "none"
    };
    body.push(("subscription", text(rule)));
    let (key, value) = match operations(spec, report)? {
        None => ("unmatchedOperation", text("allow")),
        Some(operations) => {
            report.changed(format!("`{title}`: requests that no pattern matches are denied; the adapter let them pass without a scope (`unmatchedOperation: allow` does the same)"));
            ("operations", Node::List(operations))
        }
    };
    body.push((key, value));
    if spec
        .at("/spec/apiKeys")
        .or_else(|| spec.at("/spec/api_keys"))
        .is_some()
    {
        report.left_out(format!("HTTPAPISpec `{}`: apiKeys: nothing used them; an authenticator of type `apiKey` takes keys", spec.name()));
    }
    let name = slug(&format!("{title}-{version}"));
    yaml(&Node::Map(vec![
        ("apiVersion", text(API_VERSION)),
        ("kind", text("Api")),
        ("metadata", Node::Map(vec![("name", text(name))])),
        ("spec", Node::Map(body)),
    ]))
}

/// An attribute, without the quotes that WSO2's executor put around it; none where it is empty.
pub(super) fn attribute(attributes: Option<&Value>, name: &str) -> Option<String> {
    let list = attributes?.get("attributes").or(attributes)?;
    let value = list.get(name)?;
    let value = value
        .get("stringValue")
        .or_else(|| value.get("string_value"));
    let text = value?.as_str()?.trim_matches('"');
    (!text.is_empty()).then(|| text.to_owned())
}
