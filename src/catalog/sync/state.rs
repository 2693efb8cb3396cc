//! What is in force, and the step to the next revision.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use crate::catalog::admission::{Admission, Inadmissible};
use crate::catalog::build::{self, Refused};
use crate::catalog::source::SourceDocuments;
use crate::catalog::source::file::SourceFiles;
use crate::catalog::source::store::StoreSource;
use crate::catalog::sync::BuildConfigured;
use crate::catalog::sync::parts::{Known, PartState, Published, Refusals};
use crate::catalog::sync::revision::{Candidate, ConfiguredSet, Place, read_digest};
use crate::catalog::sync::status::{
    CatalogStatus, ConfigurationStatus, ReloadOutcome, SourceStatus,
};
use crate::catalog::sync::watch::folder_of;
use crate::config::load::{ConfigOrigin, Loaded};
use crate::config::sources::SourceType;
use crate::config::{Config, RELOADED_SECTIONS};
use crate::problem::Problems;
use crate::secret::hexadecimal;
use crate::snapshot::Snapshot;
use crate::store::endpoint::Endpoint;

/// What is in force.
pub(super) struct State {
    /// As the process started: the sections that do not reload are compared with these.
    started: Loaded,
    build_configured: BuildConfigured,
    configured: ConfiguredSet,
    sources: Vec<SourceState>,
    /// How the configuration stands.
    configuration: PartState,
    restart_needed: Vec<&'static str>,
    published: Published,
}

struct SourceState {
    place: Place,
    good: Arc<SourceDocuments>,
    state: PartState,
}

/// What everything was at one time, without what it said. What cannot be read is none.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Look {
    sources: Vec<Option<[u8; 32]>>,
    configuration: BTreeMap<PathBuf, Option<[u8; 32]>>,
}

impl State {
    /// Reads everything; anything wrong is an error.
    pub(super) fn load_first(
        loaded: Loaded,
        build_configured: BuildConfigured,
        store: Option<StoreSource>,
    ) -> Result<(Self, Snapshot), Problems> {
        let mut problems = Problems::new();
        let configured = ConfiguredSet::build(&loaded, &loaded.config, &build_configured)
            .map_err(|found| problems.extend(found));
        let mut sources = Vec::new();
        let mut unread = Problems::new();
        for (name, place) in places(&loaded, store.as_ref()) {
            match place.read().map(|files| files.parse_each(&name)) {
                Ok((documents, found)) => {
                    unread.extend(found);
                    sources.push((place, Arc::new(documents)));
                }
                Err(found) => unread.extend(found),
            }
        }
        let configured = match configured {
            Ok(configured) if unread.is_empty() => configured,
            _ => {
                let documents: Vec<_> = sources.iter().map(|(_, read)| &**read).collect();
                let found = problems_of_catalog(&documents, unread, &loaded);
                problems.extend(found);
                return Err(problems);
            }
        };
        let candidate = Candidate {
            sources: sources
                .iter()
                .map(|(_, documents)| (Arc::clone(documents), true))
                .collect(),
            configured: configured.clone(),
            has_new_configured: true,
        };
        let (published, snapshot) = Published::prepare(&candidate).map_err(|found| {
            found
                .into_iter()
                .map(|(_, problem)| problem)
                .collect::<Problems>()
        })?;
        published.log(&Known::default());
        let sources = sources.into_iter().map(|(place, good)| SourceState {
            place,
            good,
            state: PartState::good(),
        });
        let state = Self {
            started: loaded,
            build_configured,
            configured,
            sources: sources.collect(),
            configuration: PartState::good(),
            restart_needed: Vec::new(),
            published,
        };
        Ok((state, snapshot))
    }

    /// Looks at everything again; gives the snapshot to publish where there is a new one.
    /// Nothing where the files are not as they were at `look`: they are being written.
    pub(super) fn reload(&mut self, look: &Look) -> Option<(ReloadOutcome, Option<Snapshot>)> {
        let read: Vec<_> = self
            .sources
            .iter()
            .map(|source| source.place.read())
            .collect();
        if self.look_of(&read) != *look {
            return None;
        }
        let mut refusals = Refusals {
            sources: vec![Problems::new(); self.sources.len()],
            ..Refusals::default()
        };
        let candidate = self.candidate(read, &mut refusals);
        if self.configuration_files() != look.configuration {
            return None;
        }
        let known = self.published.known();
        let snapshot = if candidate.is_new() {
            self.settle(candidate, &mut refusals)
        } else {
            None
        };
        self.record(&refusals);
        let problems = refusals.into_problems();
        if snapshot.is_some() {
            tracing::info!(
                revision = self.published.revision,
                apis = self.published.counts.0,
                applications = self.published.counts.1,
                refused = problems.iter().count(),
                "catalog reloaded"
            );
            self.published.log(&known);
        }
        let outcome = ReloadOutcome {
            published: snapshot.is_some(),
            revision: self.published.revision.clone(),
            problems,
            restart_needed: self.restart_needed.clone(),
        };
        Some((outcome, snapshot))
    }

