//! API keys: found by their digest, at a cost that does not grow with their number.
//!
//! A key is never kept: documents hold its [`KeyDigest`], and the index in memory a digest of that
//! by a key of this process, so that nothing the caller sends can be aimed at a place in it.

use std::fmt;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::authentication::config::{
    BuildContext, CredentialPlaceConfig, build_peppers, build_places, check_peppers, check_places,
};
use crate::authentication::credential::{CredentialPlace, Found};
use crate::authentication::principal::{Method, Principal};
use crate::authentication::{Challenge, Outcome};
use crate::catalog::Catalog;
use crate::check::decision::{Denial, Reason};
use crate::check::request::DownstreamRequest;
use crate::clock::Clock;
use crate::config::findings::Findings;
use crate::config::value::SecretSource;
use crate::secret::{KeyedDigest, MacKey, equal, hexadecimal, sha256};

/// The digest of a key, as documents hold it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyDigest {
    /// `sha256:…`: for keys that were generated, with 128 random bits or more.
    Sha256([u8; 32]),
    /// `hmac-sha256:…`: with a pepper, for keys that people chose.
    HmacSha256([u8; 32]),
}

/// Why a text is no [`KeyDigest`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a digest is `sha256:` or `hmac-sha256:` and 64 hexadecimal digits; `portcullis key hash` makes one"
)]
pub struct KeyDigestError;

const SHA256_PREFIX: &str = "sha256:";
const HMAC_PREFIX: &str = "hmac-sha256:";

impl KeyDigest {
    /// Reads `sha256:…` or `hmac-sha256:…`.
    ///
    /// # Errors
    /// Where it is neither.
    pub fn parse(text: &str) -> Result<Self, KeyDigestError> {
        let digest = if let Some(hex) = text.strip_prefix(SHA256_PREFIX) {
            parse_hex(hex).map(Self::Sha256)
        } else if let Some(hex) = text.strip_prefix(HMAC_PREFIX) {
            parse_hex(hex).map(Self::HmacSha256)
        } else {
            None
        };
        digest.ok_or(KeyDigestError)
    }

    /// The text that [`KeyDigest::parse`] reads.
    #[must_use]
    pub fn to_text(&self) -> String {
        let (prefix, bytes) = match self {
            Self::Sha256(bytes) => (SHA256_PREFIX, bytes),
            Self::HmacSha256(bytes) => (HMAC_PREFIX, bytes),
        };
        format!("{prefix}{}", hexadecimal(bytes))
    }

    /// The digest of a key that was generated.
    #[must_use]
    pub fn of_key(key: &str) -> Self {
        Self::Sha256(sha256(key.as_bytes()))
    }

    /// The digest of a key under a pepper.
    #[must_use]
    pub fn of_key_with_pepper(key: &str, pepper: &MacKey) -> Self {
        Self::HmacSha256(pepper.digest(key.as_bytes()))
    }

    /// Every digest that `key` may be known by.
    pub(super) fn candidates(key: &str, peppers: &[MacKey]) -> Vec<Self> {
        let with = peppers
            .iter()
            .map(|pepper| Self::of_key_with_pepper(key, pepper));
        std::iter::once(Self::of_key(key)).chain(with).collect()
    }

    /// Whether it is the same, in a time that does not tell where they differ.
    pub(super) fn equals(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Sha256(a), Self::Sha256(b)) | (Self::HmacSha256(a), Self::HmacSha256(b)) => {
                equal(a, b)
            }
            (Self::Sha256(_), Self::HmacSha256(_)) | (Self::HmacSha256(_), Self::Sha256(_)) => {
                false
            }
        }
    }

    /// The digest of this digest under the key of the process: what the index in memory is made of.
    #[must_use]
    pub fn keyed(&self) -> KeyedDigest {
        match self {
            Self::Sha256(bytes) => KeyedDigest::of(&[b"sha256", bytes]),
            Self::HmacSha256(bytes) => KeyedDigest::of(&[b"hmac-sha256", bytes]),
        }
    }
}

fn parse_hex(hex: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if hex.len() != 2 * bytes.len() {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
        for digit in pair {
            let digit = char::from(*digit).to_digit(16)?;
            *byte = *byte << 4 | u8::try_from(digit).ok()?;
        }
    }
    Some(bytes)
}

impl fmt::Debug for KeyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyDigest(redacted)")
    }
}

/// Takes API keys of the catalog's applications.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ApiKeyConfig {
    /// Where the key sits in a request.
    pub credentials: Vec<CredentialPlaceConfig>,
    /// Secrets for keys whose digest is `hmac-sha256:…`: the current one and, while it is
    /// replaced, the one before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub peppers: Vec<SecretSource>,
}

impl ApiKeyConfig {
    /// Finds what is wrong, without reading anything else.
    pub fn check(&self, findings: &mut Findings) {
        check_places("credentials", &self.credentials, findings);
        check_peppers(&self.peppers, findings);
    }
}

/// Finds the application that an API key belongs to.
#[derive(Debug)]
pub struct ApiKeyAuthenticator {
    name: Arc<str>,
    places: Vec<CredentialPlace>,
    peppers: Vec<MacKey>,
    clock: Clock,
}

impl ApiKeyAuthenticator {
    pub(super) fn build(
        config: &ApiKeyConfig,
        name: &str,
        context: &mut BuildContext<'_>,
    ) -> Option<Self> {
        Some(Self {
            name: name.into(),
            places: build_places(&config.credentials)?,
            peppers: build_peppers(&config.peppers, context)?,
            clock: context.lasting.clock.clone(),
        })
    }

    /// Its name in the configuration.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Where it looks.
    #[must_use]
    pub fn places(&self) -> &[CredentialPlace] {
        &self.places
    }

    /// Its challenge.
    #[must_use]
    pub fn challenge(&self) -> Challenge {
        Challenge::for_keys(&self.places)
    }

    /// Finds the application of the key in `request`. An unknown key and one that has ended are
    /// the same to the caller.
    #[must_use]
    pub fn authenticate(&self, request: &DownstreamRequest, catalog: &Catalog) -> Outcome<'_> {
        let refused = |why: &'static str| {
            Outcome::Stopped(Denial::new(Reason::CredentialInvalid, why).into())
        };
        let credential = match CredentialPlace::find(&self.places, request) {
            Found::Absent => return Outcome::Absent,
            Found::One(credential) => credential,
            Found::Ambiguous(why) => return refused(why),
        };
        let Some(key) = credential.single() else {
            let why = "user name and password, no api key";
            return Outcome::NotMine(Denial::new(Reason::CredentialInvalid, why));
        };
        let candidates = KeyDigest::candidates(key, &self.peppers);
        let owners = candidates
            .iter()
            .map(|digest| catalog.index().api_key(digest));
        // all of them are looked up, whichever it is
        let Some(owner) = owners.collect::<Vec<_>>().into_iter().flatten().next() else {
            return refused("no application has this api key");
        };
        if owner.expires.is_some_and(|end| end <= self.clock.now()) {
            return refused("the api key has ended");
        }
        let method = Method::ApiKey;
        Outcome::Verified(Principal::of_application(
            &self.name,
            method,
            owner.application,
        ))
    }
}

#[cfg(test)]
mod tests;
