//! What an API asks of callers: its security schemes, and the requirements of operations.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::cli::import::openapi::Dialect;
use crate::cli::import::report::Report;
use crate::cli::name::slug;

/// The security schemes, and the authenticators that stand for them.
#[derive(Debug)]
pub(super) struct Schemes<'a> {
    all: Vec<(&'a str, &'a Value)>,
    one: Option<&'a str>,
}

/// What an operation asks of its callers.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Requirement {
    /// Nothing.
    Anonymous,
    /// One of these authenticators, and these scopes.
    Some(Vec<String>, Scopes),
}

/// The scopes that an operation asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Scopes {
    /// None.
    None,
    /// At least one of these.
    AnyOf(Vec<String>),
    /// Every one of these.
    AllOf(Vec<String>),
}

impl<'a> Schemes<'a> {
    /// Those of a document; `one` stands for all of them.
    pub(super) fn of(document: &'a Value, dialect: Dialect, one: Option<&'a str>) -> Self {
        let at = match dialect {
            Dialect::Openapi => "/components/securitySchemes",
            Dialect::Swagger => "/securityDefinitions",
        };
        let all = document.pointer(at).and_then(Value::as_object);
        let all = all.into_iter().flatten();
        Self {
            all: all.map(|(name, scheme)| (name.as_str(), scheme)).collect(),
            one,
        }
    }

    /// The authenticators of all of them; `partners` where there is none.
    pub(super) fn names(&self) -> Vec<String> {
        match self.one {
            Some(one) => vec![one.to_owned()],
            None if self.all.is_empty() => vec!["partners".to_owned()],
            None => self.all.iter().map(|(name, _)| slug(name)).collect(),
        }
    }

    /// Says which authenticator each of them needs.
    pub(super) fn tell(&self, report: &mut Report) {
        for (scheme, said) in &self.all {
            let name = self.one.map_or_else(|| slug(scheme), str::to_owned);
            report.remains(format!(
                "security scheme `{scheme}`: {}",
                suggestion(&name, said)
            ));
        }
        if self.all.is_empty() {
            report.remains("there is no security scheme in it: every operation asks for the Api's authenticators");
        }
    }

    /// What the requirements of an operation ask for.
    ///
    /// # Errors
    /// Why that cannot be said.
    pub(super) fn requirement(&self, said: Option<&Value>) -> Result<Requirement, String> {
        let Some(said) = said else {
            return Ok(Requirement::Some(self.names(), Scopes::None));
        };
        let alternatives = said.as_array().ok_or("`security` is no list")?;
        let mut authenticators = Vec::new();
        let mut scopes = Vec::new();
        for alternative in alternatives {
            let needed = alternative
                .as_object()
                .ok_or("`security` is no list of mappings")?;
            let mut needed = needed.iter();
            let Some((scheme, list)) = needed.next() else {
                return Ok(Requirement::Anonymous);
            };
            if let Some((other, _)) = needed.next() {
                return Err(format!(
                    "it asks for `{scheme}` and `{other}` together, and an Api takes one credential (an app id with its key is one: `type: appId`)"
                ));
            }
            if !self.all.iter().any(|(name, _)| name == scheme) {
                return Err(format!("there is no security scheme `{scheme}`"));
            }
            let name = self.one.map_or_else(|| slug(scheme), str::to_owned);
            if !authenticators.contains(&name) {
                authenticators.push(name);
            }
            let list = list.as_array().map(|list| list.iter().map(Value::as_str));
            let list: Option<BTreeSet<_>> = list.and_then(Iterator::collect);
            let wrong = || format!("the scopes of `{scheme}` are no list of texts");
            scopes.push(list.ok_or_else(wrong)?);
        }
        if scopes.is_empty() {
            return Ok(Requirement::Anonymous);
        }
        Ok(Requirement::Some(authenticators, together(&scopes)?))
    }
}

