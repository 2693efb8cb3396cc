//! The objects of all documents, by what they are.

use crate::cli::doctor::files::{Role, Source, Sources};
use crate::cli::doctor::located::Located;
use crate::cli::doctor::mesh::{Mesh, mesh_configs};
use crate::cli::doctor::workloads::Workload;

/// An object of Kubernetes, Istio or ours.
#[derive(Debug, Clone)]
pub(super) struct Object<'a> {
    /// The whole object.
    pub(super) node: Located<'a>,
    /// Its kind.
    pub(super) kind: &'a str,
    /// The group of its `apiVersion`; empty for that of the core.
    pub(super) group: &'a str,
    /// Its name.
    pub(super) name: &'a str,
    /// Its namespace; `default` where it names none.
    pub(super) namespace: &'a str,
}

/// How much was looked at.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) objects: usize,
    pub(super) files: usize,
}

/// Everything.
#[derive(Debug)]
pub(super) struct Manifests<'a> {
    /// Every object.
    pub(super) objects: Vec<Object<'a>>,
    /// The mesh configs.
    pub(super) mesh: Vec<Mesh<'a>>,
    /// The workloads.
    pub(super) workloads: Vec<Workload<'a>>,
    /// Configurations of Portcullis.
    pub(super) own: Vec<Located<'a>>,
    /// How much that is.
    pub(super) seen: Seen,
}

impl<'a> Manifests<'a> {
    /// Finds everything.
    pub(super) fn of(sources: &'a Sources) -> Self {
        let manifests = || sources.all.iter().filter(|one| one.role == Role::Manifest);
        let nodes: Vec<Located<'a>> = manifests().flat_map(Source::objects).collect();
        let objects: Vec<Object<'a>> = nodes.iter().filter_map(object).collect();
        let own = nodes.iter().filter(|node| is_own(node)).cloned().collect();
        let seen = Seen {
            objects: objects.len(),
            files: sources.files,
        };
        Self {
            mesh: mesh_configs(sources, &nodes),
            workloads: objects.iter().filter_map(Workload::of).collect(),
            objects,
            own,
            seen,
        }
    }

    /// The objects of a kind.
    pub(super) fn of_kind(&self, group: &str, kind: &str) -> impl Iterator<Item = &Object<'a>> {
        let objects = self.objects.iter();
        objects.filter(move |object| object.kind == kind && object.group == group)
    }

    /// The policies with action CUSTOM.
    pub(super) fn custom_policies(&self) -> impl Iterator<Item = &Object<'a>> {
        let policies = self.of_kind("security.istio.io", "AuthorizationPolicy");
        policies.filter(|policy| policy.node.text_at("spec.action") == Some("CUSTOM"))
    }

    /// The namespace whose policies hold everywhere.
    pub(super) fn root_namespace(&self) -> &'a str {
        let named = self
            .mesh
            .iter()
            .find_map(|mesh| mesh.node.text_at("rootNamespace"));
        named
            .filter(|name| !name.is_empty())
            .unwrap_or("istio-system")
    }
}

fn object<'a>(node: &Located<'a>) -> Option<Object<'a>> {
    let api_version = node.text_at("apiVersion").unwrap_or_default();
    Some(Object {
        node: node.clone(),
        kind: node.text_at("kind")?,
        group: api_version.split_once('/').map_or("", |(group, _)| group),
        name: node.text_at("metadata.name").unwrap_or_default(),
        namespace: node.text_at("metadata.namespace").unwrap_or("default"),
    })
}

fn is_own(node: &Located<'_>) -> bool {
    let has = |key| node.get(key).is_some_and(|value| value.value.is_object());
    node.get("kind").is_none() && has("catalog") && (has("listeners") || has("authenticators"))
}
