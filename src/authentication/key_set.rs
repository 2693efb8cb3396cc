//! The keys of an issuer: a [`KeySet`], built whole and never changed.
//!
//! A key that cannot be used is skipped and named in [`KeySet::skipped`]; what makes the whole set
//! doubtful (private members, one id for two keys) refuses it. Keys are parsed once, here.

mod jwk;
mod pem;

use std::fmt;

use aws_lc_rs::hmac;
use aws_lc_rs::signature::ParsedPublicKey;
use serde_json::Value;

use crate::authentication::algorithm::{Algorithm, Family, RsaParts};
use crate::secret::{Secret, sha256};

/// The most keys that a set may have.
pub const MAX_KEYS: usize = 100;
/// The largest document that a set is read from, in bytes.
pub const MAX_BYTES: usize = 256 * 1024;
/// The longest key id, in bytes.
pub const MAX_KEY_ID_BYTES: usize = 256;

/// The keys of an issuer.
pub struct KeySet {
    keys: Vec<Key>,
    ids: KeyIds,
    skipped: Vec<String>,
    /// Of the document that it was read from, where that may come again.
    document_digest: Option<[u8; 32]>,
}

/// Whether key ids count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum KeyIds {
    /// A token names its key.
    Matter,
    /// There is one key, without an id, and whatever a token says of it is ignored.
    Ignored,
}

/// One key, for every algorithm that it may verify.
struct Key {
    id: Option<Box<str>>,
    verifiers: Vec<(Algorithm, Verifier)>,
}

/// A key, for one algorithm.
pub struct Verifier(Material);

enum Material {
    Public(ParsedPublicKey),
    Secret(Box<hmac::Key>),
}

/// Why a set is refused whole.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeySetError {
    /// The document is no JSON Web Key Set (RFC 7517 section 5).
    #[error("it is no JSON Web Key Set: it needs a list `keys`")]
    NotASet,
    /// There are too many keys.
    #[error("it has more than {MAX_KEYS} keys")]
    TooManyKeys,
    /// A key shows its private part: whoever read it can sign.
    #[error("key {0} shows private members; it must be replaced, and the set is not used")]
    PrivateMembers(usize),
    /// One id stands for two keys.
    #[error("two different keys have the same `kid`")]
    SameId,
    /// The PEM text holds no key that we can use.
    #[error("no usable public key or certificate: {0}")]
    Pem(String),
    /// The secret is shorter than the hash (RFC 7518 section 3.2).
    #[error("the secret is too short: {algorithm} needs {bytes} bytes", algorithm = .0.name(), bytes = .1)]
    ShortSecret(Algorithm, usize),
}

/// Why a set has no key for a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoKey {
    /// It has no key with this id.
    Unknown,
    /// The token names no key, and there is not exactly one that it could mean.
    NotNamed,
    /// It has the key, but not for this algorithm.
    OtherAlgorithm,
}

impl KeySet {
    /// Reads a JSON Web Key Set, key by key.
    ///
    /// # Errors
    /// Where the set as a whole cannot be trusted.
    pub fn from_jwks(document: &Value) -> Result<Self, KeySetError> {
        let mut keys = jwk::read_set(document)?;
        keys.document_digest = Some(sha256(document.to_string().as_bytes()));
        Ok(keys)
    }

    /// Whether both were read from the same document.
    #[must_use]
    pub fn is_of_same_document(&self, other: &Self) -> bool {
        self.document_digest.is_some() && self.document_digest == other.document_digest
    }

    /// Reads the one public key, or the key of the first certificate, of a PEM text.
    ///
    /// # Errors
    /// Where there is none that can be used.
    pub fn from_pem(text: &[u8]) -> Result<Self, KeySetError> {
        let verifiers = pem::read_key(text)?;
        Ok(Self::of_one(verifiers))
    }

    /// The set of one shared secret, for `algorithms`.
    ///
    /// # Errors
    /// Where the secret is shorter than the hash of one of them.
    pub fn from_secret(
        secret: &Secret<Vec<u8>>,
        algorithms: &[Algorithm],
    ) -> Result<Self, KeySetError> {
        let mut verifiers = Vec::new();
        for algorithm in algorithms {
            let Family::Hmac(hmac) = algorithm.family() else {
                continue;
            };
            let needed = hmac.digest_algorithm().output_len();
            if secret.expose().len() < needed {
                return Err(KeySetError::ShortSecret(*algorithm, needed));
            }
            let key = hmac::Key::new(hmac, secret.expose());
            verifiers.push((*algorithm, Verifier(Material::Secret(Box::new(key)))));
        }
        Ok(Self::of_one(verifiers))
    }

