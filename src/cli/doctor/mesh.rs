//! The mesh config: where it may stand, and its extension providers.

use crate::cli::doctor::files::{Role, Sources};
use crate::cli::doctor::kind::Kind;
use crate::cli::doctor::located::Located;
use crate::cli::doctor::manifests::Manifests;
use crate::cli::doctor::report::Findings;
use crate::cli::name::is_label;

/// A mesh config.
#[derive(Debug)]
pub(super) struct Mesh<'a> {
    /// The whole.
    pub(super) node: Located<'a>,
    /// Its providers that authorize.
    pub(super) providers: Vec<Provider<'a>>,
}

/// An extension provider that Envoy's `ext_authz` asks.
#[derive(Debug)]
pub(super) struct Provider<'a> {
    /// Its name.
    pub(super) name: &'a str,
    /// Where its name stands.
    pub(super) named: Located<'a>,
    /// What it says, below `envoyExtAuthzGrpc` or `envoyExtAuthzHttp`.
    pub(super) node: Located<'a>,
    /// Whether it asks by gRPC.
    pub(super) grpc: bool,
}

impl<'a> Provider<'a> {
    /// The host of its service, without the namespace that may stand before it.
    pub(super) fn host(&self) -> &'a str {
        let service = self.node.text_at("service").unwrap_or_default();
        service.rsplit_once('/').map_or(service, |(_, host)| host)
    }

    /// The name and namespace of the Kubernetes Service that its host is the full name of.
    pub(super) fn service(&self) -> Option<(&'a str, &'a str)> {
        let (name, rest) = self.host().split_once('.')?;
        let (namespace, rest) = rest.split_once('.')?;
        rest.starts_with("svc.").then_some((name, namespace))
    }
}

/// Every mesh config of the files.
pub(super) fn mesh_configs<'a>(sources: &'a Sources, objects: &[Located<'a>]) -> Vec<Mesh<'a>> {
    let mut found = Vec::new();
    for object in objects {
        found.extend(inside(object));
    }
    for source in sources.all.iter().filter(|one| one.role == Role::Mesh) {
        let root = source.root();
        let inner: Vec<_> = source.objects().iter().flat_map(inside).collect();
        if inner.is_empty() && root.get("kind").is_none() {
            found.push(root);
        } else {
            found.extend(inner);
        }
    }
    found.into_iter().map(mesh).collect()
}

/// The mesh configs that an object holds.
fn inside<'a>(object: &Located<'a>) -> Vec<Located<'a>> {
    let paths: &[&str] = match object.text_at("kind") {
        Some("IstioOperator") => &["spec.meshConfig", "spec.values.meshConfig"],
        Some("Istio" | "IstioRevision") => &["spec.values.meshConfig"],
        Some(_) => &[],
        None if object.get("extensionProviders").is_some() => return vec![object.clone()],
        None => {
            let charts = object.entries().into_iter();
            let own = object.get("meshConfig");
            let of_charts = charts.filter_map(|(_, values)| values.get("meshConfig"));
            return own.into_iter().chain(of_charts).collect();
        }
    };
    paths.iter().filter_map(|path| object.at(path)).collect()
}

fn mesh(node: Located<'_>) -> Mesh<'_> {
    let providers = node.items_at("extensionProviders");
    let providers = providers.into_iter().filter_map(|item| {
        let (node, grpc) = match item.get("envoyExtAuthzGrpc") {
            Some(node) => (node, true),
            None => (item.get("envoyExtAuthzHttp")?, false),
        };
        Some(Provider {
            name: item.text_at("name").unwrap_or_default(),
            named: item.at_or_self("name"),
            node,
            grpc,
        })
    });
    Mesh {
        providers: providers.collect(),
        node,
    }
}

/// Finds what is wrong between providers and the policies that name them.
pub(super) fn examine(manifests: &Manifests<'_>, findings: &mut Findings) {
    let names = |name: &str| {
        let providers = manifests.mesh.iter().flat_map(|mesh| &mesh.providers);
        providers.into_iter().any(|provider| provider.name == name)
    };
    for policy in manifests.custom_policies() {
        let Some(named) = policy.node.at("spec.provider.name") else {
            let node = policy.node.at_or_self("spec");
            let what = format!("the policy `{}` names no provider", policy.name);
            findings.add(Kind::PolicyWithoutProvider, &node, what);
            continue;
        };
        let name = named.value.as_str().unwrap_or_default();
        if manifests.mesh.is_empty() {
            let what =
                format!("no mesh config is among the files, so `{name}` cannot be looked up");
            findings.add(Kind::MeshConfigMissing, &named, what);
        } else if !names(name) {
            let what = format!("the mesh config has no provider `{name}`");
            findings.add(Kind::ProviderUnknown, &named, what);
        }
    }
    for mesh in &manifests.mesh {
        examine_names(mesh, findings);
    }
}

fn examine_names(mesh: &Mesh<'_>, findings: &mut Findings) {
    for (at, provider) in mesh.providers.iter().enumerate() {
        let name = provider.name;
        if !is_label(name) {
            let what = format!("`{name}` is no name of a provider");
            findings.add(Kind::ProviderName, &provider.named, what);
            continue;
        }
        let before = mesh.providers.iter().take(at);
        if before.into_iter().any(|other| other.name == name) {
            let what = format!("there are two providers `{name}`");
            findings.add(Kind::ProviderTwice, &provider.named, what);
        }
    }
}
