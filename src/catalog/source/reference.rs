//! Values of catalog documents that are a text or a map: the form is chosen before it is read.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

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

/// One key of a limit, or a list of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitKeyDocuments(pub Vec<LimitKeyDocument>);

/// One thing that a limit counts apart.
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
    /// Each owner of applications; an application without one is its own.
    Owner,
    /// Each Api.
    Api,
    /// Each operation.
    Operation,
    /// Each subject of an issuer.
    Subject,
    /// Each client address, as Envoy sees it (IPv6: each /64).
    Address,
}

/// A claim whose values a limit counts apart.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClaimLimitKey {
    /// The dotted path of the claim.
    pub claim: String,
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
        f.write_str(
            "application, subscription, owner, api, operation, subject, address or { claim: … }",
        )
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<LimitKeyDocument, E> {
        let name = serde::de::value::StrDeserializer::new(name);
        FixedLimitKey::deserialize(name).map(LimitKeyDocument::Fixed)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<LimitKeyDocument, A::Error> {
        ClaimLimitKey::deserialize(MapAccessDeserializer::new(map)).map(LimitKeyDocument::Claim)
    }
}

impl<'de> Deserialize<'de> for LimitKeyDocuments {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(LimitKeysVisitor)
    }
}

/// Chooses by form, so that a mistake in the body is told where it stands.
struct LimitKeysVisitor;

impl<'de> Visitor<'de> for LimitKeysVisitor {
    type Value = LimitKeyDocuments;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key such as application or { claim: … }, or a list of keys")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<LimitKeyDocuments, E> {
        let one = LimitKeyVisitor.visit_str(name)?;
        Ok(LimitKeyDocuments(vec![one]))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<LimitKeyDocuments, A::Error> {
        let one = LimitKeyVisitor.visit_map(map)?;
        Ok(LimitKeyDocuments(vec![one]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<LimitKeyDocuments, A::Error> {
        Vec::deserialize(SeqAccessDeserializer::new(seq)).map(LimitKeyDocuments)
    }
}

impl JsonSchema for LimitKeyDocuments {
    fn schema_name() -> Cow<'static, str> {
        "LimitKeyDocuments".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let one = generator.subschema_for::<LimitKeyDocument>();
        json_schema!({ "anyOf": [one, { "type": "array", "items": one }] })
    }
}