    /// What everything is now.
    pub(super) fn look(&self) -> Look {
        let read: Vec<_> = self
            .sources
            .iter()
            .map(|source| source.place.read())
            .collect();
        self.look_of(&read)
    }

    fn look_of(&self, read: &[Result<SourceFiles, Problems>]) -> Look {
        let digests = read.iter();
        Look {
            sources: digests
                .map(|read| read.as_ref().ok().map(SourceFiles::digest))
                .collect(),
            configuration: self.configuration_files(),
        }
    }

    /// The configuration and the files that it names, as they are now.
    fn configuration_files(&self) -> BTreeMap<PathBuf, Option<[u8; 32]>> {
        let own = match &self.started.origin {
            ConfigOrigin::File { path, .. } => Some(path),
            ConfigOrigin::CommandLine { .. } => None,
        };
        own.into_iter()
            .chain(self.configured.files.keys())
            .map(|path| (path.clone(), read_digest(path)))
            .collect()
    }

    /// The configuration of what is in force.
    pub(super) fn config(&self) -> Arc<Config> {
        Arc::clone(&self.configured.config)
    }

    /// What is allowed in the catalog that is in force, but should be seen.
    pub(super) fn warnings(&self) -> Problems {
        self.published.warnings.clone()
    }

    /// What there is now, with the last good form of what cannot be read.
    fn candidate(
        &mut self,
        read: Vec<Result<SourceFiles, Problems>>,
        refusals: &mut Refusals,
    ) -> Candidate {
        let configured = self.read_configured().unwrap_or_else(|problems| {
            refusals.configuration = problems;
            None
        });
        let sources = self
            .sources
            .iter()
            .zip(read)
            .zip(&mut refusals.sources)
            .map(|((source, read), refused)| {
                let next = read.and_then(|files| {
                    if files.digest() == source.good.digest {
                        Ok(None)
                    } else {
                        files.parse(&source.good.source).map(Some)
                    }
                });
                match next {
                    Ok(Some(documents)) => (Arc::new(documents), true),
                    Ok(None) => (Arc::clone(&source.good), false),
                    Err(problems) => {
                        *refused = problems;
                        (Arc::clone(&source.good), false)
                    }
                }
            });
        Candidate {
            sources: sources.collect(),
            has_new_configured: configured.is_some(),
            configured: configured.unwrap_or_else(|| self.configured.clone()),
        }
    }

    /// What the configuration builds, where it or its files changed.
    fn read_configured(&mut self) -> Result<Option<ConfiguredSet>, Problems> {
        let loaded = self.started.load_again()?;
        let mut changed = self.started.changed_sections(&loaded);
        changed.retain(|section| !RELOADED_SECTIONS.contains(section));
        if changed != self.restart_needed && !changed.is_empty() {
            tracing::warn!(
                sections = changed.join(", "),
                "these sections of the configuration changed and need a restart"
            );
        }
        self.restart_needed = changed;
        if self.configured.is_of(&loaded) {
            return Ok(None);
        }
        ConfiguredSet::build(&loaded, &self.started.config, &self.build_configured).map(Some)
    }

    /// Builds what holds of `candidate`: what is wrong goes back to its last good form, one part
    /// after the other, in the order of the configuration.
    fn settle(&mut self, candidate: Candidate, refusals: &mut Refusals) -> Option<Snapshot> {
        let mut start = candidate;
        let mut current = start.clone();
        while current.is_new() {
            let found = match Published::prepare(&current) {
                Ok((published, snapshot)) => {
                    self.take(current, published);
                    return Some(snapshot);
                }
                Err(found) => found,
            };
            let at_fault = current
                .sources
                .iter()
                .enumerate()
                .position(|(at, (_, is_new))| {
                    *is_new && found.iter().any(|(source, _)| *source == at)
                });
            if let Some(at) = at_fault {
                let own = found.into_iter().filter(|(source, _)| *source == at);
                refusals.put(at, own.map(|(_, problem)| problem).collect());
                self.revert(&mut current, at);
            } else if current.has_new_configured {
                // what was in force does not fit the new configuration: it is refused, and the
                // sources are judged again without them
                refusals.configuration = found.into_iter().map(|(_, problem)| problem).collect();
                start.configured = self.configured.clone();
                start.has_new_configured = false;
                refusals.forget(&start);
                current = start.clone();
            } else {
                // a new document broke one that was in force, in another source
                let problems: Problems = found.into_iter().map(|(_, problem)| problem).collect();
                for at in 0..current.sources.len() {
                    if current.sources.get(at).is_some_and(|(_, is_new)| *is_new) {
                        refusals.put(at, problems.clone());
                        self.revert(&mut current, at);
                    }
                }
            }
        }
        None
    }

