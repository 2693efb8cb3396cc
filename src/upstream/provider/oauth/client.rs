//! Who we are for a token endpoint: its configuration, and what is read of it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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
    /// Our client id.
    pub id: String,
    /// Our secret. With neither `secret` nor `key` we are known by our certificate
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
}

impl ClientConfig {
    pub(crate) fn check(&self, http: &HttpConfig, findings: &mut Findings) {
        check_text("id", Some(&self.id), findings);
        check_text("keyId", self.key_id.as_deref(), findings);
        check_text("audience", self.audience.as_deref(), findings);
        match (&self.secret, &self.key) {
            (Some(_), Some(_)) => findings.wrong("key", "stands beside `secret`; give one of them"),
            (None, None) if http.certificate.is_none() => {
                findings.wrong("secret", "is needed, or `key`, or `http.certificate`");
            }
            (Some(_), None) | (None, Some(_)) | (None, None) => {}
        }
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

    pub(super) fn build(&self, context: &mut ProviderContext<'_>) -> Option<Client> {
        let id: Box<str> = self.id.as_str().into();
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
