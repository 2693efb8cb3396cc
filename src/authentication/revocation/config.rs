//! The `revocation` section: where what is revoked comes from, and how much of it is kept.

use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::authentication::config::{AuthenticatorConfig, AuthenticatorConfigs};
use crate::config::findings::Findings;
use crate::config::value::HumanDuration;
use crate::redis::config::RedisConfig;

/// What is revoked although it holds. Left out, the admin API can revoke, and nothing keeps that beyond
/// the end of the process.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct RevocationConfig {
    /// Where it comes from, beside the admin API and logout tokens.
    pub sources: Vec<RevocationSource>,
    /// How many entries there may be. Where there are as many, a new one is refused; none makes room.
    pub max_entries: usize,
    /// How long entries are kept that do not say: the longest that any token is good for.
    pub keep: HumanDuration,
    /// Where other replicas' entries cannot be had for longer than this, the process is not ready; left
    /// out, it stays ready.
    pub max_age: Option<HumanDuration>,
    /// Whose logout tokens the listener of type `logout` takes.
    pub logout: Option<LogoutConfig>,
}

/// Where what is revoked comes from.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "camelCase", deny_unknown_fields)]
pub enum RevocationSource {
    /// A file with a list of entries, read again when it changes.
    File {
        /// The file.
        path: PathBuf,
    },
    /// Redis: what one replica is told, all know, and so does one that starts later. Where nothing is said
    /// of it, it is that of `quota.store`.
    Redis(Box<RedisConfig>),
}

/// Logout tokens (OpenID Connect Back-Channel Logout 1.0).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LogoutConfig {
    /// The authenticators of type `jwt` whose issuers may send logout tokens, signed with their keys.
    pub authenticators: Vec<String>,
    /// The ids of the clients that the issuers know as having this logout address: a logout token must
    /// name one of them in `aud`.
    pub clients: Vec<String>,
}

/// How many entries there may be, where nothing is said of that.
pub const DEFAULT_MAX_ENTRIES: usize = 1_000_000;
const DEFAULT_KEEP: HumanDuration = HumanDuration(Duration::from_secs(24 * 60 * 60));
const MAX_KEEP: Duration = Duration::from_secs(10 * 366 * 24 * 60 * 60);
const MAX_MAX_ENTRIES: usize = 100_000_000;

/// Whether there are tokens of `authenticators` that may last without an end that we know.
#[must_use]
pub fn is_open_ended(authenticators: &AuthenticatorConfigs) -> bool {
    let mut all = authenticators.values();
    all.any(|config| match config {
        AuthenticatorConfig::Introspection(_) => true,
        AuthenticatorConfig::Jwt(_)
        | AuthenticatorConfig::ApiKey(_)
        | AuthenticatorConfig::AppId(_)
        | AuthenticatorConfig::Mtls(_)
        | AuthenticatorConfig::JwtSvid(_) => false,
    })
}

impl Default for RevocationConfig {
    fn default() -> Self {
        Self {
            sources: Vec::new(),
            max_entries: DEFAULT_MAX_ENTRIES,
            keep: DEFAULT_KEEP,
            max_age: None,
            logout: None,
        }
    }
}

impl RevocationConfig {
    /// The files that it names.
    pub fn files(&self) -> impl Iterator<Item = &PathBuf> {
        self.sources.iter().filter_map(|source| match source {
            RevocationSource::File { path } => Some(path),
            RevocationSource::Redis(_) => None,
        })
    }

    /// The Redis that it names, and where.
    #[must_use]
    pub fn redis(&self) -> Option<(usize, &RedisConfig)> {
        let mut sources = self.sources.iter().enumerate();
        sources.find_map(|(at, source)| match source {
            RevocationSource::File { .. } => None,
            RevocationSource::Redis(redis) => Some((at, &**redis)),
        })
    }

