//! Reads files and folders of manifests, and the documents that ConfigMaps hold.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::cli::doctor::located::Located;
use crate::config::yaml::YamlDocument;
use crate::problem::{Problem, Problems};

/// The largest file, in bytes.
const MAX_BYTES: u64 = 16 * 1024 * 1024;
/// How deep folders are looked into.
const MAX_DEPTH: usize = 32;

/// What a document is by where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// A document of a file.
    Manifest,
    /// The mesh config, in a ConfigMap or named with `--mesh`.
    Mesh,
}

/// One document.
#[derive(Debug)]
pub(super) struct Source {
    document: YamlDocument,
    place: Place,
    /// What it says.
    pub(super) value: Value,
    /// What it is by where it stands.
    pub(super) role: Role,
}

/// Where the lines of a document are.
#[derive(Debug, Clone, Copy)]
enum Place {
    /// In the file, as they are.
    File,
    /// In a text of the file that begins after this line.
    After(u32),
    /// All of them at this line.
    At(u32),
}

/// All documents.
#[derive(Debug, Default)]
pub(super) struct Sources {
    /// Each.
    pub(super) all: Vec<Source>,
    /// How many files were read.
    pub(super) files: usize,
}

impl Source {
    /// The file, as it was named to us.
    pub(super) fn file(&self) -> &str {
        self.document.file()
    }

    /// The line of `path` in the file.
    pub(super) fn line(&self, path: &str) -> u32 {
        match self.place {
            Place::File => self.document.line(path),
            Place::After(line) => line.saturating_add(self.document.line(path)),
            Place::At(line) => line,
        }
    }

    /// The whole.
    pub(super) fn root(&self) -> Located<'_> {
        Located {
            source: self,
            path: String::new(),
            value: &self.value,
        }
    }

    /// The objects in it: itself, or those of a List.
    pub(super) fn objects(&self) -> Vec<Located<'_>> {
        let root = self.root();
        match root.text_at("kind") {
            Some(kind) if kind.ends_with("List") => root.items_at("items"),
            Some(_) | None => vec![root],
        }
    }
}

impl Sources {
    /// Reads everything.
    ///
    /// # Errors
    /// Whatever cannot be read, and where there is nothing.
    pub(super) fn read(paths: &[PathBuf], mesh: Option<&Path>) -> Result<Self, Problems> {
        let (mut sources, mut problems) = (Self::default(), Problems::new());
        for path in paths {
            sources.add(path, 0, &mut problems);
        }
        if sources.files == 0 && problems.is_empty() {
            problems.push(problem(
                &paths.first().cloned().unwrap_or_default(),
                "there are no files of manifests (.yaml, .yml, .json) in it",
            ));
        }
        if let Some(file) = mesh {
            sources.add_file(file, Role::Mesh, &mut problems);
        }
        problems.into_result(sources)
    }

    fn add(&mut self, path: &Path, depth: usize, problems: &mut Problems) {
        if !path.is_dir() {
            self.add_file(path, Role::Manifest, problems);
            return;
        }
        if path.join("Chart.yaml").exists() {
            problems.push(problem(
                path,
                "it is a Helm chart: give the output of `helm template` instead",
            ));
            return;
        }
        if depth == MAX_DEPTH {
            problems.push(problem(path, "the folders are nested too deeply"));
            return;
        }
        let entries = std::fs::read_dir(path)
            .and_then(|entries| entries.collect::<Result<Vec<_>, _>>())
            .map_err(|error| problems.push(problem(path, &format!("cannot be read: {error}"))));
        let mut found: Vec<PathBuf> = entries
            .unwrap_or_default()
            .into_iter()
            .filter(|entry| !entry.file_name().to_string_lossy().starts_with('.'))
            .map(|entry| entry.path())
            .collect();
        found.sort();
        for path in found {
            let extension = path.extension().and_then(|extension| extension.to_str());
            if path.is_dir() || matches!(extension, Some("yaml" | "yml" | "json")) {
                self.add(&path, depth + 1, problems);
            }
        }
    }

    fn add_file(&mut self, path: &Path, role: Role, problems: &mut Problems) {
        let size = std::fs::metadata(path).map(|found| found.len());
        if size.is_ok_and(|size| size > MAX_BYTES) {
            problems.push(problem(path, "it is larger than 16 MiB"));
            return;
        }
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) => {
                problems.push(problem(path, &format!("cannot be read: {error}")));
                return;
            }
        };
        self.files += 1;
        for document in YamlDocument::split(&path.display().to_string(), &text) {
            match document.parse() {
                Ok(value) => self.push(document, Place::File, value, role),
                Err(problem) => problems.push(problem),
            }
        }
        self.add_embedded(&text, problems);
    }

    fn push(&mut self, document: YamlDocument, place: Place, value: Value, role: Role) {
        self.all.push(Source {
            document,
            place,
            value,
            role,
        });
    }

    /// Adds the documents that the ConfigMaps of the file that was read last hold.
    fn add_embedded(&mut self, file_text: &str, problems: &mut Problems) {
        let name = self.all.last().map(|last| last.document.file().clone());
        let mut found = Vec::new();
        for source in self.all.iter().rev() {
            if Some(source.document.file()) != name.as_ref() {
                break;
            }
            for object in source.objects() {
                if object.text_at("kind") == Some("ConfigMap")
                    && let Some(data) = object.get("data")
                {
                    for (key, node) in data.entries() {
                        let Some(text) = node.value.as_str() else {
                            continue;
                        };
                        let Some(role) = role_of(key, text) else {
                            continue;
                        };
                        found.push((place_of(file_text, node.line()), text.to_owned(), role));
                    }
                }
            }
        }
        let Some(name) = name else { return };
        for (place, text, role) in found {
            for document in YamlDocument::split(&name, &text) {
                match document.parse() {
                    Ok(value) => self.push(document, place, value, role),
                    Err(mut problem) => {
                        problem.line = problem.line.map(|line| match place {
                            Place::File => line,
                            Place::After(before) => before.saturating_add(line),
                            Place::At(line) => line,
                        });
                        problems.push(problem);
                    }
                }
            }
        }
    }
}

/// What the text of a ConfigMap's key is, where it concerns us.
fn role_of(key: &str, text: &str) -> Option<Role> {
    let is_ours = || {
        text.lines().any(|line| {
            [
                "listeners:",
                "authenticators:",
                "apiVersion: portcullis.dev/",
            ]
            .iter()
            .any(|start| line.starts_with(start))
        })
    };
    match key {
        "mesh" => Some(Role::Mesh),
        _ if (key.ends_with(".yaml") || key.ends_with(".yml")) && is_ours() => Some(Role::Manifest),
        _ => None,
    }
}

/// Where the lines of a text are whose key stands at `line`.
fn place_of(text: &str, line: u32) -> Place {
    let at = usize::try_from(line)
        .unwrap_or(usize::MAX)
        .saturating_sub(1);
    let is_block = text
        .lines()
        .nth(at)
        .is_some_and(|line| line.contains(": |"));
    if is_block {
        Place::After(line)
    } else {
        Place::At(line)
    }
}

fn problem(path: &Path, message: &str) -> Problem {
    Problem {
        file: path.display().to_string().into(),
        line: None,
        path: String::new(),
        message: message.to_owned(),
    }
}
