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

/// The documents of one source, whole.
#[derive(Debug)]
pub struct SourceDocuments {
    /// The name of the source.
    pub source: Arc<str>,
    /// The digest of everything that was read.
    pub digest: [u8; 32],
    /// The documents, in the order of the files and of their lines.
    pub documents: Vec<Document>,
}

/// One document and where it stands.
#[derive(Debug)]
pub struct Document {
    /// What it says.
    pub body: DocumentBody,
    /// Where it stands.
    pub yaml: YamlDocument,
}
