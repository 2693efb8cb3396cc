//! Who we are for a token endpoint: its configuration, and what is read of it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::own_token::{OwnToken, TokenFileConfig};
use super::{load_key, load_text};
use crate::authentication::algorithm::Algorithm;
use crate::config::findings::Findings;
use crate::config::value::SecretSource;
use crate::http_client::config::HttpConfig;
use crate::secret::Secret;
use crate::signing::SigningKey;
use crate::upstream::provider::config::{ProviderContext, check_text};

/// Who we are for a token endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClientConfig {
    /// Our client id. With `svid` and `serviceAccountToken` it may be left out: for `jwtSpiffe` and
    /// `x509` it is our SPIFFE ID then, and for the others none is sent.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// Our secret. Without anything that says who we are we are known by our certificate
    /// (`http.certificate`, RFC 8705 section 2).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<SecretSource>,
    /// Where the secret is sent: in the `authorization` header, or in the form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<SecretMethod>,
    /// Our private key (PEM), which signs an assertion (RFC 7523 section 2.2).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<SecretSource>,
    /// The algorithm of the key; left out, the usual one of its kind: RS256, ES256 or EdDSA.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<Algorithm>,
    /// The `kid` of the key, where the server asks for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_id: Option<String>,
    /// The `aud` of the assertion; left out, the token address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
    /// Our identity as a workload, which the Workload API gives and renews.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub svid: Option<SvidClientConfig>,
    /// A service account's token that Kubernetes projects into a file and renews; it is the
    /// assertion (RFC 7523 section 2.2).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account_token: Option<TokenFileConfig>,
}

/// Our identity as a workload, as a client of a token endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SvidClientConfig {
    /// How it is shown.
    #[serde(rename = "type")]
    pub kind: SvidClientKind,
    /// The `aud` of the JWT-SVID; left out, the token address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
}

/// How our identity as a workload is shown to a token endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum SvidClientKind {
    /// The JWT-SVID is an assertion (RFC 7523 section 2.2).
    JwtBearer,
    /// The JWT-SVID is an assertion of the type `jwt-spiffe`
    /// (draft-ietf-oauth-spiffe-client-auth).
    JwtSpiffe,
    /// The X509-SVID is our certificate for TLS; the form has no assertion.
    X509,
}

/// Where a client secret is sent (RFC 6749 section 2.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum SecretMethod {
    /// In `authorization: Basic`.
    #[default]
    Basic,
    /// In the form.
    Post,
}

/// Who we are.
pub(super) enum Client {
    Secret {
        id: Box<str>,
        secret: Secret<String>,
        method: SecretMethod,
    },
    Key {
        id: Box<str>,
        key: Box<SigningKey>,
        key_id: Option<Box<str>>,
        audience: Option<Box<str>>,
    },
    Certificate {
        id: Box<str>,
    },
    /// A token of ours is the assertion.
    Token {
        id: Option<Box<str>>,
        token: OwnToken,
        kind: AssertionType,
    },
    /// Our X509-SVID is the certificate of the connection.
    Svid {
        id: Option<Box<str>>,
    },
}

/// What an assertion is said to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AssertionType {
    JwtBearer,
    JwtSpiffe,
}

impl AssertionType {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::JwtBearer => "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            Self::JwtSpiffe => "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe",
        }
    }
}

impl ClientConfig {
    pub(crate) fn check(&self, http: &HttpConfig, findings: &mut Findings) {
        let is_named = self.svid.is_some() || self.service_account_token.is_some();
        if !(is_named && self.id.is_empty()) {
            check_text("id", Some(&self.id), findings);
        }
        check_text("keyId", self.key_id.as_deref(), findings);
        check_text("audience", self.audience.as_deref(), findings);
        self.check_ways(http, findings);
        if self
            .algorithm
            .is_some_and(|algorithm| !SigningKey::can(algorithm))
        {
            findings.wrong(
                "algorithm",
                "we cannot sign with it; use RS256, PS256, ES256 or EdDSA",
            );
        }
        if self.method.is_some() && self.secret.is_none() {
            findings.wrong("method", "is for `secret` alone");
        }
        if self.key.is_none() {
            for (path, is_set) in [
                ("algorithm", self.algorithm.is_some()),
                ("keyId", self.key_id.is_some()),
                ("audience", self.audience.is_some()),
            ] {
                if is_set {
                    findings.wrong(path, "is for `key` alone");
                }
            }
        }
    }

