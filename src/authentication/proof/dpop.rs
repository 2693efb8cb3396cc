//! DPoP proofs (RFC 9449 section 4.3): a token of the client's own about one request.
//
// INVARIANT: the key of a proof counts only where it is the one that the access token is bound to.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::config::UrlScheme;
use super::read_digest;
use crate::authentication::algorithm::Algorithm;
use crate::authentication::claims::date;
use crate::authentication::key_set::Verifier;
use crate::authentication::unverified::{TokenTypes, UnverifiedToken};
use crate::check::request::{DownstreamRequest, Host, NormalPath, Values};
use crate::secret::{equal, sha256};

/// The longest proof: a large RSA key, and a signature with it.
const MAX_PROOF_BYTES: usize = 8 * 1024;
/// The longest `jti`.
const MAX_ID_BYTES: usize = 256;

/// What is asked of proofs.
pub(super) struct DpopRules {
    pub algorithms: Vec<Algorithm>,
    /// Their names, separated by spaces (RFC 9449 section 7.1).
    pub algorithm_names: Arc<str>,
    pub max_age_seconds: i64,
    pub leeway_seconds: i64,
    /// What the client sees, where Envoy does not know.
    pub scheme: Option<UrlScheme>,
}

/// The token that a proof stands beside, and when.
pub(super) struct Shown<'a> {
    pub token: &'a str,
    /// The digest of the key that it is bound to.
    pub key: &'a [u8; 32],
    pub now: i64,
}

/// A proof that held.
#[derive(Debug)]
pub(super) struct UsedProof {
    /// The digest of its key.
    pub key: [u8; 32],
    /// Its `jti`, which no other proof of this key has.
    pub id: Box<str>,
    /// Its `iat`.
    pub issued: i64,
    /// When it ends, in seconds since 1970: until then it must not be taken again.
    pub ends: i64,
}

/// Why a proof does not hold.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum DpopError {
    Refused(&'static str),
    Signature,
}

impl From<&'static str> for DpopError {
    fn from(why: &'static str) -> Self {
        Self::Refused(why)
    }
}

impl DpopRules {
    /// Judges the proof of `request` but for whether it was used before. What costs least comes first,
    /// the signature last.
    pub(super) fn judge(
        &self,
        shown: &Shown<'_>,
        request: &DownstreamRequest,
    ) -> Result<UsedProof, DpopError> {
        let text = match request.headers().get("dpop") {
            Values::Absent => return Err("there is none".into()),
            Values::Several => return Err("there are several".into()),
            Values::One(text) if text.len() > MAX_PROOF_BYTES => {
                return Err("it is too long".into());
            }
            Values::One(text) => text,
        };
        let proof = UnverifiedToken::parse(text)?;
        let verifier = self.key(&proof, shown.key)?;
        let claims = &proof.unverified_claims;
        judge_target(claims, request, self.scheme)?;
        let (issued, ends) = self.judge_times(claims, shown.now)?;
        let digest = text_of(claims, "ath").and_then(read_digest);
        let digest = digest.ok_or("it names no token (`ath`)")?;
        if !equal(&digest, &sha256(shown.token.as_bytes())) {
            return Err("it is for another token".into());
        }
        let id = text_of(claims, "jti").filter(|id| (1..=MAX_ID_BYTES).contains(&id.len()));
        let id = id.ok_or("it has no `jti`, or one that is too long")?;
        if !verifier.verifies(proof.signing_input.as_bytes(), &proof.signature) {
            return Err(DpopError::Signature);
        }
        Ok(UsedProof {
            key: *shown.key,
            id: id.into(),
            issued,
            ends,
        })
    }