    fn revert(&self, candidate: &mut Candidate, at: usize) {
        if let (Some(entry), Some(source)) = (candidate.sources.get_mut(at), self.sources.get(at)) {
            *entry = (Arc::clone(&source.good), false);
        }
    }

    fn take(&mut self, candidate: Candidate, published: Published) {
        self.published = published;
        self.configured = candidate.configured;
        for (source, (documents, _)) in self.sources.iter_mut().zip(candidate.sources) {
            source.good = documents;
        }
    }

    fn record(&mut self, refusals: &Refusals) {
        self.configuration
            .record("configuration", &refusals.configuration);
        for (source, problems) in self.sources.iter_mut().zip(&refusals.sources) {
            source.state.record(&source.good.source, problems);
        }
    }

    /// What is known.
    pub(super) fn status(&self) -> CatalogStatus {
        let (apis, applications, plans) = self.published.counts;
        let sources = self.sources.iter().map(|source| SourceStatus {
            name: source.good.source.to_string(),
            digest: hexadecimal(&source.good.digest),
            documents: source.good.documents.len(),
            refused: source.state.refused,
            last_success: source.state.last_success,
            last_failure: source.state.last_failure.clone(),
        });
        CatalogStatus {
            revision: self.published.revision.clone(),
            loaded_at: self.published.at,
            apis,
            applications,
            plans,
            sources: sources.collect(),
            configuration: ConfigurationStatus {
                digest: hexadecimal(&self.configured.digest),
                refused: self.configuration.refused,
                last_success: self.configuration.last_success,
                last_failure: self.configuration.last_failure.clone(),
            },
            restart_needed: self.restart_needed.clone(),
            replaced: self.published.replaced.clone(),
        }
    }

    /// Judges `new` beside the endpoints that are `stored`, with everything else that is in force.
    pub(super) fn admit(&self, stored: &[Endpoint], new: &Endpoint) -> Result<(), Inadmissible> {
        let found = self.sources.iter().enumerate();
        let found = found.filter_map(|(at, source)| match &source.place {
            Place::Store(store) => Some((at, source, store)),
            Place::Files(_) | Place::Memory(_) => None,
        });
        let Some((at, source, store)) = found.into_iter().next() else {
            return Ok(());
        };
        let known = self.configured.config.known();
        let others = |places: Range<usize>| {
            let sources = self.sources.get(places).unwrap_or_default();
            sources.iter().map(|source| &*source.good).collect()
        };
        let admission = Admission {
            source: &source.good.source,
            rule: &store.rule,
            known: &known,
            before: others(0..at),
            after: others(at + 1..self.sources.len()),
            replaced: &self.published.replaced,
        };
        admission.admit(stored, new)
    }

    /// The folders in which a change may concern us.
    pub(super) fn watched_places(&self) -> BTreeSet<PathBuf> {
        let mut places = BTreeSet::new();
        if let ConfigOrigin::File { path, .. } = &self.started.origin {
            places.insert(folder_of(path));
        }
        places.extend(self.configured.files.keys().map(|path| folder_of(path)));
        places.extend(
            self.sources
                .iter()
                .flat_map(|source| source.place.watched()),
        );
        places
    }
}

/// The name and place of each source.
fn places(loaded: &Loaded, store: Option<&StoreSource>) -> Vec<(Arc<str>, Place)> {
    let sources = loaded.config.catalog.sources.iter().map(|source| {
        let place = match (&loaded.origin, source.kind, store) {
            (ConfigOrigin::CommandLine { catalog }, _, _) => Place::Memory(catalog.clone()),
            (ConfigOrigin::File { .. }, SourceType::Store, Some(store)) => {
                Place::Store(store.clone())
            }
            // without a store, a source of that type is refused by the configuration
            (ConfigOrigin::File { .. }, SourceType::File | SourceType::Store, _) => {
                Place::Files(loaded.base().join(&source.path))
            }
        };
        (source.name.as_str().into(), place)
    });
    sources.collect()
}

/// What is wrong with the catalog, of whose sources these documents were read and `unread` was not.
fn problems_of_catalog(
    documents: &[&SourceDocuments],
    unread: Problems,
    loaded: &Loaded,
) -> Problems {
    let known = loaded.config.known();
    let found = if unread.is_empty() {
        let built = build::build(documents, &known);
        built.err().map_or_else(Vec::new, |Refused(found)| found)
    } else {
        build::problems_of_some(documents, &known)
    };
    let mut problems = unread;
    problems.extend(found.into_iter().map(|(_, problem)| problem).collect());
    problems
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State")
            .field("published", &self.published)
            .finish_non_exhaustive()
    }
}
