//! Header templates: text with `{principal.subject}` and the like, read once at load.
//!
//! There are no expressions. Names are checked at load; a value that is missing leaves the whole
//! header out; a claim that is an object or a list is refused.

use serde_json::Value;

use crate::authorization::Permit;
use crate::authorization::subscription::KnownApplication;
use crate::header::{HeaderError, HeaderValue};
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
const NAMES: [(&str, Variable); 17] = [
    ("principal.subject", Variable::PrincipalSubject),
    ("principal.issuer", Variable::PrincipalIssuer),
    ("principal.clientId", Variable::PrincipalClientId),
    ("principal.method", Variable::PrincipalMethod),
    ("principal.authenticator", Variable::PrincipalAuthenticator),
    ("principal.scopes", Variable::PrincipalScopes),
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

    /// Fills the places; `None` where a value is missing or empty.
    ///
    /// # Errors
    /// Where a claim is an object or a list, or the value cannot stand in a header.
    pub fn render(
        &self,
        route: &Route<'_>,
        permit: &Permit,
    ) -> Result<Option<HeaderValue>, RenderError> {
        let mut value = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => value.push_str(text),
                Part::Variable(variable) => match variable.value(route, permit)? {
                    Some(text) if !text.is_empty() => value.push_str(&text),
                    Some(_) | None => return Ok(None),
                },
            }
        }
        Ok(Some(HeaderValue::parse(value)?))
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

    fn value(&self, route: &Route<'_>, permit: &Permit) -> Result<Option<String>, RenderError> {
        let principal = permit.principal();
        let identity = principal.identity();
        let shared = |text: &Option<std::sync::Arc<str>>| text.as_deref().map(str::to_owned);
        Ok(match self {
            Self::PrincipalSubject => shared(&identity.subject),
            Self::PrincipalIssuer => shared(&identity.issuer),
            Self::PrincipalClientId | Self::ApplicationClientId => shared(&identity.client_id),
            Self::PrincipalMethod => Some(principal.method().name().to_owned()),
            Self::PrincipalAuthenticator => Some(principal.authenticator().as_ref().to_owned()),
            Self::PrincipalScopes => Some(identity.scopes.join(" ")),
            Self::Claim(path) => claim(&identity.claims, path)?,
            Self::ApplicationId => application(
                route,
                permit,
                |application| Some(application.id.as_str()),
                |claimed| claimed.id.as_deref(),
            ),
            Self::ApplicationName => application(
                route,
                permit,
                |application| Some(application.id.name()),
                |claimed| claimed.name.as_deref(),
            ),
            Self::ApplicationOwner => application(
                route,
                permit,
                |application| application.owner.as_deref(),
                |claimed| claimed.owner.as_deref(),
            ),
            Self::SubscriptionPlan => permit
                .standing()
                .plan()
                .map(|plan| plan.as_ref().to_owned()),
            Self::ApiId => Some(route.api.id.as_str().to_owned()),
            Self::ApiName => Some(route.api.id.name().to_owned()),
            Self::ApiTitle => Some(route.api.title.as_ref().to_owned()),
            Self::ApiVersion => Some(route.api.version.as_ref().to_owned()),
            Self::ApiContext => shared(&route.api.context),
            Self::OperationPath => route
                .operation
                .map(|operation| operation.path.text.as_ref().to_owned()),
        })
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

fn application(
    route: &Route<'_>,
    permit: &Permit,
    of_catalog: impl FnOnce(&crate::catalog::model::Application) -> Option<&str>,
    of_token: impl FnOnce(&crate::authentication::principal::ClaimedApplication) -> Option<&str>,
) -> Option<String> {
    match permit.standing().application()? {
        KnownApplication::Catalog(at) => {
            of_catalog(route.catalog().application(*at)?).map(str::to_owned)
        }
        claimed @ KnownApplication::Claimed(_) => of_token(claimed.claimed()?).map(str::to_owned),
    }
}

fn claim(claims: &Value, path: &[Box<str>]) -> Result<Option<String>, RenderError> {
    let mut value = claims;
    for name in path {
        match value.get(&**name) {
            Some(inner) => value = inner,
            None => return Ok(None),
        }
    }
    match value {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text.clone())),
        Value::Number(number) => Ok(Some(number.to_string())),
        Value::Bool(boolean) => Ok(Some(boolean.to_string())),
        Value::Array(_) | Value::Object(_) => Err(RenderError::NotScalar(path.join("."))),
    }
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
            claim(
                &claims,
                &path.split('.').map(Into::into).collect::<Vec<_>>(),
            )
        };
        assert_eq!(read("tenant.id"), Ok(Some("7".to_owned())));
        assert_eq!(read("tenant.admin"), Ok(Some("true".to_owned())));
        assert_eq!(read("none"), Ok(None));
        assert_eq!(read("tenant.name"), Ok(None));
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
