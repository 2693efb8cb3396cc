//! Tokens for tests: good by default, and spoiled claim by claim.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::issuer::Issuer;
use super::signing::{self, Algorithm, SigningKeys};

/// A token that is being made. It begins with `iss`, `sub` (`alice`), `iat` and an `exp` in five
/// minutes, and is signed with RS256.
#[derive(Debug, Clone)]
pub(crate) struct Token {
    keys: SigningKeys,
    algorithm: Algorithm,
    header: Map<String, Value>,
    claims: Map<String, Value>,
}

impl Token {
    /// A token of `issuer`.
    pub(crate) fn new(issuer: &Issuer) -> Self {
        let token = Self {
            keys: issuer.keys(),
            algorithm: Algorithm::Rs256,
            header: Map::new(),
            claims: Map::new(),
        };
        let now = Timestamp::now().as_second();
        token
            .claim("iss", issuer.url())
            .claim("iat", now)
            .subject("alice")
            .expires_in(Duration::from_secs(300))
    }

    /// Sets `aud`.
    pub(crate) fn audience(self, audience: &str) -> Self {
        self.claim("aud", audience)
    }

    /// Sets `sub`.
    pub(crate) fn subject(self, subject: &str) -> Self {
        self.claim("sub", subject)
    }

    /// Sets `azp`, where the client's id is looked for by default.
    pub(crate) fn client_id(self, client_id: &str) -> Self {
        self.claim("azp", client_id)
    }

    /// Sets `scope`.
    pub(crate) fn scope(self, scope: &str) -> Self {
        self.claim("scope", scope)
    }

    /// Sets `exp` to a time ahead.
    pub(crate) fn expires_in(self, lifetime: Duration) -> Self {
        let exp = Timestamp::now().as_second() + seconds(lifetime);
        self.claim("exp", exp)
    }

    /// Sets `exp` to a time in the past, and `iat` to an hour before it.
    pub(crate) fn expired_since(self, age: Duration) -> Self {
        let exp = Timestamp::now().as_second() - seconds(age);
        self.claim("exp", exp).claim("iat", exp - 3600)
    }

    /// Sets any claim.
    pub(crate) fn claim(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.claims.insert(name.to_owned(), value.into());
        self
    }

    /// Removes a claim.
    pub(crate) fn without(mut self, name: &str) -> Self {
        self.claims.remove(name);
        self
    }

    /// Sets any member of the header, `alg` and `kid` included; null leaves a member out.
    pub(crate) fn header(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.header.insert(name.to_owned(), value.into());
        self
    }

    /// Signs with another algorithm, and the issuer's key for it.
    pub(crate) fn algorithm(mut self, algorithm: Algorithm) -> Self {
        self.algorithm = algorithm;
        self
    }

    /// Signs with other keys; the ids are theirs too.
    pub(crate) fn keys(mut self, keys: &SigningKeys) -> Self {
        self.keys = keys.clone();
        self
    }

    /// The signed token.
    pub(crate) fn sign(&self) -> String {
        let header = self.header_text(
            self.algorithm.name(),
            Some(&self.keys.key_id(self.algorithm)),
        );
        signing::compact(&header, &self.claims_text(), |message| {
            self.keys.sign(self.algorithm, message)
        })
    }

    /// The token signed with HS256 and without `kid`.
    pub(crate) fn sign_with_secret(&self, secret: &[u8]) -> String {
        let header = self.header_text("HS256", None);
        signing::compact(&header, &self.claims_text(), |message| {
            signing::sign_hs256(secret, message)
        })
    }

    /// The token with `alg` `none` and an empty signature.
    pub(crate) fn unsigned(&self) -> String {
        signing::compact(&self.header_text("none", None), &self.claims_text(), |_| {
            Vec::new()
        })
    }

    /// The claims, as they are signed.
    pub(crate) fn claims_text(&self) -> String {
        Value::Object(self.claims.clone()).to_string()
    }

    fn header_text(&self, algorithm: &str, key_id: Option<&str>) -> String {
        let mut header = Map::new();
        header.insert("typ".to_owned(), json!("JWT"));
        header.insert("alg".to_owned(), json!(algorithm));
        header.insert("kid".to_owned(), json!(key_id));
        header.extend(self.header.clone());
        header.retain(|_, value| !value.is_null());
        Value::Object(header).to_string()
    }
}

fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).expect("a duration of less than 292 billion years")
}
