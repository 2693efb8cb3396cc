//! Tokens that say who we are, or for whom something is done: from a file, from the Workload API,
//! or from Kubernetes.

use std::fmt;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::load_text;
use crate::config::findings::Findings;
use crate::config::value::SecretSource;
use crate::fetch::{FailureKind, FetchError};
use crate::secret::Secret;
use crate::spiffe::SpiffeId;
use crate::upstream::provider::config::{ProviderContext, check_text};
use crate::workload_api::WorkloadApi;

/// The largest token in a file, in bytes.
const MAX_TOKEN_BYTES: u64 = 64 * 1024;

/// A token of ours, and where it is from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum OwnTokenConfig {
    /// In this file; a final line feed is not part of it. The configuration is read again when it
    /// changes.
    File(PathBuf),
    /// In this environment variable.
    Env(String),
    /// Our JWT-SVID.
    Svid(SvidTokenConfig),
    /// A service account's token that Kubernetes projects into a file and renews.
    ServiceAccountToken(TokenFileConfig),
}

/// Our JWT-SVID.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct SvidTokenConfig {
    /// Its `aud`; left out, the token address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
}

/// A file that holds a token.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TokenFileConfig {
    /// Its path. It is read for each request to the token endpoint, so that what Kubernetes renews
    /// is used at once.
    pub file: PathBuf,
}

impl<'de> Deserialize<'de> for OwnTokenConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OwnTokenVisitor)
    }
}

/// Refuses what is no map without telling it: it may be the token itself.
struct OwnTokenVisitor;

impl<'de> Visitor<'de> for OwnTokenVisitor {
    type Value = OwnTokenConfig;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("svid, { svid: … }, { serviceAccountToken: … }, { file: … } or { env: … }")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<OwnTokenConfig, E> {
        match text {
            "svid" => Ok(OwnTokenConfig::Svid(SvidTokenConfig::default())),
            _ => Err(E::custom(
                "secrets are never inline: write svid, { svid: … }, { serviceAccountToken: … }, \
                 { file: … } or { env: … }",
            )),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<OwnTokenConfig, A::Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        enum Written {
            File(PathBuf),
            Env(String),
            Svid(Option<SvidTokenConfig>),
            ServiceAccountToken(TokenFileConfig),
        }
        Ok(
            match Written::deserialize(MapAccessDeserializer::new(map))? {
                Written::File(path) => OwnTokenConfig::File(path),
                Written::Env(name) => OwnTokenConfig::Env(name),
                Written::Svid(svid) => OwnTokenConfig::Svid(svid.unwrap_or_default()),
                Written::ServiceAccountToken(file) => OwnTokenConfig::ServiceAccountToken(file),
            },
        )
    }
}

impl OwnTokenConfig {
    pub(in crate::upstream::provider) fn check(&self, path: &str, findings: &mut Findings) {
        if let Self::Svid(svid) = self {
            let path = format!("{path}.svid.audience");
            check_text(&path, svid.audience.as_deref(), findings);
        }
    }

    /// The token of what asks `url`. What is wrong is told at `path`.
    pub(in crate::upstream::provider) fn build(
        &self,
        path: &str,
        url: &str,
        context: &mut ProviderContext<'_>,
    ) -> Option<OwnToken> {
        match self {
            Self::File(file) => load_text(path, &SecretSource::File(file.clone()), context),
            Self::Env(name) => load_text(path, &SecretSource::Env(name.clone()), context),
            Self::Svid(svid) => {
                return OwnToken::svid(path, svid.audience.as_deref().unwrap_or(url), context);
            }
            Self::ServiceAccountToken(file) => return Some(OwnToken::in_file(file, context)),
        }
        .map(OwnToken::Fixed)
    }
}

/// A token of ours.
pub(in crate::upstream::provider) enum OwnToken {
    /// One that changes with the configuration alone.
    Fixed(Secret<String>),
    /// Our JWT-SVID for this audience; none where nothing is fetched.
    Svid {
        api: Option<WorkloadApi>,
        audience: Box<str>,
    },
    /// In a file that somebody renews.
    InFile(PathBuf),
}

impl OwnToken {
    /// Our JWT-SVID for `audience`.
    pub(super) fn svid(
        path: &str,
        audience: &str,
        context: &mut ProviderContext<'_>,
    ) -> Option<Self> {
        let api = context
            .ours
            .workload_api(path, context.services, context.findings)?;
        Some(Self::Svid {
            api: api.cloned(),
            audience: audience.into(),
        })
    }

    pub(super) fn in_file(config: &TokenFileConfig, context: &ProviderContext<'_>) -> Self {
        Self::InFile(context.reader.resolve(&config.file))
    }

    /// The token as it is now.
    pub(in crate::upstream::provider) async fn get(&self) -> Result<Secret<String>, FetchError> {
        Ok(self.get_with_id().await?.0)
    }

    /// The same, and whose JWT-SVID it is.
    pub(super) async fn get_with_id(
        &self,
    ) -> Result<(Secret<String>, Option<SpiffeId>), FetchError> {
        match self {
            Self::Fixed(token) => Ok((token.clone(), None)),
            Self::Svid { api, audience } => {
                let api = api.as_ref().ok_or_else(|| {
                    FetchError::new(
                        FailureKind::NotAsked,
                        "nothing is fetched without a network",
                    )
                })?;
                let svid = api.jwt_svid(audience).await?;
                Ok((svid.token().clone(), Some(svid.id)))
            }
            Self::InFile(path) => Ok((read(path).await?, None)),
        }
    }

    /// The token itself, where it never changes.
    pub(in crate::upstream::provider) fn fixed(&self) -> Option<&Secret<String>> {
        match self {
            Self::Fixed(token) => Some(token),
            Self::Svid { .. } | Self::InFile(_) => None,
        }
    }
}

impl fmt::Debug for OwnToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fixed(_) => "Fixed(redacted)",
            Self::Svid { .. } => "Svid",
            Self::InFile(_) => "InFile",
        })
    }
}

/// Reads a token that Kubernetes renews.
async fn read(path: &std::path::Path) -> Result<Secret<String>, FetchError> {
    let failed = |why: String| {
        let why = format!("the token in `{}`: {why}", path.display());
        FetchError::new(FailureKind::NotAsked, why)
    };
    let length = tokio::fs::metadata(path).await;
    let length = length.map_err(|error| failed(error.to_string()))?.len();
    if length > MAX_TOKEN_BYTES {
        return Err(failed(format!("it has more than {MAX_TOKEN_BYTES} bytes")));
    }
    let text = tokio::fs::read_to_string(path).await;
    let text = Secret::new(text.map_err(|error| failed(error.kind().to_string()))?);
    let token = text.expose().trim();
    let is_token = |byte: u8| matches!(byte, 0x21..=0x7e);
    if token.is_empty() || !token.bytes().all(is_token) {
        return Err(failed("it is no token".to_owned()));
    }
    Ok(Secret::new(token.to_owned()))
}
