//! The `tls` key of a listener: what it shows, and whose certificates it takes.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::findings::Findings;

/// What a listener shows, and whose certificates it takes: from files, or by the Workload API.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct TlsConfig {
    /// The certificate chain in PEM, leaf first. It is read again when it changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<PemFile>,
    /// Its private key in PEM. It is read again when it changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<PemFile>,
    /// The authorities in PEM that client certificates must come from; who connects must show one
    /// then. It is read again when it changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_ca: Option<PemFile>,
    /// Shows our SVID instead, and takes the SVIDs of the trust domains in `spiffe`; on listeners of
    /// type jwks and logout, which strangers ask, nobody must show one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spiffe: Option<SpiffeTls>,
}

/// A file in PEM.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PemFile {
    /// Where it is.
    pub file: PathBuf,
}

/// By the Workload API of section `spiffe`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SpiffeTls {}

impl TlsConfig {
    /// Whether who connects must show a certificate, on a listener that asks for one.
    #[must_use]
    pub fn asks_clients(&self) -> bool {
        self.client_ca.is_some() || self.spiffe.is_some()
    }

    /// Finds what is wrong.
    pub fn check(&self, findings: &mut Findings) {
        let files = [
            ("certificate", &self.certificate),
            ("key", &self.key),
            ("clientCa", &self.client_ca),
        ];
        if self.spiffe.is_some() {
            for (path, file) in files {
                if file.is_some() {
                    findings.wrong(path, "stands beside `spiffe`; give one of them");
                }
            }
            return;
        }
        for (path, file) in files.into_iter().take(2) {
            if file.is_none() {
                findings.wrong(path, "is needed: `{ file: … }`; or write `spiffe: {}`");
            }
        }
    }
}
