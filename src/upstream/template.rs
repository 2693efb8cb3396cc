//! Header templates: text with `{principal.subject}` and the like, read once at load.
//!
//! There are no expressions. Names are checked at load; a value that is missing leaves the whole
//! header out; a claim that is an object or a list is refused.

use std::fmt::Write as _;

use serde_json::Value;

use crate::authentication::principal::{ClaimedApplication, Identity};
use crate::authorization::Permit;
use crate::authorization::subscription::KnownApplication;
use crate::catalog::model::Application;
use crate::header::HeaderError;
use crate::routing::Route;

/// A header value with places to fill.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderTemplate {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(Box<str>),
    Variable(Variable),
}

/// What a template can name.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Variable {
    PrincipalSubject,
    PrincipalIssuer,
    PrincipalClientId,
    PrincipalMethod,
    PrincipalAuthenticator,
    PrincipalScopes,
    PrincipalTrustDomain,
    PrincipalNamespace,
    PrincipalServiceAccount,
    Claim(Vec<Box<str>>),
    ApplicationId,
    ApplicationName,
    ApplicationOwner,
    ApplicationClientId,
    SubscriptionPlan,
    ApiId,
    ApiName,
    ApiTitle,
    ApiVersion,
    ApiContext,
    OperationPath,
}

/// Every name that a template can use, beside `claims.…`.
const NAMES: [(&str, Variable); 20] = [
    ("principal.subject", Variable::PrincipalSubject),
    ("principal.issuer", Variable::PrincipalIssuer),
    ("principal.clientId", Variable::PrincipalClientId),
    ("principal.method", Variable::PrincipalMethod),
    ("principal.authenticator", Variable::PrincipalAuthenticator),
    ("principal.scopes", Variable::PrincipalScopes),
    ("principal.trustDomain", Variable::PrincipalTrustDomain),
    ("principal.namespace", Variable::PrincipalNamespace),
    (
        "principal.serviceAccount",
        Variable::PrincipalServiceAccount,
    ),
    ("application.id", Variable::ApplicationId),
    ("application.name", Variable::ApplicationName),
    ("application.owner", Variable::ApplicationOwner),
    ("application.clientId", Variable::ApplicationClientId),
    ("subscription.plan", Variable::SubscriptionPlan),
    ("api.id", Variable::ApiId),
    ("api.name", Variable::ApiName),
    ("api.title", Variable::ApiTitle),
    ("api.version", Variable::ApiVersion),
    ("api.context", Variable::ApiContext),
    ("operation.path", Variable::OperationPath),
];

/// Why a text is no template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// A brace is not closed or not opened.
    #[error(
        "a brace without its partner; a template is text with names in braces, such as {{principal.subject}}"
    )]
    Brace,
    /// A name that nothing has.
    #[error("unknown name `{0}`; known are claims.<path>, {names}", names = NAMES.map(|(name, _)| name).join(", "))]
    UnknownName(String),
    /// The fixed text cannot stand in a header.
    #[error(transparent)]
    Header(#[from] HeaderError),
}

/// Why a header cannot be made of a template for one request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    /// A claim is an object or a list.
    #[error("claim `{0}` is no text, number or boolean")]
    NotScalar(String),
    /// The value cannot stand in a header.
    #[error("the value cannot stand in a header: {0}")]
    Header(#[from] HeaderError),
}

