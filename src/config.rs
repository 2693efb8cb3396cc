//! The configuration of the process: one YAML file, read whole or refused whole.
//!
//! Each part declares its own section beside its code; this module composes them and checks what
//! concerns several. `authenticators`, `providers` and the files of secrets reload together with the catalog;
//! the other sections need a restart. What applications may do is not configured here: that is the
//! catalog.

pub mod checks;
pub mod findings;
pub mod load;
pub mod locator;
pub mod overrides;
pub mod quick;
pub mod reader;
pub mod reference;
pub mod sources;
pub mod tagged;
pub mod value;
pub mod yaml;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, Visitor};

use crate::authentication::ANONYMOUS;
use crate::authentication::config::{AuthenticatorConfig, check_all, check_mesh};
use crate::authentication::proof::config::BindingConfig;
use crate::authentication::revocation::config::RevocationConfig;
use crate::authorization::quota::config::QuotaConfig;
use crate::catalog::build::Known;
use crate::catalog::model::Direction;
use crate::config::checks::ChecksConfig;
use crate::config::findings::Findings;
use crate::config::locator::Locator;
use crate::config::sources::CatalogConfig;
use crate::config::tagged::TaggedMap;
use crate::listener::{
    ListenerConfig, check_listeners, check_logout, check_peers, default_listeners, fiware,
};
use crate::spiffe::config::SpiffeConfig;
use crate::store::StoreConfig;
use crate::telemetry::TelemetryConfig;
use crate::upstream::provider;
use crate::upstream::provider::config::ProviderConfig;
use crate::usage::decision_log::DecisionLogConfig;

/// The operator's file.
#[derive(Debug, Clone, JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
pub struct Config {
    /// The ports and sockets, by name; left out: check 127.0.0.1:9001, admin 127.0.0.1:9002,
    /// observe 127.0.0.1:9090.
    #[schemars(default, with = "BTreeMap<String, ListenerConfig>")]
    pub listeners: BTreeMap<String, ListenerConfig>,
    /// Who we are in the mesh, and whose word counts there.
    #[schemars(default)]
    pub spiffe: SpiffeConfig,
    /// What holds for every check.
    #[schemars(default)]
    pub checks: ChecksConfig,
    /// How callers prove who they are, by name. `anonymous` always exists and must be named by an
    /// Api to be used. This section reloads.
    #[schemars(default)]
    pub authenticators: BTreeMap<String, AuthenticatorConfig>,
    /// Where upstream credentials come from, by name. An Api uses one by naming it. This section
    /// reloads.
    #[schemars(default)]
    pub providers: BTreeMap<String, ProviderConfig>,
    /// Where the catalog comes from.
    pub catalog: CatalogConfig,
    /// What is revoked although it holds.
    #[schemars(default)]
    pub revocation: Option<RevocationConfig>,
    /// How the limits of plans and Apis are counted.
    #[schemars(default)]
    pub quota: QuotaConfig,
    /// Where what the admin API writes is kept.
    #[schemars(default)]
    pub store: Option<StoreConfig>,
    /// The record of decisions.
    #[schemars(default)]
    pub decision_log: DecisionLogConfig,
    /// What the process tells about itself.
    #[schemars(default)]
    pub telemetry: TelemetryConfig,
}

/// The sections, as they are written.
pub const SECTIONS: [&str; 11] = [
    "listeners",
    "spiffe",
    "checks",
    "authenticators",
    "providers",
    "catalog",
    "quota",
    "revocation",
    "store",
    "decisionLog",
    "telemetry",
];

/// The sections that reload.
pub const RELOADED_SECTIONS: [&str; 2] = ["authenticators", "providers"];

impl Default for Config {
    fn default() -> Self {
        Self {
            listeners: default_listeners(),
            spiffe: SpiffeConfig::default(),
            checks: ChecksConfig::default(),
            authenticators: BTreeMap::new(),
            providers: BTreeMap::new(),
            catalog: CatalogConfig::default(),
            revocation: None,
            quota: QuotaConfig::default(),
            store: None,
            decision_log: DecisionLogConfig::default(),
            telemetry: TelemetryConfig::default(),
        }
    }
}

impl Config {
    /// Finds everything that is wrong.
    pub fn check(&self, findings: &mut Findings) {
        findings.within("listeners", |findings| {
            for name in self.listeners.keys() {
                check_name(name, findings);
            }
            check_listeners(&self.listeners, findings);
            check_peers(&self.listeners, !self.providers.is_empty(), findings);
        });
        findings.within("spiffe", |findings| self.spiffe.check(findings));
        findings.within("checks", |findings| self.checks.check(findings));
        findings.within("authenticators", |findings| {
            for name in self.authenticators.keys() {
                check_name(name, findings);
            }
            check_all(&self.authenticators, findings);
            check_mesh(&self.authenticators, &self.spiffe, findings);
            self.check_replays(findings);
        });
        findings.within("providers", |findings| {
            for name in self.providers.keys() {
                check_name(name, findings);
            }
            provider::config::check_all(&self.providers, findings);
        });
        findings.within("catalog", |findings| self.catalog.check(findings));
        if let Some(revocation) = &self.revocation {
            findings.within("revocation", |findings| {
                revocation.check(findings);
                revocation.check_redis(self.quota.redis(), findings);
                revocation.check_authenticators(&self.authenticators, findings);
            });
        }
        let revocation = self.revocation.as_ref();
        let takes_logouts = revocation.is_some_and(|revocation| revocation.logout.is_some());
        check_logout(&self.listeners, takes_logouts, findings);
        findings.within("quota", |findings| self.quota.check(findings));
        if let Some(store) = &self.store {
            findings.within("store", |findings| store.check(findings));
        }
        fiware::check(self, findings);
        findings.within("decisionLog", |findings| self.decision_log.check(findings));
        findings.within("telemetry", |findings| self.telemetry.check(findings));
    }

