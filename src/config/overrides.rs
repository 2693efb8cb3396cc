//! Overrides from the environment: `PORTCULLIS__LISTENERS__INBOUND__ADDRESS` replaces the scalar at
//! `listeners.inbound.address`.
//!
//! They reach scalars that the file has, and nothing else: an override cannot add a listener, and a
//! misspelt one is a mistake instead of being ignored.

use crate::config::locator::{Locator, Place};
use crate::problem::{Problem, Problems};

/// What every name begins with.
const PREFIX: &str = "PORTCULLIS__";

/// One override.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Override {
    /// The name of the variable.
    pub variable: String,
    /// The value that replaces.
    pub value: String,
}

/// The overrides among the variables of the environment.
#[must_use]
pub fn from_environment() -> Vec<Override> {
    std::env::vars_os()
        .filter_map(|(variable, value)| {
            let variable = variable.into_string().ok()?;
            variable.starts_with(PREFIX).then(|| Override {
                variable,
                value: value.to_string_lossy().into_owned(),
            })
        })
        .collect()
}

/// What overrides made of a text.
pub(super) struct Applied<'o> {
    /// The text.
    pub(super) text: String,
    /// The paths that were overridden, and by which variable.
    paths: Vec<(Box<str>, &'o str)>,
}

impl Applied<'_> {
    /// `problems`, with the variable named where the file is not to blame.
    pub(super) fn blame(&self, problems: &Problems) -> Problems {
        let blamed = problems.iter().cloned().map(|mut problem| {
            let by = self.paths.iter().find(|(path, _)| **path == *problem.path);
            if let Some((_, variable)) = by {
                let more = format!(
                    "; the environment variable `{variable}` has replaced what the file says"
                );
                problem.message.push_str(&more);
            }
            problem
        });
        blamed.collect()
    }
}

/// `text` with the scalars replaced that `overrides` name.
///
/// # Errors
/// Names each variable that matches no scalar, or several.
pub(super) fn apply<'o>(
    file: &str,
    text: String,
    overrides: &'o [Override],
) -> Result<Applied<'o>, Problems> {
    let mut paths = Vec::new();
    if overrides.is_empty() {
        return Ok(Applied { text, paths });
    }
    let locator = Locator::new(&text);
    let mut problems = Problems::new();
    let mut replacements = Vec::new();
    for entry in overrides {
        let wanted = wanted(&entry.variable);
        let mut found = locator
            .places()
            .iter()
            .filter(|place| plain(&place.path) == wanted);
        match (found.next(), found.next()) {
            (Some(place), None) => match range(place) {
                Some(range) => {
                    paths.push((place.path.clone(), entry.variable.as_str()));
                    replacements.push((range, scalar(&entry.value)));
                }
                None => problems.push(problem(
                    file,
                    entry,
                    "names something that is no scalar on one line",
                )),
            },
            (Some(_), Some(_)) => problems.push(problem(file, entry, "names several things")),
            (None, _) => problems.push(problem(
                file,
                entry,
                "names nothing in the file; overrides reach scalars that the file has",
            )),
        }
    }
    replacements.sort_by_key(|(range, _)| std::cmp::Reverse(range.start));
    let mut text = text;
    for (range, value) in replacements {
        text.replace_range(range, &value);
    }
    problems.into_result(Applied { text, paths })
}

fn range(place: &Place) -> Option<std::ops::Range<usize>> {
    place.scalar.as_ref()?.range.clone()
}

/// The parts of a variable's name, as [`plain`] writes paths.
fn wanted(variable: &str) -> String {
    let path = variable.strip_prefix(PREFIX).unwrap_or(variable);
    let parts: Vec<String> = path.split("__").map(plain_part).collect();
    parts.join(".")
}

/// A path without what does not count: case, `_`, `-`, and the brackets of places in a list.
fn plain(path: &str) -> String {
    let parts: Vec<String> = path.split(['.', '[']).map(plain_part).collect();
    parts.join(".")
}

fn plain_part(part: &str) -> String {
    part.chars()
        .filter(|char| !matches!(char, '_' | '-' | ']'))
        .map(|char| char.to_ascii_lowercase())
        .collect()
}

/// `value` as a YAML scalar on one line: bare where it can be, so that numbers stay numbers.
fn scalar(value: &str) -> String {
    let begins_well =
        value.starts_with(|first: char| first.is_ascii_alphanumeric() || first == '/');
    let is_bare = begins_well
        && !value.ends_with(':')
        && value.chars().all(|char| {
            char.is_ascii_alphanumeric() || matches!(char, '_' | '-' | '.' | '/' | ':')
        });
    if is_bare {
        value.to_owned()
    } else {
        serde_json::Value::from(value).to_string()
    }
}

fn problem(file: &str, entry: &Override, message: &str) -> Problem {
    Problem {
        file: file.into(),
        line: None,
        path: String::new(),
        message: format!("the environment variable `{}` {message}", entry.variable),
    }
}
