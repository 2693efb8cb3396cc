//! What an import makes: a configuration and the Apis of a catalog, as a person would write them.

use std::collections::BTreeSet;

use serde::ser::{Serialize, SerializeMap as _, Serializer};

use crate::catalog::source::document::API_VERSION;
use crate::catalog::source::store::hosts_without_root;
use crate::cli::import::report::counted;
use crate::cli::made::Made;
use crate::cli::name::slug;

/// A value of a document; the keys of a map stay in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Node {
    Text(String),
    /// A whole number, as it is written.
    Number(u32),
    True,
    List(Vec<Node>),
    Map(Vec<(&'static str, Node)>),
    Named(Vec<(String, Node)>),
}

/// A text.
pub(super) fn text(text: impl Into<String>) -> Node {
    Node::Text(text.into())
}

/// A list of texts.
pub(super) fn texts(list: impl IntoIterator<Item = impl Into<String>>) -> Node {
    Node::List(list.into_iter().map(text).collect())
}

/// What was made of an import.
#[derive(Debug)]
pub(super) struct Imported {
    /// The file of the catalog.
    pub(super) file: &'static str,
    /// The providers, by name.
    pub(super) providers: Vec<(String, Node)>,
    /// The Apis.
    pub(super) apis: Vec<ApiNode>,
}

/// An Api of direction outbound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ApiNode {
    pub(super) namespace: &'static str,
    pub(super) hosts: Vec<String>,
    pub(super) base_path: String,
    /// The credential of the upstream; none for requests that pass as they are.
    pub(super) credential: Option<Node>,
}

impl Imported {
    /// Adds what passes on the hosts that have no Api at `/`.
    pub(super) fn with_rest_of_hosts(mut self, namespace: &'static str) -> Self {
        let places: Vec<_> = self
            .apis
            .iter()
            .flat_map(|api| {
                api.hosts
                    .iter()
                    .map(|host| (host.clone(), api.base_path.clone()))
            })
            .collect();
        let places = places
            .iter()
            .map(|(host, path)| (host.as_str(), path.as_str()));
        let rest = hosts_without_root(places).into_iter().map(|host| ApiNode {
            namespace,
            hosts: vec![host.to_owned()],
            base_path: "/".to_owned(),
            credential: None,
        });
        let rest: Vec<_> = rest.collect();
        self.apis.extend(rest);
        self
    }

    /// The configuration.
    pub(super) fn configuration(&self) -> anyhow::Result<String> {
        let listener = |kind: &str, more: Vec<(&'static str, Node)>| {
            let mut keys = vec![("type", text(kind))];
            keys.extend(more);
            Node::Map(keys)
        };
        let outbound = vec![
            ("address", text("127.0.0.1:9003")),
            ("direction", text("outbound")),
            ("unmatched", text("allow")),
        ];
        let source = Node::Map(vec![
            ("name", text("main")),
            ("type", text("file")),
            ("path", text("catalog")),
        ]);
        let configuration = Node::Map(vec![
            (
                "listeners",
                Node::Map(vec![
                    ("outbound", listener("check", outbound)),
                    ("admin", listener("admin", Vec::new())),
                    ("observe", listener("observe", Vec::new())),
                ]),
            ),
            ("providers", Node::Named(self.providers.clone())),
            (
                "catalog",
                Node::Map(vec![("sources", Node::List(vec![source]))]),
            ),
        ]);
        yaml(&configuration)
    }

    /// The documents of the catalog.
    pub(super) fn catalog(&self) -> anyhow::Result<String> {
        let mut documents = Vec::with_capacity(self.apis.len());
        let mut names = BTreeSet::new();
        for api in &self.apis {
            documents.push(yaml(&api.document(&mut names))?);
        }
        Ok(documents.join("---\n"))
    }

    /// Both, as files.
    pub(super) fn made(&self) -> anyhow::Result<Made> {
        let mut made = Made::default();
        made.add("portcullis.yaml", self.configuration()?);
        made.add(format!("catalog/{}", self.file), self.catalog()?);
        Ok(made)
    }

    /// How much was made.
    pub(super) fn summary(&self) -> String {
        let (providers, apis) = (self.providers.len(), self.apis.len());
        format!(
            "{}, {}",
            counted(providers, "provider"),
            counted(apis, "api")
        )
    }
}

impl ApiNode {
    fn document(&self, names: &mut BTreeSet<String>) -> Node {
        let place = format!("{}{}", self.hosts.join(","), self.base_path);
        let name = name(&place, names);
        let mut spec = vec![
            ("title", text(place)),
            ("version", text("1")),
            ("direction", text("outbound")),
            ("hosts", texts(&self.hosts)),
            ("basePath", text(&self.base_path)),
            ("authenticators", texts(["anonymous"])),
            ("subscription", text("none")),
            ("unmatchedOperation", text("allow")),
        ];
        if let Some(credential) = &self.credential {
            let upstream = Node::Map(vec![("credential", credential.clone())]);
            spec.push(("upstream", upstream));
        }
        Node::Map(vec![
            ("apiVersion", text(API_VERSION)),
            ("kind", text("Api")),
            (
                "metadata",
                Node::Map(vec![
                    ("name", text(name)),
                    ("namespace", text(self.namespace)),
                ]),
            ),
            ("spec", Node::Map(spec)),
        ])
    }
}

/// A name for what stands at `place`, which none of `names` is.
fn name(place: &str, names: &mut BTreeSet<String>) -> String {
    let base = slug(place);
    let mut name = base.clone();
    let mut number = 2;
    while !names.insert(name.clone()) {
        name = format!("{base}-{number}");
        number += 1;
    }
    name
}

/// The text of a document.
pub(super) fn yaml(node: &Node) -> anyhow::Result<String> {
    let text = serde_saphyr::to_string(node)?;
    Ok(text.trim_end().to_owned() + "\n")
}

impl Serialize for Node {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => serializer.serialize_str(text),
            Self::Number(number) => serializer.serialize_u32(*number),
            Self::True => serializer.serialize_bool(true),
            Self::List(list) => serializer.collect_seq(list),
            Self::Map(keys) => {
                let mut map = serializer.serialize_map(Some(keys.len()))?;
                for (key, value) in keys {
                    map.serialize_entry(key, value)?;
                }
                map.end()
            }
            Self::Named(keys) => {
                let mut map = serializer.serialize_map(Some(keys.len()))?;
                for (key, value) in keys {
                    map.serialize_entry(key, value)?;
                }
                map.end()
            }
        }
    }
}
