//! The `peers` key of a check listener: who may ask, and what of its word counts.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::config::findings::Findings;
use crate::spiffe::{SpiffeIdPattern, TrustDomain};

/// The shortest text that says why something is safe.
const SHORTEST_REASON: usize = 10;

/// Who may ask: one of `allow` and `any`; left out, whoever can connect.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct PeersConfig {
    /// Those who may ask, by the identity in their certificate: a SPIFFE ID in which whole segments
    /// of the path may be `*` and the last one `**`, or an object that says more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow: Option<Vec<PeerEntry>>,
    /// Whoever can connect may ask. The text says why that is safe, for those who read the
    /// configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub any: Option<String>,
    /// Whether `x-forwarded-client-cert` of the request that is asked about is believed: only where
    /// all who may ask are proxies that write it themselves and take nothing of it from clients, as
    /// the sidecars of a mesh do.
    pub request_xfcc: bool,
}

/// Who may ask.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum PeerEntry {
    /// Workloads whose SPIFFE ID is meant by this pattern.
    Pattern(String),
    /// The same with more said.
    Object(PeerObject),
}

/// Who may ask, and what of its word counts: one of `id` and `dnsName`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct PeerObject {
    /// Workloads whose SPIFFE ID is meant by this pattern.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Who shows a certificate without a SPIFFE ID that has this DNS name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dns_name: Option<String>,
    /// Trust domains, beside its own, about whose workloads its word counts.
    pub trust_domains: Vec<String>,
    /// As `requestXfcc` of all, for this one.
    pub request_xfcc: bool,
}

impl PeersConfig {
    /// Whether it says who may ask.
    #[must_use]
    pub fn is_rule(&self) -> bool {
        self.allow.is_some() || self.any.is_some()
    }

    /// Finds what is wrong. `identified` says whether the listener can tell who asks.
    pub fn check(&self, identified: bool, findings: &mut Findings) {
        if self.allow.is_some() && self.any.is_some() {
            findings.wrong("any", "stands beside `allow`; give one of them");
        }
        let reason = self.any.as_deref().map(str::trim);
        if reason.is_some_and(|why| why.len() < SHORTEST_REASON) {
            findings.wrong("any", "must say in words why any peer may ask");
        }
        let Some(allow) = &self.allow else { return };
        if allow.is_empty() {
            findings.wrong("allow", "names nobody, so that every check would be denied");
        }
        if !identified {
            findings.wrong(
                "allow",
                "needs to know who asks: by `tls` with `clientCa` or `spiffe`, or by `trustXfcc`",
            );
        }
        for (at, entry) in allow.iter().enumerate() {
            findings.within(&format!("allow[{at}]"), |findings| entry.check(findings));
        }
    }

    /// Whether the request's `x-forwarded-client-cert` counts from anybody.
    #[must_use]
    pub fn believes_xfcc(&self) -> bool {
        let entries = self.allow.iter().flatten();
        let of_entry = |entry: &PeerEntry| match entry {
            PeerEntry::Pattern(_) => false,
            PeerEntry::Object(object) => object.request_xfcc,
        };
        self.request_xfcc || entries.into_iter().any(of_entry)
    }
}

impl PeerEntry {
    fn check(&self, findings: &mut Findings) {
        match self {
            Self::Pattern(pattern) => check_pattern("", pattern, findings),
            Self::Object(object) => object.check(findings),
        }
    }
}

impl PeerObject {
    fn check(&self, findings: &mut Findings) {
        match (&self.id, &self.dns_name) {
            (Some(id), None) => check_pattern("id", id, findings),
            (None, Some(name)) if name.is_empty() || name.contains(['*', '/', ':', ' ']) => {
                findings.wrong("dnsName", "is one whole name, such as envoy.example");
            }
            (None, Some(_)) => {}
            (None, None) => findings.wrong("", "names nobody: give `id` or `dnsName`"),
            (Some(_), Some(_)) => {
                findings.wrong("dnsName", "stands beside `id`; give one of them");
            }
        }
        for (at, name) in self.trust_domains.iter().enumerate() {
            if let Err(error) = TrustDomain::parse(name) {
                findings.wrong(&format!("trustDomains[{at}]"), error.to_string());
            }
        }
    }
}

/// Finds what is wrong with patterns of SPIFFE IDs at `path`.
pub fn check_patterns(path: &str, patterns: &[String], findings: &mut Findings) {
    for (at, pattern) in patterns.iter().enumerate() {
        check_pattern(&format!("{path}[{at}]"), pattern, findings);
    }
}

/// The patterns that [`check_patterns`] finds nothing wrong with.
#[must_use]
pub fn patterns(patterns: &[String]) -> Box<[SpiffeIdPattern]> {
    let parsed = patterns.iter().map(|text| SpiffeIdPattern::parse(text));
    parsed.filter_map(Result::ok).collect()
}

fn check_pattern(path: &str, pattern: &str, findings: &mut Findings) {
    if let Err(error) = SpiffeIdPattern::parse(pattern) {
        findings.wrong(path, format!("`{pattern}`: {error}"));
    }
}

impl<'de> Deserialize<'de> for PeerEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PeerEntryVisitor)
    }
}

struct PeerEntryVisitor;

impl<'de> Visitor<'de> for PeerEntryVisitor {
    type Value = PeerEntry;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a SPIFFE ID or pattern, or { id: … } or { dnsName: … }")
    }

    fn visit_str<E: Error>(self, pattern: &str) -> Result<PeerEntry, E> {
        Ok(PeerEntry::Pattern(pattern.to_owned()))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<PeerEntry, A::Error> {
        PeerObject::deserialize(MapAccessDeserializer::new(map)).map(PeerEntry::Object)
    }
}

impl JsonSchema for PeerEntry {
    fn schema_name() -> Cow<'static, str> {
        "PeerEntry".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [
                { "type": "string", "pattern": "^[Ss][Pp][Ii][Ff][Ff][Ee]://.+/.+$" },
                generator.subschema_for::<PeerObject>(),
            ],
        })
    }
}
