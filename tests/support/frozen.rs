//! The configurations in `tests/data/istio`, which istiod made once of what `deploy/istio` holds.

use std::fs;
use std::path::Path;

use aws_lc_rs::digest::{SHA256, digest};
use serde_json::Value;

use super::envoy::Envoy;

/// Where they are.
pub(crate) const FOLDER: &str = "tests/data/istio";
/// The file of the digests of all that they were made of, as `sha256sum` writes it.
pub(crate) const INPUTS: &str = "inputs.sha256";

/// The ports in the frozen files: whose each is, and its number there.
pub(crate) const PORTS: [(&str, u16); 5] = [
    ("listener", 10080),
    ("tcp", 10081),
    ("check", 19001),
    ("outbound", 19003),
    ("upstream", 18080),
];

/// The digests of these files of the repository, a line each.
pub(crate) fn digests(paths: &[String]) -> String {
    let line = |path: &String| {
        let content = fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(path));
        let content = content.unwrap_or_else(|error| panic!("{path}: {error}"));
        let digest = digest(&SHA256, &content);
        let hex: String = digest
            .as_ref()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        format!("{hex}  {path}\n")
    };
    paths.iter().map(line).collect()
}

/// A frozen configuration with other ports.
#[derive(Debug)]
pub(crate) struct Frozen(Value);

impl Frozen {
    /// The frozen configuration of this name.
    pub(crate) fn read(name: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join(FOLDER)
            .join(format!("{name}.json"));
        let text =
            fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let mut whole: Value = serde_json::from_str(&text).expect("JSON");
        for listener in whole["static_resources"]["listeners"]
            .as_array_mut()
            .into_iter()
            .flatten()
        {
            let address = &mut listener["address"]["socket_address"];
            address["address"] = "127.0.0.1".into();
            address["port_value"] = 0.into();
        }
        Self(whole)
    }

    /// Sends what goes to this port of the frozen file to another.
    pub(crate) fn port(mut self, name: &str, port: u16) -> Self {
        let known = PORTS.iter().find(|(known, _)| *known == name);
        let (_, from) = known.unwrap_or_else(|| panic!("no port {name}"));
        let count = replace(&mut self.0, *from, port);
        assert!(count > 0, "nothing goes to {name}");
        self
    }

    /// Starts this version of Envoy with it.
    pub(crate) fn start(&self, version: &str) -> Envoy {
        Envoy::start_version(version, &format!("{:#}", self.0))
    }
}

/// Replaces a port wherever it stands; gives how often.
fn replace(value: &mut Value, from: u16, to: u16) -> usize {
    match value {
        Value::Object(object) => {
            let own = object.get_mut("port_value").filter(|port| **port == from);
            let own = own.map_or(0, |port| {
                *port = to.into();
                1
            });
            own + object
                .values_mut()
                .map(|value| replace(value, from, to))
                .sum::<usize>()
        }
        Value::Array(values) => values
            .iter_mut()
            .map(|value| replace(value, from, to))
            .sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}
