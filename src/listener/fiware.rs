//! Whether FIWARE's management API is served, and what its endpoints become.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::catalog::source::store::{EndpointFailure, EndpointRule};
use crate::config::Config;
use crate::config::findings::Findings;
use crate::config::sources::SourceType;
use crate::listener::ListenerConfig;
use crate::upstream::provider::config::ProviderConfig;
use crate::upstream::provider::ishare::IshareConfig;

/// FIWARE's management API: endpoints and iSHARE credentials, kept in the `store`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FiwareConfig {
    /// The provider of type `ishare` that gives the tokens of every endpoint.
    pub provider: String,
    /// The catalog's source of type `store`, whose Apis the endpoints are.
    pub source: String,
    /// What becomes of a request whose token cannot be had; `allow` sends it without, as FIWARE did.
    #[serde(default)]
    pub on_failure: EndpointFailure,
}

/// What the Apis of all endpoints say, where the API is served.
#[must_use]
pub fn rule(config: &Config) -> Option<EndpointRule> {
    let (_, fiware) = apis(config).next()?;
    let ishare = ishare(config, &fiware.provider);
    Some(EndpointRule {
        provider: fiware.provider.clone(),
        on_failure: fiware.on_failure,
        names_party: ishare.is_none_or(|ishare| ishare.party.is_none()),
    })
}

/// The provider called `name`, where it is one of iSHARE.
#[must_use]
pub fn ishare<'c>(config: &'c Config, name: &str) -> Option<&'c IshareConfig> {
    match config.providers.get(name) {
        Some(ProviderConfig::Ishare(ishare)) => Some(ishare),
        _ => None,
    }
}

/// Each listener that serves the API, with its settings.
fn apis(config: &Config) -> impl Iterator<Item = (&str, &FiwareConfig)> {
    config
        .listeners
        .iter()
        .filter_map(|(name, listener)| match listener {
            ListenerConfig::Admin(admin) => Some((name.as_str(), admin.fiware.as_ref()?)),
            ListenerConfig::Check(_)
            | ListenerConfig::Observe(_)
            | ListenerConfig::Jwks(_)
            | ListenerConfig::Logout(_) => None,
        })
}

/// Finds what is wrong between the store, its source and the API, which need each other.
pub fn check(config: &Config, findings: &mut Findings) {
    let sources = &config.catalog.sources;
    for (at, _) in stores(config).skip(1) {
        let path = format!("catalog.sources[{at}].type");
        findings.wrong(&path, "there is one store, and so one source of type store");
    }
    if let Some((at, _)) = stores(config).next() {
        let path = format!("catalog.sources[{at}].type");
        if config.store.is_none() {
            findings.wrong(&path, "needs the section `store: { path: … }`");
        }
        if apis(config).next().is_none() {
            findings.wrong(
                &path,
                "nothing can write it: needs `fiware` at a listener of type admin",
            );
        }
    }
    for (at, (name, fiware)) in apis(config).enumerate() {
        findings.within(&format!("listeners.{name}.fiware"), |findings| {
            if at > 0 {
                findings.wrong("", "one listener alone can serve it");
            }
            if ishare(config, &fiware.provider).is_none() {
                let message = format!("`{}` is no provider of type ishare", fiware.provider);
                findings.wrong("provider", message);
            }
            let source = sources.iter().find(|source| source.name == fiware.source);
            if source.is_none_or(|source| source.kind != SourceType::Store) {
                let message = format!("`{}` is no source of type store", fiware.source);
                findings.wrong("source", message);
            }
        });
    }
}

fn stores(config: &Config) -> impl Iterator<Item = (usize, &str)> {
    let sources = config.catalog.sources.iter().enumerate();
    sources
        .filter(|(_, source)| source.kind == SourceType::Store)
        .map(|(at, source)| (at, source.name.as_str()))
}
