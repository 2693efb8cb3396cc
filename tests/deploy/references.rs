//! What an object names beside selectors exists: targets, accounts, ports, namespaces, templates.

use serde_json::Value;

use crate::helm::rendered;
use crate::objects::{Labels, Object, documents, files, is_no_object, labels, read};
use crate::selectors::{holds, pods, worlds};

/// What an object names: kind, namespace and name of each.
fn named(object: &Object) -> Vec<(String, String, String)> {
    let text = |value: &Value, key: &str| value[key].as_str().unwrap_or_default().to_owned();
    let own = || object.namespace().to_owned();
    let targets = object.list("/spec/targetRefs").iter();
    let targets = targets.map(|one| (text(one, "kind"), own(), text(one, "name")));
    let parents = object.list("/spec/parentRefs").iter().map(|one| {
        let namespace = one["namespace"].as_str().map_or_else(own, str::to_owned);
        ("Gateway".to_owned(), namespace, text(one, "name"))
    });
    let single = [
        ("Deployment", "/spec/scaleTargetRef/name"),
        ("ServiceAccount", "/spec/template/spec/serviceAccountName"),
    ];
    let single = single.into_iter().filter_map(|(kind, pointer)| {
        let name = object.value.pointer(pointer)?.as_str()?;
        Some((kind.to_owned(), own(), name.to_owned()))
    });
    targets.chain(parents).chain(single).collect()
}

#[test]
fn s33_what_is_named_by_reference_exists() {
    for (world, objects) in worlds() {
        let mut seen = 0;
        for object in &objects {
            for (kind, namespace, name) in named(object) {
                seen += 1;
                let exists = objects.iter().any(|one| {
                    one.kind() == kind && one.namespace() == namespace && one.name() == name
                });
                assert!(exists, "{world}: {object} names {kind} {namespace}/{name}");
            }
        }
        assert!(seen > 8, "{world}: {seen} names");
    }
}

#[test]
fn s33_metrics_are_read_at_a_port_that_the_service_has() {
    let objects = rendered("everything");
    let monitors = objects
        .iter()
        .filter(|object| object.kind() == "ServiceMonitor");
    let monitors: Vec<_> = monitors.collect();
    assert_eq!(monitors.len(), 1);
    for monitor in monitors {
        let selector = monitor.labels("/spec/selector/matchLabels");
        let selector = selector.expect("a selector");
        let is_it = |service: &&Object| {
            let labels = service.labels("/metadata/labels").unwrap_or_default();
            service.kind() == "Service" && holds(&selector, &labels)
        };
        let service = objects.iter().find(is_it);
        let ports = service
            .expect("a Service that is selected")
            .list("/spec/ports");
        let port = monitor.text("/spec/endpoints/0/port");
        assert!(
            ports.iter().any(|one| one["name"] == port),
            "{monitor}: {port}"
        );
    }
}

#[test]
fn s33_namespaces_and_pods_that_a_network_policy_admits_exist() {
    for (name, objects) in worlds() {
        let mut pods = pods(&objects);
        pods.push((
            "portcullis".to_owned(),
            Labels::from([("app".to_owned(), "envoy".to_owned())]),
        ));
        for object in objects
            .iter()
            .filter(|object| object.kind() == "NetworkPolicy")
        {
            for from in object
                .list("/spec/ingress")
                .iter()
                .flat_map(|rule| rule["from"].as_array().cloned().unwrap_or_default())
            {
                let selector =
                    |pointer: &str| from.pointer(pointer).map(|found| labels(found, &name));
                let namespace = selector("/namespaceSelector/matchLabels");
                let namespace =
                    namespace.and_then(|labels| labels.get("kubernetes.io/metadata.name").cloned());
                let namespace = namespace.unwrap_or_else(|| object.namespace().to_owned());
                let pod = selector("/podSelector/matchLabels").unwrap_or_default();
                let admitted = pods
                    .iter()
                    .any(|(of, labels)| *of == namespace && holds(&pod, labels));
                assert!(admitted, "{name}: {object} admits {from}");
            }
        }
    }
}

#[test]
fn both_forms_of_the_sidecar_and_the_gateway_have_a_template_for_spires_socket() {
    let file = "deploy/istio/spire/istiod-values.yaml";
    let values = documents(&read(file), file).remove(0);
    let templates = "/sidecarInjectorWebhook/templates";
    for (name, containers) in [
        ("spire", "initContainers"),
        ("spire-classic", "containers"),
        ("spire-gw", "containers"),
    ] {
        let template = documents(values.text(&format!("{templates}/{name}")), name).remove(0);
        let proxies = template.list(&format!("/spec/{containers}"));
        let proxy = proxies
            .iter()
            .find(|one| one["name"] == "istio-proxy")
            .expect("the proxy");
        assert_eq!(
            proxy["volumeMounts"][0]["mountPath"], "/run/secrets/workload-spiffe-uds",
            "{name}"
        );
        let volume = &template.list("/spec/volumes")[0];
        assert_eq!(volume["name"], proxy["volumeMounts"][0]["name"], "{name}");
        assert_eq!(volume["csi"]["driver"], "csi.spiffe.io", "{name}");
        assert_eq!(
            volume.get("emptyDir").is_some(),
            name == "spire-gw",
            "{name}: a volume has one type"
        );
    }
    // each annotation that asks for templates names some that exist
    let known = values
        .value
        .pointer(templates)
        .and_then(Value::as_object)
        .expect("templates");
    for file in files("deploy/istio")
        .into_iter()
        .filter(|file| is_no_object(file) || file.contains("spire/"))
    {
        for line in read(&file)
            .lines()
            .filter_map(|line| line.split("inject.istio.io/templates: ").nth(1))
        {
            for name in line.split('#').next().unwrap_or_default().trim().split(',') {
                assert!(
                    ["sidecar", "gateway"].contains(&name) || known.contains_key(name),
                    "{file}: {name}"
                );
            }
        }
    }
}
