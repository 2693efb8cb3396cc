//! Whether an endpoint that somebody registers would hold: it is judged with everything that is in
//! force before it is kept.
//!
//! Not for endpoints that are kept already: what becomes of those that do not hold any more is said
//! by [`crate::catalog::source::store`].

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::catalog::build::{Known, Refused, build};
use crate::catalog::source::SourceDocuments;
use crate::catalog::source::store::{EndpointRule, documents};
use crate::problem::{Problem, Problems};
use crate::store::endpoint::Endpoint;

/// Why an endpoint is not kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Inadmissible {
    /// It is not valid by itself.
    Invalid(Problems),
    /// It contradicts something else in the catalog.
    Conflict(Problems),
}

/// What an endpoint is judged with.
#[derive(Debug)]
pub struct Admission<'a> {
    /// The name of the source that makes Apis of endpoints.
    pub source: &'a Arc<str>,
    /// What their Apis say.
    pub rule: &'a EndpointRule,
    /// What the configuration has.
    pub known: &'a Known,
    /// The documents of the sources before that source.
    pub before: Vec<&'a SourceDocuments>,
    /// Those of the sources after it.
    pub after: Vec<&'a SourceDocuments>,
    /// What is known to be wrong with endpoints that are kept.
    pub replaced: &'a Problems,
}

impl Admission<'_> {
    /// Judges `new` beside the endpoints that are `stored`.
    ///
    /// # Errors
    /// Says why it would not hold, or what else would not hold any more.
    pub fn admit(&self, stored: &[Endpoint], new: &Endpoint) -> Result<(), Inadmissible> {
        let alone = self.documents(std::slice::from_ref(new));
        let known = BTreeSet::new();
        self.check(&[&alone], &known)
            .map_err(Inadmissible::Invalid)?;
        let all: Vec<Endpoint> = stored.iter().chain([new]).cloned().collect();
        let all = self.documents(&all);
        let sources = self.before.iter().copied();
        let sources: Vec<_> = sources
            .chain([&all])
            .chain(self.after.iter().copied())
            .collect();
        let known = self.replaced.iter().collect();
        self.check(&sources, &known).map_err(Inadmissible::Conflict)
    }

    fn documents(&self, endpoints: &[Endpoint]) -> SourceDocuments {
        documents(endpoints, self.rule).parse_each(self.source).0
    }

    /// What is wrong with these beside what is `known`.
    fn check(
        &self,
        sources: &[&SourceDocuments],
        known: &BTreeSet<&Problem>,
    ) -> Result<(), Problems> {
        let found = match build(sources, self.known) {
            Ok(built) => built.replaced,
            Err(Refused(problems)) => problems.into_iter().map(|(_, problem)| problem).collect(),
        };
        let new = found.into_iter().filter(|found| !known.contains(found));
        new.collect::<Problems>().into_result(())
    }
}
