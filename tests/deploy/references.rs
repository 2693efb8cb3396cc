//! What an object names beside selectors exists: targets, accounts, ports, namespaces, templates.

use crate::objects::{Labels, Object, documents, files, is_no_object, labels, read};
use crate::selectors::{holds, pods, worlds};

#[test]
fn s33_what_is_named_by_reference_exists() {
    for (name, objects) in worlds() {
        let exists = |kind: &str, namespace: &str, name: &str| {
            let is_it = |object: &Object| {
                object.kind() == kind && object.namespace() == namespace && object.name() == name
            };
            objects.iter().any(is_it)
        };
        for object in &objects {
            let text = |value: &serde_json::Value, key: &str| {
                value[key].as_str().unwrap_or_default().to_owned()
            };
            for target in object.list("/spec/targetRefs") {
                assert!(
                    exists(
                        &text(target, "kind"),
                        object.namespace(),
                        &text(target, "name")
                    ),
                    "{name}: {object}"
                );
            }
            for parent in object.list("/spec/parentRefs") {
                let namespace =
                    Some(text(parent, "namespace")).filter(|namespace| !namespace.is_empty());
                let namespace = namespace.unwrap_or_else(|| object.namespace().to_owned());
                assert!(
                    exists("Gateway", &namespace, &text(parent, "name")),
                    "{name}: {object}"
                );
            }
            let scaled = object.text("/spec/scaleTargetRef/name");
            assert!(
                scaled.is_empty() || exists("Deployment", object.namespace(), scaled),
                "{name}: {object}"
            );
            if object.kind() == "ServiceMonitor" {
                let selector = object
                    .labels("/spec/selector/matchLabels")
                    .expect("a selector");
                let is_it = |service: &Object| {
                    service.kind() == "Service"
                        && service
                            .labels("/metadata/labels")
                            .is_some_and(|labels| holds(&selector, &labels))
                };
                let service = objects
                    .iter()
                    .find(|service| is_it(service))
                    .expect("a Service to read metrics of");
                let port = object.text("/spec/endpoints/0/port");
                assert!(
                    service
                        .list("/spec/ports")
                        .iter()
                        .any(|one| one["name"] == port),
                    "{name}: {object}"
                );
            }
            let account = object.text("/spec/template/spec/serviceAccountName");
            assert!(
                account.is_empty() || exists("ServiceAccount", object.namespace(), account),
                "{name}: {object}"
            );
        }
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
        .and_then(serde_json::Value::as_object)
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