    fn of_one(verifiers: Vec<(Algorithm, Verifier)>) -> Self {
        Self {
            keys: vec![Key {
                id: None,
                verifiers,
            }],
            ids: KeyIds::Ignored,
            skipped: Vec::new(),
            document_digest: None,
        }
    }

    /// How many keys it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The keys that were left out, each with the reason.
    #[must_use]
    pub fn skipped(&self) -> &[String] {
        &self.skipped
    }

    /// Whether a newer set could know more of a token that names `key_id`.
    #[must_use]
    pub fn knows(&self, key_id: Option<&str>) -> bool {
        match key_id {
            None => true,
            Some(_) if self.ids == KeyIds::Ignored => true,
            Some(wanted) => self.keys.iter().any(|key| key.has_id(wanted)),
        }
    }

    /// The key that a token names, for the algorithm that it names.
    ///
    /// # Errors
    /// Where there is no such key, or not exactly one.
    pub fn find(&self, key_id: Option<&str>, algorithm: Algorithm) -> Result<&Verifier, NoKey> {
        let wanted = key_id.filter(|_| self.ids == KeyIds::Matter);
        let Some(wanted) = wanted else {
            // only where there is one key that the token can mean
            let mut usable = self.keys.iter().filter_map(|key| key.verifier(algorithm));
            return match (usable.next(), usable.next()) {
                (Some(verifier), None) => Ok(verifier),
                (None, _) if self.ids == KeyIds::Ignored => Err(NoKey::OtherAlgorithm),
                _ => Err(NoKey::NotNamed),
            };
        };
        let key = self.keys.iter().find(|key| key.has_id(wanted));
        let key = key.ok_or(NoKey::Unknown)?;
        key.verifier(algorithm).ok_or(NoKey::OtherAlgorithm)
    }
}

impl Key {
    fn has_id(&self, wanted: &str) -> bool {
        self.id.as_deref() == Some(wanted)
    }

    fn verifier(&self, algorithm: Algorithm) -> Option<&Verifier> {
        self.verifiers
            .iter()
            .find(|(of, _)| *of == algorithm)
            .map(|(_, verifier)| verifier)
    }
}

impl Verifier {
    /// Whether `signature` is this key's over `message`.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match &self.0 {
            Material::Public(key) => key.verify_sig(message, signature).is_ok(),
            Material::Secret(key) => hmac::verify(key, message, signature).is_ok(),
        }
    }

    /// The public key in `jwk`, for `algorithm`.
    ///
    /// # Errors
    /// Where it shows private members, is not for this algorithm, or is no key.
    pub fn of_jwk(
        jwk: &serde_json::Map<String, Value>,
        algorithm: Algorithm,
    ) -> Result<Self, &'static str> {
        jwk::read_one(jwk, algorithm)
    }

    fn rsa(parts: &RsaParts<'_>, algorithm: Algorithm) -> Option<Self> {
        let Family::Rsa(parameters) = algorithm.family() else {
            return None;
        };
        let key = parts.to_parsed_public_key(parameters).ok()?;
        Some(Self(Material::Public(key)))
    }

    /// `point` is uncompressed; that it lies on the curve is checked here.
    fn ec(point: &[u8], algorithm: Algorithm) -> Option<Self> {
        let Family::Ec(curve) = algorithm.family() else {
            return None;
        };
        let key = ParsedPublicKey::new(curve.verification(), point).ok()?;
        Some(Self(Material::Public(key)))
    }

    fn ed(key: &[u8], algorithm: Algorithm) -> Option<Self> {
        let Family::Ed(parameters) = algorithm.family() else {
            return None;
        };
        let key = ParsedPublicKey::new(parameters, key).ok()?;
        Some(Self(Material::Public(key)))
    }
}

/// Ids and algorithms; never the material, which may be a secret.
impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys = self.keys.iter().map(|key| {
            let algorithms = key.verifiers.iter().map(|(algorithm, _)| algorithm.name());
            (key.id.as_deref(), algorithms.collect::<Vec<_>>())
        });
        f.debug_list().entries(keys).finish()
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Verifier(redacted)")
    }
}

#[cfg(test)]
mod tests;
