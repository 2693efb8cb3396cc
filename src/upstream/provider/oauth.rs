//! Token endpoints (RFC 6749 section 3.2): how we say who we are, what is asked, and what an
//! answer must be to be used.

pub(crate) mod client;
pub(crate) mod own_token;
mod sign_in;
pub(crate) mod token;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method};
use jsonwebtoken::Header;
use serde_json::json;
use url::Url;
use url::form_urlencoded::{Serializer, byte_serialize};
use uuid::Builder;

use super::Target;
use super::answer::CredentialHeader;
use super::config::ProviderContext;
use crate::authentication::algorithm::Algorithm;
use crate::clock::Clock;
use crate::config::findings::Findings;
use crate::config::value::SecretSource;
use crate::fetch::{FailureKind, FetchError};
use crate::header::HeaderName;
use crate::http_client::config::HttpConfig;
use crate::http_client::{HttpAnswer, HttpClient, HttpError, HttpRequest};
use crate::secret::Secret;
use crate::signing::SigningKey;
use crate::workload_api::SvidReceiver;
use client::{AssertionType, Client, ClientConfig};
use token::{Token, failure};

/// How long a client assertion is valid.
const ASSERTION_SECONDS: i64 = 60;

/// A token endpoint, and who we are for it.
pub(crate) struct TokenEndpoint {
    url: Url,
    client: Client,
    parameters: Vec<(Box<str>, Box<str>)>,
    server: Server,
}

/// How servers are asked for tokens.
#[derive(Debug)]
pub(super) struct Server {
    http: HttpClient,
    max_answer: usize,
    clock: Clock,
    /// Our X509-SVID, where it is our certificate.
    shown: Option<SvidReceiver>,
}

/// The fields of a form. Values may be secret.
pub(crate) type Form<'a> = Vec<(&'a str, Cow<'a, str>)>;

/// The text of a secret at `path`.
pub(super) fn load_text(
    path: &str,
    source: &SecretSource,
    context: &mut ProviderContext<'_>,
) -> Option<Secret<String>> {
    match source.load(context.reader) {
        Ok(bytes) => match String::from_utf8(bytes.expose().clone()) {
            Ok(text) => Some(Secret::new(text)),
            Err(_) => {
                context.findings.wrong(path, "it is no UTF-8 text");
                None
            }
        },
        Err(error) => {
            context.findings.wrong(path, error.to_string());
            None
        }
    }
}

/// The signing key at `path`.
pub(super) fn load_key(
    path: &str,
    source: &SecretSource,
    algorithm: Option<Algorithm>,
    context: &mut ProviderContext<'_>,
) -> Option<SigningKey> {
    let loaded = source.load(context.reader);
    let key = loaded.map_err(|error| error.to_string()).and_then(|pem| {
        SigningKey::from_pem(pem.expose(), algorithm).map_err(|error| error.to_string())
    });
    key.map_err(|error| context.findings.wrong(path, error))
        .ok()
}

/// What every provider of tokens is configured with.
pub(crate) struct EndpointConfig<'c> {
    pub(crate) token_url: &'c str,
    pub(crate) client: &'c ClientConfig,
    pub(crate) parameters: &'c BTreeMap<String, String>,
    pub(crate) http: &'c HttpConfig,
}

/// The form fields that are ours to fill.
const OWN_FIELDS: [&str; 16] = [
    "grant_type",
    "client_id",
    "client_secret",
    "client_assertion",
    "client_assertion_type",
    "scope",
    "audience",
    "resource",
    "assertion",
    "subject_token",
    "subject_token_type",
    "actor_token",
    "actor_token_type",
    "requested_token_type",
    "username",
    "password",
];

impl EndpointConfig<'_> {
    pub(super) fn check(&self, findings: &mut Findings) {
        self.http
            .check_address("tokenUrl", self.token_url, findings);
        findings.within("client", |findings| self.client.check(self.http, findings));
        for name in self.parameters.keys() {
            if OWN_FIELDS.contains(&name.as_str()) {
                findings.wrong(
                    &format!("parameters.{name}"),
                    "this field is filled already; there are keys for what it says",
                );
            }
        }
    }

    pub(crate) fn build(&self, context: &mut ProviderContext<'_>) -> Option<TokenEndpoint> {
        let server = if self.client.shows_svid() {
            Server::build_with_svid("client.svid", self.http, context)
        } else {
            Server::build(self.http, context)
        };
        let mut findings = std::mem::take(context.findings);
        let client = findings.within("client", |findings| {
            let mut context = ProviderContext {
                reader: context.reader,
                findings,
                services: context.services,
                parties: context.parties,
                ours: context.ours,
            };
            self.client.build(self.token_url, &mut context)
        });
        *context.findings = findings;
        let parameters = self.parameters.iter();
        Some(TokenEndpoint {
            url: Url::parse(self.token_url).ok()?,
            client: client?,
            parameters: parameters
                .map(|(name, value)| (name.as_str().into(), value.as_str().into()))
                .collect(),
            server: server?,
        })
    }
}

