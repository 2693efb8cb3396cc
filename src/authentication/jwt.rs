//! API keys.
use crate::authentication::{Challenge, Outcome};
use crate::check::request::DownstreamRequest;

/// Keys.
#[derive(Debug)]
pub struct JwtAuthenticator {}

impl JwtAuthenticator {
    /// Looks the key up.
    #[must_use]
    pub async fn authenticate(&self, _request: &DownstreamRequest) -> Outcome {
        Outcome::Absent
    }
    /// Its challenge.
    #[must_use]
    pub fn challenge(&self) -> Challenge {
        Challenge::ApiKey
    }
}
