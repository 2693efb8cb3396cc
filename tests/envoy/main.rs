//! Portcullis behind a real Envoy: what clients get and what upstreams see.
//!
//! `make envoy` installs the Envoy that these tests start; `ENVOY_VERSION` names another version.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "what fails here fails a test, which should stop and say why"
)]

#[path = "../support.rs"]
mod support;

mod answers;
mod drain;
mod egress;
mod hosts;
mod istio;
mod journey;
mod mesh;
mod outbound;
mod partners;
mod paths;
mod proof;
mod protocols;
mod raw_headers;
mod reload;
mod samples;

mod scene;
mod splitting;
mod spoofing;
mod workloads;
