//! Encryption of what the store must not tell: AES-256-GCM under a key that HKDF (RFC 5869) with
//! SHA-256 derives of the configured secret and a salt of the store.
//!
//! Each value is bound to the column and row that it stands in, so that one cannot be put in the
//! place of another.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use zeroize::Zeroizing;

use crate::secret::Secret;

/// The shortest secret, in bytes.
pub const MIN_SECRET_BYTES: usize = 32;
/// What the derived key is for.
const PURPOSE: &[u8] = b"portcullis store 1: signing keys";
/// The form of what is written, its first byte.
const FORM: u8 = 1;

/// Encrypts and decrypts.
pub(super) struct Seal(RandomizedNonceKey);

/// Where an encrypted value stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    /// The column.
    pub(super) column: &'static str,
    /// The key of the row.
    pub(super) row: &'a str,
}

impl Seal {
    /// The seal of `secret` for the store with this salt.
    pub(super) fn derive(secret: &Secret<Vec<u8>>, salt: &[u8]) -> Result<Self, Unspecified> {
        let purpose = [PURPOSE];
        let extracted = Salt::new(HKDF_SHA256, salt).extract(secret.expose());
        let mut key = Zeroizing::new([0; 32]);
        extracted
            .expand(&purpose, HKDF_SHA256)?
            .fill(key.as_mut_slice())?;
        RandomizedNonceKey::new(&AES_256_GCM, key.as_slice()).map(Self)
    }

    /// `plain`, encrypted for `place`.
    pub(super) fn seal(&self, place: Place<'_>, plain: &[u8]) -> Result<Vec<u8>, Unspecified> {
        let mut text = plain.to_vec();
        let nonce = self.0.seal_in_place_append_tag(place.aad(), &mut text)?;
        let mut sealed = vec![FORM];
        sealed.extend_from_slice(nonce.as_ref());
        sealed.append(&mut text);
        Ok(sealed)
    }

    /// What was encrypted for `place`; none where it was not, or under another key.
    pub(super) fn open(&self, place: Place<'_>, sealed: &[u8]) -> Option<Secret<Vec<u8>>> {
        let rest = sealed.strip_prefix(&[FORM])?;
        let (nonce, text) = rest.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut text = Zeroizing::new(text.to_vec());
        let plain = self.0.open_in_place(nonce, place.aad(), &mut text).ok()?;
        Some(Secret::new(plain.to_vec()))
    }
}

impl Place<'_> {
    /// The column has no zero byte in it, so that it is known where it ends.
    fn aad(self) -> Aad<Vec<u8>> {
        Aad::from([self.column.as_bytes(), &[0], self.row.as_bytes()].concat())
    }
}

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seal(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Place<'_> = Place {
        column: "key",
        row: "EU.EORI.A",
    };

    fn seal(secret: &[u8], salt: &[u8]) -> Seal {
        Seal::derive(&Secret::new(secret.to_vec()), salt).unwrap()
    }

    #[test]
    fn what_was_sealed_opens_in_its_place_alone() {
        let own = seal(b"a secret of the operator, long enough", b"salt");
        let sealed = own.seal(AT, b"the key").unwrap();
        assert_eq!(own.open(AT, &sealed).unwrap().expose(), b"the key");
        assert!(!sealed.windows(7).any(|window| window == b"the key"));
        let others = [
            Place {
                column: "pending_key",
                ..AT
            },
            Place {
                row: "EU.EORI.B",
                ..AT
            },
        ];
        for place in others {
            assert!(own.open(place, &sealed).is_none(), "{place:?}");
        }
        for other in [
            seal(b"another secret of the operator, long", b"salt"),
            seal(b"a secret of the operator, long enough", b"other"),
        ] {
            assert!(other.open(AT, &sealed).is_none());
        }
    }

    #[test]
    fn what_was_changed_or_cut_does_not_open() {
        let own = seal(b"a secret of the operator, long enough", b"salt");
        let sealed = own.seal(AT, b"the key").unwrap();
        assert_ne!(sealed, own.seal(AT, b"the key").unwrap(), "a nonce each");
        for length in 0..sealed.len() {
            assert!(own.open(AT, &sealed[..length]).is_none(), "{length}");
        }
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(own.open(AT, &changed).is_none(), "{at}");
        }
    }

    #[test]
    fn it_does_not_print() {
        let own = seal(b"a secret of the operator, long enough", b"salt");
        assert_eq!(format!("{own:?}"), "Seal(redacted)");
    }
}
