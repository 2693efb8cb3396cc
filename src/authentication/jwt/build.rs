//! A [`JwtConfig`] becomes a [`JwtAuthenticator`]: its files are read and its key source started.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use url::Url;

use super::config::{DEFAULT_MAX_STALE, DEFAULT_REFRESH_INTERVAL, JwtConfig, KeysConfig};
use super::{JwtAuthenticator, Keys};
use crate::authentication::algorithm::Algorithm;
use crate::authentication::claims::rules::{DEFAULT_MAX_TOKEN, whole_seconds};
use crate::authentication::claims::{ClaimPath, ClaimRules};
use crate::authentication::config::{BuildContext, build_places};
use crate::authentication::key_refresh::{KeyPlace, KeySourceConfig};
use crate::authentication::key_set::{KeySet, KeySetError, MAX_BYTES};
use crate::authentication::unverified::TokenTypes;
use crate::config::findings::Findings;
use crate::config::value::HumanDuration;
use crate::http_client::Schemes;

const DEFAULT_COOLDOWN: HumanDuration = HumanDuration(Duration::from_secs(10));

impl JwtConfig {
    /// Makes the authenticator called `name`, which takes the tokens of an issuer alone or not.
    pub(in crate::authentication) fn build(
        &self,
        name: &str,
        issuer_is_shared: bool,
        context: &mut BuildContext<'_>,
    ) -> Option<JwtAuthenticator> {
        let keys = self.build_keys(context)?;
        let asymmetric = || {
            let all = Algorithm::ALL.into_iter();
            all.filter(|algorithm| !algorithm.is_symmetric()).collect()
        };
        let places = build_places(&self.places())?;
        Some(JwtAuthenticator {
            name: name.into(),
            proofs: self.binding.build(&places, context.lasting),
            places,
            max_token: self.max_token.map_or(DEFAULT_MAX_TOKEN, |size| size.0),
            issuer_is_shared,
            types: match &self.types {
                None => TokenTypes::Default,
                Some(types) => TokenTypes::listed(types),
            },
            algorithms: self.algorithms.clone().unwrap_or_else(asymmetric),
            keys,
            rules: self.build_rules(),
            subscriptions: self.subscriptions.source(),
            seen: context.lasting.verified_tokens.of_next_authenticator(),
            clock: context.lasting.clock.clone(),
            failures: context.lasting.failures.clone(),
        })
    }

    fn build_keys(&self, context: &mut BuildContext<'_>) -> Option<Keys> {
        let algorithms = self.algorithms.as_deref().unwrap_or_default();
        let BuildContext {
            reader, findings, ..
        } = context;
        match &self.keys {
            KeysConfig::Discovery => {
                let issuer = self.issuer.as_str().into();
                self.build_source(KeyPlace::Discovery { issuer }, context)
            }
            KeysConfig::JwksUrl(address) => {
                let address = Url::parse(address).ok()?;
                self.build_source(KeyPlace::Jwks(address), context)
            }
            KeysConfig::Jwks(document) => KeySet::from_jwks(document).ok().map(fixed),
            KeysConfig::JwksFile(path) => findings.within("keys.jwksFile", |findings| {
                let bytes = found(reader.read(path, MAX_BYTES), findings)?;
                let document = found(crate::json::parse(&bytes), findings)?;
                report_keys(KeySet::from_jwks(&document), findings).map(fixed)
            }),
            KeysConfig::PemFile(path) => findings.within("keys.pemFile", |findings| {
                let text = found(reader.read(path, MAX_BYTES), findings)?;
                report_keys(KeySet::from_pem(&text), findings).map(fixed)
            }),
            KeysConfig::Secret(source) => findings.within("keys.secret", |findings| {
                let secret = found(source.load(reader), findings)?;
                report_keys(KeySet::from_secret(&secret, algorithms), findings).map(fixed)
            }),
        }
    }

    fn build_source(&self, place: KeyPlace, context: &mut BuildContext<'_>) -> Option<Keys> {
        let or = |set: Option<HumanDuration>, default: HumanDuration| set.unwrap_or(default).0;
        let config = KeySourceConfig {
            place,
            schemes: if self.allow_http_issuer {
                Schemes::HttpsAndHttp
            } else {
                Schemes::Https
            },
            refresh_interval: or(self.refresh_interval, DEFAULT_REFRESH_INTERVAL),
            max_stale: or(self.max_stale, DEFAULT_MAX_STALE),
            unknown_key_cooldown: or(self.unknown_key_cooldown, DEFAULT_COOLDOWN),
        };
        let started = context.lasting.key_sources.get_or_start(config);
        context
            .findings
            .within("keys", |findings| found(started, findings))
            .map(Keys::Fetched)
    }

    fn build_rules(&self) -> ClaimRules {
        ClaimRules {
            max_lifetime_seconds: self.max_lifetime.map(|most| whole_seconds(most.0)),
            required: self
                .required_claims
                .iter()
                .map(|path| ClaimPath::new(path))
                .collect(),
            ..self.rules().build()
        }
    }
}

fn fixed(keys: KeySet) -> Keys {
    Keys::Fixed(Arc::new(keys))
}

/// `result`, or what is wrong with it.
fn found<T, E: Display>(result: Result<T, E>, findings: &mut Findings) -> Option<T> {
    result
        .map_err(|error| findings.wrong("", error.to_string()))
        .ok()
}

/// A set that was read with the configuration; one without any key is a mistake there.
pub(super) fn report_keys(
    keys: Result<KeySet, KeySetError>,
    findings: &mut Findings,
) -> Option<KeySet> {
    let keys = found(keys, findings)?;
    for skipped in keys.skipped() {
        findings.warn("", format!("not used: {skipped}"));
    }
    if keys.is_empty() {
        findings.wrong("", "there is no key that can be used");
        return None;
    }
    Some(keys)
}
