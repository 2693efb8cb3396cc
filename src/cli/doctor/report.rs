//! Findings, as text and as JSON.

use serde_json::json;

use crate::cli::doctor::kind::{Kind, Level};
use crate::cli::doctor::located::Located;
use crate::cli::doctor::manifests::Seen;

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Finding {
    kind: Kind,
    file: String,
    line: u32,
    path: String,
    what: String,
}

/// Everything that was found.
#[derive(Debug, Default)]
pub(super) struct Findings(Vec<Finding>);

impl Findings {
    /// Adds one at `node`: what is wrong there, in a sentence without final period.
    pub(super) fn add(&mut self, kind: Kind, node: &Located<'_>, what: impl Into<String>) {
        let finding = Finding {
            kind,
            file: node.source.file().to_owned(),
            line: node.line(),
            path: node.path.clone(),
            what: what.into(),
        };
        if !self.0.contains(&finding) {
            self.0.push(finding);
        }
    }

    /// Puts them into the order of files and lines.
    pub(super) fn sort(&mut self) {
        self.0
            .sort_by(|one, other| (&one.file, one.line).cmp(&(&other.file, other.line)));
    }

    /// How many are errors.
    pub(super) fn errors(&self) -> usize {
        self.count(Level::Error)
    }

    fn count(&self, level: Level) -> usize {
        let of_level = self.0.iter().filter(|found| found.kind.level() == level);
        of_level.count()
    }

    /// For people.
    pub(super) fn text(&self, seen: &Seen) -> String {
        let mut text = String::new();
        for found in &self.0 {
            let path = match found.path.as_str() {
                "" => String::new(),
                path => format!("{path}: "),
            };
            text.push_str(&format!(
                "{}:{}: {}: {}: {path}{}\n    why: {}\n    do: {}\n",
                found.file,
                found.line,
                found.kind.level().name(),
                found.kind.code(),
                found.what,
                found.kind.why(),
                found.kind.correction()
            ));
        }
        text + &format!(
            "{} and {} in {} of {}\n",
            counted(self.errors(), "error"),
            counted(self.count(Level::Warning), "warning"),
            counted(seen.objects, "object"),
            counted(seen.files, "file")
        )
    }

    /// For programs.
    pub(super) fn json(&self, seen: &Seen) -> String {
        let findings = self.0.iter().map(|found| {
            json!({
                "code": found.kind.code(),
                "level": found.kind.level().name(),
                "file": found.file,
                "line": found.line,
                "path": found.path,
                "what": found.what,
                "why": found.kind.why(),
                "correction": found.kind.correction(),
            })
        });
        let findings: Vec<_> = findings.collect();
        let all = json!({
            "findings": findings,
            "errors": self.errors(),
            "warnings": self.count(Level::Warning),
            "objects": seen.objects,
            "files": seen.files,
        });
        format!("{all:#}\n")
    }
}

fn counted(count: usize, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{plural}")
}

/// Every kind of finding, as the table of the guide.
pub(super) fn table() -> String {
    let rows = Kind::ALL.iter().map(|kind| {
        let (code, level) = (kind.code(), kind.level().name());
        format!(
            "| `{code}` | {level} | {} | {} |\n",
            kind.why(),
            kind.correction()
        )
    });
    let rows: String = rows.collect();
    format!("| code | level | why | what to do |\n|---|---|---|---|\n{rows}")
}

/// Every kind of finding, for programs.
pub(super) fn table_as_json() -> String {
    let kinds = Kind::ALL.iter().map(|kind| {
        json!({
            "code": kind.code(),
            "level": kind.level().name(),
            "why": kind.why(),
            "correction": kind.correction(),
        })
    });
    let kinds: Vec<_> = kinds.collect();
    format!("{:#}\n", json!(kinds))
}
