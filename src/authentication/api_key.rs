//! API keys.
use crate::authentication::{Challenge, Outcome};
use crate::catalog::Catalog;
use crate::check::request::DownstreamRequest;

/// The digest of an API key.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyDigest(pub(crate) [u8; 32]);

impl std::fmt::Debug for KeyDigest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeyDigest(redacted)")
    }
}

/// Keys.
#[derive(Debug)]
pub struct ApiKeyAuthenticator {}

impl ApiKeyAuthenticator {
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
