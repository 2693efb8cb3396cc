//! What is wrong in the documents of all sources, by source.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;
use std::sync::Arc;

use crate::catalog::build::Refused;
use crate::catalog::build::forms::Place;
use crate::config::findings::Findings;
use crate::config::yaml::YamlDocument;
use crate::problem::Problem;

/// How many problems are told in full; the rest is counted.
const MAX_PROBLEMS: usize = 200;

/// A document and the source it comes from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Site<'a> {
    /// The place of the source among the sources.
    pub(super) source: usize,
    /// Its name.
    pub(super) name: &'a Arc<str>,
    /// The document.
    pub(super) yaml: &'a YamlDocument,
    /// Its place in the source.
    pub(super) document: usize,
    /// Whether it stands in the place of one that is not valid, and denies what that was for.
    pub(super) denies: bool,
}

impl Site<'_> {
    /// `file:line` of `path`.
    pub(super) fn place(&self, path: &str) -> String {
        format!("{}:{}", self.yaml.file(), self.yaml.line(path))
    }
}

/// A place in a document, whose path is written out only where it is told.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spot<'a> {
    /// The document.
    pub(super) site: Site<'a>,
    /// The list: `spec.apiKeys`.
    pub(super) list: &'static str,
    /// The place in the list; none where it is no list.
    pub(super) at: Option<usize>,
    /// What follows: `.digest`.
    pub(super) leaf: &'static str,
}

impl Spot<'_> {
    /// The path.
    pub(super) fn path(&self) -> String {
        match self.at {
            Some(at) => format!("{}[{at}]{}", self.list, self.leaf),
            None => format!("{}{}", self.list, self.leaf),
        }
    }

    /// `file:line`.
    pub(super) fn place(&self) -> String {
        self.site.place(&self.path())
    }
}

/// Values that only one document may have.
#[derive(Debug)]
pub(super) struct Unique<'a, K> {
    seen: HashMap<K, Spot<'a>>,
}

impl<K> Default for Unique<'_, K> {
    fn default() -> Self {
        Self {
            seen: HashMap::new(),
        }
    }
}

impl<'a, K: Eq + Hash> Unique<'a, K> {
    /// Takes `key` for `spot`; reports where another has it. The later source is the one at fault.
    pub(super) fn claim(&mut self, key: K, spot: Spot<'a>, what: &str, report: &mut Report) {
        match self.seen.get(&key) {
            Some(first) => report.wrong(
                spot.site,
                &spot.path(),
                format!("{what} stands already at {}", first.place()),
            ),
            None => {
                self.seen.insert(key, spot);
            }
        }
    }
}

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Report {
    problems: Vec<(Place, Problem)>,
    warnings: Vec<Problem>,
    at_fault: BTreeSet<Place>,
    /// Problems that are not told, by source: how many, and the file of the first.
    more: HashMap<usize, (usize, Arc<str>)>,
    /// Whether documents are missing.
    is_of_some: bool,
}

impl Report {
    /// Something is wrong at `path` of `site`.
    pub(super) fn wrong(&mut self, site: Site<'_>, path: &str, message: impl Into<String>) {
        let place = (site.source, site.document);
        self.at_fault.insert(place);
        if self.problems.len() < MAX_PROBLEMS {
            self.problems
                .push((place, site.yaml.problem(path, message)));
        } else {
            let file = || (0, Arc::clone(site.yaml.file()));
            self.more.entry(site.source).or_insert_with(file).0 += 1;
        }
    }

    /// Nothing found so far, in documents from which others are missing.
    pub(super) fn of_some() -> Self {
        Self {
            is_of_some: true,
            ..Self::default()
        }
    }

    /// What is named at `path` of `site` is nowhere.
    pub(super) fn dangling(&mut self, site: Site<'_>, path: &str, message: impl Into<String>) {
        if !self.is_of_some {
            self.wrong(site, path, message);
        }
    }

    /// Something is dangerous at `path` of `site`.
    pub(super) fn warn(&mut self, site: Site<'_>, path: &str, message: impl Into<String>) {
        if self.warnings.len() < MAX_PROBLEMS {
            self.warnings.push(site.yaml.problem(path, message));
        }
    }

    /// Adds what was found in the document of `site`.
    pub(super) fn add(&mut self, site: Site<'_>, findings: &Findings) {
        for finding in findings.found() {
            self.wrong(site, &finding.path, finding.message.clone());
        }
        for finding in findings.warnings() {
            self.warn(site, &finding.path, finding.message.clone());
        }
    }

    /// The documents with which something is wrong.
    pub(super) fn at_fault(&self) -> impl Iterator<Item = Place> {
        self.at_fault.iter().copied()
    }

    /// What is wrong with the document at `place`, as far as it is told in full.
    pub(super) fn problems_of(&self, place: Place) -> Vec<Problem> {
        let problems = self.problems.iter();
        let own = problems.filter(|(found, _)| *found == place);
        own.map(|(_, problem)| problem.clone()).collect()
    }

    /// The warnings, where nothing is wrong.
    pub(super) fn finish(self) -> Result<Vec<Problem>, Box<Self>> {
        if self.at_fault.is_empty() {
            Ok(self.warnings)
        } else {
            Err(Box::new(self))
        }
    }

    /// Everything that is wrong.
    pub(super) fn into_refused(self) -> Refused {
        let problems = self.problems.into_iter();
        let told = problems.map(|((source, _), problem)| (source, problem));
        let more = self.more.into_iter().map(|(source, (count, file))| {
            let problem = Problem {
                file,
                line: None,
                path: String::new(),
                message: format!("and {count} more problems in this source"),
            };
            (source, problem)
        });
        Refused(told.chain(more).collect())
    }
}
