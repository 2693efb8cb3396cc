//! Values of catalog documents that are a text or a map: the form is chosen before it is read.

use std::fmt;

use schemars::JsonSchema;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};

/// The Api that a subscription is for.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema)]
#[schemars(untagged)]
pub enum ApiReference {
    /// Its `name` or `namespace/name`.
    Name(String),
    /// Its title and a version or range of versions.
    Title(TitleReference),
}

/// Apis by title and version, in the subscription's namespace.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TitleReference {
    /// The title; case does not count.
    pub title: String,
    /// A version, or a range such as `>=1.0, <2`.
    pub version: String,
}

/// What a limit counts apart; `application` where it is left out.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema)]
#[schemars(untagged)]
pub enum LimitKeyDocument {
    /// One of the fixed keys.
    Fixed(FixedLimitKey),
    /// Each value of a claim.
    Claim(ClaimLimitKey),
}

/// What a limit counts apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum FixedLimitKey {
    /// Each application.
    Application,
    /// Each subscription.
    Subscription,
    /// Each Api.
    Api,
    /// Each operation.
    Operation,
    /// Each subject.
    Subject,
    /// Each client address.
    Address,
}

/// A claim whose values a limit counts apart.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClaimLimitKey {
    /// The dotted path of the claim.
    pub claim: String,
}

impl Default for LimitKeyDocument {
    fn default() -> Self {
        Self::Fixed(FixedLimitKey::Application)
    }
}

impl<'de> Deserialize<'de> for ApiReference {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ApiReferenceVisitor)
    }
}

struct ApiReferenceVisitor;

impl<'de> Visitor<'de> for ApiReferenceVisitor {
    type Value = ApiReference;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of an api, or { title: …, version: … }")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<ApiReference, E> {
        Ok(ApiReference::Name(name.to_owned()))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<ApiReference, A::Error> {
        TitleReference::deserialize(MapAccessDeserializer::new(map)).map(ApiReference::Title)
    }
}

impl<'de> Deserialize<'de> for LimitKeyDocument {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(LimitKeyVisitor)
    }
}

struct LimitKeyVisitor;

impl<'de> Visitor<'de> for LimitKeyVisitor {
    type Value = LimitKeyDocument;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("application, subscription, api, operation, subject, address or { claim: … }")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<LimitKeyDocument, E> {
        let name = serde::de::value::StrDeserializer::new(name);
        FixedLimitKey::deserialize(name).map(LimitKeyDocument::Fixed)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<LimitKeyDocument, A::Error> {
        ClaimLimitKey::deserialize(MapAccessDeserializer::new(map)).map(LimitKeyDocument::Claim)
    }
}
