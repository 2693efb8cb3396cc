//! The operations of a description.

use serde_json::{Map, Value};

use crate::catalog::build::path::template;
use crate::cli::import::document::{Node, text, texts};
use crate::cli::import::input::Input;
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
    method: String,
    path: String,
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
        let item = match resolved(document, item) {
            Ok(item) => item,
            Err(reason) => {
                report.left_out(format!("{place}: {reason}"));
                continue;
            }
        };
        if let Err(reason) = template(path) {
            report.left_out(format!("{place}: {reason}"));
            continue;
        }
        report_unknown(&place, item, report);
        for method in METHODS {
            let Some(operation) = item.get(method).and_then(Value::as_object) else {
                continue;
            };
            let place = format!("{place}.{method}");
            report_unknown(&place, operation, report);
            match schemes.requirement(operation.get("security").or(security)) {
                Ok(requirement) => found.push(Operation {
                    place,
                    method: method.to_owned(),
                    path: path.clone(),
                    requirement,
                }),
                Err(reason) => {
                    report.left_out(format!("{place}: {reason}; it will be denied"));
                    denied.push((place, path));
                }
            }
        }
    }
    refuse_wider(input, &denied, &found)?;
    Ok(found)
}

/// Refuses operations that were left out where another one with a parameter in its path would be judged in
/// their place.
fn refuse_wider(
    input: &Input,
    denied: &[(String, &String)],
    found: &[Operation],
) -> Result<(), Problems> {
    let mut problems = Problems::new();
    for (place, path) in denied {
        let mut wider = found.iter().filter(|one| covers(&one.path, path));
        // its own path, with another method, decides before wider ones
        if !found.iter().any(|one| one.path == **path)
            && let Some(wider) = wider.next()
        {
            let message = format!(
                "it cannot be carried over, and its requests would be judged as those of `{}`: change its security, or take it out",
                wider.path
            );
            problems.extend(input.problem(place, message));
        }
    }
    problems.into_result(())
}

/// Whether requests to `path` can match `template`.
fn covers(template: &str, path: &str) -> bool {
    let is_parameter = |segment: &str| segment.starts_with('{');
    let (mut wide, mut narrow) = (template.split('/'), path.split('/'));
    loop {
        match (wide.next(), narrow.next()) {
            (None, None) => return true,
            (Some(wide), Some(_)) if wide.starts_with("{*") => return true,
            (Some(wide), Some(narrow))
                if wide == narrow || is_parameter(wide) || is_parameter(narrow) => {}
            (_, _) => return false,
        }
    }
}

/// A path item, with what its `$ref` names.
fn resolved<'a>(document: &'a Value, item: &'a Value) -> Result<&'a Map<String, Value>, String> {
    let mut item = item;
    // a reference to a reference, and so on, but not in a circle
    for _ in 0..8 {
        let Some(reference) = item.get("$ref").and_then(Value::as_str) else {
            return item
                .as_object()
                .ok_or_else(|| "it is no mapping".to_owned());
        };
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
        if !METHODS.contains(&key.as_str()) && !SILENT.contains(&key.as_str()) {
            report.left_out(format!("{place}.{key}: nothing here stands for it"));
        }
    }
}
