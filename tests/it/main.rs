//! The integration tests: the real server as a process, asked by `CheckRequest` as Envoy would.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::too_many_lines,
    clippy::wildcard_enum_match_arm,
    clippy::disallowed_methods,
    reason = "what fails here fails a test, which should stop and say why; a story is told in one piece"
)]

#[path = "../support.rs"]
mod support;

mod admin;
mod authentication;
mod authorization;
mod commands;
mod config;
mod decode;
mod doctor;
mod documents;
mod exemptions;
mod fakes;
mod faults;
mod fiware_api;
mod gate;
mod golden;
mod import;
mod import_openapi;
mod import_wso2;
mod init;
mod peers;
mod properties;
mod providers;
mod quota;
mod redis;
mod reload;
mod routing;
mod secrets;
mod shadow;
mod store;
mod tls;
mod upstream;
mod usage;
mod workload_api;
