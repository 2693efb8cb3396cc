//! Every selector matches a workload. One that matches nothing does nothing, and nobody says so: a
//! PeerAuthentication that was to be STRICT lets plaintext in.

use crate::helm::{VALUES, rendered};
use crate::objects::{Labels, Object, documents, files, kustomized, plain, read};

/// Pods: the namespace and the labels.
pub(crate) type Pods = Vec<(String, Labels)>;

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
pub(crate) fn pods(objects: &[Object]) -> Pods {
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

/// Whether labels have all that a selector asks for.
pub(crate) fn holds(selector: &Labels, labels: &Labels) -> bool {
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
pub(crate) fn worlds() -> Vec<(String, Vec<Object>)> {
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