impl TokenEndpoint {
    /// Asks for a token by `form`, to which the fields are added that say who we are: the client `id`
    /// where there is one, else that of the configuration.
    pub(super) async fn ask_as(
        &self,
        id: Option<&str>,
        form: Form<'_>,
    ) -> Result<Token, FetchError> {
        let (headers, form) = self.sign_in(id, form).await?;
        self.server.ask(&self.url, headers, &form).await
    }

    /// Posts `form`, to which our client's own fields are added, and gives the answer whatever its
    /// status: for what is no token (RFC 7662 section 2.1).
    pub(crate) async fn post(&self, form: Form<'_>) -> Result<HttpAnswer, FetchError> {
        let (headers, form) = self.sign_in(None, form).await?;
        let request = form_request(&self.url, headers, &form);
        self.server.send_any(&request).await
    }
}

/// Says by an assertion who we are (RFC 7523 section 2.2).
pub(super) fn push_assertion<'a>(form: &mut Form<'a>, client_id: &'a str, assertion: String) {
    form.push(("client_id", Cow::Borrowed(client_id)));
    let kind = AssertionType::JwtBearer.name();
    form.push(("client_assertion_type", Cow::Borrowed(kind)));
    form.push(("client_assertion", Cow::Owned(assertion)));
}

/// A statement of ours about who we are (RFC 7523 section 3).
pub(super) struct Assertion<'a> {
    pub client_id: &'a str,
    pub audience: &'a str,
    pub seconds: i64,
}

impl Assertion<'_> {
    pub(super) fn sign(
        &self,
        key: &SigningKey,
        now: i64,
        change: impl FnOnce(&mut Header),
    ) -> Result<String, FetchError> {
        let claims = json!({
            "iss": self.client_id,
            "sub": self.client_id,
            "aud": self.audience,
            "jti": Builder::from_random_bytes(random()?).into_uuid().to_string(),
            "iat": now,
            "nbf": now,
            "exp": now + self.seconds,
        });
        key.sign(&claims, change)
            .map_err(|error| FetchError::new(FailureKind::NotAsked, error.to_string()))
    }
}

/// Bytes that nobody can foresee: an id that was used must not come again.
fn random() -> Result<[u8; 16], FetchError> {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes)
        .map_err(|_| FetchError::new(FailureKind::NotAsked, "the system gives no randomness"))?;
    Ok(bytes)
}

/// `authorization: Basic`, with both parts encoded as a form is (RFC 6749 section 2.3.1).
fn basic(id: &str, secret: &str) -> Result<HeaderValue, FetchError> {
    let encoded = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
    let both = format!("{}:{}", encoded(id), encoded(secret));
    let mut value = HeaderValue::from_str(&format!("Basic {}", STANDARD.encode(both)))
        .map_err(|error| FetchError::new(FailureKind::NotAsked, error.to_string()))?;
    value.set_sensitive(true);
    Ok(value)
}

impl Server {
    pub(super) fn build(http: &HttpConfig, context: &mut ProviderContext<'_>) -> Option<Self> {
        if http.svid {
            return Self::build_with_svid("http.svid", http, context);
        }
        let (reader, findings) = (&mut *context.reader, &mut *context.findings);
        let client = findings.within("http", |findings| http.build(reader, findings))?;
        Some(Self {
            http: client,
            max_answer: http.max_answer.0,
            clock: context.services.clock().clone(),
            shown: None,
        })
    }

