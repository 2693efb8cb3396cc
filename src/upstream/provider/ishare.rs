//! Provider `ishare`: access tokens of iSHARE identity providers, by an assertion that is signed
//! with the party's key and carries its certificates.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::Url;
use x509_parser::pem::Pem;

use super::answer::Given;
use super::config::{ProviderContext, check_text};
use super::life::CacheConfig;
use super::oauth::{Assertion, Form, Server, push_assertion};
use super::token_urls::{TokenUrlPattern, TokenUrls};
use super::{Abilities, PartyRule, Want};
use crate::authentication::algorithm::Algorithm;
use crate::config::findings::Findings;
use crate::config::value::SecretSource;
use crate::fetch::{FailureKind, FetchError};
use crate::http_client::config::HttpConfig;
use crate::signing::SigningKey;

/// How long an assertion is valid, as iSHARE has it.
const ASSERTION_SECONDS: i64 = 30;

/// Asks iSHARE identity providers for access tokens.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct IshareConfig {
    /// Our party id, such as `EU.EORI.NL123456789` or `did:ishare:…`. Left out with `key` and
    /// `certificates`, Apis name the party, and its key is what the credentials API wrote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub party: Option<String>,
    /// Its private key (PEM, PKCS #8 or PKCS #1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<SecretSource>,
    /// Its certificate chain (PEM), the party's own first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificates: Option<SecretSource>,
    /// The algorithm of the key: RS256.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<Algorithm>,
    /// The address that tokens are asked for, where an Api names none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_url: Option<String>,
    /// The party id of the identity provider, where an Api names none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
    /// The grant that is asked by: `client_credentials`.
    #[serde(default = "client_credentials")]
    pub grant_type: String,
    /// The scope that is asked for: `iSHARE`.
    #[serde(default = "ishare")]
    pub scope: String,
    /// Further fields of the form.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: BTreeMap<String, String>,
    /// Which addresses Apis may name; none where this is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_urls: Option<TokenUrlsConfig>,
    /// Whether tokens are asked for at the start, before a check needs them; readiness waits until
    /// that was tried.
    #[serde(default)]
    pub required: bool,
    /// How identity providers are reached.
    #[serde(default, skip_serializing_if = "HttpConfig::is_default")]
    pub http: HttpConfig,
    /// How long tokens are kept.
    #[serde(default, skip_serializing_if = "CacheConfig::is_default")]
    pub cache: CacheConfig,
    /// The proxies that may be given its tokens, as patterns of SPIFFE IDs; left out, whoever may ask.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub peers: Vec<String>,
}

/// Which addresses Apis may name.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TokenUrlsConfig {
    /// Patterns such as `https://*.isharetest.net/*`: a `*` stands for characters of one label of
    /// the host, or for any of the path.
    pub allow: Vec<String>,
}

fn client_credentials() -> String {
    "client_credentials".to_owned()
}

fn ishare() -> String {
    "iSHARE".to_owned()
}

/// What a party signs with.
#[derive(Debug)]
pub struct Party {
    key: SigningKey,
    /// The certificates in base64 of DER, the party's own first (RFC 7515 section 4.1.6).
    chain: Vec<String>,
}

/// The parties that the credentials API wrote, by their ids; clones share them.
#[derive(Debug, Clone, Default)]
pub struct Parties(Arc<ArcSwap<BTreeMap<Box<str>, Arc<Party>>>>);

/// An iSHARE party that asks for tokens.
pub(super) struct Ishare {
    own: Option<(Box<str>, Party)>,
    parties: Parties,
    token_url: Option<Url>,
    audience: Option<Box<str>>,
    grant_type: Box<str>,
    scope: Box<str>,
    parameters: Vec<(Box<str>, Box<str>)>,
    server: Server,
}

impl Parties {
    /// Puts these in the place of those before.
    pub fn replace(&self, parties: BTreeMap<Box<str>, Arc<Party>>) {
        self.0.store(Arc::new(parties));
    }

