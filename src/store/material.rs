//! Certificate chains and signing keys in PEM: what is read of them before they are kept.
//
// INVARIANT: no error quotes what was read, which may be a key.

use aws_lc_rs::rsa::KeyPair;
use aws_lc_rs::signature::KeyPair as _;
use jiff::Timestamp;
use x509_parser::pem::Pem;
use zeroize::Zeroize as _;

use crate::secret::Secret;

/// The most certificates of a chain.
const MAX_CERTIFICATES: usize = 16;

/// Certificates, leaf first, that can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateChain {
    pem: String,
    /// The public key of the leaf, as its certificate writes it.
    public: Vec<u8>,
    not_before: i64,
    not_after: i64,
}

/// A private RSA key that can be read.
#[derive(Debug, Clone)]
pub struct SigningKey {
    pem: Secret<Vec<u8>>,
    public: Vec<u8>,
}

/// Why a chain or key is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MaterialError {
    /// A block that is none.
    #[error("it is no PEM text that can be read")]
    NoPem,
    /// Something else stands between the certificates.
    #[error("it holds something other than certificates: send the chain alone, leaf first")]
    NotOnlyCertificates,
    /// There is no certificate.
    #[error("there is no CERTIFICATE block in it")]
    NoCertificate,
    /// There are too many.
    #[error("it has more than 16 certificates")]
    TooManyCertificates,
    /// A certificate that cannot be read.
    #[error("a certificate in it cannot be read")]
    BadCertificate,
    /// The leaf has expired.
    #[error("its first certificate has expired")]
    Expired,
    /// The leaf is not valid yet.
    #[error("its first certificate is not valid yet")]
    NotYetValid,
    /// The leaf has no RSA key.
    #[error("its first certificate has no RSA key, which iSHARE needs")]
    NotRsaCertificate,
    /// There is no private key, or several.
    #[error(
        "one private key is expected: a PRIVATE KEY (PKCS #8) or RSA PRIVATE KEY (PKCS #1) block"
    )]
    NoKey,
    /// The key is encrypted.
    #[error("the key is encrypted; send it in the clear, it is encrypted before it is kept")]
    EncryptedKey,
    /// A key that cannot be used.
    #[error("the key is no RSA key of 2048 to 8192 bits that can be read")]
    BadKey,
    /// The halves do not belong together.
    #[error("the key does not belong to the first certificate")]
    Mismatch,
}

/// The object identifier of RSA keys (RFC 8017 appendix C).
const RSA: &str = "1.2.840.113549.1.1.1";

impl CertificateChain {
    /// Reads a chain.
    ///
    /// # Errors
    /// Where it is none.
    pub fn parse(text: &[u8]) -> Result<Self, MaterialError> {
        let mut pem = String::new();
        let mut leaf = None;
        for (at, block) in Pem::iter_from_buffer(text).enumerate() {
            let block = block.map_err(|_| MaterialError::NoPem)?;
            if block.label != "CERTIFICATE" {
                return Err(MaterialError::NotOnlyCertificates);
            }
            if at >= MAX_CERTIFICATES {
                return Err(MaterialError::TooManyCertificates);
            }
            let certificate = block
                .parse_x509()
                .map_err(|_| MaterialError::BadCertificate)?;
            if at == 0 {
                let key = certificate.public_key();
                if key.algorithm.algorithm.to_id_string() != RSA {
                    return Err(MaterialError::NotRsaCertificate);
                }
                let validity = certificate.validity();
                leaf = Some((
                    key.subject_public_key.data.to_vec(),
                    validity.not_before.timestamp(),
                    validity.not_after.timestamp(),
                ));
            }
            pem.push_str(&armored("CERTIFICATE", &block.contents));
        }
        let (public, not_before, not_after) = leaf.ok_or(MaterialError::NoCertificate)?;
        Ok(Self {
            pem,
            public,
            not_before,
            not_after,
        })
    }

    /// Whether its first certificate is valid at `now`.
    ///
    /// # Errors
    /// Where it is not.
    pub fn check_dates(&self, now: Timestamp) -> Result<(), MaterialError> {
        let now = now.as_second();
        if now > self.not_after {
            Err(MaterialError::Expired)
        } else if now < self.not_before {
            Err(MaterialError::NotYetValid)
        } else {
            Ok(())
        }
    }

    /// The certificates in PEM, and nothing else.
    #[must_use]
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// Whether `key` is the key of the first certificate.
    #[must_use]
    pub fn is_of(&self, key: &SigningKey) -> bool {
        self.public == key.public
    }
}

impl SigningKey {
    /// Reads a key.
    ///
    /// # Errors
    /// Where it is none, or of another kind.
    pub fn parse(text: &[u8]) -> Result<Self, MaterialError> {
        let mut key = None;
        for block in Pem::iter_from_buffer(text) {
            let mut block = block.map_err(|_| MaterialError::NoPem)?;
            let pair = match block.label.as_str() {
                "PRIVATE KEY" => KeyPair::from_pkcs8(&block.contents),
                "RSA PRIVATE KEY" => KeyPair::from_der(&block.contents),
                "ENCRYPTED PRIVATE KEY" => return Err(MaterialError::EncryptedKey),
                _ => return Err(MaterialError::NoKey),
            };
            // PKCS #1 keys may be encrypted by headers of the block (RFC 1421), which then does not read
            let pair = pair.map_err(|_| MaterialError::BadKey);
            let pem = armored(&block.label, &block.contents).into_bytes();
            block.contents.zeroize();
            let read = Self {
                pem: Secret::new(pem),
                public: pair?.public_key().as_ref().to_vec(),
            };
            if key.replace(read).is_some() {
                return Err(MaterialError::NoKey);
            }
        }
        key.ok_or(MaterialError::NoKey)
    }

    /// The key in PEM.
    #[must_use]
    pub fn pem(&self) -> &Secret<Vec<u8>> {
        &self.pem
    }
}

/// A PEM block (RFC 7468 section 2).
fn armored(label: &str, der: &[u8]) -> String {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    let mut text = format!("-----BEGIN {label}-----\n");
    // 48 bytes are a line of 64 characters
    for line in der.chunks(48) {
        STANDARD.encode_string(line, &mut text);
        text.push('\n');
    }
    text.push_str(&format!("-----END {label}-----\n"));
    text
}

#[cfg(test)]
pub(crate) mod tests;
