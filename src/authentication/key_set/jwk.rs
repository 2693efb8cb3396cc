//! JSON Web Keys (RFC 7517, RFC 7518 section 6, RFC 8037 section 2): which of them we admit.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::{Key, KeyIds, KeySet, KeySetError, MAX_KEY_ID_BYTES, MAX_KEYS, Verifier};
use crate::authentication::algorithm::{Algorithm, Curve, Family, RsaParts};

/// Members that only a private key has, of the kinds that we know (RFC 7518 section 6).
const PRIVATE_MEMBERS: [&str; 7] = ["d", "p", "q", "dp", "dq", "qi", "oth"];
/// How large an RSA modulus may be, in bits; beyond it one signature costs too much.
pub(super) const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// What a key is made of.
pub(super) enum Parts {
    Rsa { n: Vec<u8>, e: Vec<u8> },
    Ec { curve: Curve, point: Vec<u8> },
    Ed(Vec<u8>),
}

impl Parts {
    /// The verifiers of every algorithm that the key is for, or of `only`.
    pub(super) fn verifiers(&self, only: Option<Algorithm>) -> Vec<(Algorithm, Verifier)> {
        Algorithm::ALL
            .into_iter()
            .filter(|algorithm| only.is_none_or(|only| only == *algorithm))
            .filter_map(|algorithm| {
                let verifier = match (self, algorithm.family()) {
                    (Self::Rsa { n, e }, Family::Rsa(_)) => {
                        Verifier::rsa(&RsaParts { n, e }, algorithm)
                    }
                    (Self::Ec { curve, point }, Family::Ec(wanted)) if *curve == wanted => {
                        Verifier::ec(point, algorithm)
                    }
                    (Self::Ed(key), Family::Ed(_)) => Verifier::ed(key, algorithm),
                    (Self::Rsa { .. } | Self::Ec { .. } | Self::Ed(_), _) => None,
                };
                verifier.map(|verifier| (algorithm, verifier))
            })
            .collect()
    }

    /// An RSA key, where its size and exponent are sound.
    pub(super) fn rsa(n: &[u8], e: &[u8]) -> Result<Self, &'static str> {
        let (n, e) = (without_leading_zeros(n), without_leading_zeros(e));
        let bits = n
            .first()
            .map_or(0, |first| n.len() * 8 - first.leading_zeros() as usize);
        if !RSA_BITS.contains(&bits) {
            return Err("an RSA key of less than 2048 or more than 8192 bits");
        }
        // odd, at least 3, and small enough to be cheap
        let odd = e.last().is_some_and(|last| last % 2 == 1);
        if !odd || e == [1] || e.len() > 4 {
            return Err("an RSA exponent that is no small odd number");
        }
        Ok(Self::Rsa {
            n: n.to_vec(),
            e: e.to_vec(),
        })
    }
}

/// Whether the key shows a part that nobody but its owner may know.
fn shows_private_members(jwk: &Map<String, Value>) -> bool {
    let kind = jwk.get("kty").and_then(Value::as_str);
    matches!(kind, Some("RSA" | "EC" | "OKP"))
        && PRIVATE_MEMBERS
            .iter()
            .any(|member| jwk.contains_key(*member))
}

/// Reads a set (RFC 7517 section 5).
pub(super) fn read_set(document: &Value) -> Result<KeySet, KeySetError> {
    let list = document.get("keys").and_then(Value::as_array);
    let list = list.ok_or(KeySetError::NotASet)?;
    if list.len() > MAX_KEYS {
        return Err(KeySetError::TooManyKeys);
    }
    let mut admitted: Vec<Admitted> = Vec::new();
    let mut skipped = Vec::new();
    for (at, jwk) in list.iter().enumerate() {
        let Some(jwk) = jwk.as_object() else {
            skipped.push(format!("key {at}: it is no object"));
            continue;
        };
        if shows_private_members(jwk) {
            return Err(KeySetError::PrivateMembers(at));
        }
        match admit(jwk) {
            Ok(key) => add(&mut admitted, key)?,
            Err(why) => skipped.push(format!("key {at}: {why}")),
        }
    }
    Ok(KeySet {
        keys: admitted.into_iter().map(|admitted| admitted.key).collect(),
        ids: KeyIds::Matter,
        skipped,
        document_digest: None,
    })
}

/// A key that may be used, with what tells it from another.
struct Admitted {
    key: Key,
    material: Vec<u8>,
}

