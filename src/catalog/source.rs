//! Where the catalog comes from: sources, each of which is taken whole or not at all.
//!
//! A source reads and parses; what its documents mean, alone and together with those of the other
//! sources, is checked by [`crate::catalog::build`].

pub mod choice;
pub mod document;
pub mod file;
pub mod reference;
pub mod store;

use std::sync::Arc;

use crate::catalog::source::document::DocumentBody;
use crate::config::yaml::YamlDocument;
use crate::problem::Problem;

/// The documents of one source, whole.
#[derive(Debug)]
pub struct SourceDocuments {
    /// The name of the source.
    pub source: Arc<str>,
    /// The digest of everything that was read.
    pub digest: [u8; 32],
    /// The documents, in the order of the files and of their lines.
    pub documents: Vec<Document>,
    /// What is wrong with those in whose place the last of their [`Invalid::Instead`] stands
    /// already, as they could not be read.
    pub replaced: Vec<Problem>,
}

/// One document and where it stands.
#[derive(Debug)]
pub struct Document {
    /// What it says.
    pub body: DocumentBody,
    /// Where it stands.
    pub yaml: YamlDocument,
    /// What becomes of its source where it is not valid.
    pub invalid: Invalid,
}

/// What becomes of a source one of whose documents is not valid.
#[derive(Debug, Clone)]
pub enum Invalid {
    /// It is refused: who wrote the document mends it.
    Refused,
    /// One of these takes the document's place, the first that is valid, or nothing where none is.
    /// All but the last mean the same as the document; the last denies what it was for, and so
    /// does the document itself where there are none.
    Instead(Vec<DocumentBody>),
}

impl Document {
    /// What it says after so many of its forms turned out not to be valid; none where no other is left.
    #[must_use]
    pub fn form(&self, lost: usize) -> Option<&DocumentBody> {
        match (lost.checked_sub(1), &self.invalid) {
            (None, _) => Some(&self.body),
            (Some(_), Invalid::Refused) => None,
            (Some(at), Invalid::Instead(forms)) => forms.get(at),
        }
    }

    /// Whether, after so many, it denies what it was for, or nothing of it is left.
    #[must_use]
    pub fn is_denied(&self, lost: usize) -> bool {
        match &self.invalid {
            Invalid::Refused => false,
            Invalid::Instead(forms) => lost >= forms.len(),
        }
    }
}
