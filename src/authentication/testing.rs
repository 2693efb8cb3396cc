//! What the unit tests of authenticators share: keys that sign, requests, and built authenticators.

use std::sync::{Arc, LazyLock};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING,
    ECDSA_P521_SHA512_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair,
    KeyPair as _, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256,
    RSA_PSS_SHA384, RSA_PSS_SHA512, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use envoy_types::pb::envoy::service::auth::v3::attribute_context::{HttpRequest, Request};
use envoy_types::pb::envoy::service::auth::v3::{AttributeContext, CheckRequest};
use prost::Message as _;
use serde_json::{Value, json};
use x509_parser::prelude::FromDer as _;
use x509_parser::public_key::RSAPublicKey;

use crate::authentication::algorithm::Algorithm;
use crate::authentication::config::{
    AuthenticatorConfigs, BuildContext, Lasting, build_all, check_all,
};
use crate::authentication::failures::FailureBudget;
use crate::authentication::key_refresh::KeySources;
use crate::authentication::verified_tokens::VerifiedTokens;
use crate::authentication::{Authenticator, Outcome};
use crate::check::decision::{FaultReason, Reason, Stop};
use crate::check::request::{Decoded, DownstreamRequest, decode};
use crate::clock::Clock;
use crate::config::findings::Findings;
use crate::config::locator::Locator;
use crate::config::reader::Reader;
use crate::config::tagged::TaggedMap;
use crate::config::yaml::YamlDocument;
use crate::problem::Problem;
use crate::snapshot::Authenticators;

/// The time at which tests judge tokens.
pub(super) const NOW: i64 = 1_800_000_000;
pub(super) const ISSUER: &str = "https://idp.example";

/// A key that signs.
pub(super) enum SigningKey {
    Rsa(RsaKeyPair),
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
}

pub(super) static RSA: LazyLock<SigningKey> = LazyLock::new(SigningKey::rsa);
pub(super) static OTHER_RSA: LazyLock<SigningKey> = LazyLock::new(SigningKey::rsa);
pub(super) static P256: LazyLock<SigningKey> =
    LazyLock::new(|| SigningKey::ec(&ECDSA_P256_SHA256_FIXED_SIGNING));
pub(super) static P384: LazyLock<SigningKey> =
    LazyLock::new(|| SigningKey::ec(&ECDSA_P384_SHA384_FIXED_SIGNING));
pub(super) static P521: LazyLock<SigningKey> =
    LazyLock::new(|| SigningKey::ec(&ECDSA_P521_SHA512_FIXED_SIGNING));
pub(super) static ED: LazyLock<SigningKey> =
    LazyLock::new(|| SigningKey::Ed(Ed25519KeyPair::generate().unwrap()));

impl SigningKey {
    fn rsa() -> Self {
        Self::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).unwrap())
    }

    fn ec(algorithm: &'static EcdsaSigningAlgorithm) -> Self {
        Self::Ec(EcdsaKeyPair::generate(algorithm).unwrap())
    }

    pub(super) fn sign(&self, algorithm: Algorithm, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Self::Rsa(key) => {
                let encodings = [
                    (Algorithm::Rs256, &RSA_PKCS1_SHA256),
                    (Algorithm::Rs384, &RSA_PKCS1_SHA384),
                    (Algorithm::Rs512, &RSA_PKCS1_SHA512),
                    (Algorithm::Ps256, &RSA_PSS_SHA256),
                    (Algorithm::Ps384, &RSA_PSS_SHA384),
                    (Algorithm::Ps512, &RSA_PSS_SHA512),
                ];
                let encoding = encodings.iter().find(|(of, _)| *of == algorithm);
                let (_, encoding) = encoding.unwrap();
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(*encoding, &random, message, &mut signature)
                    .unwrap();
                signature
            }
            Self::Ec(key) => key.sign(&random, message).unwrap().as_ref().to_vec(),
            Self::Ed(key) => key.sign(message).as_ref().to_vec(),
        }
    }

    /// The public part, as an issuer publishes it.
    pub(super) fn jwk(&self, kid: &str) -> Value {
        let mut jwk = match self {
            Self::Rsa(key) => {
                let der = key.public_key().as_ref().to_vec();
                let (_, public) = RSAPublicKey::from_der(&der).unwrap();
                let n = public.modulus.strip_prefix(&[0]).unwrap_or(public.modulus);
                json!({ "kty": "RSA", "n": b64(n), "e": b64(public.exponent) })
            }
            Self::Ec(key) => {
                let point = &key.public_key().as_ref()[1..];
                let (x, y) = point.split_at(point.len() / 2);
                let crv = match x.len() {
                    32 => "P-256",
                    48 => "P-384",
                    _ => "P-521",
                };
                json!({ "kty": "EC", "crv": crv, "x": b64(x), "y": b64(y) })
            }
            Self::Ed(key) => {
                json!({ "kty": "OKP", "crv": "Ed25519", "x": b64(key.public_key().as_ref()) })
            }
        };
        jwk["kid"] = kid.into();
        jwk
    }

    /// A token with this header and these claims, whatever they are.
    pub(super) fn token(&self, algorithm: Algorithm, header: &Value, claims: &Value) -> String {
        let input = signing_input(&header.to_string(), &claims.to_string());
        let signature = self.sign(algorithm, input.as_bytes());
        format!("{input}.{}", b64(&signature))
    }
}

