//! Provider `headerService`: a JSON map of headers that is polled, out of the way of checks.

use std::borrow::Cow;
use std::time::Duration;

use http::header::{ACCEPT, HOST};
use http::{HeaderMap, HeaderValue, Method};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::Url;

use super::Want;
use super::answer::{Given, Life};
use super::auth_provider::authorization;
use super::config::{ProviderContext, check_names};
use super::header_map::{read_map, tokens_life};
use super::life::{CacheConfig, CachePolicy, cached_life};
use super::oauth::Server;
use crate::authorization::Permit;
use crate::catalog::model::HostPattern;
use crate::config::findings::Findings;
use crate::config::value::HumanDuration;
use crate::fetch::{FailureKind, FetchError};
use crate::http_client::HttpRequest;
use crate::http_client::config::HttpConfig;
use crate::routing::Route;
use crate::secret::Secret;
use crate::upstream::template::HeaderTemplate;

/// The path where none is given.
const DEFAULT_PATH: &str = "/headers";
const DEFAULT_INTERVAL: HumanDuration = HumanDuration(Duration::from_secs(360));
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Polls a service for a map of headers.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HeaderServiceConfig {
    /// The address of the map; a path of `/` means `/headers`. With templates such as
    /// `{principal.subject}` in path or query there is one map for each caller.
    pub url: String,
    /// The hosts that the headers are for: names, `*.suffix`, or `*` for every host.
    pub hosts: Vec<String>,
    /// The `Host` that is sent; left out, that of the address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authority: Option<String>,
    /// From one poll to the next. Answers that say that they last shorter are asked for sooner.
    #[serde(default = "default_interval")]
    pub interval: HumanDuration,
    /// The headers that it gives: the client's own are removed whatever it answers.
    #[serde(default = "authorization")]
    pub headers: Vec<String>,
    /// Whether readiness waits until it was asked once.
    #[serde(default = "yes")]
    pub required: bool,
    /// How it is reached.
    #[serde(default, skip_serializing_if = "HttpConfig::is_default")]
    pub http: HttpConfig,
    /// How long its headers are used.
    #[serde(default, skip_serializing_if = "CacheConfig::is_default")]
    pub cache: CacheConfig,
    /// The proxies that may be given its tokens, as patterns of SPIFFE IDs; left out, whoever may ask.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub peers: Vec<String>,
}

const fn default_interval() -> HumanDuration {
    DEFAULT_INTERVAL
}

const fn yes() -> bool {
    true
}

/// A service that is polled for a map of headers.
#[derive(Debug)]
pub(super) struct HeaderService {
    address: Address,
    hosts: Vec<HostPattern>,
    authority: Option<HeaderValue>,
    interval: Duration,
    server: Server,
}

#[derive(Debug)]
enum Address {
    ForAll(Url),
    ForCaller(HeaderTemplate),
}

impl HeaderServiceConfig {
    pub(super) fn check(&self, findings: &mut Findings) {
        // what stands in braces is filled for each caller
        let sample = self.url.replace(['{', '}'], "");
        self.http.check_address("url", &sample, findings);
        if let Err(error) = HeaderTemplate::parse(&self.url) {
            findings.wrong("url", error.to_string());
        }
        let authority = self.url.split('/').take(3);
        if authority.into_iter().any(|part| part.contains(['{', '}'])) {
            findings.wrong(
                "url",
                "templates stand in the path or query, not in the host",
            );
        }
        if self.hosts.is_empty() {
            findings.wrong(
                "hosts",
                "name the hosts that the headers are for; \"*\" is every host",
            );
        }
        for (at, host) in self.hosts.iter().enumerate() {
            if let Err(message) = HostPattern::parse(host) {
                findings.wrong(&format!("hosts[{at}]"), message);
            }
        }
        if let Some(authority) = &self.authority
            && HeaderValue::from_str(authority).is_err()
        {
            findings.wrong(
                "authority",
                "must be a host, with a port where it needs one",
            );
        }
        if self.interval.0 < Duration::from_secs(1) || self.interval.0 > DAY {
            findings.wrong("interval", "must be 1s or more and 24h at most");
        }
        check_names("headers", &self.headers, findings);
    }

    /// The hosts that its headers are for.
    pub(super) fn host_patterns(&self) -> Vec<HostPattern> {
        let hosts = self.hosts.iter();
        hosts
            .filter_map(|host| HostPattern::parse(host).ok())
            .collect()
    }