    /// The same, whom we show our X509-SVID.
    fn build_with_svid(
        path: &str,
        http: &HttpConfig,
        context: &mut ProviderContext<'_>,
    ) -> Option<Self> {
        let api = context
            .ours
            .workload_api(path, context.services, context.findings)?;
        // without one nothing is fetched
        let shown = api.map_or_else(SvidReceiver::default, SvidReceiver::of);
        let (reader, findings) = (&mut *context.reader, &mut *context.findings);
        let client = findings.within("http", |findings| {
            http.build_with(reader, findings, Some(shown.clone()))
        })?;
        Some(Self {
            http: client,
            max_answer: http.max_answer.0,
            clock: context.services.clock().clone(),
            shown: Some(shown),
        })
    }

    /// Who we are by our X509-SVID, where it is shown.
    fn shown_id(&self) -> Result<String, FetchError> {
        let shown = self.shown.as_ref().and_then(SvidReceiver::current);
        let shown = shown.ok_or_else(|| {
            FetchError::new(FailureKind::NotAsked, "we have no X509-SVID to show")
        })?;
        Ok(shown.id.to_string())
    }

    /// The time of day.
    pub(super) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Sends a request; an answer that is no success is a failure.
    pub(super) async fn send(&self, request: &HttpRequest) -> Result<HttpAnswer, FetchError> {
        let answer = self.send_any(request).await?;
        if answer.status.is_success() {
            Ok(answer)
        } else {
            Err(failure(&answer, self.clock.unix_seconds()))
        }
    }

    /// Sends a request, and gives the answer whatever its status.
    pub(super) async fn send_any(&self, request: &HttpRequest) -> Result<HttpAnswer, FetchError> {
        if self.shown.is_some() {
            // a server that does not insist would take us for nobody
            self.shown_id()?;
        }
        let answer = self.http.send(request, self.max_answer).await;
        answer.map_err(|error| {
            let kind = match &error {
                HttpError::Client(_) | HttpError::Transport(_) => FailureKind::Unavailable,
                HttpError::Status(_) | HttpError::TooLarge(_) | HttpError::NotJson(_) => {
                    FailureKind::Unusable
                }
            };
            FetchError::new(kind, error.to_string())
        })
    }

    /// Asks `url` for a token.
    pub(super) async fn ask(
        &self,
        url: &Url,
        headers: HeaderMap,
        form: &Form<'_>,
    ) -> Result<Token, FetchError> {
        let answer = self.send(&form_request(url, headers, form)).await?;
        Token::read(&answer, self.clock.unix_seconds())
    }
}

/// A form that is posted; JSON is what we read.
fn form_request(url: &Url, mut headers: HeaderMap, form: &Form<'_>) -> HttpRequest {
    let body = Serializer::new(String::new()).extend_pairs(form).finish();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/x-www-form-urlencoded"),
    );
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    HttpRequest {
        method: Method::POST,
        url: url.clone(),
        headers,
        body: Secret::new(body.into_bytes()),
    }
}

/// The header for a token, as `target` says.
pub(super) fn token_header(target: &Target, token: &str) -> Result<CredentialHeader, FetchError> {
    let name = match &target.header {
        Some(name) => Ok(name.clone()),
        None => HeaderName::parse("authorization"),
    };
    let value = match &target.scheme {
        Some(scheme) => format!("{scheme} {token}"),
        None => token.to_owned(),
    };
    name.and_then(|name| CredentialHeader::set(name, value))
        .map_err(|error| FetchError::new(FailureKind::Unusable, error.to_string()))
}

/// Adds what `target` asks for, or else what the provider's configuration says.
pub(super) fn push_target<'a>(form: &mut Form<'a>, target: &'a Target, usual: &'a Usual) {
    for (name, asked, usual) in [
        ("scope", &target.scope, &usual.scope),
        ("audience", &target.audience, &usual.audience),
        ("resource", &target.resource, &usual.resource),
    ] {
        if let Some(value) = asked.as_ref().or(usual.as_ref()) {
            form.push((name, Cow::Borrowed(value)));
        }
    }
}

/// What is asked for where an Api does not say.
#[derive(Debug, Default)]
pub(super) struct Usual {
    pub scope: Option<Arc<str>>,
    pub audience: Option<Arc<str>>,
    pub resource: Option<Arc<str>>,
}

impl Usual {
    pub(super) fn of(
        scope: &Option<String>,
        audience: &Option<String>,
        resource: &Option<String>,
    ) -> Self {
        let own = |text: &Option<String>| text.as_deref().map(Into::into);
        Self {
            scope: own(scope),
            audience: own(audience),
            resource: own(resource),
        }
    }
}

impl fmt::Debug for TokenEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenEndpoint")
            .field("host", &self.url.host_str())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
