//! YAML documents of a file: splitting, strict parsing, and problems with file and line.
//!
//! A message never quotes the text around a mistake, and no value of it either: what stands there
//! may be a secret in the wrong place.

use std::ops::Range;
use std::sync::Arc;

use serde::de::{DeserializeOwned, DeserializeSeed};
use serde_saphyr::{Error, SnippetMode, UserMessageFormatter};

use crate::config::findings::{Finding, Findings};
use crate::config::locator::Locator;
use crate::problem::{Problem, Problems};

/// One document of a file.
#[derive(Debug, Clone)]
pub struct YamlDocument {
    file: Arc<str>,
    whole: Arc<str>,
    range: Range<usize>,
    lines_before: u32,
}

impl YamlDocument {
    /// The documents of `text`, which lines `---` separate; those without content are left out.
    #[must_use]
    pub fn split(file: &str, text: &str) -> Vec<Self> {
        let (file, whole): (Arc<str>, Arc<str>) = (file.into(), text.into());
        let mut documents = Vec::new();
        let (mut start, mut lines_before) = (0, 0);
        let (mut at, mut line) = (0, 0);
        let mut add = |range: Range<usize>, lines_before| {
            if text.get(range.clone()).is_some_and(has_content) {
                documents.push(Self {
                    file: Arc::clone(&file),
                    whole: Arc::clone(&whole),
                    range,
                    lines_before,
                });
            }
        };
        for piece in text.split_inclusive('\n') {
            if is_separator(piece) {
                add(start..at, lines_before);
                (start, lines_before) = (at, line);
            }
            at += piece.len();
            line += 1;
        }
        add(start..at, lines_before);
        documents
    }

    /// The whole of `text` as one document.
    #[must_use]
    pub fn whole(file: &str, text: &str) -> Self {
        Self {
            file: file.into(),
            whole: text.into(),
            range: 0..text.len(),
            lines_before: 0,
        }
    }

    /// The file, as it was named to us.
    #[must_use]
    pub fn file(&self) -> &Arc<str> {
        &self.file
    }

    /// The text.
    #[must_use]
    pub fn text(&self) -> &str {
        self.whole.get(self.range.clone()).unwrap_or_default()
    }

    /// The line in the file where the content begins, from 1.
    #[must_use]
    pub fn first_line(&self) -> u32 {
        let blank = self.text().lines().take_while(|line| !is_content(line));
        self.line_in_file(u32::try_from(blank.count()).unwrap_or(u32::MAX - 1) + 1)
    }

    /// The line in the file of `path`.
    #[must_use]
    pub fn line(&self, path: &str) -> u32 {
        self.line_in_file(Locator::new(self.text()).line(path))
    }

    /// A problem at `path`.
    #[must_use]
    pub fn problem(&self, path: &str, message: impl Into<String>) -> Problem {
        Problem {
            file: Arc::clone(&self.file),
            line: Some(self.line(path)),
            path: path.to_owned(),
            message: message.into(),
        }
    }

    /// The problems that were found.
    #[must_use]
    pub fn problems(&self, findings: &Findings) -> Problems {
        self.located(findings.found())
    }

    /// `findings`, with file and line.
    #[must_use]
    pub fn located(&self, findings: &[Finding]) -> Problems {
        let mut problems = Problems::new();
        if findings.is_empty() {
            return problems;
        }
        let locator = Locator::new(self.text());
        for finding in findings {
            problems.push(Problem {
                file: Arc::clone(&self.file),
                line: Some(self.line_in_file(locator.line(&finding.path))),
                path: finding.path.clone(),
                message: finding.message.clone(),
            });
        }
        problems
    }

    /// Reads a `T`.
    ///
    /// # Errors
    /// The first thing in it that does not fit.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        serde_saphyr::from_str_with_options(self.text(), options())
            .map_err(|error| self.problem_of(&error))
    }

    /// Reads what `seed` makes of it.
    ///
    /// # Errors
    /// The first thing in it that does not fit.
    pub fn parse_with<S: for<'de> DeserializeSeed<'de, Value = T>, T>(
        &self,
        seed: S,
    ) -> Result<T, Problem> {
        serde_saphyr::with_deserializer_from_str_with_options(self.text(), options(), |read| {
            seed.deserialize(read)
        })
        .map_err(|error| self.problem_of(&error))
    }

    fn problem_of(&self, error: &Error) -> Problem {
        let options = serde_saphyr::render_options! {
            formatter: &UserMessageFormatter,
            snippets: SnippetMode::Off,
        };
        let message = without_values(&error.render_with_options(options));
        // what is missing is told at the first key that is there
        let is_missing = message.starts_with("missing field");
        let number = |at: u64| u32::try_from(at).unwrap_or(u32::MAX);
        let place = error
            .location()
            .map(|location| (number(location.line()), number(location.column())));
        let line = place.map(|(line, _)| line);
        let path = place.map(|(line, column)| {
            let locator = Locator::new(self.text());
            match locator.place_at(line, column) {
                Some(place) if is_missing && place.begins_at(line, column) => {
                    place.parent().to_owned()
                }
                place => place.map_or_else(String::new, |place| place.path.to_string()),
            }
        });
        Problem {
            file: Arc::clone(&self.file),
            line: Some(line.map_or_else(|| self.first_line(), |line| self.line_in_file(line))),
            path: path.unwrap_or_default(),
            message,
        }
    }

    fn line_in_file(&self, line: u32) -> u32 {
        self.lines_before.saturating_add(line)
    }
}

fn options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        strict_booleans: true,
        with_snippet: false,
    }
}

fn is_separator(line: &str) -> bool {
    line.strip_prefix("---")
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace))
}

fn is_content(line: &str) -> bool {
    let line = line.strip_prefix('\u{feff}').unwrap_or(line);
    let line = if is_separator(line) {
        line.strip_prefix("---").unwrap_or(line)
    } else {
        line
    };
    let line = line.trim();
    !(line.is_empty() || line.starts_with('#') || line == "..." || line.starts_with("%YAML"))
}

fn has_content(text: &str) -> bool {
    text.lines().any(is_content)
}

/// The message without its position and without the values that serde quotes.
fn without_values(message: &str) -> String {
    // of an alias, both places are told
    let end = message
        .find(" (defined at line ")
        .or_else(|| message.rfind(" at line "));
    let message = message.get(..end.unwrap_or(message.len()));
    let mut clean = message.unwrap_or_default().to_owned();
    for (theirs, ours) in [
        ("expected sequence start", "a list is expected"),
        ("expected mapping start", "a mapping is expected"),
        ("expected string scalar", "a text is expected"),
    ] {
        if clean == theirs {
            return ours.to_owned();
        }
    }
    for kind in [
        "unknown variant `",
        "string \"",
        "character `",
        "integer `",
        "floating point `",
        "boolean `",
    ] {
        let close = if kind.ends_with('"') {
            "\", expected"
        } else {
            "`, expected"
        };
        if let Some(at) = clean.find(kind)
            && let Some(length) = clean.get(at..).and_then(|rest| rest.rfind(close))
        {
            let name = kind.trim_end_matches(['"', '`', ' ']);
            clean.replace_range(at..at + length + 1, name);
        }
    }
    clean
}

#[cfg(test)]
mod tests;