impl HeaderTemplate {
    /// Reads a template.
    ///
    /// # Errors
    /// Where a brace has no partner, a name is unknown, or the text cannot stand in a header.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(open) = rest.find(['{', '}']) {
            let (before, after) = rest.split_at(open);
            let inner = after.strip_prefix('{').ok_or(TemplateError::Brace)?;
            let (name, after) = inner.split_once('}').ok_or(TemplateError::Brace)?;
            push_text(&mut parts, before)?;
            parts.push(Part::Variable(Variable::parse(name)?));
            rest = after;
        }
        push_text(&mut parts, rest)?;
        Ok(Self { parts })
    }

    /// Writes the text with its places filled; `false` where a value is missing or empty.
    ///
    /// # Errors
    /// Where a claim is an object or a list.
    pub fn render(
        &self,
        route: &Route<'_>,
        permit: &Permit<'_>,
        text: &mut String,
    ) -> Result<bool, RenderError> {
        self.render_escaped(route, permit, text, |_, _| {})
    }

    /// The same for the path or query of an address: each value is one segment or one value there,
    /// with everything that means something in an address encoded.
    ///
    /// # Errors
    /// As [`HeaderTemplate::render`].
    pub fn render_in_url(
        &self,
        route: &Route<'_>,
        permit: &Permit<'_>,
        text: &mut String,
    ) -> Result<bool, RenderError> {
        self.render_escaped(route, permit, text, |text, from| {
            let value = text.split_off(from);
            for byte in value.into_bytes() {
                // RFC 3986 section 2.3, without the dot: a segment of dots is none
                if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'~') {
                    text.push(char::from(byte));
                } else {
                    // writing to a string does not fail
                    let _ = write!(text, "%{byte:02X}");
                }
            }
        })
    }

    fn render_escaped(
        &self,
        route: &Route<'_>,
        permit: &Permit<'_>,
        text: &mut String,
        escape: impl Fn(&mut String, usize),
    ) -> Result<bool, RenderError> {
        for part in &self.parts {
            match part {
                Part::Text(fixed) => text.push_str(fixed),
                Part::Variable(variable) => {
                    let before = text.len();
                    variable.write(route, permit, text)?;
                    if text.len() == before {
                        return Ok(false);
                    }
                    escape(text, before);
                }
            }
        }
        Ok(true)
    }
}

impl Variable {
    fn parse(name: &str) -> Result<Self, TemplateError> {
        if let Some((_, variable)) = NAMES.iter().find(|(known, _)| *known == name) {
            return Ok(variable.clone());
        }
        match name.strip_prefix("claims.") {
            Some(path) if !path.split('.').any(str::is_empty) => {
                Ok(Self::Claim(path.split('.').map(Into::into).collect()))
            }
            _ => Err(TemplateError::UnknownName(name.to_owned())),
        }
    }

    /// Writes the value; nothing, where there is none.
    fn write(
        &self,
        route: &Route<'_>,
        permit: &Permit<'_>,
        text: &mut String,
    ) -> Result<(), RenderError> {
        let principal = permit.principal();
        let identity = principal.identity();
        let value = match self {
            Self::PrincipalSubject => identity.subject.as_deref(),
            Self::PrincipalIssuer => identity.issuer.as_deref(),
            Self::PrincipalClientId | Self::ApplicationClientId => identity.client_id.as_deref(),
            Self::PrincipalMethod => Some(principal.method().name()),
            Self::PrincipalAuthenticator => Some(principal.authenticator()),
            Self::PrincipalScopes => {
                write_scopes(&identity.scopes, text);
                None
            }
            Self::PrincipalTrustDomain => {
                let workload = identity.workload.as_ref();
                workload.map(|workload| workload.trust_domain().as_str())
            }
            Self::PrincipalNamespace => service_account(identity).map(|(namespace, _)| namespace),
            Self::PrincipalServiceAccount => service_account(identity).map(|(_, account)| account),
            Self::Claim(path) => return write_claim(&identity.claims, path, text),
            Self::ApplicationId => application(
                permit,
                |application| Some(application.id.as_str()),
                |claimed| claimed.id.as_deref(),
            ),
            Self::ApplicationName => application(
                permit,
                |application| Some(application.id.name()),
                |claimed| claimed.name.as_deref(),
            ),
            Self::ApplicationOwner => application(
                permit,
                |application| application.owner.as_deref(),
                |claimed| claimed.owner.as_deref(),
            ),
            Self::SubscriptionPlan => permit.standing().plan(),
            Self::ApiId => Some(route.api.id.as_str()),
            Self::ApiName => Some(route.api.id.name()),
            Self::ApiTitle => Some(&*route.api.title),
            Self::ApiVersion => Some(&*route.api.version),
            Self::ApiContext => route.api.context.as_deref(),
            Self::OperationPath => route.operation.map(|operation| &*operation.path.text),
        };
        text.push_str(value.unwrap_or_default());
        Ok(())
    }
}

