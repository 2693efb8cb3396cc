//! Portcullis beside real control planes: Istio's, with what `deploy/istio` holds applied
//! unchanged, a real Kubernetes API server, and Envoy Gateway.
//!
//! `make test-mesh` builds the programs of `tests/beds`, installs every supported Envoy and runs
//! this.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "what fails here fails a test, which should stop and say why"
)]

#[path = "../support.rs"]
mod support;

mod bed;
mod certificates;
mod cluster;
mod egress;
mod envoy_gateway;
mod frozen;
mod gateway;
mod identities;
mod ingress;
mod kubernetes;
mod manifests;
mod proxy;
mod replicas;
mod sidecar;