/// Alternatives of scopes as one list.
fn together(alternatives: &[BTreeSet<&str>]) -> Result<Scopes, String> {
    let owned = |scopes: &BTreeSet<&str>| scopes.iter().map(|&scope| scope.to_owned()).collect();
    let first = alternatives.first().cloned().unwrap_or_default();
    if alternatives.iter().all(|other| *other == first) {
        return Ok(match first.len() {
            0 => Scopes::None,
            1 => Scopes::AnyOf(owned(&first)),
            _ => Scopes::AllOf(owned(&first)),
        });
    }
    if alternatives.iter().all(|other| other.len() == 1) {
        return Ok(Scopes::AnyOf(owned(
            &alternatives.iter().flatten().copied().collect(),
        )));
    }
    Err("its alternatives ask for different sets of scopes, and an operation has one list, of which one or all are needed".to_owned())
}

/// The authenticator that a scheme needs.
fn suggestion(name: &str, said: &Value) -> String {
    let text = |key: &str| said.get(key).and_then(Value::as_str).unwrap_or_default();
    match (text("type"), text("in"), text("scheme")) {
        ("apiKey", place @ ("header" | "query" | "cookie"), _) => format!(
            "`{name}: {{ type: apiKey, credentials: [{{ {place}: {} }}] }}`",
            text("name")
        ),
        ("http", _, "bearer") | ("oauth2", _, _) => {
            let at = ["tokenUrl", "authorizationUrl"]
                .into_iter()
                .find_map(|key| find(said, key));
            let from = at
                .map(|url| format!(", the issuer of {url}"))
                .unwrap_or_default();
            format!(
                "`{name}: {{ type: jwt, issuer: …, audiences: […] }}`{from}; opaque tokens: `type: introspection`"
            )
        }
        ("openIdConnect", _, _) => {
            let url = text("openIdConnectUrl");
            let issuer = url.trim_end_matches("/.well-known/openid-configuration");
            format!("`{name}: {{ type: jwt, issuer: {issuer}, audiences: […] }}`")
        }
        ("http", _, "basic") | ("basic", _, _) => {
            format!(
                "`{name}: {{ type: appId, id: [{{ basic: true }}] }}`, for app ids with keys; passwords of users are not taken"
            )
        }
        ("mutualTLS", _, _) => format!("`{name}: {{ type: mtls, … }}`"),
        (kind, _, _) => format!("`{name}` of a kind of your choice; `{kind}` is not known"),
    }
}

fn find<'a>(value: &'a Value, key: &str) -> Option<&'a str> {
    let map = value.as_object()?;
    let own = map.get(key).and_then(Value::as_str);
    own.or_else(|| map.values().find_map(|inner| find(inner, key)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn alternatives_and_combinations_become_one_list_or_are_refused() {
        let document = json!({ "components": { "securitySchemes": { "a": {}, "b": {} } } });
        let schemes = Schemes::of(&document, Dialect::Openapi, None);
        let read = |said: Value| schemes.requirement(Some(&said));
        let some = |names: &[&str], scopes| {
            let names = names.iter().map(|&name| name.to_owned()).collect();
            Ok(Requirement::Some(names, scopes))
        };
        let list = |scopes: &[&str]| scopes.iter().map(|&scope| scope.to_owned()).collect();
        assert_eq!(read(json!([])), Ok(Requirement::Anonymous));
        assert_eq!(read(json!([{ "a": [] }, {}])), Ok(Requirement::Anonymous));
        assert_eq!(
            read(json!([{ "a": [] }, { "b": [] }])),
            some(&["a", "b"], Scopes::None)
        );
        assert_eq!(
            read(json!([{ "a": ["y", "x"] }])),
            some(&["a"], Scopes::AllOf(list(&["x", "y"])))
        );
        assert_eq!(
            read(json!([{ "a": ["x"] }, { "a": ["y"] }])),
            some(&["a"], Scopes::AnyOf(list(&["x", "y"])))
        );
        for refused in [
            json!([{ "a": [], "b": [] }]),
            json!([{ "a": ["x"] }, { "b": [] }]),
            json!([{ "a": ["x", "y"] }, { "a": ["z"] }]),
            json!([{ "c": [] }]),
            json!([{ "a": "x" }]),
            json!([{ "a": null }]),
            json!([{ "a": {} }]),
            json!([{ "a": ["x", 2024] }]),
            json!("a"),
        ] {
            assert!(read(refused.clone()).is_err(), "{refused}");
        }
    }
}