    /// The party called `id`.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<Arc<Party>> {
        self.0.load().get(id).cloned()
    }
}

impl Party {
    /// Who signs with `key` (PEM) and is known by `certificates` (PEM), its own first. `now` is in
    /// seconds since 1970.
    ///
    /// # Errors
    /// What is wrong with them. No text has anything of the key.
    pub fn new(
        key: &[u8],
        certificates: &[u8],
        algorithm: Option<Algorithm>,
        now: i64,
    ) -> Result<Self, String> {
        // iSHARE knows no other
        let algorithm = algorithm.unwrap_or(Algorithm::Rs256);
        let key = SigningKey::from_pem(key, Some(algorithm)).map_err(|error| error.to_string())?;
        let mut chain = Vec::new();
        for block in Pem::iter_from_buffer(certificates) {
            let block =
                block.map_err(|_| "the certificates hold a PEM block that cannot be read")?;
            if block.label != "CERTIFICATE" {
                continue;
            }
            let certificate = block
                .parse_x509()
                .map_err(|_| "the certificates hold one that cannot be read")?;
            if certificate.validity().not_after.timestamp() <= now {
                return Err(format!(
                    "certificate {} of the chain has expired",
                    chain.len() + 1
                ));
            }
            chain.push(STANDARD.encode(&block.contents));
        }
        if chain.is_empty() {
            return Err("there is no CERTIFICATE block".to_owned());
        }
        if !key.belongs_to(certificates) {
            return Err("the key does not belong to the first certificate".to_owned());
        }
        Ok(Self { key, chain })
    }
}

impl IshareConfig {
    pub(super) fn check(&self, findings: &mut Findings) {
        match (&self.party, &self.key, &self.certificates) {
            (Some(_), Some(_), Some(_)) | (None, None, None) => {}
            (None, Some(_), _) | (None, None, Some(_)) => {
                findings.wrong("party", "is needed with `key` and `certificates`");
            }
            (Some(_), None, _) => findings.wrong("key", "is needed with `party`"),
            (Some(_), Some(_), None) => findings.wrong("certificates", "is needed with `party`"),
        }
        for (path, text) in [
            ("party", self.party.as_deref()),
            ("audience", self.audience.as_deref()),
            ("grantType", Some(self.grant_type.as_str())),
            ("scope", Some(self.scope.as_str())),
        ] {
            check_text(path, text, findings);
        }
        if self
            .algorithm
            .is_some_and(|algorithm| !SigningKey::can(algorithm))
        {
            findings.wrong(
                "algorithm",
                "we cannot sign with it; use RS256 unless the identity provider says otherwise",
            );
        }
        if let Some(url) = &self.token_url {
            self.http.check_address("tokenUrl", url, findings);
        }
        if self.token_url.is_none() && self.token_urls.is_none() {
            findings.wrong(
                "tokenUrl",
                "is needed, or `tokenUrls` for addresses that apis name",
            );
        }
        for (at, pattern) in self.allowed().enumerate() {
            let path = format!("tokenUrls.allow[{at}]");
            match TokenUrlPattern::parse(pattern) {
                Err(why) => findings.wrong(&path, why),
                Ok(_) if pattern.starts_with("http:") && !self.http.allow_http => {
                    findings.wrong(
                        &path,
                        "must be https; `http.allowHttp: true` lets it be http, for tests and private networks",
                    );
                }
                Ok(_) => {}
            }
        }
    }

    /// Whether an Api may name this token address.
    #[must_use]
    pub fn allows(&self, url: &Url) -> bool {
        let mut patterns = self.allowed();
        patterns.any(|pattern| TokenUrlPattern::parse(pattern).is_ok_and(|own| own.matches(url)))
    }

    fn allowed(&self) -> impl Iterator<Item = &String> {
        self.token_urls.iter().flat_map(|urls| &urls.allow)
    }

