//! The short form of the command line: one Api for every host that requires a valid token.

use serde_json::json;

use crate::catalog::source::document::API_VERSION;
use crate::config::load::{ConfigOrigin, Loaded};
use crate::problem::{Problem, Problems};

/// What problems of the short form are said to be in.
const NAME: &str = "command line";

/// What the short form says.
#[derive(Debug, Clone)]
pub struct Quick {
    /// The issuer to trust.
    pub issuer: String,
    /// Any of these audiences is enough.
    pub audiences: Vec<String>,
    /// Headers for the upstream, each `name={template}`.
    pub headers: Vec<String>,
    /// Whether the issuer may be plain HTTP.
    pub allow_http_issuer: bool,
    /// Where checks are answered; left out, the default.
    pub listen: Option<String>,
}

impl Quick {
    /// The configuration that trusts tokens of the issuer, and a catalog with one Api for every host.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub fn into_loaded(self) -> Result<Loaded, Problems> {
        let mut templates = serde_json::Map::new();
        for header in &self.headers {
            let Some((name, template)) = header.split_once('=') else {
                return Err(Problems::from(Problem {
                    file: NAME.into(),
                    line: None,
                    path: "--header".to_owned(),
                    message: format!("`{header}` is no name={{template}}"),
                }));
            };
            templates.insert(name.to_owned(), template.into());
        }
        let mut config = json!({
            "authenticators": {
                "token": {
                    "type": "jwt", "issuer": self.issuer, "audiences": self.audiences, "keys": "discovery",
                    "allowHttpIssuer": self.allow_http_issuer,
                }
            },
            "catalog": { "sources": [{ "name": "quick", "type": "file", "path": NAME }] }
        });
        if let (Some(address), Some(config)) = (self.listen, config.as_object_mut()) {
            let listeners = json!({
                "inbound": { "type": "check", "address": address },
                "observe": { "type": "observe" },
                "admin": { "type": "admin" },
            });
            config.insert("listeners".to_owned(), listeners);
        }
        let catalog = json!({
            "apiVersion": API_VERSION,
            "kind": "Api",
            "metadata": { "name": "everything" },
            "spec": {
                "title": "everything",
                "version": "1",
                "hosts": ["*"],
                "basePath": "/",
                "authenticators": ["token"],
                "subscription": "none",
                "unmatchedOperation": "allow",
                "upstream": { "headers": templates }
            }
        });
        let origin = ConfigOrigin::CommandLine {
            catalog: catalog.to_string(),
        };
        Loaded::parse(NAME, &config.to_string(), origin)
    }
}
