//! What is known of the published revision and of what was refused.

use jiff::Timestamp;
use serde::Serialize;

use crate::problem::Problems;

/// The published revision, and how each part of it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CatalogStatus {
    /// The digest of the published revision.
    pub revision: String,
    /// When it was published.
    pub loaded_at: Timestamp,
    /// How many Apis it has.
    pub apis: usize,
    /// How many applications it has.
    pub applications: usize,
    /// How many plans it has.
    pub plans: usize,
    /// Each source, in the order of the configuration.
    pub sources: Vec<SourceStatus>,
    /// The configuration, whose authenticators belong to the revision.
    pub configuration: ConfigurationStatus,
    /// The sections of the configuration that changed since the start: they need a restart.
    pub restart_needed: Vec<&'static str>,
    /// What is wrong with documents that were good when they were kept, such as registered
    /// endpoints: what they are for is denied.
    pub replaced: Problems,
}

impl CatalogStatus {
    /// What is wrong with what is refused or replaced now: with each source, and with the
    /// configuration.
    #[must_use]
    pub fn problems(&self) -> Problems {
        let parts = self
            .sources
            .iter()
            .map(|source| (source.refused, &source.last_failure));
        let configuration = (self.configuration.refused, &self.configuration.last_failure);
        let mut problems = self.replaced.clone();
        for (refused, failure) in parts.chain([configuration]) {
            if let Some(failure) = failure.as_ref().filter(|_| refused) {
                problems.extend(failure.problems.clone());
            }
        }
        problems
    }
}

/// How a source stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceStatus {
    /// Its name.
    pub name: String,
    /// The digest of the documents in force.
    pub digest: String,
    /// How many they are.
    pub documents: usize,
    /// Whether what it holds now is refused, and older documents are in force.
    pub refused: bool,
    /// When what it holds was last found good.
    pub last_success: Timestamp,
    /// When it was last refused, and why.
    pub last_failure: Option<Failure>,
}

/// How the configuration stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ConfigurationStatus {
    /// The digest of the authenticators in force and of the files that they read.
    pub digest: String,
    /// Whether what it holds now is refused, and older authenticators are in force.
    pub refused: bool,
    /// When what it holds was last found good.
    pub last_success: Timestamp,
    /// When it was last refused, and why.
    pub last_failure: Option<Failure>,
}

/// A refusal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// When.
    pub at: Timestamp,
    /// Why.
    pub problems: Problems,
}

/// What came of looking at everything again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReloadOutcome {
    /// Whether a new revision was published.
    pub published: bool,
    /// The revision that is in force.
    pub revision: String,
    /// What was refused.
    pub problems: Problems,
    /// The sections of the configuration that need a restart.
    pub restart_needed: Vec<&'static str>,
}
