//! The short form of the command line: one Api for every host that requires a valid token.

use serde_json::json;

use crate::catalog::source::document::API_VERSION;
use crate::config::load::{ConfigOrigin, Loaded};
use crate::problem::{Problem, Problems};

/// What problems of the short form are said to be in.
const NAME: &str = "command line";
/// Which flag says what stands at a path of the configuration or of the catalog's document.
const FLAGS: [(&str, &str); 6] = [
    ("authenticators.token.audience", "--audience"),
    (
        "authenticators.token.allowHttpIssuer",
        "--allow-http-issuer",
    ),
    ("authenticators.token", "--issuer"),
    ("listeners.inbound", "--listen"),
    ("spec.upstream.headers", "--header"),
    ("spec.upstream", "--header"),
];

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
    /// Everything that is wrong; [`by_flags`] tells it in the words of the command line.
    pub fn into_loaded(self) -> Result<Loaded, Problems> {
        let mut templates = serde_json::Map::new();
        for header in &self.headers {
            let Some((name, template)) = header.split_once('=') else {
                return Err(Problems::from(Problem {
                    file: NAME.into(),
                    line: None,
                    path: "--header".to_owned(),
                    message: format!(
                        "`{header}` is no name={{template}}; write x-user={{principal.subject}}"
                    ),
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
            catalog: format!("{catalog:#}"),
        };
        // over several lines, because a mistake of form is found by its line
        Loaded::parse(NAME, &format!("{config:#}"), origin)
    }
}

/// What is wrong with the short form, each problem after the flag that it is about; none where the
/// problems are those of files.
#[must_use]
pub fn by_flags(problems: &Problems) -> Option<String> {
    let lines = problems.iter().map(|problem| {
        let flag = FLAGS
            .iter()
            .find(|(path, _)| problem.path.starts_with(path))
            .map_or(problem.path.as_str(), |(_, flag)| flag);
        let message = problem
            .message
            .replace("`allowHttpIssuer: true`", "`--allow-http-issuer`")
            .replace("`allowHttpIssuer`", "`--allow-http-issuer`");
        (*problem.file == *NAME).then(|| match flag {
            "" => format!("error: {message}"),
            flag => format!("error: {flag}: {message}"),
        })
    });
    Some(lines.collect::<Option<Vec<_>>>()?.join("\n"))
}