/// A key that stands twice, for one algorithm each, is one key; two keys with one id are none.
fn add(admitted: &mut Vec<Admitted>, new: Admitted) -> Result<(), KeySetError> {
    let twin = admitted
        .iter_mut()
        .find(|other| other.key.id.is_some() && other.key.id == new.key.id);
    match twin {
        None => admitted.push(new),
        Some(other) if other.material != new.material => return Err(KeySetError::SameId),
        Some(other) => {
            for (algorithm, verifier) in new.key.verifiers {
                if other.key.verifier(algorithm).is_none() {
                    other.key.verifiers.push((algorithm, verifier));
                }
            }
        }
    }
    Ok(())
}

fn admit(jwk: &Map<String, Value>) -> Result<Admitted, &'static str> {
    let id = match jwk.get("kid") {
        None => None,
        Some(Value::String(id)) if id.len() <= MAX_KEY_ID_BYTES => Some(id.as_str().into()),
        Some(_) => return Err("a `kid` that is no text, or too long"),
    };
    let only = usable_for(jwk)?;
    let parts = read_parts(jwk)?;
    let verifiers = parts.verifiers(only);
    if verifiers.is_empty() {
        return Err("it is no key for its `alg`, or no valid key");
    }
    let material = match parts {
        Parts::Rsa { mut n, e } => {
            n.extend(e);
            n
        }
        Parts::Ec { point, .. } => point,
        Parts::Ed(key) => key,
    };
    Ok(Admitted {
        key: Key { id, verifiers },
        material,
    })
}

/// The one algorithm that a key is for, where it says so; an error where it is not for signatures.
fn usable_for(jwk: &Map<String, Value>) -> Result<Option<Algorithm>, &'static str> {
    // RFC 7517 sections 4.2 and 4.3
    match jwk.get("use") {
        None => {}
        Some(Value::String(usage)) if usage == "sig" => {}
        Some(_) => return Err("its `use` is not `sig`"),
    }
    match jwk.get("key_ops") {
        None => {}
        Some(Value::Array(operations)) if operations.iter().any(|one| one == "verify") => {}
        Some(_) => return Err("its `key_ops` have no `verify`"),
    }
    match jwk.get("alg") {
        None => Ok(None),
        Some(name) => name
            .as_str()
            .and_then(Algorithm::parse)
            .map(Some)
            .ok_or("its `alg` is none that we verify"),
    }
}

/// Reads one key that somebody shows, for `algorithm` (RFC 9449 section 4.2).
pub(super) fn read_one(
    jwk: &Map<String, Value>,
    algorithm: Algorithm,
) -> Result<Verifier, &'static str> {
    if shows_private_members(jwk) {
        return Err("its key shows private members");
    }
    if usable_for(jwk)?.is_some_and(|only| only != algorithm) {
        return Err("its key is for another algorithm");
    }
    let mut verifiers = read_parts(jwk)?.verifiers(Some(algorithm));
    let verifier = verifiers.pop().map(|(_, verifier)| verifier);
    verifier.ok_or("it is no key for its `alg`, or no valid key")
}

fn read_parts(jwk: &Map<String, Value>) -> Result<Parts, &'static str> {
    let text = |name: &str| jwk.get(name).and_then(Value::as_str);
    let bytes = |name: &str| {
        text(name)
            .and_then(|value| URL_SAFE_NO_PAD.decode(value).ok())
            .ok_or("a member that is missing or no base64url")
    };
    match text("kty") {
        Some("RSA") => Parts::rsa(&bytes("n")?, &bytes("e")?),
        Some("EC") => {
            let curve = text("crv")
                .and_then(Curve::parse)
                .ok_or("a `crv` that we do not know")?;
            let (x, y) = (bytes("x")?, bytes("y")?);
            if x.len() != curve.coordinate_bytes() || y.len() != curve.coordinate_bytes() {
                return Err("coordinates of another length than the curve's");
            }
            let point = [&[4], &*x, &*y].concat();
            Ok(Parts::Ec { curve, point })
        }
        Some("OKP") if text("crv") == Some("Ed25519") => {
            let key = bytes("x")?;
            if key.len() != 32 {
                return Err("an Ed25519 key that has not 32 bytes");
            }
            Ok(Parts::Ed(key))
        }
        Some("OKP") => Err("a `crv` that we do not know"),
        // a secret that is published, or handed to us beside public keys, is never used
        Some("oct") => Err("it is a symmetric key"),
        _ => Err("a `kty` that we do not know"),
    }
}

fn without_leading_zeros(bytes: &[u8]) -> &[u8] {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    bytes.get(zeros..).unwrap_or_default()
}
