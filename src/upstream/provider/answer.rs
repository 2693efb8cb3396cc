//! What a provider gives for an upstream: headers, each of them checked, and for how long.

use std::fmt;
use std::time::Duration;

use crate::header::{HeaderError, HeaderName, HeaderValue};
use crate::secret::Secret;

/// What a provider gave for one upstream.
#[derive(Debug)]
pub struct Given {
    /// The headers; none where the provider has nothing for the upstream.
    pub headers: Vec<CredentialHeader>,
    /// For how long.
    pub life: Life,
}

/// For how long something may be used, as far as its provider says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Life {
    /// How long it lasts from now; none where nothing says so.
    pub lasts: Option<Duration>,
    /// When it is to be asked for again, where that is not for us to choose.
    pub poll: Option<Duration>,
    /// Whether it must not be used when it could not be asked for again.
    pub must_revalidate: bool,
}

/// A header for an upstream that is a credential.
//
// INVARIANT: its value has passed [`HeaderValue::check`].
pub struct CredentialHeader {
    name: HeaderName,
    value: Option<Secret<String>>,
}

impl CredentialHeader {
    /// The header `name` with this value.
    ///
    /// # Errors
    /// Where the value cannot stand in a header.
    pub fn set(name: HeaderName, value: String) -> Result<Self, HeaderError> {
        let value = Secret::new(value);
        HeaderValue::check(value.expose())?;
        if value.expose().is_empty() {
            return Err(HeaderError::Empty);
        }
        Ok(Self {
            name,
            value: Some(value),
        })
    }

    /// The header `name`, which is to be removed.
    #[must_use]
    pub fn removed(name: HeaderName) -> Self {
        Self { name, value: None }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &HeaderName {
        &self.name
    }

    /// Its value; none where it is to be removed.
    #[must_use]
    pub fn value(&self) -> Option<&str> {
        self.value.as_ref().map(|value| value.expose().as_str())
    }

    /// What it takes in memory, about.
    #[must_use]
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + self.value().map_or(0, str::len)
    }
}

impl fmt::Debug for CredentialHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: redacted", self.name.as_str())
    }
}