pub(super) fn signing_input(header: &str, claims: &str) -> String {
    format!("{}.{}", b64(header.as_bytes()), b64(claims.as_bytes()))
}

pub(super) fn b64(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

pub(super) fn header() -> Value {
    json!({ "alg": "RS256", "kid": "a", "typ": "JWT" })
}

pub(super) fn claims() -> Value {
    json!({
        "iss": ISSUER, "aud": "orders", "sub": "alice", "azp": "shop", "scope": "read write",
        "iat": NOW - 10, "nbf": NOW - 10, "exp": NOW + 300,
    })
}

/// `base` with `changes`; `null` removes a member.
pub(super) fn with(mut base: Value, changes: Value) -> Value {
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            base.as_object_mut().unwrap().remove(name);
        } else {
            base[name] = value.clone();
        }
    }
    base
}

/// A request with these headers.
pub(super) fn request(path: &str, headers: &[(&str, &str)]) -> DownstreamRequest {
    let http = HttpRequest {
        method: "GET".into(),
        host: "api.example".into(),
        path: path.into(),
        headers: headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        ..HttpRequest::default()
    };
    let check = CheckRequest {
        attributes: Some(AttributeContext {
            request: Some(Request {
                http: Some(http),
                ..Request::default()
            }),
            ..AttributeContext::default()
        }),
    };
    match decode(check.encode_to_vec().into()).unwrap() {
        Decoded::Http(request) => request,
        Decoded::NoHttp => panic!("there is http"),
    }
}

/// The authenticator `a` of a section, which is fine.
pub(super) fn build(section: &str, sources: &KeySources) -> Arc<Authenticator> {
    Arc::clone(&build_section(section, sources)["a"])
}

/// The section, as the configuration reads it.
pub(super) fn parse_section(section: &str) -> Result<AuthenticatorConfigs, Problem> {
    YamlDocument::whole("section", section).parse_with(TaggedMap::new("", &Locator::new(section)))
}

/// The authenticators of a section, which is fine.
pub(super) fn build_section(section: &str, sources: &KeySources) -> Authenticators {
    build_limited(section, sources, &FailureBudget::default())
}

/// The same, where failures are limited.
pub(super) fn build_limited(
    section: &str,
    sources: &KeySources,
    failures: &FailureBudget,
) -> Authenticators {
    build_with(
        section,
        &Lasting {
            clock: Clock::at(NOW),
            key_sources: sources.clone(),
            verified_tokens: VerifiedTokens::new(1024 * 1024),
            failures: failures.clone(),
            ..Lasting::offline(Clock::at(NOW))
        },
    )
}

/// The same, with what outlives them.
pub(super) fn build_with(section: &str, lasting: &Lasting) -> Authenticators {
    let configs = parse_section(section).unwrap();
    let (mut reader, mut findings) = (Reader::new("."), Findings::new());
    check_all(&configs, &mut findings);
    assert_eq!(findings.found(), []);
    let mut context = BuildContext {
        reader: &mut reader,
        findings: &mut findings,
        lasting,
    };
    let built = build_all(&configs, &mut context);
    built.unwrap_or_else(|| panic!("{:?}", findings.found()))
}

/// An authenticator for what is made by it and outlives the test's call.
pub(super) fn kept(authenticator: Arc<Authenticator>) -> &'static Authenticator {
    Box::leak(Box::new(authenticator))
}

/// What a section's check finds: `path: message`.
pub(super) fn wrong(section: &str) -> Vec<String> {
    let configs = parse_section(section).unwrap();
    let mut findings = Findings::new();
    check_all(&configs, &mut findings);
    let found = findings.found().iter();
    found
        .map(|finding| format!("{}: {}", finding.path, finding.message))
        .collect()
}

/// A path, headers, and how they are judged.
pub(super) type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], Ended);

/// How an outcome ended: a word, and the reason.
pub(super) fn ended(outcome: &Outcome<'_>) -> Ended {
    match outcome {
        Outcome::Absent => Ended::Absent,
        Outcome::NotMine(denial) => Ended::NotMine(denial.reason()),
        Outcome::Verified(_) => Ended::Verified,
        Outcome::Stopped(Stop::Deny(denial)) => Ended::Denied(denial.reason()),
        Outcome::Stopped(Stop::Fail(fault)) => Ended::Failed(fault.reason()),
    }
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ended {
    Absent,
    NotMine(Reason),
    Verified,
    Denied(Reason),
    Failed(FaultReason),
}
