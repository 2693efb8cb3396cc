//! Private keys that sign JSON Web Tokens of ours: client assertions and assertions for upstreams.

use std::fmt;

use jsonwebtoken::{Algorithm as Jwa, EncodingKey, Header};
use serde::Serialize;

use crate::authentication::algorithm::Algorithm;
use crate::authentication::key_set::KeySet;
use crate::secret::{hexadecimal, sha256};

/// A private key and the algorithm that it signs with.
#[derive(Clone)]
pub struct SigningKey {
    key: EncodingKey,
    algorithm: Jwa,
}

/// Why there is no signing key in a file. No text here has anything of the file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SigningKeyError(String);

/// Reads a private key from PEM.
type ReadKey = fn(&[u8]) -> jsonwebtoken::errors::Result<EncodingKey>;

impl SigningKey {
    /// The private key in `pem` (PKCS #8, or PKCS #1 for RSA), which signs by `asked`, or else by
    /// the usual algorithm of its kind.
    ///
    /// # Errors
    /// What is there instead, and what to do about it.
    pub fn from_pem(pem: &[u8], asked: Option<Algorithm>) -> Result<Self, SigningKeyError> {
        let kinds: [(ReadKey, &[Jwa]); 3] = [
            (EncodingKey::from_rsa_pem, &[Jwa::RS256]),
            (EncodingKey::from_ec_pem, &[Jwa::ES256, Jwa::ES384]),
            (EncodingKey::from_ed_pem, &[Jwa::EdDSA]),
        ];
        let named = asked.and_then(jwa);
        if asked.is_none() || named.is_some() {
            for (read, usual) in kinds {
                let Ok(key) = read(pem) else { continue };
                let candidates = named.as_ref().map_or(usual, std::slice::from_ref);
                let signs =
                    |algorithm: &&Jwa| jsonwebtoken::crypto::sign(b"", &key, **algorithm).is_ok();
                if let Some(algorithm) = candidates.iter().find(signs).copied() {
                    return Ok(Self { key, algorithm });
                }
            }
        }
        Err(SigningKeyError(unfit(&String::from_utf8_lossy(pem), asked)))
    }

    /// Whether a key can sign with this algorithm here.
    #[must_use]
    pub fn can(algorithm: Algorithm) -> bool {
        jwa(algorithm).is_some()
    }

    /// What it signs with.
    #[must_use]
    pub fn algorithm(&self) -> Jwa {
        self.algorithm
    }

    /// The private key.
    #[must_use]
    pub fn encoding_key(&self) -> &EncodingKey {
        &self.key
    }

    /// A token with these claims, in the compact form. `change` completes the header, which says
    /// the algorithm and `typ: JWT`.
    ///
    /// # Errors
    /// Where the claims are no object.
    pub fn sign<C: Serialize>(
        &self,
        claims: &C,
        change: impl FnOnce(&mut Header),
    ) -> Result<String, SigningKeyError> {
        let mut header = Header::new(self.algorithm);
        change(&mut header);
        jsonwebtoken::encode(&header, claims, &self.key)
            .map_err(|_| SigningKeyError("the claims cannot be signed".to_owned()))
    }

    /// Whether what it signs is verified by the certificate or public key that stands first in `pem`.
    #[must_use]
    pub fn belongs_to(&self, pem: &[u8]) -> bool {
        const MESSAGE: &[u8] = b"does this key belong to this certificate";
        let Ok(keys) = KeySet::from_pem(pem) else {
            return false;
        };
        let Some(algorithm) = Algorithm::ALL
            .into_iter()
            .find(|algorithm| jwa(*algorithm) == Some(self.algorithm))
        else {
            return false;
        };
        let signature = jsonwebtoken::crypto::sign(MESSAGE, &self.key, self.algorithm);
        let signature = signature.ok().and_then(|text| decode(&text));
        match (keys.find(None, algorithm), signature) {
            (Ok(key), Some(signature)) => key.verifies(MESSAGE, &signature),
            (Err(_), _) | (_, None) => false,
        }
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey")
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}

/// A short name for `pem` that tells nothing of it beyond whether it is the same.
#[must_use]
pub fn fingerprint(pem: &[u8]) -> String {
    let mut digits = hexadecimal(&sha256(pem));
    digits.truncate(16);
    digits
}

fn decode(text: &str) -> Option<Vec<u8>> {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD
        .decode(text)
        .ok()
}

/// The library's name of an algorithm that we sign with.
fn jwa(algorithm: Algorithm) -> Option<Jwa> {
    match algorithm {
        Algorithm::Rs256 => Some(Jwa::RS256),
        Algorithm::Rs384 => Some(Jwa::RS384),
        Algorithm::Rs512 => Some(Jwa::RS512),
        Algorithm::Ps256 => Some(Jwa::PS256),
        Algorithm::Ps384 => Some(Jwa::PS384),
        Algorithm::Ps512 => Some(Jwa::PS512),
        Algorithm::Es256 => Some(Jwa::ES256),
        Algorithm::Es384 => Some(Jwa::ES384),
        Algorithm::EdDsa => Some(Jwa::EdDSA),
        Algorithm::Hs256 | Algorithm::Hs384 | Algorithm::Hs512 | Algorithm::Es512 => None,
    }
}

/// What to do about a file that holds no key which signs.
fn unfit(pem: &str, asked: Option<Algorithm>) -> String {
    let has = |label: &str| pem.contains(&format!("-----BEGIN {label}-----"));
    if has("EC PRIVATE KEY") {
        return "the key is in the older form of SEC1; write it as PKCS #8: openssl pkcs8 -topk8 -nocrypt -in OLD.pem -out NEW.pem".to_owned();
    }
    if has("ENCRYPTED PRIVATE KEY") {
        return "the key is encrypted; write it in the clear, in a file that we alone can read: openssl pkcs8 -in OLD.pem -out NEW.pem".to_owned();
    }
    if !has("PRIVATE KEY")
        && !has("RSA PRIVATE KEY")
        && (has("PUBLIC KEY") || has("RSA PUBLIC KEY") || has("CERTIFICATE"))
    {
        return "the file holds a public key, which cannot sign; give the private key that belongs to it".to_owned();
    }
    match asked {
        Some(algorithm) => format!(
            "the file holds no private key in PEM form that signs with {}",
            algorithm.name()
        ),
        None => {
            "the file holds no private key in PEM form: openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out key.pem makes one".to_owned()
        }
    }
}
