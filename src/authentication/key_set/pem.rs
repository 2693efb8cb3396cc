//! Public keys in PEM: SubjectPublicKeyInfo (RFC 7468 section 13), PKCS #1, or the key of an
//! X.509 certificate. Only the key is read: a certificate's dates and issuer do not matter here.

use x509_parser::pem::Pem;
use x509_parser::prelude::FromDer as _;
use x509_parser::public_key::{PublicKey, RSAPublicKey};
use x509_parser::x509::SubjectPublicKeyInfo;

use super::jwk::Parts;
use super::{KeySetError, Verifier};
use crate::authentication::algorithm::{Algorithm, Curve};

/// The object identifier of Ed25519 (RFC 8410 section 3).
const ED25519: &str = "1.3.101.112";
/// The object identifiers of the curves (RFC 5480 section 2.1.1.1).
const CURVES: [(&str, Curve); 3] = [
    ("1.2.840.10045.3.1.7", Curve::P256),
    ("1.3.132.0.34", Curve::P384),
    ("1.3.132.0.35", Curve::P521),
];

/// Reads the key of the first block that holds one.
pub(super) fn read_key(text: &[u8]) -> Result<Vec<(Algorithm, Verifier)>, KeySetError> {
    let wrong = |why: &str| KeySetError::Pem(why.to_owned());
    for block in Pem::iter_from_buffer(text) {
        let block = block.map_err(|_| wrong("a PEM block that cannot be read"))?;
        let parts = match block.label.as_str() {
            "PUBLIC KEY" => SubjectPublicKeyInfo::from_der(&block.contents)
                .map_err(|_| "a public key that cannot be read")
                .and_then(|(_, info)| of_info(&info)),
            "RSA PUBLIC KEY" => RSAPublicKey::from_der(&block.contents)
                .map_err(|_| "an RSA key that cannot be read")
                .and_then(|(_, key)| Parts::rsa(key.modulus, key.exponent)),
            "CERTIFICATE" => block
                .parse_x509()
                .map_err(|_| "a certificate that cannot be read")
                .and_then(|certificate| of_info(certificate.public_key())),
            label if label.contains("PRIVATE KEY") => {
                Err("a private key; give its public key instead")
            }
            _ => continue,
        };
        let verifiers = parts.map_err(wrong)?.verifiers(None);
        return if verifiers.is_empty() {
            Err(wrong("it is no valid key"))
        } else {
            Ok(verifiers)
        };
    }
    Err(wrong("there is no PUBLIC KEY and no CERTIFICATE block"))
}

fn of_info(info: &SubjectPublicKeyInfo<'_>) -> Result<Parts, &'static str> {
    if info.algorithm.algorithm.to_id_string() == ED25519 {
        return Ok(Parts::Ed(info.subject_public_key.data.to_vec()));
    }
    match info.parsed() {
        Ok(PublicKey::RSA(key)) => Parts::rsa(key.modulus, key.exponent),
        Ok(PublicKey::EC(point)) => {
            let named = info
                .algorithm
                .parameters
                .as_ref()
                .and_then(|parameters| parameters.as_oid().ok())
                .map(|curve| curve.to_id_string());
            let curve = CURVES
                .iter()
                .find(|(id, _)| named.as_deref() == Some(*id))
                .map(|(_, curve)| *curve)
                .filter(|curve| Curve::of_point_bytes(point.data().len()) == Some(*curve))
                .ok_or("a key on a curve that we do not know")?;
            Ok(Parts::Ec {
                curve,
                point: point.data().to_vec(),
            })
        }
        _ => Err("a key of a kind that we do not know"),
    }
}