    /// Finds what is wrong.
    pub fn check(&self, findings: &mut Findings) {
        for (at, source) in self.sources.iter().enumerate() {
            let path = format!("sources[{at}]");
            if self.sources.iter().take(at).any(|other| other == source) {
                findings.wrong(&path, "stands twice");
            }
            match source {
                RevocationSource::File { path: file } if file.as_os_str().is_empty() => {
                    findings.wrong(&format!("{path}.path"), "must not be empty");
                }
                RevocationSource::File { .. } => {}
                RevocationSource::Redis(_) if self.redis().is_some_and(|(first, _)| first < at) => {
                    findings.wrong(&path, "there is one source of type redis at most");
                }
                // that of the quota, which is checked there
                RevocationSource::Redis(redis) if redis.is_default() => {}
                RevocationSource::Redis(redis) => {
                    findings.within(&path, |findings| redis.check(findings));
                }
            }
        }
        if self.max_age.is_some() && self.redis().is_none() {
            findings.wrong("maxAge", "is of a source of type redis, and there is none");
        }
        if !(1..=MAX_MAX_ENTRIES).contains(&self.max_entries) {
            findings.wrong("maxEntries", "from 1 to 100000000");
        }
        if self.keep.0 < Duration::from_secs(60) || self.keep.0 > MAX_KEEP {
            findings.wrong("keep", "from 1m to ten years");
        }
        if self
            .max_age
            .is_some_and(|age| age.0 < Duration::from_secs(1))
        {
            findings.wrong("maxAge", "at least 1s");
        }
    }

    /// The Redis that the source of type redis is, where it names none: that of `quota`.
    pub fn check_redis(&self, quota: Option<&RedisConfig>, findings: &mut Findings) {
        if let Some((at, redis)) = self.redis()
            && redis.is_default()
            && quota.is_none()
        {
            let message = "is needed where `quota.store` is not of type redis";
            findings.wrong(&format!("sources[{at}].url"), message);
        }
    }

    /// Finds what is wrong between the section and the authenticators.
    pub fn check_authenticators(
        &self,
        authenticators: &AuthenticatorConfigs,
        findings: &mut Findings,
    ) {
        for (name, config) in authenticators {
            let max_lifetime = match config {
                AuthenticatorConfig::Jwt(jwt) => jwt.max_lifetime,
                AuthenticatorConfig::JwtSvid(svid) => svid.max_lifetime,
                AuthenticatorConfig::Introspection(_) => {
                    let message = format!(
                        "tokens of authenticator `{name}` that live longer are good again after this time, where a revocation of more than one token does not say `until`: have its server bound how long they live"
                    );
                    findings.warn("keep", message);
                    continue;
                }
                AuthenticatorConfig::Mtls(_) => {
                    let message = format!(
                        "workloads of authenticator `{name}` are good again after this time, where their revocation does not say `until`"
                    );
                    findings.warn("keep", message);
                    continue;
                }
                AuthenticatorConfig::ApiKey(_) | AuthenticatorConfig::AppId(_) => continue,
            };
            if max_lifetime.is_none() {
                let message = format!(
                    "tokens of authenticator `{name}` that live longer are good again after this time, where a revocation does not say `until`: set its `maxLifetime`"
                );
                findings.warn("keep", message);
            }
            if max_lifetime.is_some_and(|most| most.0 > self.keep.0) {
                findings.wrong(
                    "keep",
                    format!("is shorter than `maxLifetime` of authenticator `{name}`: tokens would be good again before they end"),
                );
            }
        }
        let Some(logout) = &self.logout else { return };
        findings.within("logout", |findings| {
            if logout.authenticators.is_empty() {
                findings.wrong("authenticators", "name at least one");
            }
            for (at, name) in logout.authenticators.iter().enumerate() {
                if !matches!(authenticators.get(name), Some(AuthenticatorConfig::Jwt(_))) {
                    findings.wrong(
                        &format!("authenticators[{at}]"),
                        format!("`{name}` is no authenticator of type jwt"),
                    );
                }
            }
            if logout.clients.is_empty() || logout.clients.iter().any(String::is_empty) {
                findings.wrong("clients", "name at least one, and none that is empty");
            }
        });
    }
}
