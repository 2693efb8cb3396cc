//! DPoP proofs (RFC 9449), made without the code that judges them: good by default, and spoiled member
//! by member.

use aws_lc_rs::digest;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::signing::{Algorithm, SigningKeys, compact, encode, sign_hs256};

/// A client's own key, which signs proofs.
#[derive(Debug, Clone)]
pub(crate) struct Prover {
    keys: SigningKeys,
    algorithm: Algorithm,
}

/// A proof that is being made.
#[derive(Debug, Clone)]
pub(crate) struct Proof {
    prover: Prover,
    header: Map<String, Value>,
    claims: Map<String, Value>,
}

impl Prover {
    /// A new key for ES256.
    pub(crate) fn new() -> Self {
        Self::with(&SigningKeys::generate(1), Algorithm::Es256)
    }

    /// One of `keys`.
    pub(crate) fn with(keys: &SigningKeys, algorithm: Algorithm) -> Self {
        Self {
            keys: keys.clone(),
            algorithm,
        }
    }

    /// Its public key, with the members that it must have and no others.
    pub(crate) fn jwk(&self) -> Value {
        let mut jwk = self.keys.public_jwk(self.algorithm);
        for name in ["use", "alg", "kid"] {
            jwk.as_object_mut().expect("an object").remove(name);
        }
        jwk
    }

    /// The digest of its key (RFC 7638): `serde_json` writes the members in the order of their names.
    pub(crate) fn thumbprint(&self) -> String {
        sha256_text(self.jwk().to_string().as_bytes())
    }

    /// What stands in `cnf` of a token that is bound to it.
    pub(crate) fn confirmation(&self) -> Value {
        json!({ "jkt": self.thumbprint() })
    }

    /// A proof for a request with `token`.
    pub(crate) fn proof(&self, method: &str, url: &str, token: &str) -> Proof {
        let proof = Proof {
            prover: self.clone(),
            header: Map::new(),
            claims: Map::new(),
        };
        proof
            .header("typ", "dpop+jwt")
            .header("alg", self.algorithm.name())
            .header("jwk", self.jwk())
            .claim("jti", uuid::Uuid::now_v7().to_string())
            .claim("htm", method)
            .claim("htu", url)
            .claim("iat", Timestamp::now().as_second())
            .claim("ath", sha256_text(token.as_bytes()))
    }
}

impl Proof {
    /// Sets a member of the header; null leaves it out.
    pub(crate) fn header(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.header.insert(name.to_owned(), value.into());
        self
    }

    /// Sets a claim; null leaves it out.
    pub(crate) fn claim(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.claims.insert(name.to_owned(), value.into());
        self
    }

    /// The signed proof.
    pub(crate) fn sign(&self) -> String {
        let (header, claims) = self.texts();
        compact(&header, &claims, |message| {
            self.prover.keys.sign(self.prover.algorithm, message)
        })
    }

    /// Signed with HS256 and a secret that is no secret.
    pub(crate) fn sign_with_secret(&self, secret: &[u8]) -> String {
        let (header, claims) = self.clone().header("alg", "HS256").texts();
        compact(&header, &claims, |message| sign_hs256(secret, message))
    }

    /// With `alg` `none`, and what is no signature.
    pub(crate) fn unsigned(&self) -> String {
        let (header, claims) = self.clone().header("alg", "none").texts();
        compact(&header, &claims, |_| vec![0])
    }

    fn texts(&self) -> (String, String) {
        let text = |members: &Map<String, Value>| {
            let mut members = members.clone();
            members.retain(|_, value| !value.is_null());
            Value::Object(members).to_string()
        };
        (text(&self.header), text(&self.claims))
    }
}

/// The SHA-256 digest of `bytes` in base64url.
pub(crate) fn sha256_text(bytes: &[u8]) -> String {
    encode(digest::digest(&digest::SHA256, bytes).as_ref())
}
