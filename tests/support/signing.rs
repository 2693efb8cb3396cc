//! Keys and signatures of JSON Web Tokens (RFC 7515, RFC 7518), made without the library that
//! Portcullis verifies them with.

use std::sync::Arc;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    KeyPair, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RSA_PSS_SHA384,
    RSA_PSS_SHA512, RsaEncoding, RsaKeyPair,
};
use aws_lc_rs::{digest, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

/// A signature algorithm (RFC 7518 section 3.1, RFC 8037 section 3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Algorithm {
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    EdDsa,
}

/// The private keys of an issuer: one for each kind of algorithm. RS and PS share the RSA key,
/// which is published without `alg`.
#[derive(Debug, Clone)]
pub(crate) struct SigningKeys {
    generation: u32,
    pairs: Arc<Pairs>,
}

#[derive(Debug)]
struct Pairs {
    rsa: RsaKeyPair,
    p256: EcdsaKeyPair,
    p384: EcdsaKeyPair,
    ed25519: Ed25519KeyPair,
}

impl Algorithm {
    /// Every algorithm.
    pub(crate) const ALL: [Self; 9] = [
        Self::Rs256,
        Self::Rs384,
        Self::Rs512,
        Self::Ps256,
        Self::Ps384,
        Self::Ps512,
        Self::Es256,
        Self::Es384,
        Self::EdDsa,
    ];

    /// The value of `alg`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
            Self::Ps256 => "PS256",
            Self::Ps384 => "PS384",
            Self::Ps512 => "PS512",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::EdDsa => "EdDSA",
        }
    }

    fn key_name(self) -> &'static str {
        match self {
            Self::Rs256 | Self::Rs384 | Self::Rs512 | Self::Ps256 | Self::Ps384 | Self::Ps512 => {
                "rsa"
            }
            Self::Es256 => "p256",
            Self::Es384 => "p384",
            Self::EdDsa => "ed25519",
        }
    }
}

impl SigningKeys {
    /// New keys; `generation` goes into their ids.
    pub(crate) fn generate(generation: u32) -> Self {
        let pairs = Pairs {
            rsa: RsaKeyPair::generate(KeySize::Rsa2048).expect("an RSA key"),
            p256: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a P-256 key"),
            p384: EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).expect("a P-384 key"),
            ed25519: Ed25519KeyPair::generate().expect("an Ed25519 key"),
        };
        Self {
            generation,
            pairs: Arc::new(pairs),
        }
    }

    /// Which keys of their issuer these are: 1 for the first.
    pub(crate) fn generation(&self) -> u32 {
        self.generation
    }

    /// The id of the key for `algorithm`.
    pub(crate) fn key_id(&self, algorithm: Algorithm) -> String {
        format!("{}-{}", algorithm.key_name(), self.generation)
    }

    /// The signature of `message`.
    pub(crate) fn sign(&self, algorithm: Algorithm, message: &[u8]) -> Vec<u8> {
        match algorithm {
            Algorithm::Rs256 => self.sign_rsa(&RSA_PKCS1_SHA256, message),
            Algorithm::Rs384 => self.sign_rsa(&RSA_PKCS1_SHA384, message),
            Algorithm::Rs512 => self.sign_rsa(&RSA_PKCS1_SHA512, message),
            Algorithm::Ps256 => self.sign_rsa(&RSA_PSS_SHA256, message),
            Algorithm::Ps384 => self.sign_rsa(&RSA_PSS_SHA384, message),
            Algorithm::Ps512 => self.sign_rsa(&RSA_PSS_SHA512, message),
            Algorithm::Es256 => sign_ecdsa(&self.pairs.p256, message),
            Algorithm::Es384 => sign_ecdsa(&self.pairs.p384, message),
            Algorithm::EdDsa => self.pairs.ed25519.sign(message).as_ref().to_vec(),
        }
    }

    /// The public key for `algorithm` as a JWK (RFC 7517).
    pub(crate) fn public_jwk(&self, algorithm: Algorithm) -> Value {
        let kid = self.key_id(algorithm);
        match algorithm.key_name() {
            "rsa" => {
                let public = self.pairs.rsa.public_key();
                let modulus = public.modulus().big_endian_without_leading_zero();
                let exponent = public.exponent().big_endian_without_leading_zero();
                json!({ "kty": "RSA", "use": "sig", "kid": kid, "n": encode(modulus), "e": encode(exponent) })
            }
            "p256" => curve_jwk(
                "P-256",
                "ES256",
                &kid,
                self.pairs.p256.public_key().as_ref(),
            ),
            "p384" => curve_jwk(
                "P-384",
                "ES384",
                &kid,
                self.pairs.p384.public_key().as_ref(),
            ),
            _ => {
                let x = encode(self.pairs.ed25519.public_key().as_ref());
                json!({ "kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": kid, "x": x })
            }
        }
    }

    /// The public keys as JWKs.
    pub(crate) fn public_jwks(&self) -> Vec<Value> {
        let algorithms = [
            Algorithm::Rs256,
            Algorithm::Es256,
            Algorithm::Es384,
            Algorithm::EdDsa,
        ];
        algorithms
            .into_iter()
            .map(|algorithm| self.public_jwk(algorithm))
            .collect()
    }

    /// The public key for `algorithm` in PEM (RFC 7468 section 13).
    pub(crate) fn public_pem(&self, algorithm: Algorithm) -> String {
        let der: PublicKeyX509Der<'_> = match algorithm.key_name() {
            "rsa" => self.pairs.rsa.public_key().as_der(),
            "p256" => self.pairs.p256.public_key().as_der(),
            "p384" => self.pairs.p384.public_key().as_der(),
            _ => self.pairs.ed25519.public_key().as_der(),
        }
        .expect("a public key in DER");
        pem("PUBLIC KEY", der.as_ref())
    }

    /// The private key for `algorithm` in PEM (PKCS #8, RFC 7468 section 10).
    pub(crate) fn private_pem(&self, algorithm: Algorithm) -> String {
        let der = match algorithm.key_name() {
            "rsa" => {
                AsDer::<Pkcs8V1Der<'_>>::as_der(&self.pairs.rsa).map(|der| der.as_ref().to_vec())
            }
            "p256" => self
                .pairs
                .p256
                .to_pkcs8v1()
                .map(|der| der.as_ref().to_vec()),
            "p384" => self
                .pairs
                .p384
                .to_pkcs8v1()
                .map(|der| der.as_ref().to_vec()),
            _ => self
                .pairs
                .ed25519
                .to_pkcs8v1()
                .map(|der| der.as_ref().to_vec()),
        };
        pem("PRIVATE KEY", &der.expect("a private key in DER"))
    }

    fn sign_rsa(&self, encoding: &'static dyn RsaEncoding, message: &[u8]) -> Vec<u8> {
        let mut signature = vec![0; self.pairs.rsa.public_modulus_len()];
        self.pairs
            .rsa
            .sign(encoding, &SystemRandom::new(), message, &mut signature)
            .expect("an RSA signature");
        signature
    }
}

