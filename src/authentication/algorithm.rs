//! The signature algorithms that we verify (RFC 7518 section 3.1, RFC 8037 section 3.1).
//!
//! `none` is not among them and cannot be named.

use aws_lc_rs::hmac;
use aws_lc_rs::rsa;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ECDSA_P521_SHA512_FIXED, ED25519,
    EcdsaVerificationAlgorithm, EdDSAParameters, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256,
    RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, RsaParameters,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A signature algorithm.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize, Serialize, JsonSchema,
)]
#[serde(rename_all = "UPPERCASE")]
pub enum Algorithm {
    /// HMAC with SHA-256; only with `keys: { secret: … }`.
    Hs256,
    /// HMAC with SHA-384; only with `keys: { secret: … }`.
    Hs384,
    /// HMAC with SHA-512; only with `keys: { secret: … }`.
    Hs512,
    /// RSA PKCS #1 v1.5 with SHA-256.
    Rs256,
    /// RSA PKCS #1 v1.5 with SHA-384.
    Rs384,
    /// RSA PKCS #1 v1.5 with SHA-512.
    Rs512,
    /// RSA PSS with SHA-256.
    Ps256,
    /// RSA PSS with SHA-384.
    Ps384,
    /// RSA PSS with SHA-512.
    Ps512,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// ECDSA on P-384 with SHA-384.
    Es384,
    /// ECDSA on P-521 with SHA-512.
    Es512,
    /// Ed25519.
    #[serde(rename = "EdDSA", alias = "Ed25519")]
    EdDsa,
}

/// What an algorithm needs of its key.
#[derive(Debug, Clone, Copy)]
pub(super) enum Family {
    /// A secret.
    Hmac(hmac::Algorithm),
    /// An RSA key.
    Rsa(&'static RsaParameters),
    /// A point on a curve.
    Ec(Curve),
    /// An Ed25519 key.
    Ed(&'static EdDSAParameters),
}

/// A curve of NIST (RFC 7518 section 6.2.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Curve {
    P256,
    P384,
    P521,
}

impl Algorithm {
    /// Every algorithm.
    pub const ALL: [Self; 13] = [
        Self::Hs256,
        Self::Hs384,
        Self::Hs512,
        Self::Rs256,
        Self::Rs384,
        Self::Rs512,
        Self::Ps256,
        Self::Ps384,
        Self::Ps512,
        Self::Es256,
        Self::Es384,
        Self::Es512,
        Self::EdDsa,
    ];

    /// The name in a token's `alg`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hs256 => "HS256",
            Self::Hs384 => "HS384",
            Self::Hs512 => "HS512",
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
            Self::Ps256 => "PS256",
            Self::Ps384 => "PS384",
            Self::Ps512 => "PS512",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::Es512 => "ES512",
            Self::EdDsa => "EdDSA",
        }
    }

    /// Reads an `alg`, exactly; `Ed25519` is the newer name of what `EdDSA` means with our keys
    /// (RFC 9864 section 2.2).
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        if name == "Ed25519" {
            return Some(Self::EdDsa);
        }
        Self::ALL.into_iter().find(|known| known.name() == name)
    }

    /// Whether the key that verifies could also sign.
    #[must_use]
    pub const fn is_symmetric(self) -> bool {
        matches!(self, Self::Hs256 | Self::Hs384 | Self::Hs512)
    }

    pub(super) fn family(self) -> Family {
        match self {
            Self::Hs256 => Family::Hmac(hmac::HMAC_SHA256),
            Self::Hs384 => Family::Hmac(hmac::HMAC_SHA384),
            Self::Hs512 => Family::Hmac(hmac::HMAC_SHA512),
            Self::Rs256 => Family::Rsa(&RSA_PKCS1_2048_8192_SHA256),
            Self::Rs384 => Family::Rsa(&RSA_PKCS1_2048_8192_SHA384),
            Self::Rs512 => Family::Rsa(&RSA_PKCS1_2048_8192_SHA512),
            Self::Ps256 => Family::Rsa(&RSA_PSS_2048_8192_SHA256),
            Self::Ps384 => Family::Rsa(&RSA_PSS_2048_8192_SHA384),
            Self::Ps512 => Family::Rsa(&RSA_PSS_2048_8192_SHA512),
            Self::Es256 => Family::Ec(Curve::P256),
            Self::Es384 => Family::Ec(Curve::P384),
            Self::Es512 => Family::Ec(Curve::P521),
            Self::EdDsa => Family::Ed(&ED25519),
        }
    }
}

impl Curve {
    /// The curve that a JWK's `crv` names.
    pub(super) fn parse(name: &str) -> Option<Self> {
        match name {
            "P-256" => Some(Self::P256),
            "P-384" => Some(Self::P384),
            "P-521" => Some(Self::P521),
            _ => None,
        }
    }

    /// The curve whose uncompressed points have this many bytes (SEC 1 section 2.3.3).
    pub(super) fn of_point_bytes(bytes: usize) -> Option<Self> {
        [Self::P256, Self::P384, Self::P521]
            .into_iter()
            .find(|curve| 1 + 2 * curve.coordinate_bytes() == bytes)
    }

    /// How long a coordinate is (RFC 7518 section 6.2.1.2).
    pub(super) const fn coordinate_bytes(self) -> usize {
        match self {
            Self::P256 => 32,
            Self::P384 => 48,
            Self::P521 => 66,
        }
    }

    pub(super) fn verification(self) -> &'static EcdsaVerificationAlgorithm {
        match self {
            Self::P256 => &ECDSA_P256_SHA256_FIXED,
            Self::P384 => &ECDSA_P384_SHA384_FIXED,
            Self::P521 => &ECDSA_P521_SHA512_FIXED,
        }
    }
}

/// The parts of an RSA key.
pub(super) type RsaParts<'a> = rsa::PublicKeyComponents<&'a [u8]>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_exactly_and_none_is_no_algorithm() {
        for algorithm in Algorithm::ALL {
            assert_eq!(Algorithm::parse(algorithm.name()), Some(algorithm));
            let written = serde_json::to_value(algorithm).unwrap();
            assert_eq!(written, algorithm.name());
        }
        for name in [
            "none", "None", "NONE", "rs256", "HS1", "", "ES256K", "RSA-OAEP",
        ] {
            assert_eq!(Algorithm::parse(name), None, "{name}");
        }
        assert_eq!(Algorithm::parse("Ed25519"), Some(Algorithm::EdDsa));
    }
}
