//! The operations of a description.

use serde_json::{Map, Value};

use crate::catalog::build::path::template;
use crate::cli::import::document::{Node, text, texts};
use crate::cli::import::input::Input;
use crate::cli::import::openapi::refusals::{LeftOut, refuse_wider};
use crate::cli::import::openapi::security::{Requirement, Schemes, Scopes};
use crate::cli::import::report::Report;
use crate::problem::Problems;

const METHODS: [&str; 8] = [
    "get", "put", "post", "delete", "options", "head", "patch", "trace",
];
/// What a path item and an operation may have that says nothing about who may call.
const SILENT: [&str; 13] = [
    "parameters",
    "summary",
    "description",
    "tags",
    "operationId",
    "externalDocs",
    "requestBody",
    "responses",
    "deprecated",
    "consumes",
    "produces",
    "security",
    "$ref",
];

/// An operation.
#[derive(Debug)]
pub(super) struct Operation {
    /// Where it stands, for people.
    pub(super) place: String,
    pub(super) method: String,
    pub(super) path: String,
    requirement: Requirement,
}

impl Operation {
    /// Whether everybody may call it.
    pub(super) fn is_anonymous(&self) -> bool {
        self.requirement == Requirement::Anonymous
    }

    /// As our document has it.
    pub(super) fn node(&self, schemes: &Schemes<'_>) -> Node {
        let mut keys = vec![
            ("methods", texts([self.method.to_ascii_uppercase()])),
            ("path", text(&self.path)),
        ];
        if let Requirement::Some(authenticators, scopes) = &self.requirement {
            if *authenticators != schemes.names() {
                keys.push(("authenticators", texts(authenticators)));
            }
            let scopes = match scopes {
                Scopes::None => None,
                Scopes::AnyOf(list) => Some(("anyOf", list)),
                Scopes::AllOf(list) => Some(("allOf", list)),
            };
            if let Some((word, list)) = scopes {
                keys.push(("scopes", Node::Map(vec![(word, texts(list))])));
            }
        }
        Node::Map(keys)
    }
}

/// The operations that can be carried over; the others are reported.
pub(super) fn operations(
    input: &Input,
    document: &Value,
    schemes: &Schemes<'_>,
    report: &mut Report,
) -> Result<Vec<Operation>, Problems> {
    let paths = document.get("paths").and_then(Value::as_object);
    let paths = paths.ok_or_else(|| input.problem("paths", "it is missing"))?;
    for key in ["webhooks", "x-throttling-tier", "x-wso2-security"] {
        if document.get(key).is_some() {
            report.left_out(format!("{key}: nothing here stands for it"));
        }
    }
    let security = document.get("security");
    let (mut found, mut denied) = (Vec::new(), Vec::new());
    for (path, item) in paths.iter().filter(|(path, _)| !path.starts_with("x-")) {
        let place = format!("paths.{path}");
        let item = match readable(document, path, item) {
            Ok(item) => item,
            Err(reason) => {
                report.left_out(format!("{place}: {reason}"));
                denied.push(LeftOut::new(place, path, None));
                continue;
            }
        };
        report_unknown(&place, item, report);
        for (key, operation) in methods(item) {
            let place = format!("{place}.{key}");
            if let Some(keys) = operation.as_object() {
                report_unknown(&place, keys, report);
            }
            match requirement(schemes, key, operation, security) {
                Ok(requirement) => found.push(Operation {
                    place,
                    method: key.clone(),
                    path: path.clone(),
                    requirement,
                }),
                Err(reason) => {
                    report.left_out(format!("{place}: {reason}; it will be denied"));
                    denied.push(LeftOut::new(place, path, Some(key)));
                }
            }
        }
    }
    refuse_wider(input, &denied, &found)?;
    Ok(found)
}

/// The methods of a path item, and what is meant to be one.
fn methods(item: &Map<String, Value>) -> impl Iterator<Item = (&String, &Value)> {
    let known = METHODS.iter().filter_map(|key| item.get_key_value(*key));
    let is_other = |key: &str| is_method(key) && !METHODS.contains(&key);
    known.chain(item.iter().filter(move |(key, _)| is_other(key)))
}

/// Whether a key of a path item is a method, or is meant to be one.
fn is_method(key: &str) -> bool {
    !SILENT.contains(&key) && !key.starts_with("x-") && key != "servers"
}

/// What an operation asks for.
fn requirement(
    schemes: &Schemes<'_>,
    method: &str,
    operation: &Value,
    security: Option<&Value>,
) -> Result<Requirement, String> {
    if !METHODS.contains(&method) {
        return Err("it is no method of a description".to_owned());
    }
    let keys = operation.as_object().ok_or("it is no mapping")?;
    schemes.requirement(keys.get("security").or(security))
}

/// A path item whose operations can be read, below a path that we can have.
fn readable<'a>(
    document: &'a Value,
    path: &str,
    item: &'a Value,
) -> Result<&'a Map<String, Value>, String> {
    let item = resolved(document, item)?;
    template(path)?;
    if item.contains_key("security") {
        return Err("`security` belongs to its operations, not to the path".to_owned());
    }
    Ok(item)
}

/// A path item, with what its `$ref` names.
fn resolved<'a>(document: &'a Value, item: &'a Value) -> Result<&'a Map<String, Value>, String> {
    let mut item = item;
    // a reference to a reference, and so on, but not in a circle
    for _ in 0..8 {
        let keys = item.as_object().ok_or("it is no mapping")?;
        let Some(reference) = keys.get("$ref") else {
            return Ok(keys);
        };
        if keys.keys().any(|key| is_method(key)) {
            return Err("it has operations beside its `$ref`".to_owned());
        }
        let reference = reference.as_str().ok_or("its `$ref` is no text")?;
        let pointer = reference.strip_prefix('#');
        let pointer = pointer.ok_or_else(|| format!("`{reference}` is in another file"))?;
        let pointer = pointer.replace("%7B", "{").replace("%7D", "}");
        item = document
            .pointer(&pointer)
            .ok_or_else(|| format!("`{reference}` is not there"))?;
    }
    Err("its references go round in a circle".to_owned())
}

/// Reports what is left out and may matter: servers of its own, extensions, methods that are not known.
fn report_unknown(place: &str, keys: &Map<String, Value>, report: &mut Report) {
    for key in keys.keys() {
        let is_known = METHODS.contains(&key.as_str()) || SILENT.contains(&key.as_str());
        if !is_known {
            report.left_out(format!("{place}.{key}: nothing here stands for it"));
        }
    }
}
