//! Files of other gateways: JSON or YAML, and the plugin configurations that they hold.

use std::path::Path;

use serde_json::{Map, Value};

use crate::config::yaml::YamlDocument;
use crate::problem::{Problem, Problems};

/// The largest file, in bytes.
const MAX_BYTES: u64 = 16 * 1024 * 1024;

/// A file that was read.
#[derive(Debug)]
pub(super) struct Input {
    name: String,
    /// Its documents: one of JSON, one or several of YAML.
    pub(super) documents: Vec<Value>,
}

/// A plugin configuration, and where it stands in its file.
#[derive(Debug)]
pub(super) struct Plugin {
    /// The path of it, with a final dot; empty for the whole file.
    pub(super) path: String,
    /// What it says.
    pub(super) keys: Map<String, Value>,
}

impl Input {
    /// Reads a file.
    ///
    /// # Errors
    /// Where it cannot be read, or is neither JSON nor YAML.
    pub(super) fn read(path: &Path) -> Result<Self, Problems> {
        let mut input = Self {
            name: path.display().to_string(),
            documents: Vec::new(),
        };
        let size = std::fs::metadata(path).map(|found| found.len());
        if size.is_ok_and(|size| size > MAX_BYTES) {
            return Err(input.problem("", "it is larger than 16 MiB"));
        }
        let text = std::fs::read_to_string(path)
            .map_err(|error| input.problem("", format!("cannot be read: {error}")))?;
        if let Ok(document) = serde_json::from_str(&text) {
            input.documents.push(document);
            return Ok(input);
        }
        for document in YamlDocument::split(&input.name, &text) {
            input.documents.push(document.parse()?);
        }
        Ok(input)
    }

    /// Something is wrong at `path`.
    pub(super) fn problem(&self, path: &str, message: impl Into<String>) -> Problems {
        Problems::from(Problem {
            file: self.name.as_str().into(),
            line: None,
            path: path.to_owned(),
            message: message.into(),
        })
    }

    /// That `plugin` has one of the keys that `what` is made of.
    ///
    /// # Errors
    /// Where it has none of them: it is something else.
    pub(super) fn expect_any(
        &self,
        plugin: &Plugin,
        what: &str,
        keys: &[&str],
    ) -> Result<(), Problems> {
        if keys.iter().any(|key| plugin.keys.contains_key(*key)) {
            return Ok(());
        }
        let list: Vec<String> = keys.iter().map(|key| format!("`{key}`")).collect();
        Err(self.problem(
            plugin.path.trim_end_matches('.'),
            format!(
                "this is no configuration of {what}; expected one of {}",
                list.join(", ")
            ),
        ))
    }

    /// Every plugin configuration in it: that of a ServiceMeshExtension, of a WasmPlugin, of each WASM
    /// filter of an EnvoyFilter, or the file itself.
    ///
    /// # Errors
    /// Where there is none, or one is no JSON object.
    pub(super) fn plugins(&self) -> Result<Vec<Plugin>, Problems> {
        let mut found = Vec::new();
        for document in &self.documents {
            let Some(kind) = document.get("kind").and_then(Value::as_str) else {
                self.add("", document, &mut found)?;
                continue;
            };
            let spec = document.get("spec");
            let own = |key: &str| spec.and_then(|spec| spec.get(key));
            match kind {
                "ServiceMeshExtension" => {
                    let config = own("config").unwrap_or(&Value::Null);
                    self.add("spec.config.", config, &mut found)?;
                }
                "WasmPlugin" => {
                    let config = own("pluginConfig").unwrap_or(&Value::Null);
                    self.add("spec.pluginConfig.", config, &mut found)?;
                }
                _ => self.search("", document, &mut found)?,
            }
        }
        if found.is_empty() {
            return Err(self.problem("", "there is no plugin configuration in it"));
        }
        Ok(found)
    }

    /// Looks for `configuration` beside what a WASM filter has, not in what its VM has.
    fn search(&self, path: &str, value: &Value, found: &mut Vec<Plugin>) -> Result<(), Problems> {
        match value {
            Value::Object(keys) => {
                for (key, value) in keys {
                    let inner = format!("{path}{key}.");
                    match key.as_str() {
                        "vm_config" | "vmConfig" => {}
                        "configuration" => self.add(&inner, value, found)?,
                        _ => self.search(&inner, value, found)?,
                    }
                }
            }
            Value::Array(list) => {
                let path = path.trim_end_matches('.');
                for (at, value) in list.iter().enumerate() {
                    self.search(&format!("{path}[{at}]."), value, found)?;
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
        Ok(())
    }

    /// Adds one: an object, JSON text, or a protobuf StringValue or Struct of either.
    fn add(&self, path: &str, value: &Value, found: &mut Vec<Plugin>) -> Result<(), Problems> {
        let wrong = || self.problem(path.trim_end_matches('.'), "it is no JSON object");
        let value = if value.get("@type").is_some() {
            value.get("value").ok_or_else(wrong)?
        } else {
            value
        };
        let keys = match value {
            Value::Object(keys) => keys.clone(),
            Value::String(text) => serde_json::from_str(text).map_err(|_| wrong())?,
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => {
                return Err(wrong());
            }
        };
        let path = path.to_owned();
        found.push(Plugin { path, keys });
        Ok(())
    }
}

/// The name of a JSON value's type, for people.
pub(super) const fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// The address that the name of an Envoy cluster tells, with the path `/`.
pub(super) enum Cluster {
    /// A service of the mesh: `outbound|80||name`.
    Service(String),
    /// A name that may be a host, or not.
    Name(String),
    /// Something of the pod's own, or no name of a host.
    Unreachable,
}

impl Cluster {
    /// Reads a name.
    pub(super) fn parse(name: &str) -> Self {
        let parts: Vec<&str> = name.split('|').collect();
        let is_host = |text: &str| crate::check::request::Host::parse(text).is_ok();
        match parts.as_slice() {
            ["outbound", port, _, host] if is_host(host) && port.parse::<u16>().is_ok() => {
                Self::Service(match *port {
                    "80" => format!("http://{host}"),
                    port => format!("http://{host}:{port}"),
                })
            }
            [name] if is_host(name) => Self::Name(format!("http://{name}")),
            _ => Self::Unreachable,
        }
    }
}
