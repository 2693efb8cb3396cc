//! What is wrong with a [`JwtConfig`], found without reading anything else.

use std::time::Duration;

use url::Url;

use super::build::report_keys;
use super::config::{DEFAULT_MAX_STALE, DEFAULT_REFRESH_INTERVAL, JwtConfig, KeysConfig};
use crate::authentication::claims::rules::{check_max_token, check_path};
use crate::authentication::config::check_places;
use crate::authentication::key_set::KeySet;
use crate::config::findings::Findings;

const MIN_INTERVAL: Duration = Duration::from_secs(1);

impl JwtConfig {
    /// Finds what is wrong, without reading anything else.
    pub fn check(&self, findings: &mut Findings) {
        self.check_issuer(findings);
        self.rules().check(findings);
        self.check_algorithms(findings);
        let places = self.places();
        check_places("credentials", &places, findings);
        findings.within("binding", |findings| self.binding.check(&places, findings));
        self.check_required(findings);
        if self.types.as_ref().is_some_and(Vec::is_empty) {
            findings.wrong("types", "name a type, or leave it out");
        }
        if self.max_lifetime.is_some_and(|most| most.0.is_zero()) {
            findings.wrong("maxLifetime", "no token lives so short");
        }
        for (path, duration) in [
            ("refreshInterval", self.refresh_interval),
            ("maxStale", self.max_stale),
            ("unknownKeyCooldown", self.unknown_key_cooldown),
        ] {
            if duration.is_some_and(|duration| duration.0 < MIN_INTERVAL) {
                findings.wrong(path, "at least 1s");
            }
        }
        let every = self.refresh_interval.unwrap_or(DEFAULT_REFRESH_INTERVAL);
        let most = self.max_stale.unwrap_or(DEFAULT_MAX_STALE);
        if most.0 < every.0.saturating_mul(2) {
            findings.wrong("maxStale", "at least twice `refreshInterval`");
        }
        check_max_token(self.max_token, findings);
    }

    fn check_issuer(&self, findings: &mut Findings) {
        if self.issuer.is_empty() {
            findings.wrong("issuer", "cannot be empty");
        }
        if self.allow_http_issuer {
            findings.warn(
                "allowHttpIssuer",
                "keys may be fetched by plain http: whoever is on the way can make tokens",
            );
        }
        match &self.keys {
            KeysConfig::Discovery => self.check_address("issuer", &self.issuer, findings),
            KeysConfig::JwksUrl(address) => self.check_address("keys.jwksUrl", address, findings),
            // an issuer whose keys are here is a name, and need not be an address
            KeysConfig::Jwks(document) => findings.within("keys.jwks", |findings| {
                report_keys(KeySet::from_jwks(document), findings);
            }),
            KeysConfig::JwksFile(_) | KeysConfig::PemFile(_) | KeysConfig::Secret(_) => {}
        }
    }

    fn check_address(&self, path: &str, address: &str, findings: &mut Findings) {
        let Ok(address) = Url::parse(address) else {
            return findings.wrong(path, "must be an address, such as https://idp.example");
        };
        match address.scheme() {
            "https" => {}
            "http" if self.allow_http_issuer => {}
            "http" => findings.wrong(path, "must be https; for tests, set `allowHttpIssuer`"),
            _ => findings.wrong(path, "must be https"),
        }
        if !address.username().is_empty() || address.password().is_some() {
            findings.wrong(path, "cannot hold a user name or password");
        }
        if address.fragment().is_some() || (path == "issuer" && address.query().is_some()) {
            findings.wrong(path, "cannot have a query or fragment");
        }
    }

    fn check_algorithms(&self, findings: &mut Findings) {
        let with_secret = matches!(self.keys, KeysConfig::Secret(_));
        let Some(algorithms) = &self.algorithms else {
            if with_secret {
                findings.wrong("algorithms", "name HS256, HS384 or HS512 for the secret");
            }
            return;
        };
        if algorithms.is_empty() {
            findings.wrong("algorithms", "name at least one, or leave it out");
        }
        for (at, algorithm) in algorithms.iter().enumerate() {
            let path = format!("algorithms[{at}]");
            match (algorithm.is_symmetric(), with_secret) {
                (true, false) => findings.wrong(&path, "is only for `keys: { secret: … }`"),
                (false, true) => findings.wrong(&path, "is not for a secret: HS256, HS384, HS512"),
                (true, true) | (false, false) => {}
            }
            if algorithms.iter().take(at).any(|other| other == algorithm) {
                findings.wrong(&path, "stands twice");
            }
        }
    }

    fn check_required(&self, findings: &mut Findings) {
        for (at, path) in self.required_claims.iter().enumerate() {
            check_path(&format!("requiredClaims[{at}]"), path, findings);
        }
    }
}
