//! Provider `authProvider`: speaks FIWARE's auth-provider API, `GET /{authType}/auth?domain=…&path=…`.

use std::borrow::Cow;

use http::header::ACCEPT;
use http::{HeaderMap, HeaderName as WireName, HeaderValue, Method, StatusCode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use url::Url;

use super::Want;
use super::answer::{Given, Life};
use super::config::{ProviderContext, check_names};
use super::header_map::{read_list, tokens_life};
use super::life::{CacheConfig, cached_life};
use super::oauth::Server;
use super::oauth::token::failure;
use crate::check::request::DownstreamRequest;
use crate::config::findings::Findings;
use crate::fetch::{FailureKind, FetchError};
use crate::header::HeaderName;
use crate::http_client::HttpRequest;
use crate::http_client::config::HttpConfig;
use crate::secret::Secret;

/// How long "there is nothing for this endpoint" is remembered where the answer does not say.
const ABSENT: Duration = Duration::from_secs(10);

/// Asks a service that speaks FIWARE's auth-provider API.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AuthProviderConfig {
    /// The address below which it lies, without `/{authType}/auth`.
    pub url: String,
    /// The type that stands in its path, such as `ISHARE`.
    pub auth_type: String,
    /// Headers of the client's request that it is told; none where this is left out. Its answers
    /// are then kept apart by the values of these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub forward_headers: Vec<String>,
    /// How its `Cache-Control` is read.
    #[serde(default)]
    pub cache_control: CacheControlRule,
    /// The headers that it gives: the client's own are removed whatever it answers.
    #[serde(default = "authorization")]
    pub headers: Vec<String>,
    /// Whether it is asked at the start, before a check needs it; readiness waits until that was
    /// tried.
    #[serde(default)]
    pub required: bool,
    /// How it is reached.
    #[serde(default, skip_serializing_if = "HttpConfig::is_default")]
    pub http: HttpConfig,
    /// How long its answers are kept.
    #[serde(default, skip_serializing_if = "CacheConfig::is_default")]
    pub cache: CacheConfig,
    /// The proxies that may be given its tokens, as patterns of SPIFFE IDs; left out, whoever may ask.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub peers: Vec<String>,
}

/// How `Cache-Control` is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum CacheControlRule {
    /// As RFC 9111 has it.
    #[default]
    Standard,
    /// The same, but `must-revalidate` forbids to keep an answer, as FIWARE's filter has it.
    Fiware,
}

pub(super) fn authorization() -> Vec<String> {
    vec!["authorization".to_owned()]
}

/// A service that speaks FIWARE's auth-provider API.
#[derive(Debug)]
pub(super) struct AuthProvider {
    url: Url,
    forward: Vec<HeaderName>,
    rule: CacheControlRule,
    default_life: Duration,
    server: Server,
}

impl AuthProviderConfig {
    pub(super) fn check(&self, findings: &mut Findings) {
        self.http.check_address("url", &self.url, findings);
        if Url::parse(&self.url).is_ok_and(|url| url.query().is_some()) {
            findings.wrong("url", "must have no query");
        }
        let is_type = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        if self.auth_type.is_empty()
            || self.auth_type.starts_with('.')
            || !self.auth_type.bytes().all(is_type)
        {
            findings.wrong("authType", "must be one segment of a path, such as ISHARE");
        }
        check_names("forwardHeaders", &self.forward_headers, findings);
        check_names("headers", &self.headers, findings);
    }

    pub(super) fn build(&self, context: &mut ProviderContext<'_>) -> Option<AuthProvider> {
        let mut url = Url::parse(&self.url).ok()?;
        url.path_segments_mut()
            .ok()?
            .pop_if_empty()
            .extend([self.auth_type.as_str(), "auth"]);
        let forward = self.forward_headers.iter();
        Some(AuthProvider {
            url,
            forward: forward
                .filter_map(|name| HeaderName::parse(name).ok())
                .collect(),
            rule: self.cache_control,
            default_life: self
                .cache
                .policy(Duration::ZERO, Duration::ZERO)
                .default_lifetime(),
            server: Server::build(&self.http, context)?,
        })
    }
}

impl AuthProvider {
    pub(super) fn is_per_caller(&self) -> bool {
        !self.forward.is_empty()
    }

    /// The headers that it is told, one a line.
    pub(super) fn forwarded(&self, request: &DownstreamRequest) -> Option<Cow<'static, str>> {
        if self.forward.is_empty() {
            return None;
        }
        let mut lines = String::new();
        for name in &self.forward {
            for value in request.headers().all(name.as_str()).flatten() {
                lines.push_str(name.as_str());
                lines.push(':');
                lines.push_str(value);
                lines.push('\n');
            }
        }
        Some(lines.into())
    }

    pub(super) async fn fetch(&self, want: &Want) -> Result<Given, FetchError> {
        let mut url = self.url.clone();
        url.query_pairs_mut()
            .append_pair("domain", &want.host)
            .append_pair("path", &want.target.path);
        let request = HttpRequest {
            method: Method::GET,
            url,
            headers: forwarded_headers(want)?,
            body: Secret::new(Vec::new()),
        };
        let answer = self.server.send_any(&request).await?;
        let said = self.life(&answer.headers);
        if answer.status == StatusCode::NOT_FOUND {
            let lasts = said.lasts.unwrap_or(self.default_life.max(ABSENT));
            let life = Life {
                lasts: Some(lasts),
                ..said
            };
            return Ok(Given {
                headers: Vec::new(),
                life,
            });
        }
        if !answer.status.is_success() {
            return Err(failure(&answer, self.server.clock().unix_seconds()));
        }
        let listed = read_list(answer.body.expose())?;
        if listed.skipped > 0 {
            tracing::warn!(
                entries = listed.skipped,
                "an auth-provider gave entries without name or value"
            );
        }
        let own = tokens_life(&listed.headers, self.server.clock().unix_seconds());
        if own.is_some_and(|own| own.is_zero()) {
            return Err(FetchError::new(
                FailureKind::Unusable,
                "a token in the answer has expired already",
            ));
        }
        let lasts = match own {
            Some(own) => Some(said.lasts.unwrap_or(self.default_life).min(own)),
            None => said.lasts,
        };
        Ok(Given {
            headers: listed.headers,
            life: Life { lasts, ..said },
        })
    }

    fn life(&self, headers: &HeaderMap) -> Life {
        let said = cached_life(headers).unwrap_or_default();
        match self.rule {
            CacheControlRule::Fiware if said.must_revalidate => Life {
                lasts: Some(Duration::ZERO),
                ..said
            },
            CacheControlRule::Fiware | CacheControlRule::Standard => said,
        }
    }
}

/// The headers of the request: those that are forwarded, and no other of the client's.
fn forwarded_headers(want: &Want) -> Result<HeaderMap, FetchError> {
    let unfit = |_| FetchError::new(FailureKind::NotAsked, "a header cannot be forwarded");
    let mut headers = HeaderMap::new();
    let lines = want.caller.iter();
    for line in lines.flat_map(|lines| lines.expose().lines()) {
        let Some((name, value)) = line.split_once(':') else {
            continue;
        };
        let name = WireName::from_bytes(name.as_bytes());
        let name = name.map_err(|_| FetchError::new(FailureKind::NotAsked, "no header name"))?;
        headers.append(name, HeaderValue::from_str(value).map_err(unfit)?);
    }
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    Ok(headers)
}