    /// How long its headers are used: three intervals, where nothing says less.
    pub(super) fn policy(&self, cache: CacheConfig) -> CachePolicy {
        let most = cache
            .max_stale
            .map_or(self.interval.0.saturating_mul(3), |most| most.0);
        let cache = CacheConfig {
            default_lifetime: Some(HumanDuration(most)),
            max_lifetime: Some(cache.max_lifetime.unwrap_or(HumanDuration(most))),
            margin: Some(cache.margin.unwrap_or(HumanDuration(Duration::ZERO))),
            max_stale: Some(HumanDuration(Duration::ZERO)),
        };
        cache.policy(most, Duration::ZERO)
    }

    pub(super) fn build(&self, context: &mut ProviderContext<'_>) -> Option<HeaderService> {
        let address = if self.url.contains('{') {
            Address::ForCaller(HeaderTemplate::parse(&self.url).ok()?)
        } else {
            let mut url = Url::parse(&self.url).ok()?;
            if url.path() == "/" {
                url.set_path(DEFAULT_PATH);
            }
            Address::ForAll(url)
        };
        let authority = self.authority.as_deref();
        Some(HeaderService {
            address,
            hosts: self.host_patterns(),
            authority: authority.and_then(|text| HeaderValue::from_str(text).ok()),
            interval: self.interval.0,
            server: Server::build(&self.http, context)?,
        })
    }
}

/// Whether a segment of the path is `.` or `..`, encoded or not: addresses are shortened by those
/// (WHATWG URL, "single-dot" and "double-dot URL path segment").
fn has_dot_segment(address: &str) -> bool {
    let path = address.split(['?', '#']).next().unwrap_or_default();
    path.split('/').any(|segment| {
        let plain = segment.replace("%2E", ".").replace("%2e", ".");
        plain == "." || plain == ".."
    })
}

impl HeaderService {
    pub(super) fn is_per_caller(&self) -> bool {
        matches!(self.address, Address::ForCaller(_))
    }

    /// Whether its headers are for `host`.
    pub(super) fn serves(&self, host: &str) -> bool {
        self.hosts.iter().any(|pattern| pattern.matches(host))
    }

    /// The address of the caller's map, where each has one.
    pub(super) fn address_for(
        &self,
        route: &Route<'_>,
        permit: &Permit<'_>,
    ) -> Result<Option<Cow<'static, str>>, &'static str> {
        match &self.address {
            Address::ForAll(_) => Ok(None),
            Address::ForCaller(template) => {
                let mut text = String::new();
                match template.render_in_url(route, permit, &mut text) {
                    Ok(true) if has_dot_segment(&text) => {
                        Err("the caller's value would lead to another address")
                    }
                    Ok(true) => Ok(Some(text.into())),
                    Ok(false) => Err("the caller has no value for the service's address"),
                    Err(_) => Err("a claim in the service's address is no text"),
                }
            }
        }
    }

    pub(super) async fn fetch(&self, want: &Want) -> Result<Given, FetchError> {
        let url = match (&self.address, &want.caller) {
            (Address::ForAll(url), _) => Ok(url.clone()),
            (Address::ForCaller(_), Some(address)) => Url::parse(address.expose())
                .map_err(|_| FetchError::new(FailureKind::NotAsked, "the address is none")),
            (Address::ForCaller(_), None) => Err(FetchError::new(
                FailureKind::NotAsked,
                "there is no caller to ask for",
            )),
        };
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        if let Some(authority) = &self.authority {
            headers.insert(HOST, authority.clone());
        }
        let request = HttpRequest {
            method: Method::GET,
            url: url?,
            headers,
            body: Secret::new(Vec::new()),
        };
        let answer = self.server.send(&request).await?;
        let headers = read_map(answer.body.expose())?;
        let own = tokens_life(&headers, self.server.clock().unix_seconds());
        if own.is_some_and(|own| own.is_zero()) {
            return Err(FetchError::new(
                FailureKind::Unusable,
                "a token in the answer has expired already",
            ));
        }
        let said = cached_life(&answer.headers).and_then(|said| said.lasts);
        // it is polled anyway: what may not be kept is used until the next answer
        let said = said.filter(|said| !said.is_zero());
        let lasts = [own, said].into_iter().flatten().min();
        // replicas that began together do not poll together
        let poll = self.interval.mul_f64(fastrand::f64().mul_add(-0.1, 1.0));
        Ok(Given {
            headers,
            life: Life {
                lasts,
                poll: Some(poll),
                must_revalidate: false,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_cannot_lead_to_another_address_by_dots() {
        for address in [
            "http://s/users/%2E%2E/headers",
            "http://s/users/%2E/headers",
            "http://s/users/.%2e",
            "http://s/..?a",
        ] {
            assert!(has_dot_segment(address), "{address}");
        }
        for address in [
            "http://s/users/a%2Eb/headers",
            "http://s/h?u=..",
            "http://s/%2E%2E%2E",
        ] {
            assert!(!has_dot_segment(address), "{address}");
        }
    }
}