    /// The key in the header of `proof`, which is the one with the digest `bound`.
    fn key(&self, proof: &UnverifiedToken<'_>, bound: &[u8; 32]) -> Result<Verifier, &'static str> {
        let header = proof.header(&TokenTypes::listed(&["dpop+jwt".to_owned()]))?;
        let algorithm = header.unverified_algorithm;
        if algorithm.is_symmetric() || !self.algorithms.contains(&algorithm) {
            return Err("its algorithm is not allowed");
        }
        let jwk = proof
            .unverified_header
            .get("jwk")
            .and_then(Value::as_object);
        let jwk = jwk.ok_or("there is no key in its header")?;
        let thumbprint = thumbprint(jwk).ok_or("its key is of no kind that we know")?;
        if !equal(&thumbprint, bound) {
            return Err("it is of another key than the token is bound to");
        }
        Verifier::of_jwk(jwk, algorithm)
    }

    /// For how many seconds after its `iat` a proof may be taken.
    pub(super) fn lifetime(&self) -> i64 {
        self.max_age_seconds.saturating_add(self.leeway_seconds)
    }

    /// When it was issued, and when it ends.
    fn judge_times(
        &self,
        claims: &Map<String, Value>,
        now: i64,
    ) -> Result<(i64, i64), &'static str> {
        let read = |name| date(claims, name).map_err(|_| "a time in it is no number of seconds");
        let issued = read("iat")?.ok_or("it has no `iat`")?;
        let soon = now.saturating_add(self.leeway_seconds);
        let ends = issued.saturating_add(self.lifetime());
        if issued > soon || read("nbf")?.is_some_and(|begin| begin > soon) {
            return Err("it lies in the future");
        }
        let end = read("exp")?.map_or(ends, |end| end.saturating_add(self.leeway_seconds));
        if ends <= now || end <= now {
            return Err("it is too old");
        }
        Ok((issued, ends))
    }
}

/// Whether a proof is about `request`: its method, and its address as the client sees it without
/// query and fragment, both in normal form (RFC 3986 sections 6.2.2 and 6.2.3).
fn judge_target(
    claims: &Map<String, Value>,
    request: &DownstreamRequest,
    scheme: Option<UrlScheme>,
) -> Result<(), &'static str> {
    if text_of(claims, "htm") != Some(request.method()) {
        return Err("it is for another method");
    }
    let address = text_of(claims, "htu").ok_or("it names no address (`htu`)")?;
    let scheme = match scheme {
        Some(UrlScheme::Http) => "http",
        Some(UrlScheme::Https) => "https",
        None => request.scheme(),
    };
    let usual = match scheme {
        "http" => 80,
        "https" => 443,
        _ => return Err("Envoy does not say by which scheme the client came"),
    };
    let address = address.split(['?', '#']).next().unwrap_or_default();
    let wrong = "its `htu` is no address";
    let (named, rest) = address.split_once("://").ok_or(wrong)?;
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let path = if path.is_empty() { "/" } else { path };
    let host = Host::parse(authority).map_err(|_| wrong)?;
    let path = NormalPath::parse(path).map_err(|_| wrong)?;
    let port = |authority| Host::port(authority).unwrap_or(usual);
    let same = named.eq_ignore_ascii_case(scheme)
        && host.as_str() == request.host()
        && port(authority) == port(request.authority())
        && path.as_str() == request.path();
    same.then_some(()).ok_or("it is for another address")
}

fn text_of<'c>(claims: &'c Map<String, Value>, name: &str) -> Option<&'c str> {
    claims.get(name).and_then(Value::as_str)
}

/// The digest of a public key: of its required members alone, in the order of their names, without
/// white space (RFC 7638 section 3; RFC 8037 appendix A.3).
fn thumbprint(jwk: &Map<String, Value>) -> Option<[u8; 32]> {
    let names: &[&str] = match text_of(jwk, "kty")? {
        "RSA" => &["e", "kty", "n"],
        "EC" => &["crv", "kty", "x", "y"],
        "OKP" => &["crv", "kty", "x"],
        _ => return None,
    };
    let mut members = Vec::with_capacity(names.len());
    for name in names {
        let text = text_of(jwk, name)?;
        // what needs no escape in JSON
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if !text.bytes().all(is_plain) {
            return None;
        }
        members.push(format!(r#""{name}":"{text}""#));
    }
    Some(sha256(format!("{{{}}}", members.join(",")).as_bytes()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_thumbprint_is_that_of_the_rfcs() {
        // RFC 7638 section 3.1
        let rsa = json!({
            "kty": "RSA", "e": "AQAB", "alg": "RS256", "kid": "2011-04-29",
            "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw",
        });
        // RFC 8037 appendix A.3
        let ed = json!({
            "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
        });
        for (jwk, digest) in [
            (rsa, "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"),
            (ed, "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"),
        ] {
            let found = thumbprint(jwk.as_object().unwrap()).unwrap();
            assert_eq!(read_digest(digest), Some(found));
        }
        for odd in [
            json!({ "kty": "oct", "k": "AQ" }),
            json!({ "kty": "EC", "crv": "P-256", "x": "AQ" }),
            json!({ "kty": "OKP", "crv": "Ed25519", "x": "\"" }),
            json!({}),
        ] {
            assert_eq!(thumbprint(odd.as_object().unwrap()), None);
        }
    }
}
