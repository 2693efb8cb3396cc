//! Every selector matches a workload. One that matches nothing does nothing, and nobody says so: a
//! PeerAuthentication that was to be STRICT lets plaintext in.

use crate::helm::{VALUES, rendered};
use crate::objects::{
    Labels, Object, documents, files, is_no_object, kustomized, labels, plain, read,
};

/// Pods: the namespace and the labels.
type Pods = Vec<(String, Labels)>;

/// What the guides say that the reader has: gateways of Istio and of Envoy Gateway.
const GIVEN: [(&str, &str, &str); 3] = [
    ("istio-system", "istio", "ingressgateway"),
    ("istio-system", "istio", "egressgateway"),
    (
        "envoy-gateway-system",
        "gateway.envoyproxy.io/owning-gateway-name",
        "eg",
    ),
];

/// Where a selector looks.
enum Scope {
    /// In its object's namespace; in Istio's root namespace, in every one.
    Own,
    /// In every namespace.
    Every,
}

/// The selectors of an object, each with where it looks.
fn selectors(object: &Object) -> Vec<(Scope, Labels)> {
    let istio = "networking.istio.io";
    let (scope, pointer) = match (object.group(), object.kind()) {
        ("", "Service") => (Scope::Own, "/spec/selector"),
        ("apps", "Deployment" | "DaemonSet") | ("policy", "PodDisruptionBudget") => {
            (Scope::Own, "/spec/selector/matchLabels")
        }
        ("networking.k8s.io", "NetworkPolicy") => (Scope::Own, "/spec/podSelector/matchLabels"),
        ("security.istio.io", _) => (Scope::Own, "/spec/selector/matchLabels"),
        (group, "Sidecar" | "EnvoyFilter") if group == istio => {
            (Scope::Own, "/spec/workloadSelector/labels")
        }
        (group, "Gateway") if group == istio => (Scope::Every, "/spec/selector"),
        ("spire.spiffe.io", "ClusterSPIFFEID") => (Scope::Every, "/spec/podSelector/matchLabels"),
        _ => return Vec::new(),
    };
    object
        .labels(pointer)
        .map(|labels| (scope, labels))
        .into_iter()
        .collect()
}

/// The pods of the workloads among objects, and those that the guides name.
fn pods(objects: &[Object]) -> Pods {
    let workloads = objects
        .iter()
        .filter(|object| matches!(object.kind(), "Deployment" | "DaemonSet"));
    let own = workloads.map(|object| {
        let labels = object.labels("/spec/template/metadata/labels");
        (
            object.namespace().to_owned(),
            labels.expect("a pod has labels"),
        )
    });
    let given = GIVEN.into_iter().map(|(namespace, key, value)| {
        let labels = Labels::from([(key.to_owned(), value.to_owned())]);
        (namespace.to_owned(), labels)
    });
    own.chain(given).collect()
}

fn holds(selector: &Labels, labels: &Labels) -> bool {
    selector
        .iter()
        .all(|(key, value)| labels.get(key) == Some(value))
}

/// The selectors that match nothing.
fn without_match(objects: &[Object], pods: &Pods) -> Vec<String> {
    let mut found = Vec::new();
    for object in objects {
        for (scope, selector) in selectors(object) {
            let matches = pods.iter().any(|(namespace, labels)| {
                let there = matches!(scope, Scope::Every) || namespace == object.namespace();
                there && holds(&selector, labels)
            });
            if selector.is_empty() || !matches {
                found.push(format!("{object} selects {selector:?}"));
            }
        }
    }
    found
}

/// Everything that a reader of the guides may have applied, for each form of Portcullis.
fn worlds() -> Vec<(String, Vec<Object>)> {
    let kustomized = ["sidecar", "spiffe", "ambient"].map(|form| {
        let folder = format!("deploy/kustomize/{form}");
        (folder.clone(), kustomized(&folder))
    });
    let charts = VALUES.map(|values| (format!("chart, {values}"), rendered(values)));
    let forms = kustomized.into_iter().chain(charts);
    forms
        .map(|(name, own)| (name, own.into_iter().chain(plain()).collect()))
        .collect()
}

#[test]
fn s33_every_selector_matches_a_workload_that_we_ship_or_a_guide_names() {
    for (name, objects) in worlds() {
        let looked_at: usize = objects.iter().map(|object| selectors(object).len()).sum();
        assert!(looked_at > 20, "{name}: {looked_at} selectors");
        let mut pods = pods(&objects);
        if name == "chart, plain" || name == "chart, store" {
            // the values of these name an Envoy that is not in a mesh
            pods.push((
                "portcullis".to_owned(),
                Labels::from([("app".to_owned(), "envoy".to_owned())]),
            ));
        }
        // SPIRE registers what has its label: of the forms, those that have an identity of SPIRE's
        assert_eq!(without_match(&objects, &pods), [""; 0], "{name}");
    }
}

#[test]
fn s33_the_workloads_that_guides_name_are_named_there() {
    let guides: String = files("docs/guides").iter().map(|file| read(file)).collect();
    for (namespace, key, value) in GIVEN {
        let told = guides.contains(namespace) && guides.contains(&format!("{key}: {value}"));
        assert!(
            told || read("deploy/envoy-gateway/security-policy.yaml").contains(key),
            "{key}: {value}"
        );
    }
}

/// As a tutorial had it: the policy selects `role: myapi`, and the pod has `app: myapi` alone.
const SELECTS_NOTHING: &str = "
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: { name: myapi, namespace: shop }
spec:
  selector: { matchLabels: { role: myapi } }
  mtls: { mode: STRICT }
";

#[test]
fn s33_a_selector_that_matches_no_pod_is_found() {
    let file = "deploy/istio/spire/workload.yaml";
    let ours = documents(&read(file), file);
    assert_eq!(without_match(&ours, &pods(&ours)), [""; 0]);
    let theirs = documents(SELECTS_NOTHING, "theirs");
    let found = without_match(&theirs, &pods(&ours));
    assert_eq!(
        found,
        ["theirs: PeerAuthentication shop/myapi selects {\"role\": \"myapi\"}"]
    );
    // of the same labels in another namespace
    let elsewhere = SELECTS_NOTHING
        .replace("role", "app")
        .replace("shop", "other");
    let elsewhere = documents(&elsewhere, "elsewhere");
    assert_eq!(without_match(&elsewhere, &pods(&ours)).len(), 1);
    let right = documents(&SELECTS_NOTHING.replace("role", "app"), "right");
    assert_eq!(without_match(&right, &pods(&ours)), [""; 0]);
}

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
