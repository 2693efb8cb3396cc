//! Objects of Kubernetes, as YAML has them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use serde_json::Value;

use crate::tools;

/// Labels of an object, or those that a selector asks for.
pub(crate) type Labels = BTreeMap<String, String>;

/// One document of a file or of what a program printed.
#[derive(Debug, Clone)]
pub(crate) struct Object {
    /// Where it stands.
    pub(crate) from: String,
    /// What it says.
    pub(crate) value: Value,
}

impl Object {
    /// The text at a JSON pointer; empty where there is none.
    pub(crate) fn text(&self, pointer: &str) -> &str {
        self.value
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    pub(crate) fn kind(&self) -> &str {
        self.text("/kind")
    }

    /// The group of its API; empty for the core.
    pub(crate) fn group(&self) -> &str {
        self.text("/apiVersion")
            .rsplit_once('/')
            .map_or("", |(group, _)| group)
    }

    pub(crate) fn name(&self) -> &str {
        self.text("/metadata/name")
    }

    pub(crate) fn namespace(&self) -> &str {
        self.text("/metadata/namespace")
    }

    /// The labels at a JSON pointer.
    pub(crate) fn labels(&self, pointer: &str) -> Option<Labels> {
        self.value
            .pointer(pointer)
            .map(|found| labels(found, &self.to_string()))
    }

    /// The elements of the list at a JSON pointer.
    pub(crate) fn list(&self, pointer: &str) -> &[Value] {
        self.value
            .pointer(pointer)
            .and_then(Value::as_array)
            .map_or(&[], Vec::as_slice)
    }
}

impl std::fmt::Display for Object {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{}: {} {}/{}",
            self.from,
            self.kind(),
            self.namespace(),
            self.name()
        )
    }
}

/// A map of texts.
pub(crate) fn labels(value: &Value, whose: &str) -> Labels {
    let map = value.as_object();
    let map = map.unwrap_or_else(|| panic!("{whose}: labels are a map, not {value}"));
    let text = |value: &Value| {
        let text = value.as_str();
        text.unwrap_or_else(|| panic!("{whose}: a label is text, not {value}"))
            .to_owned()
    };
    map.iter()
        .map(|(key, value)| (key.clone(), text(value)))
        .collect()
}

/// The documents of a text of YAML, without empty ones.
pub(crate) fn documents(text: &str, from: &str) -> Vec<Object> {
    let values: Vec<Value> =
        serde_saphyr::from_multiple(text).unwrap_or_else(|error| panic!("{from}: {error}"));
    let values = values.into_iter().filter(|value| !value.is_null());
    values
        .map(|value| Object {
            from: from.to_owned(),
            value,
        })
        .collect()
}

/// A path below the folder of the repository.
pub(crate) fn at(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The text of a file of the repository.
pub(crate) fn read(path: &str) -> String {
    fs::read_to_string(at(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The only document of a file of the repository.
pub(crate) fn document(path: &str) -> Value {
    let mut all = documents(&read(path), path);
    assert_eq!(all.len(), 1, "{path} holds one document");
    all.remove(0).value
}

/// Every file below a folder of the repository, as paths from the repository's, in order.
pub(crate) fn files(folder: &str) -> Vec<String> {
    let mut found = Vec::new();
    let entries = fs::read_dir(at(folder)).unwrap_or_else(|error| panic!("{folder}: {error}"));
    for entry in entries {
        let entry = entry.expect("an entry of a folder");
        let path = format!("{folder}/{}", entry.file_name().to_string_lossy());
        if entry.path().is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// The folders whose files hold objects for a cluster, as they are.
pub(crate) const PLAIN: [&str; 3] = ["deploy/alerts", "deploy/envoy-gateway", "deploy/istio"];

/// The folders that kustomize renders.
pub(crate) const KUSTOMIZATIONS: [&str; 5] = [
    "deploy/kustomize/base",
    "deploy/kustomize/sidecar",
    "deploy/kustomize/spiffe",
    "deploy/kustomize/ambient",
    "deploy/openshift",
];

/// Whether a file of `PLAIN` holds values of somebody's chart or a part of the mesh configuration.
pub(crate) fn is_no_object(path: &str) -> bool {
    path.ends_with("values.yaml") || path.ends_with("mesh-config.yaml")
}

/// Every object of `PLAIN` and the control plane of OpenShift.
pub(crate) fn plain() -> Vec<Object> {
    let files = PLAIN.into_iter().flat_map(files);
    let files = files.filter(|file| file.ends_with(".yaml") && !is_no_object(file));
    files
        .chain(["deploy/openshift/istio.yaml".to_owned()])
        .flat_map(|file| documents(&read(&file), &file))
        .collect()
}

/// What kustomize makes of each of [`KUSTOMIZATIONS`], built once.
static BUILT: LazyLock<BTreeMap<&str, Vec<Object>>> = LazyLock::new(|| {
    let build = |folder: &'static str| {
        let arguments = ["build".to_owned(), at(folder).display().to_string()];
        let told = tools::output("kustomize", arguments);
        (folder, documents(&told, folder))
    };
    KUSTOMIZATIONS.into_iter().map(build).collect()
});

/// What kustomize makes of one of [`KUSTOMIZATIONS`].
pub(crate) fn kustomized(folder: &str) -> Vec<Object> {
    BUILT[folder].clone()
}