    pub(super) fn abilities(&self, token: Abilities) -> Abilities {
        let patterns = self.allowed();
        let patterns = patterns.filter_map(|pattern| TokenUrlPattern::parse(pattern).ok());
        Abilities {
            token_urls: Some(TokenUrls::new(patterns.collect())),
            has_token_url: self.token_url.is_some(),
            has_audience: self.audience.is_some(),
            party: if self.party.is_some() {
                PartyRule::Provider
            } else {
                PartyRule::Api
            },
            ..token
        }
    }

    pub(super) fn build(&self, context: &mut ProviderContext<'_>) -> Option<Ishare> {
        let own = match (&self.party, &self.key, &self.certificates) {
            (Some(party), Some(key), Some(certificates)) => {
                let party: Box<str> = party.as_str().into();
                Some((party, self.build_party(key, certificates, context)?))
            }
            _ => None,
        };
        let parameters = self.parameters.iter();
        let token_url = self.token_url.as_deref();
        Some(Ishare {
            own,
            parties: context.parties.clone(),
            token_url: token_url.and_then(|url| Url::parse(url).ok()),
            audience: self.audience.as_deref().map(Into::into),
            grant_type: self.grant_type.as_str().into(),
            scope: self.scope.as_str().into(),
            parameters: parameters
                .map(|(name, value)| (name.as_str().into(), value.as_str().into()))
                .collect(),
            server: Server::build(&self.http, context)?,
        })
    }

    fn build_party(
        &self,
        key: &SecretSource,
        certificates: &SecretSource,
        context: &mut ProviderContext<'_>,
    ) -> Option<Party> {
        let mut load = |path: &str, source: &SecretSource| {
            let loaded = source.load(context.reader);
            loaded
                .map_err(|error| context.findings.wrong(path, error.to_string()))
                .ok()
        };
        let (key, certificates) = (load("key", key)?, load("certificates", certificates)?);
        let now = context.services.clock().unix_seconds();
        Party::new(key.expose(), certificates.expose(), self.algorithm, now)
            .map_err(|error| context.findings.wrong("certificates", error))
            .ok()
    }
}

impl Ishare {
    pub(super) async fn fetch(&self, want: &Want) -> Result<Given, FetchError> {
        let not_asked = |why: String| FetchError::new(FailureKind::NotAsked, why);
        let target = &want.target;
        let stored;
        let (id, party) = match (&self.own, &target.party) {
            (Some((id, party)), _) => (&**id, party),
            (None, Some(id)) => {
                let found = self.parties.get(id);
                stored =
                    found.ok_or_else(|| not_asked(format!("there is no key of party `{id}`")))?;
                (&**id, &*stored)
            }
            (None, None) => return Err(not_asked("no party is named".to_owned())),
        };
        let url = target.token_url.as_ref().or(self.token_url.as_ref());
        let url = url.ok_or_else(|| not_asked("no token address is named".to_owned()))?;
        let audience = target.audience.as_deref().or(self.audience.as_deref());
        let audience = audience.ok_or_else(|| not_asked("no audience is named".to_owned()))?;
        let assertion = Assertion {
            client_id: id,
            audience,
            seconds: ASSERTION_SECONDS,
        };
        let now = self.server.clock().unix_seconds();
        let signed = assertion.sign(&party.key, now, |header| {
            header.x5c = Some(party.chain.clone());
        })?;
        let grant_type = target.grant_type.as_deref().unwrap_or(&self.grant_type);
        let scope = target.scope.as_deref().unwrap_or(&self.scope);
        let mut form: Form<'_> = vec![
            ("grant_type", Cow::Borrowed(grant_type)),
            ("scope", Cow::Borrowed(scope)),
        ];
        push_assertion(&mut form, id, signed);
        for (name, value) in &self.parameters {
            form.push((name, Cow::Borrowed(&**value)));
        }
        let token = self.server.ask(url, HeaderMap::new(), &form).await?;
        token.into_given(want)
    }
}

impl fmt::Debug for Ishare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ishare")
            .field("party", &self.own.as_ref().map(|(id, _)| id))
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
