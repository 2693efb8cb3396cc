//! The assertion by which a client says who it is (RFC 7523 section 2.2), verified without the
//! library that Portcullis signs with.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
    UnparsedPublicKey,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::Value;
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// A signed token, whose signature was verified where it came from here as a value.
#[derive(Debug)]
pub(crate) struct Assertion {
    pub(crate) header: Value,
    pub(crate) claims: Value,
}

impl Assertion {
    /// Reads a token that is signed, by RS256, with the key of the first certificate in its header
    /// (`x5c`, RFC 7515 section 4.1.6), as iSHARE has it.
    ///
    /// # Panics
    /// Where it is not.
    pub(crate) fn signed_by_its_certificate(token: &str) -> Self {
        let (message, signature) = token.rsplit_once('.').expect("three parts");
        let assertion = Self::unverified(token);
        assert_eq!(assertion.header["alg"], "RS256");
        let chain = assertion.certificates();
        let leaf = chain.first().expect("a certificate in x5c");
        let (_, leaf) = X509Certificate::from_der(leaf).expect("a certificate");
        let key = &leaf.public_key().subject_public_key.data;
        let key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key);
        let signature = URL_SAFE_NO_PAD.decode(signature).expect("base64url");
        key.verify(message.as_bytes(), &signature)
            .expect("the signature of the certificate's key");
        assertion
    }

    /// Reads a token that is signed with this public key (RFC 7517), by the algorithm that goes with
    /// its type.
    ///
    /// # Panics
    /// Where it is not.
    pub(crate) fn signed_by_key(token: &str, key: &Value) -> Self {
        let (message, signature) = token.rsplit_once('.').expect("three parts");
        let assertion = Self::unverified(token);
        let signature = URL_SAFE_NO_PAD.decode(signature).expect("base64url");
        let member = |name: &str| {
            let text = key[name].as_str().expect("a member of the key");
            URL_SAFE_NO_PAD.decode(text).expect("base64url")
        };
        let (algorithm, verified) = match key["kty"].as_str() {
            Some("RSA") => {
                let (n, e) = (member("n"), member("e"));
                let key = RsaPublicKeyComponents { n, e };
                let algorithm = &RSA_PKCS1_2048_8192_SHA256;
                (
                    "RS256",
                    key.verify(algorithm, message.as_bytes(), &signature),
                )
            }
            Some("EC") => {
                let point = [vec![4], member("x"), member("y")].concat();
                let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point);
                ("ES256", key.verify(message.as_bytes(), &signature))
            }
            _ => {
                let key = UnparsedPublicKey::new(&ED25519, member("x"));
                ("EdDSA", key.verify(message.as_bytes(), &signature))
            }
        };
        verified.expect("the signature of the key");
        assert_eq!(assertion.header["alg"], algorithm);
        assertion
    }

    /// Reads a token and verifies nothing.
    ///
    /// # Panics
    /// Where it is no token in compact form.
    pub(crate) fn unverified(token: &str) -> Self {
        let mut parts = token.split('.');
        let mut part = || {
            let part = parts.next().expect("three parts");
            let bytes = URL_SAFE_NO_PAD.decode(part).expect("base64url");
            serde_json::from_slice(&bytes).expect("JSON")
        };
        Self {
            header: part(),
            claims: part(),
        }
    }

    /// The certificates in its header, in DER: standard base64 without line breaks.
    ///
    /// # Panics
    /// Where there are none, or in another form.
    pub(crate) fn certificates(&self) -> Vec<Vec<u8>> {
        let chain = self.header["x5c"].as_array().expect("x5c is an array");
        let text = chain.iter().map(|entry| entry.as_str().expect("text"));
        text.map(|text| STANDARD.decode(text).expect("base64"))
            .collect()
    }
}
