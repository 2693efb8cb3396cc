//! How the parts of a revision stand: what is published, what was refused, since when.

use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::catalog::sync::revision::Candidate;
use crate::catalog::sync::status::Failure;
use crate::problem::{Problem, Problems};
use crate::snapshot::Snapshot;

/// How a part of the revision stands.
#[derive(Debug, Clone)]
pub(super) struct PartState {
    pub(super) refused: bool,
    pub(super) last_success: Timestamp,
    pub(super) last_failure: Option<Failure>,
}

/// The published revision.
#[derive(Debug)]
pub(super) struct Published {
    pub(super) revision: String,
    pub(super) at: Timestamp,
    pub(super) counts: (usize, usize, usize),
    pub(super) warnings: Problems,
    /// What is wrong with documents in whose place others deny.
    pub(super) replaced: Problems,
}

/// What has been logged of a revision.
#[derive(Debug, Default)]
pub(super) struct Known {
    warnings: Problems,
    replaced: Problems,
}

/// What was refused, by part.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    pub(super) configuration: Problems,
    pub(super) sources: Vec<Problems>,
}

impl Published {
    /// Prepares `candidate` for publishing.
    ///
    /// # Errors
    /// What is wrong with it, each with the place of its source.
    pub(super) fn prepare(
        candidate: &Candidate,
    ) -> Result<(Self, Snapshot), Vec<(usize, Problem)>> {
        let built = candidate.build()?;
        let catalog = built.catalog;
        let revision = candidate.revision();
        let published = Self {
            revision: revision.as_str().to_owned(),
            at: Timestamp::now(),
            counts: (
                catalog.apis().len(),
                catalog.applications().len(),
                catalog.plans().len(),
            ),
            warnings: built.warnings.into_iter().collect(),
            replaced: built.replaced.into_iter().collect(),
        };
        let configured = &candidate.configured.configured;
        Ok((published, Snapshot::new(revision, catalog, configured)))
    }

    /// Logs what is dangerous or wrong and was not so `before`.
    pub(super) fn log(&self, before: &Known) {
        for warning in new(&self.warnings, &before.warnings) {
            tracing::warn!(warning = %warning, "catalog");
        }
        for problem in new(&self.replaced, &before.replaced) {
            tracing::error!(problem = %problem, "not valid any more: what it is for is denied");
        }
    }

    /// What has been logged.
    pub(super) fn known(&self) -> Known {
        Known {
            warnings: self.warnings.clone(),
            replaced: self.replaced.clone(),
        }
    }
}

fn new<'a>(found: &'a Problems, before: &Problems) -> impl Iterator<Item = &'a Problem> {
    let before: BTreeSet<&Problem> = before.iter().collect();
    found
        .iter()
        .filter(move |problem| !before.contains(problem))
        .collect::<Vec<_>>()
        .into_iter()
}

impl PartState {
    pub(super) fn good() -> Self {
        Self {
            refused: false,
            last_success: Timestamp::now(),
            last_failure: None,
        }
    }

    pub(super) fn record(&mut self, name: &str, problems: &Problems) {
        if problems.is_empty() {
            self.refused = false;
            self.last_success = Timestamp::now();
            return;
        }
        let known = self.last_failure.as_ref().map(|failure| &failure.problems);
        if !self.refused || known != Some(problems) {
            tracing::error!(part = name, problems = %problems, "refused, the last good form is kept");
        }
        self.refused = true;
        self.last_failure = Some(Failure {
            at: Timestamp::now(),
            problems: problems.clone(),
        });
    }
}

impl Refusals {
    pub(super) fn put(&mut self, at: usize, problems: Problems) {
        if let Some(refused) = self.sources.get_mut(at) {
            *refused = problems;
        }
    }

    /// Forgets what was refused of the sources that are new in `candidate`.
    pub(super) fn forget(&mut self, candidate: &Candidate) {
        for (refused, (_, is_new)) in self.sources.iter_mut().zip(&candidate.sources) {
            if *is_new {
                *refused = Problems::new();
            }
        }
    }

    pub(super) fn into_problems(self) -> Problems {
        let mut problems = self.configuration;
        for refused in self.sources {
            problems.extend(refused);
        }
        problems
    }
}
