//! The catalog in files: every `*.yaml` and `*.yml` of a folder, or one file.
//!
//! Folders in the folder are not looked into, and names that begin with a dot are skipped, so that
//! a mounted ConfigMap (`..data`) is read once, through its links. A folder that is missing, or a
//! file without a document, is refused: it never means "no rules".

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::de::DeserializeOwned;

use crate::catalog::source::document::DocumentBody;
use crate::catalog::source::{Document, Invalid, SourceDocuments};
use crate::config::locator::Locator;
use crate::config::reader::Reader;
use crate::config::yaml::YamlDocument;
use crate::problem::{Problem, Problems};
use crate::secret::sha256;

/// The largest file of a catalog, in bytes.
const MAX_FILE_BYTES: usize = 256 * 1024 * 1024;

/// What the files of a source held at one time.
#[derive(Debug)]
pub struct SourceFiles {
    path: String,
    files: Vec<(String, Vec<u8>)>,
    /// By file, what takes the place of its document where that is not valid; nobody mends it.
    instead: HashMap<String, Vec<String>>,
    digest: [u8; 32],
    /// Whether it is no mistake that there is nothing.
    may_be_empty: bool,
}

/// A document that was not read of a file.
#[derive(Debug)]
pub struct SourceText {
    /// What it is called where something is wrong.
    pub name: String,
    /// What it says.
    pub text: String,
    /// What takes its place where it is not valid, the first that is; the last denies what it was for.
    pub instead: Vec<String>,
}

impl SourceFiles {
    /// Reads the files at `path`.
    ///
    /// # Errors
    /// Where there are none, or one cannot be read.
    pub fn read(path: &Path) -> Result<Self, Problems> {
        let name = path.display().to_string();
        let listed = list(path).map_err(|error| {
            let error = if error.kind() == std::io::ErrorKind::NotFound {
                "there is no such file or folder".to_owned()
            } else {
                format!("cannot be read: {error}")
            };
            of_file(&name, error)
        })?;
        let mut reader = Reader::new("");
        let mut files = Vec::new();
        let mut problems = Problems::new();
        for file in listed {
            let name = file.display().to_string();
            match reader.read(&file, MAX_FILE_BYTES) {
                Ok(bytes) => files.push((name, bytes)),
                Err(error) => problems.extend(of_file(&name, error.to_string())),
            }
        }
        problems.into_result(Self::new(name, files))
    }

    /// What is no file: `text`, which is called `name`.
    #[must_use]
    pub fn of_text(name: &str, text: &str) -> Self {
        Self::new(name.to_owned(), vec![(name.to_owned(), text.into())])
    }

    /// What is no file: these documents. There may be none, and none makes the source invalid.
    #[must_use]
    pub fn of_texts(name: &str, texts: Vec<SourceText>) -> Self {
        let mut instead = HashMap::with_capacity(texts.len());
        let mut files = Vec::with_capacity(texts.len());
        for text in texts {
            instead.insert(text.name.clone(), text.instead);
            files.push((text.name, text.text.into_bytes()));
        }
        Self {
            may_be_empty: true,
            instead,
            ..Self::new(name.to_owned(), files)
        }
    }

    fn new(path: String, files: Vec<(String, Vec<u8>)>) -> Self {
        let mut digested = Vec::with_capacity(files.len() * 64);
        for (name, bytes) in &files {
            digested.extend(sha256(name.as_bytes()));
            digested.extend(sha256(bytes));
        }
        Self {
            path,
            files,
            instead: HashMap::new(),
            digest: sha256(&digested),
            may_be_empty: false,
        }
    }

