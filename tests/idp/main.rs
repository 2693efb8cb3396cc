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
use std::time::Duration;

use serde_json::json;

use support::keycloak::Keycloak;
use support::portcullis::PortcullisBuilder;

#[path = "../support.rs"]
mod support;

mod logout;
mod opaque;
mod providers;
mod tokens;

/// The one Keycloak; it stops with this process.
static KEYCLOAK: LazyLock<Keycloak> = LazyLock::new(Keycloak::start);

/// How long a check may take: a Keycloak that has just started is slow.
const DEADLINE: Duration = Duration::from_secs(10);

/// A server that waits for Keycloak.
fn patient_server() -> PortcullisBuilder {
    let deadline = format!("{}s", DEADLINE.as_secs());
    PortcullisBuilder::new().set(&["checks", "deadline"], json!(deadline))
}
