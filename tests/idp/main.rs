//! Portcullis and a real identity provider: Keycloak.
//!
//! `make test-idp` installs what these tests start and runs them. One Keycloak serves them all;
//! each test has a realm of its own.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "what fails here fails a test, which should stop and say why"
)]

use std::sync::LazyLock;

use support::keycloak::Keycloak;

#[path = "../support.rs"]
mod support;

mod tokens;

/// The one Keycloak; it stops with this process.
static KEYCLOAK: LazyLock<Keycloak> = LazyLock::new(Keycloak::start);
