//! API keys.
use crate::authentication::{Challenge, Outcome};
use crate::catalog::Catalog;
use crate::check::request::DownstreamRequest;

/// Keys.
#[derive(Debug)]
pub struct AppIdAuthenticator {}

impl AppIdAuthenticator {
    /// Looks the key up.
    #[must_use]
    pub fn authenticate(&self, _request: &DownstreamRequest, _catalog: &Catalog) -> Outcome {
        Outcome::Absent
    }
    /// Its challenge.
    #[must_use]
    pub fn challenge(&self) -> Challenge {
        Challenge::ApiKey
    }
}