/// The namespace and service account of the workload that calls.
fn service_account(identity: &Identity) -> Option<(&str, &str)> {
    identity.workload.as_ref()?.service_account()
}

fn write_scopes(scopes: &[Box<str>], text: &mut String) {
    for (at, scope) in scopes.iter().enumerate() {
        if at > 0 {
            text.push(' ');
        }
        text.push_str(scope);
    }
}

fn push_text(parts: &mut Vec<Part>, text: &str) -> Result<(), TemplateError> {
    if text.chars().any(char::is_control) {
        return Err(HeaderError::ControlCharacter.into());
    }
    if !text.is_empty() {
        parts.push(Part::Text(text.into()));
    }
    Ok(())
}

fn application<'p>(
    permit: &'p Permit<'_>,
    of_catalog: impl FnOnce(&'p Application) -> Option<&'p str>,
    of_token: impl FnOnce(&'p ClaimedApplication) -> Option<&'p str>,
) -> Option<&'p str> {
    match permit.standing().application()? {
        KnownApplication::Catalog(application) => of_catalog(application),
        KnownApplication::Claimed => {
            let identity = permit.principal().identity();
            of_token(identity.claimed_application.as_ref()?)
        }
    }
}

fn write_claim(claims: &Value, path: &[Box<str>], text: &mut String) -> Result<(), RenderError> {
    let found = path
        .iter()
        .try_fold(claims, |value, name| value.get(&**name));
    match found {
        None | Some(Value::Null) => {}
        Some(Value::String(claim)) => text.push_str(claim),
        Some(Value::Number(number)) => text.push_str(&number.to_string()),
        Some(Value::Bool(boolean)) => text.push_str(if *boolean { "true" } else { "false" }),
        Some(Value::Array(_) | Value::Object(_)) => {
            return Err(RenderError::NotScalar(path.join(".")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_when_a_template_is_read() {
        for text in [
            "{principal.subject}",
            "a {claims.tenant.id} b",
            "fixed",
            "{api.version}-{operation.path}",
            "",
        ] {
            assert!(HeaderTemplate::parse(text).is_ok(), "{text}");
        }
        for text in [
            "{principal.name}",
            "{claims.}",
            "{claims.a..b}",
            "{}",
            "{claims}",
        ] {
            assert!(
                matches!(
                    HeaderTemplate::parse(text),
                    Err(TemplateError::UnknownName(_))
                ),
                "{text}"
            );
        }
        for text in ["{principal.subject", "principal.subject}", "a}b{c"] {
            assert_eq!(
                HeaderTemplate::parse(text),
                Err(TemplateError::Brace),
                "{text}"
            );
        }
        assert!(matches!(
            HeaderTemplate::parse("a\r\nb"),
            Err(TemplateError::Header(_))
        ));
    }

    #[test]
    fn claims_are_read_by_path_and_must_be_scalars() {
        let claims =
            serde_json::json!({"tenant": {"id": 7, "admin": true}, "roles": ["a"], "none": null});
        let read = |path: &str| {
            let mut text = String::new();
            let path: Vec<_> = path.split('.').map(Into::into).collect();
            write_claim(&claims, &path, &mut text).map(|()| text)
        };
        assert_eq!(read("tenant.id"), Ok("7".to_owned()));
        assert_eq!(read("tenant.admin"), Ok("true".to_owned()));
        assert_eq!(read("none"), Ok(String::new()));
        assert_eq!(read("tenant.name"), Ok(String::new()));
        assert_eq!(
            read("roles"),
            Err(RenderError::NotScalar("roles".to_owned()))
        );
        assert_eq!(
            read("tenant"),
            Err(RenderError::NotScalar("tenant".to_owned()))
        );
    }
}
