//! Values that must not be told: a wrapper that does not print them, and keyed digests of them.

use std::fmt;
use std::hash::Hasher as _;
use std::sync::LazyLock;

use aws_lc_rs::{constant_time, digest, hmac};
use siphasher::sip128::{Hasher128 as _, SipHasher24};
use zeroize::Zeroize;

/// A secret value: `Debug` is redacted, there is no `Display` and no `Serialize`, and it is wiped
/// when dropped.
#[derive(Clone)]
pub struct Secret<T: Zeroize>(T);

impl<T: Zeroize> Secret<T> {
    /// Wraps a secret.
    pub fn new(value: T) -> Self {
        Self(value)
    }

    /// The secret itself: for the place that uses it, never for a text.
    pub fn expose(&self) -> &T {
        &self.0
    }
}

impl<T: Zeroize> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(redacted)")
    }
}

impl<T: Zeroize> Drop for Secret<T> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// The SHA-256 digest of `bytes`.
#[must_use]
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    into_array(digest::digest(&digest::SHA256, bytes).as_ref())
}

/// `bytes` in lower-case hexadecimal digits.
#[must_use]
pub fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A key of HMAC-SHA-256 (RFC 2104): a pepper.
#[derive(Clone)]
pub struct MacKey(hmac::Key);

impl MacKey {
    /// The key made of `bytes`.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, bytes))
    }

    /// The keyed digest of `bytes`.
    #[must_use]
    pub fn digest(&self, bytes: &[u8]) -> [u8; 32] {
        into_array(hmac::sign(&self.0, bytes).as_ref())
    }
}

impl fmt::Debug for MacKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MacKey(redacted)")
    }
}

/// A digest under the key of this process: nobody who does not have that key can aim a text at a
/// digest, or two texts at one (SipHash-2-4, 128 bits). It never leaves the process.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyedDigest(u128);

impl KeyedDigest {
    /// The digest of these parts; where one ends and the next begins counts.
    #[must_use]
    pub fn of(parts: &[&[u8]]) -> Self {
        let mut hasher = *process_key();
        for part in parts {
            hasher.write(&part.len().to_le_bytes());
            hasher.write(part);
        }
        Self(hasher.finish128().as_u128())
    }

    /// This and another in one, in whichever order they are combined.
    #[must_use]
    pub fn combined(self, other: Self) -> Self {
        Self(self.0 ^ other.0)
    }

    /// Its two halves, to place it in a table.
    #[must_use]
    pub fn halves(self) -> [u64; 2] {
        let [low, high] = [self.0, self.0 >> 64];
        [low, high].map(|half| u64::try_from(half & u128::from(u64::MAX)).unwrap_or(0))
    }

    /// Its bytes, to make other digests of.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.to_le_bytes()
    }
}

impl fmt::Debug for KeyedDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyedDigest(redacted)")
    }
}

/// A hasher with the key of this process, which is random, never told, and gone with it.
fn process_key() -> &'static SipHasher24 {
    #[expect(
        clippy::expect_used,
        reason = "without randomness no hash map and no TLS connection can be made either"
    )]
    static KEY: LazyLock<SipHasher24> = LazyLock::new(|| {
        let mut key = [0_u8; 16];
        aws_lc_rs::rand::fill(&mut key).expect("the system gives randomness");
        SipHasher24::new_with_key(&key)
    });
    &KEY
}

/// Whether two digests are equal, in a time that does not tell where they differ. Texts of unequal
/// length end at once: compare digests of them.
#[must_use]
pub fn equal(a: &[u8], b: &[u8]) -> bool {
    constant_time::verify_slices_are_equal(a, b).is_ok()
}

fn into_array(bytes: &[u8]) -> [u8; 32] {
    let mut array = [0; 32];
    for (to, from) in array.iter_mut().zip(bytes) {
        *to = *from;
    }
    array
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_not_printed() {
        assert_eq!(
            format!("{:?}", Secret::new("hunter2".to_owned())),
            "Secret(redacted)"
        );
        assert_eq!(format!("{:?}", MacKey::new(b"hunter2")), "MacKey(redacted)");
    }

    #[test]
    fn sha256_of_abc_is_that_of_fips_180() {
        assert_eq!(sha256(b"abc")[..4], [0xba, 0x78, 0x16, 0xbf]);
    }

    #[test]
    fn a_keyed_digest_depends_on_every_byte_and_on_where_parts_end() {
        let digest = KeyedDigest::of(&[b"ab", b"c"]);
        assert_eq!(digest, KeyedDigest::of(&[b"ab", b"c"]));
        for other in [&[&b"a"[..], b"bc"][..], &[b"abc"], &[b"ab", b"d"], &[]] {
            assert_ne!(digest, KeyedDigest::of(other), "{other:?}");
        }
    }
}
