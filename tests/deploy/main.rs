//! What `deploy/` holds for a cluster, without one: the chart and the manifests are rendered, checked
//! against the schemas of their kinds, against each other and against the guides, and what they hold of
//! Portcullis' own configuration is loaded by Portcullis.
//!
//! `make deploy-tools` installs the programs that these tests run into `.tools/bin`.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "what fails here fails a test, which should stop and say why"
)]

mod configuration;
mod connections;
mod guides;
mod helm;
mod manifests;
mod metrics;
mod objects;
mod policies;
mod references;
mod refusals;
mod selectors;
mod tools;