    /// The digest of their names and contents.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        self.digest
    }

    /// The documents in them, as those of the source called `source`.
    ///
    /// # Errors
    /// Where there is no document, and the first structural mistake of each.
    pub fn parse(self, source: &Arc<str>) -> Result<SourceDocuments, Problems> {
        let (documents, problems) = self.parse_each(source);
        problems.into_result(documents)
    }

    /// The documents in them that can be read, and what is wrong with the others.
    #[must_use]
    pub fn parse_each(self, source: &Arc<str>) -> (SourceDocuments, Problems) {
        let mut documents = Vec::new();
        let mut problems = Problems::new();
        let mut replaced = Vec::new();
        for (name, bytes) in self.files {
            if let Some(instead) = self.instead.get(&name) {
                let text = String::from_utf8_lossy(&bytes);
                let (document, problem) = parse_with_instead(&name, &text, instead);
                documents.extend(document);
                replaced.extend(problem);
                continue;
            }
            let Ok(text) = String::from_utf8(bytes) else {
                problems.extend(of_file(&name, "it is no UTF-8 text".to_owned()));
                continue;
            };
            let split = YamlDocument::split(&name, &text);
            if split.is_empty() {
                // it may be a file that is being written: what it declared must not go unseen
                problems.extend(of_file(
                    &name,
                    "there is no catalog document in it; delete the file to drop what it declared"
                        .to_owned(),
                ));
            }
            for yaml in split {
                match parse_document(&yaml) {
                    Ok(body) => documents.push(Document {
                        body,
                        yaml,
                        invalid: Invalid::Refused,
                    }),
                    Err(problem) => problems.push(problem),
                }
            }
        }
        if documents.is_empty() && problems.is_empty() && !self.may_be_empty {
            problems = of_file(
                &self.path,
                "there is no catalog document in it: it needs a *.yaml file with one at least"
                    .to_owned(),
            );
        }
        let documents = SourceDocuments {
            source: Arc::clone(source),
            digest: self.digest,
            documents,
            replaced,
        };
        (documents, problems)
    }
}

/// Reads the document in `text`; where it cannot be read, the last of `instead` is the document.
fn parse_with_instead(
    name: &str,
    text: &str,
    instead: &[String],
) -> (Option<Document>, Option<Problem>) {
    let parse = |text: &str| {
        let yaml = YamlDocument::whole(name, text);
        let body = parse_document(&yaml)?;
        Ok((body, yaml))
    };
    let parse_last = || parse(instead.last()?).ok();
    match parse(text) {
        Ok((body, yaml)) => {
            let forms = instead.iter().filter_map(|text| parse(text).ok());
            let invalid = Invalid::Instead(forms.map(|(body, _)| body).collect());
            let document = Document {
                body,
                yaml,
                invalid,
            };
            (Some(document), None)
        }
        Err(problem) => {
            let document = parse_last().map(|(body, yaml)| Document {
                invalid: Invalid::Instead(Vec::new()),
                body,
                yaml,
            });
            (document, Some(problem))
        }
    }
}

/// Reads one document: first its kind, then what that kind has.
///
/// # Errors
/// The first structural mistake in it.
pub fn parse_document(yaml: &YamlDocument) -> Result<DocumentBody, Problem> {
    fn boxed<T: DeserializeOwned>(yaml: &YamlDocument) -> Result<Box<T>, Problem> {
        yaml.parse().map(Box::new)
    }
    const KINDS: &str = "known are Api, Application, Subscription, Plan, Block";
    match Locator::find_scalar(yaml.text(), "kind").as_deref() {
        Some("Api") => boxed(yaml).map(DocumentBody::Api),
        Some("Application") => boxed(yaml).map(DocumentBody::Application),
        Some("Subscription") => boxed(yaml).map(DocumentBody::Subscription),
        Some("Plan") => boxed(yaml).map(DocumentBody::Plan),
        Some("Block") => boxed(yaml).map(DocumentBody::Block),
        Some(kind) => Err(yaml.problem("kind", format!("unknown kind `{kind}`; {KINDS}"))),
        // a document that is no YAML at all has no kind either: say that first
        None => Err(yaml
            .parse::<serde::de::IgnoredAny>()
            .err()
            .unwrap_or_else(|| yaml.problem("", format!("`kind` is missing; {KINDS}")))),
    }
}

fn list(path: &Path) -> std::io::Result<Vec<PathBuf>> {
    if !std::fs::metadata(path)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path)? {
        let file = entry?.path();
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let is_yaml = [".yaml", ".yml"].iter().any(|end| name.ends_with(end));
        // a folder is not looked into; a link to nothing is a mistake that reading will show
        if is_yaml && !name.starts_with('.') && !file.is_dir() {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}

fn of_file(file: &str, message: String) -> Problems {
    let mut problems = Problems::new();
    problems.push(Problem {
        file: file.into(),
        line: None,
        path: String::new(),
        message,
    });
    problems
}
