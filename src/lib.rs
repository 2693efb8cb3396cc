//! Portcullis is a central authorization server for Envoy and Istio. Envoy's `ext_authz` filter
//! asks it about every request; it finds the API that the request is for, verifies who calls,
//! verifies that the calling application may, and answers with header mutations.
//!
//! # The line
//!
//! ```text
//! CheckRequest
//!   | check/service.rs    deadline; decode; check; respond; record
//!   v
//! DownstreamRequest      check/request.rs
//!   v
//! Route                  routing.rs
//!   v
//! Caller                 authentication.rs
//!   v
//! Permit                 authorization.rs
//!   v
//! Grant                  upstream.rs
//!   v
//! CheckResponse          check/response.rs
//!   +--> usage.rs        the record of the decision
//! ```
//!
//! Modules are listed in reading order: the line first, then what it reads, then what runs beside it.

pub mod check;
pub mod routing;

pub mod authentication;
pub mod authorization;
pub mod upstream;

pub mod catalog;
pub mod header;
pub mod snapshot;
pub mod usage;

pub mod admin;
pub mod app;
pub mod cli;
pub mod config;
pub mod descriptor;
pub mod explain;
pub mod listener;
pub mod shutdown;
pub mod telemetry;

pub mod cache;
pub mod clock;
pub mod fetch;
pub mod http_client;
pub mod json;
pub mod problem;
pub mod readiness;
pub mod redis;
pub mod secret;
pub mod signing;
pub mod spiffe;
pub mod store;
pub mod task;
pub mod tls;
pub mod workload_api;
pub mod xfcc;

#[cfg(test)]
mod fuzz;
