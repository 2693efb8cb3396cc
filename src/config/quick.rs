//! The short form of the command line: one Api for every host that requires a valid token.

use serde_json::json;

use crate::config::Config;
use crate::config::load::{ConfigOrigin, Loaded};
use crate::problem::{Problem, Problems};

/// What problems of the short form are said to be in.
const NAME: &str = "command line";

impl Config {
    /// The configuration that trusts tokens of `issuer` for any of `audiences`, and a catalog with
    /// one Api for every host; `headers` are `name={template}` for the upstream.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub fn quick(
        issuer: &str,
        audiences: &[String],
        headers: &[String],
    ) -> Result<Loaded, Problems> {
        let mut templates = serde_json::Map::new();
        for header in headers {
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
        let config = json!({
            "authenticators": {
                "token": { "type": "jwt", "issuer": issuer, "audiences": audiences, "keys": "discovery" }
            },
            "catalog": { "sources": [{ "name": "quick", "type": "file", "path": NAME }] }
        });
        let catalog = json!({
            "kind": "Api",
            "metadata": { "name": "everything" },
            "spec": {
                "title": "everything",
                "version": "1",
                "hosts": ["*"],
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
