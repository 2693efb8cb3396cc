//! Which form of each document counts: its own, or what stands in its place as it is not valid.
//
// INVARIANT: only documents whose source says what takes their place have another form.

use std::collections::BTreeMap;

use crate::catalog::build::report::Report;
use crate::catalog::source::{Document, Invalid, SourceDocuments};
use crate::problem::Problem;

/// The place of a source among the sources, and of a document in it.
pub(super) type Place = (usize, usize);

/// The documents that lost forms.
#[derive(Debug, Default)]
pub(super) struct Forms(BTreeMap<Place, Lost>);

#[derive(Debug)]
struct Lost {
    forms: usize,
    /// What was wrong with the first.
    problems: Vec<Problem>,
}

impl Forms {
    /// How many forms the document at `place` lost.
    pub(super) fn lost(&self, place: Place) -> usize {
        self.0.get(&place).map_or(0, |lost| lost.forms)
    }

    /// Takes the form that `report` finds wrong from each document that may have another; false where
    /// there is no such document.
    pub(super) fn lose(&mut self, sources: &[&SourceDocuments], report: &Report) -> bool {
        let mut lose = false;
        for place in report.at_fault() {
            let Some(document) = document(sources, place) else {
                continue;
            };
            if matches!(document.invalid, Invalid::Refused) {
                continue;
            }
            lose = true;
            let lost = self.0.entry(place).or_insert_with(|| Lost {
                forms: 0,
                problems: report.problems_of(place),
            });
            lost.forms += 1;
        }
        lose
    }

    /// What is wrong with the documents whose requests are denied now.
    pub(super) fn into_replaced(self, sources: &[&SourceDocuments]) -> Vec<Problem> {
        let unread = sources.iter().flat_map(|source| source.replaced.clone());
        let mut replaced: Vec<Problem> = unread.collect();
        for (place, lost) in self.0 {
            if let Some(document) = document(sources, place)
                && document.is_denied(lost.forms)
            {
                if lost.problems.is_empty() {
                    // more was wrong than is told in full
                    replaced.push(document.yaml.problem("", "it is not valid"));
                }
                replaced.extend(lost.problems);
            }
        }
        replaced
    }
}

fn document<'a>(
    sources: &[&'a SourceDocuments],
    (source, document): Place,
) -> Option<&'a Document> {
    sources.get(source)?.documents.get(document)
}