    /// Proofs can be remembered in Redis where there is one.
    fn check_replays(&self, findings: &mut Findings) {
        for (name, config) in &self.authenticators {
            let needs = config.binding().is_some_and(BindingConfig::needs_redis);
            if needs && !self.quota.is_in_redis() {
                let path = format!("{name}.binding.dpop.replay");
                findings.wrong(&path, "`redis` needs `quota.store` of type redis");
            }
        }
    }

    /// The directions that check listeners serve.
    fn directions(&self) -> Vec<Direction> {
        let checks = self
            .listeners
            .values()
            .filter_map(|listener| match listener {
                ListenerConfig::Check(listener) => Some(listener.rules().direction),
                ListenerConfig::Admin(_)
                | ListenerConfig::Observe(_)
                | ListenerConfig::Jwks(_)
                | ListenerConfig::Logout(_) => None,
            });
        checks.collect()
    }

    /// What the catalog's documents can name.
    #[must_use]
    pub fn known(&self) -> Known {
        let mut authenticators: BTreeMap<Arc<str>, _> = self
            .authenticators
            .iter()
            .map(|(name, config)| (name.as_str().into(), config.credential_headers()))
            .collect();
        authenticators.insert(ANONYMOUS.into(), Vec::new());
        let token_subscriptions = self
            .authenticators
            .iter()
            .filter(|(_, config)| config.takes_token_subscriptions())
            .map(|(name, _)| name.as_str().into());
        let key_places = self.authenticators.iter();
        let key_places =
            key_places.map(|(name, config)| (name.as_str().into(), config.key_places()));
        let tokens = self.authenticators.iter();
        let tokens = tokens.filter(|(_, config)| config.verifies_tokens());
        let providers = self.providers.iter();
        let providers = providers.map(|(name, config)| (name.as_str().into(), config.abilities()));
        Known {
            token_authenticators: tokens.map(|(name, _)| name.as_str().into()).collect(),
            providers: providers.collect(),
            key_places: key_places.collect(),
            directions: self.directions(),
            authenticators,
            token_subscriptions: token_subscriptions.collect(),
            decision_header: self.checks.decision_header(),
            mesh: self.spiffe.mesh(),
        }
    }
}

/// Names of things become labels and parts of paths.
fn check_name(name: &str, findings: &mut Findings) {
    let is_name = !name.is_empty()
        && name.len() <= 63
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if !is_name {
        findings.wrong(
            name,
            format!("`{name}` is no name: it has letters, digits and hyphens only, 63 at most"),
        );
    }
}

/// Reads a [`Config`] of the document that the locator knows: each `type` is known before its body
/// is read.
#[derive(Debug)]
struct ConfigSeed<'l>(&'l Locator);

impl<'de> DeserializeSeed<'de> for ConfigSeed<'_> {
    type Value = Config;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Config, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for ConfigSeed<'_> {
    type Value = Config;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a map with the sections {}", SECTIONS.join(", "))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Config, A::Error> {
        let mut config = Config::default();
        while let Some(section) = map.next_key_seed(Section)? {
            match section {
                "listeners" => {
                    config.listeners = map.next_value_seed(TaggedMap::new(section, self.0))?;
                }
                "spiffe" => config.spiffe = map.next_value()?,
                "checks" => config.checks = map.next_value()?,
                "authenticators" => {
                    config.authenticators = map.next_value_seed(TaggedMap::new(section, self.0))?;
                }
                "providers" => {
                    config.providers = map.next_value_seed(TaggedMap::new(section, self.0))?;
                }
                "catalog" => config.catalog = map.next_value()?,
                "revocation" => config.revocation = map.next_value()?,
                "quota" => config.quota = map.next_value()?,
                "store" => config.store = map.next_value()?,
                "decisionLog" => config.decision_log = map.next_value()?,
                "telemetry" => config.telemetry = map.next_value()?,
                other => return Err(A::Error::unknown_field(other, &SECTIONS)),
            }
        }
        Ok(config)
    }

    fn visit_unit<E: Error>(self) -> Result<Config, E> {
        Ok(Config::default())
    }
}

/// Reads the name of a section.
struct Section;

impl<'de> DeserializeSeed<'de> for Section {
    type Value = &'static str;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<&'static str, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Section {
    type Value = &'static str;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a section")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<&'static str, E> {
        SECTIONS
            .into_iter()
            .find(|section| *section == name)
            .ok_or_else(|| E::unknown_field(name, &SECTIONS))
    }
}

#[cfg(test)]
mod tests;