/// A token in compact form (RFC 7515 section 7.1) of any header and payload text, signed by
/// `sign`.
pub(crate) fn compact(header: &str, payload: &str, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> String {
    let message = format!(
        "{}.{}",
        encode(header.as_bytes()),
        encode(payload.as_bytes())
    );
    let signature = encode(&sign(message.as_bytes()));
    format!("{message}.{signature}")
}

/// The HS256 signature of `message`.
pub(crate) fn sign_hs256(secret: &[u8], message: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message)
        .as_ref()
        .to_vec()
}

/// The digest by which a catalog declares an API key or an app key.
pub(crate) fn key_digest(key: &str) -> String {
    let digest = digest::digest(&digest::SHA256, key.as_bytes());
    let hex: String = digest
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("sha256:{hex}")
}

/// Base64url without padding (RFC 7515 section 2).
pub(crate) fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn sign_ecdsa(pair: &EcdsaKeyPair, message: &[u8]) -> Vec<u8> {
    pair.sign(&SystemRandom::new(), message)
        .expect("an ECDSA signature")
        .as_ref()
        .to_vec()
}

/// `point` is uncompressed: a byte 4, then the two coordinates (SEC 1 section 2.3.3).
fn curve_jwk(curve: &str, algorithm: &str, kid: &str, point: &[u8]) -> Value {
    let coordinates = point.split_first().map_or(point, |(_, rest)| rest);
    let (x, y) = coordinates.split_at(coordinates.len() / 2);
    json!({ "kty": "EC", "crv": curve, "use": "sig", "alg": algorithm, "kid": kid, "x": encode(x), "y": encode(y) })
}

/// Any structure in PEM (RFC 7468).
pub(crate) fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<_> = text
        .as_bytes()
        .chunks(64)
        .map(String::from_utf8_lossy)
        .collect();
    format!(
        "-----BEGIN {label}-----\n{}\n-----END {label}-----\n",
        lines.join("\n")
    )
}
