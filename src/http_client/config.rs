//! The `http` section of whatever asks servers: how they are reached.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::Url;

use super::{HttpClient, Reach, Schemes};
use crate::config::findings::Findings;
use crate::config::reader::Reader;
use crate::config::value::{ByteSize, HumanDuration, SecretSource};
use crate::secret::Secret;
use crate::workload_api::SvidReceiver;

const DEFAULT_TIMEOUT: HumanDuration = HumanDuration(Duration::from_secs(5));
const DEFAULT_MAX_ANSWER: ByteSize = ByteSize(64 * 1024);
const MAX_ANSWER: usize = 1024 * 1024;
const MAX_TIMEOUT: Duration = Duration::from_secs(60);

/// How servers are reached.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct HttpConfig {
    /// How long a request may take with its answer. A check does not wait for longer than its own
    /// deadline; what it asked for goes on without it.
    pub timeout: HumanDuration,
    /// The certificates (PEM) that servers are verified with; left out, the system's.
    pub ca: Option<SecretSource>,
    /// Our certificate chain (PEM), where servers ask who we are.
    pub certificate: Option<SecretSource>,
    /// Its private key (PEM).
    pub key: Option<SecretSource>,
    /// Shows our X509-SVID, as it is at each handshake, instead of a certificate in a file.
    pub svid: bool,
    /// The proxy that is asked instead of the server; the environment's settings are not read.
    pub proxy: Option<Url>,
    /// Lets servers be asked by plain `http`: whoever is on the way can read and change tokens.
    pub allow_http: bool,
    /// The largest answer.
    pub max_answer: ByteSize,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            timeout: DEFAULT_TIMEOUT,
            ca: None,
            certificate: None,
            key: None,
            svid: false,
            proxy: None,
            allow_http: false,
            max_answer: DEFAULT_MAX_ANSWER,
        }
    }
}

impl HttpConfig {
    /// Whether nothing is said.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Which addresses it allows.
    #[must_use]
    pub fn schemes(&self) -> Schemes {
        if self.allow_http {
            Schemes::HttpsAndHttp
        } else {
            Schemes::Https
        }
    }

    /// Finds what is wrong, without reading anything else.
    pub fn check(&self, findings: &mut Findings) {
        if self.timeout.0.is_zero() || self.timeout.0 > MAX_TIMEOUT {
            findings.wrong("timeout", "must be longer than nothing and 60s at most");
        }
        if !(1..=MAX_ANSWER).contains(&self.max_answer.0) {
            findings.wrong("maxAnswer", "must be 1B or more and 1MiB at most");
        }
        match (&self.certificate, &self.key) {
            (Some(_), None) => findings.wrong("key", "is needed with `certificate`"),
            (None, Some(_)) => findings.wrong("certificate", "is needed with `key`"),
            (Some(_), Some(_)) | (None, None) => {}
        }
        if self.svid && self.certificate.is_some() {
            findings.wrong("svid", "stands beside `certificate`; give one of them");
        }
        if let Some(proxy) = &self.proxy
            && !matches!(proxy.scheme(), "http" | "https")
        {
            findings.wrong("proxy", "must be an address with http or https");
        }
        let is_secret = |proxy: &Url| !proxy.username().is_empty() || proxy.password().is_some();
        if self.proxy.as_ref().is_some_and(is_secret) {
            findings.wrong(
                "proxy",
                "must have no user name and password: secrets are never inline",
            );
        }
        if self.allow_http {
            findings.warn(
                "allowHttp",
                "whoever is on the way can read and change what is asked and answered",
            );
        }
    }

    /// Finds what is wrong with an address that is to be asked.
    pub fn check_address(&self, path: &str, address: &str, findings: &mut Findings) {
        match Url::parse(address) {
            Err(_) => findings.wrong(
                path,
                "must be an address, such as https://idp.example/token",
            ),
            Ok(url) if url.host_str().is_none() => findings.wrong(path, "has no host"),
            Ok(url) if !url.username().is_empty() || url.password().is_some() => {
                findings.wrong(path, "must have no user name and password");
            }
            Ok(url) if url.fragment().is_some() => findings.wrong(path, "must have no fragment"),
            Ok(url) if url.scheme() == "https" => {}
            Ok(url) if url.scheme() == "http" && self.allow_http => {}
            Ok(_) => findings.wrong(
                path,
                "must be https; `http.allowHttp: true` lets it be http, for tests and private networks",
            ),
        }
    }

    /// The client. What is wrong is told below where we are.
    #[must_use]
    pub fn build(&self, reader: &mut Reader, findings: &mut Findings) -> Option<HttpClient> {
        self.build_with(reader, findings, None)
    }

    /// The same, which shows `svid` instead of a certificate in a file.
    #[must_use]
    pub fn build_with(
        &self,
        reader: &mut Reader,
        findings: &mut Findings,
        svid: Option<SvidReceiver>,
    ) -> Option<HttpClient> {
        let mut load = |path: &str, source: &Option<SecretSource>, findings: &mut Findings| {
            let Some(source) = source else {
                return Some(None);
            };
            match source.load(reader) {
                Ok(bytes) => Some(Some(bytes)),
                Err(error) => {
                    findings.wrong(path, error.to_string());
                    None
                }
            }
        };
        let roots = load("ca", &self.ca, findings)?;
        let certificate = load("certificate", &self.certificate, findings)?;
        let key = load("key", &self.key, findings)?;
        let identity = certificate.zip(key).map(|(certificate, key)| {
            Secret::new([certificate.expose(), &b"\n"[..], key.expose()].concat())
        });
        let reach = Reach {
            schemes: self.schemes(),
            timeout: self.timeout.0,
            roots: roots.map(|roots| roots.expose().clone()),
            identity,
            svid,
            proxy: self.proxy.clone(),
        };
        HttpClient::with(&reach)
            .map_err(|error| findings.wrong("", error.to_string()))
            .ok()
    }
}