    /// Of the ways to say who we are, there is one.
    fn check_ways(&self, http: &HttpConfig, findings: &mut Findings) {
        let ways = [
            ("secret", self.secret.is_some()),
            ("key", self.key.is_some()),
            ("svid", self.svid.is_some()),
            ("serviceAccountToken", self.service_account_token.is_some()),
        ];
        let mut given = ways.into_iter().filter(|(_, is_given)| *is_given);
        match (given.next(), given.next()) {
            (None, _) if http.certificate.is_none() && !http.svid => {
                let why = "is needed, or `key`, `svid`, `serviceAccountToken`, `http.certificate` or `http.svid`";
                findings.wrong("secret", why);
            }
            (Some((first, _)), Some((second, _))) => {
                findings.wrong(second, format!("stands beside `{first}`; give one of them"));
            }
            (None, _) | (Some(_), None) => {}
        }
        if let Some(svid) = &self.svid {
            check_text("svid.audience", svid.audience.as_deref(), findings);
            if svid.kind != SvidClientKind::X509 {
                return;
            }
            if svid.audience.is_some() {
                findings.wrong("svid.audience", "is for JWT-SVIDs alone");
            }
            if http.certificate.is_some() {
                findings.wrong("svid", "is our certificate; `http.certificate` is another");
            }
        }
    }

    /// Whether our X509-SVID is the certificate of the connection.
    pub(crate) fn shows_svid(&self) -> bool {
        let kind = self.svid.as_ref().map(|svid| svid.kind);
        kind == Some(SvidClientKind::X509)
    }

    fn build_svid(
        &self,
        svid: &SvidClientConfig,
        url: &str,
        context: &mut ProviderContext<'_>,
    ) -> Option<Client> {
        let kind = match svid.kind {
            SvidClientKind::JwtBearer => AssertionType::JwtBearer,
            SvidClientKind::JwtSpiffe => AssertionType::JwtSpiffe,
            SvidClientKind::X509 => return Some(Client::Svid { id: self.own_id() }),
        };
        let audience = svid.audience.as_deref().unwrap_or(url);
        Some(Client::Token {
            id: self.own_id(),
            token: OwnToken::svid("svid", audience, context)?,
            kind,
        })
    }

    fn own_id(&self) -> Option<Box<str>> {
        (!self.id.is_empty()).then(|| self.id.as_str().into())
    }

    /// Who we are for the token endpoint at `url`.
    pub(super) fn build(&self, url: &str, context: &mut ProviderContext<'_>) -> Option<Client> {
        let id: Box<str> = self.id.as_str().into();
        if let Some(svid) = &self.svid {
            return self.build_svid(svid, url, context);
        }
        if let Some(file) = &self.service_account_token {
            return Some(Client::Token {
                id: self.own_id(),
                token: OwnToken::in_file(file, context),
                kind: AssertionType::JwtBearer,
            });
        }
        if let Some(source) = &self.secret {
            let secret = load_text("secret", source, context)?;
            let method = self.method.unwrap_or_default();
            return Some(Client::Secret { id, secret, method });
        }
        if let Some(source) = &self.key {
            let key = load_key("key", source, self.algorithm, context)?;
            let own = |text: &Option<String>| text.as_deref().map(Into::into);
            return Some(Client::Key {
                id,
                key: Box::new(key),
                key_id: own(&self.key_id),
                audience: own(&self.audience),
            });
        }
        Some(Client::Certificate { id })
    }
}
