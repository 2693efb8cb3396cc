//! What the integration tests, the tests with a real Envoy and the demo share: an issuer and an
//! upstream that behave and can be told to misbehave, the real `portcullis` and a real Envoy as
//! processes, and clients that speak HTTP and `CheckRequest` to them.
//!
//! It starts programs and speaks protocols; it never looks inside the crate.
//
// INVARIANT: whatever is started here stops when its value is dropped.

#![expect(
    dead_code,
    reason = "each test program uses its own part of what is offered here"
)]
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "what fails here fails a test, which should stop and say why"
)]

#[path = "support/authority.rs"]
pub(crate) mod authority;
#[path = "support/background.rs"]
pub(crate) mod background;
#[path = "support/chaos.rs"]
pub(crate) mod chaos;
#[path = "support/check.rs"]
pub(crate) mod check;
#[path = "support/envoy.rs"]
pub(crate) mod envoy;
#[path = "support/frozen.rs"]
pub(crate) mod frozen;
#[path = "support/http.rs"]
pub(crate) mod http;
#[path = "support/issuer.rs"]
pub(crate) mod issuer;
#[path = "support/keycloak.rs"]
pub(crate) mod keycloak;
#[path = "support/portcullis.rs"]
pub(crate) mod portcullis;
#[path = "support/process.rs"]
pub(crate) mod process;
#[path = "support/proof.rs"]
pub(crate) mod proof;
#[path = "support/providers.rs"]
pub(crate) mod providers;
#[path = "support/redis.rs"]
pub(crate) mod redis;
#[path = "support/script.rs"]
pub(crate) mod script;
#[path = "support/shop.rs"]
pub(crate) mod shop;
#[path = "support/signing.rs"]
pub(crate) mod signing;
#[path = "support/tls.rs"]
pub(crate) mod tls;
#[path = "support/token.rs"]
pub(crate) mod token;
#[path = "support/upstream.rs"]
pub(crate) mod upstream;
#[path = "support/workload_api.rs"]
pub(crate) mod workload_api;

use std::time::{Duration, Instant};

/// How long anything may take that a test waits for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until `attempt` gives a value.
///
/// # Panics
/// After [`PATIENCE`], naming `what` was waited for.
pub(crate) fn eventually<T>(what: &str, attempt: impl FnMut() -> Option<T>) -> T {
    within(PATIENCE, what, attempt)
}

/// Waits until `attempt` gives a value, for as long as `patience`.
///
/// # Panics
/// After that, naming `what` was waited for.
pub(crate) fn within<T>(
    patience: Duration,
    what: &str,
    mut attempt: impl FnMut() -> Option<T>,
) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = attempt() {
            return value;
        }
        assert!(
            start.elapsed() < patience,
            "waited {patience:?} in vain: {what}"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}
