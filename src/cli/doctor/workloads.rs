//! What runs: the pod templates of the files, and where we run ourselves.

use crate::cli::doctor::manifests::{Manifests, Object};
use crate::cli::doctor::mesh::Provider;

/// Labels, by name.
pub(super) type Labels<'a> = Vec<(&'a str, &'a str)>;

/// A pod template.
#[derive(Debug)]
pub(super) struct Workload<'a> {
    /// Its namespace.
    pub(super) namespace: &'a str,
    /// The labels of its pods.
    pub(super) labels: Labels<'a>,
    /// Whether it is Portcullis.
    is_own: bool,
    /// Whether it says that it has no sidecar.
    without_sidecar: bool,
}

impl<'a> Workload<'a> {
    /// That of an object which runs pods.
    pub(super) fn of(object: &Object<'a>) -> Option<Self> {
        let pod = match (object.group, object.kind) {
            ("", "Pod") => object.node.clone(),
            ("batch", "CronJob") => object.node.at("spec.jobTemplate.spec.template")?,
            ("apps" | "batch" | "argoproj.io", _) => object.node.at("spec.template")?,
            _ => return None,
        };
        let labels = pod.labels_at("metadata.labels");
        let annotations = pod.labels_at("metadata.annotations");
        let says = |list: &Labels<'a>, name, value| list.contains(&(name, value));
        let images = pod.items_at("spec.containers").into_iter();
        let mut images = images.filter_map(|container| container.text_at("image"));
        let injection = "sidecar.istio.io/inject";
        Some(Self {
            namespace: object.namespace,
            is_own: says(&labels, "app.kubernetes.io/name", "portcullis")
                || images.any(is_our_image),
            without_sidecar: says(&labels, injection, "false")
                || says(&annotations, injection, "false"),
            labels,
        })
    }

    /// Whether its pods have all of `labels`.
    pub(super) fn has(&self, labels: &[(&str, &str)]) -> bool {
        labels.iter().all(|label| self.labels.contains(label))
    }
}

fn is_our_image(image: &str) -> bool {
    let image = image.split('@').next().unwrap_or_default();
    let last = image.rsplit('/').next().unwrap_or_default();
    last.split(':').next() == Some("portcullis")
}

/// Where we, or another server that checks, run.
#[derive(Debug)]
pub(super) struct OwnPlace<'a> {
    /// The namespace.
    pub(super) namespace: &'a str,
    /// The labels of the pods, where they are known.
    pub(super) labels: Option<Labels<'a>>,
    /// The name of the Service.
    pub(super) service: Option<&'a str>,
}

/// Every place where a server that checks has a sidecar, as far as the files tell.
pub(super) fn own_places<'a>(manifests: &Manifests<'a>) -> Vec<OwnPlace<'a>> {
    let own = manifests.workloads.iter().filter(|one| one.is_own);
    let mut places: Vec<OwnPlace<'a>> = own
        .filter(|one| !one.without_sidecar && may_be_injected(manifests, one.namespace))
        .map(|one| OwnPlace {
            namespace: one.namespace,
            labels: Some(one.labels.clone()),
            service: None,
        })
        .collect();
    for provider in manifests.mesh.iter().flat_map(|mesh| &mesh.providers) {
        places.extend(place_of(manifests, provider));
    }
    places
}

/// Where a provider's server runs; none where its workload is among the files, or has no sidecar.
fn place_of<'a>(manifests: &Manifests<'a>, provider: &Provider<'a>) -> Option<OwnPlace<'a>> {
    let (name, namespace) = provider.service()?;
    let mut services = manifests.of_kind("", "Service");
    let service = services.find(|one| (one.name, one.namespace) == (name, namespace));
    let labels = service.map(|service| service.node.labels_at("spec.selector"));
    let is_seen = |one: &&Workload<'a>| {
        let selects = labels.as_ref().is_some_and(|labels| one.has(labels));
        one.namespace == namespace && (one.is_own || selects)
    };
    let seen: Vec<_> = manifests.workloads.iter().filter(is_seen).collect();
    let excluded = !seen.is_empty() && seen.iter().all(|one| one.without_sidecar);
    if excluded || !may_be_injected(manifests, namespace) {
        return None;
    }
    Some(OwnPlace {
        namespace,
        labels: labels.filter(|labels| !labels.is_empty()),
        service: Some(name),
    })
}

/// Whether pods of a namespace may get a sidecar: not where the namespace is among the files and says
/// nothing of it.
fn may_be_injected(manifests: &Manifests<'_>, namespace: &str) -> bool {
    let mut namespaces = manifests.of_kind("", "Namespace");
    namespaces
        .find(|one| one.name == namespace)
        .is_none_or(|one| {
            let labels = one.node.labels_at("metadata.labels");
            labels.contains(&("istio-injection", "enabled"))
                || labels.contains(&("istio.io/dataplane-mode", "ambient"))
                || labels.iter().any(|(name, _)| *name == "istio.io/rev")
        })
}
