//! The workloads that an Api or operation is for: `from`, with the meaning that Istio gives to the
//! source of an `AuthorizationPolicy`.
//!
//! Judged whatever authenticator verified the caller, on the identity of the connection; where the
//! caller was verified by a JWT-SVID, on that one's, unless the rule asks for the connection's.
//
// INVARIANT: whom a rule was judged by is looked up among what is revoked, whatever else the caller shows.
//
// INVARIANT: an identity is compared by its parts. A text stands for a whole name, or for the begin or
// end of one that the rule's author wrote with a `*`.

use std::fmt;

use crate::authentication::principal::{Method, Principal};
use crate::authentication::revocation::Revocations;
use crate::authentication::workload::{self, Workload};
use crate::check::decision::{Denial, Reason, Stop};
use crate::check::request::DownstreamRequest;
use crate::routing::Route;
use crate::spiffe::config::Mesh;
use crate::spiffe::{Aliases, SpiffeId};
use crate::usage::CallerRecord;

/// Which workloads an Api or operation is for; every term must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceRule {
    /// What is asked of the workload.
    pub terms: Vec<Term>,
    /// Who must be known.
    pub needed: NeededIdentity,
}

/// Which identity a rule needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NeededIdentity {
    /// One that the connection's certificate gives, whatever else the caller shows.
    Connection,
    /// One that is verified.
    Verified,
    /// None: who is nobody is none of those that the rule excludes.
    None,
}

/// One field of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Term {
    /// As it is written.
    pub field: &'static str,
    /// Whether those that match are excluded.
    pub excludes: bool,
    /// Of whom one must match.
    pub values: Values,
}

/// What a field names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Values {
    /// SPIFFE IDs without `spiffe://`.
    Principals(Vec<TextPattern>),
    /// Namespaces.
    Namespaces(Vec<TextPattern>),
    /// Namespaces with service accounts.
    ServiceAccounts(Vec<(Box<str>, Box<str>)>),
    /// Trust domains.
    TrustDomains(Vec<TextPattern>),
}

/// Istio's match of texts: exact, `begin*`, `*end`, or `*` for anything that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TextPattern {
    /// This text.
    Exact(Box<str>),
    /// What begins so.
    Prefix(Box<str>),
    /// What ends so.
    Suffix(Box<str>),
    /// Whatever is there.
    Any,
}

/// Finds out whether the workload that calls is one that the route's Api and operation are for and that
/// is not `revoked`, and gives its SPIFFE ID, where there was reason to look at it.
///
/// # Errors
/// `source_unauthenticated`, `source_not_allowed`, `certificate_untrusted`, or `token_revoked`; a fault
/// where what is revoked is not known yet.
pub fn check(
    route: &Route<'_>,
    request: &DownstreamRequest,
    principal: &Principal<'_>,
    revoked: &Revocations,
) -> Result<Option<SpiffeId>, Stop> {
    let of_operation = route
        .operation
        .and_then(|operation| operation.from.as_ref());
    let known = principal.workload().cloned();
    if route.api.from.is_none() && of_operation.is_none() {
        return match known {
            None if route.gives_each_workload_its_own() => {
                of_connection(route, request, principal, revoked)
            }
            known => Ok(known),
        };
    }
    let told = |denial, source| told(denial, principal, source);
    let mesh = route.snapshot().mesh();
    let connection = workload::caller(request, mesh).map_err(|denial| told(denial, None))?;
    let shown = known.filter(|_| principal.method() == Method::JwtSvid);
    let shown = shown.map(Workload::Spiffe);
    let verified = shown.as_ref().or(connection.as_ref());
    let source = verified.and_then(Workload::spiffe_id);
    for (rule, of) in [
        (route.api.from.as_ref(), "api"),
        (of_operation, "operation"),
    ] {
        let Some(rule) = rule else { continue };
        let workload = match rule.needed {
            NeededIdentity::Connection => connection.as_ref(),
            NeededIdentity::Verified | NeededIdentity::None => verified,
        };
        let judged = rule.judge(workload, mesh);
        explain(of, rule, workload, &judged);
        judged.map_err(|denial| told(denial, source))?;
        if let Some(workload) = workload {
            check_revoked(workload, principal, revoked)?;
        }
    }
    Ok(source.cloned())
}

/// The SPIFFE ID of the connection, for which tokens are asked that are no other's. Who has none, or
/// one that cannot be told in one way, is given none.
fn of_connection(
    route: &Route<'_>,
    request: &DownstreamRequest,
    principal: &Principal<'_>,
    revoked: &Revocations,
) -> Result<Option<SpiffeId>, Stop> {
    let Ok(Some(workload)) = workload::caller(request, route.snapshot().mesh()) else {
        return Ok(None);
    };
    check_revoked(&workload, principal, revoked)?;
    Ok(workload.spiffe_id().cloned())
}

/// Refuses `workload` where it is revoked; whom an authenticator verified was looked up as that.
fn check_revoked(
    workload: &Workload<'_>,
    principal: &Principal<'_>,
    revoked: &Revocations,
) -> Result<(), Stop> {
    let id = workload.spiffe_id();
    if id.is_some() && id == principal.workload() {
        return Ok(());
    }
    match revoked.check_workload(workload) {
        Err(Stop::Deny(denial)) => Err(told(denial, principal, id).into()),
        other => other,
    }
}

/// `denial` with who calls.
fn told(denial: Denial, principal: &Principal<'_>, source: Option<&SpiffeId>) -> Denial {
    denial.with_caller(&CallerRecord {
        authenticator: Some(principal.authenticator()),
        subject: principal.identity().subject.as_deref(),
        source: source.map(SpiffeId::as_str),
        ..CallerRecord::default()
    })
}

/// Tells `explain` what was compared.
fn explain(
    of: &str,
    rule: &SourceRule,
    workload: Option<&Workload<'_>>,
    judged: &Result<(), Denial>,
) {
    if !tracing::enabled!(target: "portcullis::explain", tracing::Level::TRACE) {
        return;
    }
    tracing::trace!(
        target: "portcullis::explain",
        stage = "authorize",
        found = if judged.is_ok() { "a source that may call" } else { "a source that may not call" },
        compared = format!("from of the {of}"),
        workload = workload.map(Workload::name),
        rule = rule.to_string(),
        reason = judged.as_ref().err().map(|denial| denial.reason().name()),
        detail = judged.as_ref().err().map(Denial::detail),
    );
}

impl SourceRule {
    /// Judges `workload`.
    ///
    /// # Errors
    /// `source_unauthenticated` where there must be one, `source_not_allowed` where it is another.
    pub fn judge(&self, workload: Option<&Workload<'_>>, mesh: &Mesh) -> Result<(), Denial> {
        let Some(workload) = workload else {
            return match self.needed {
                NeededIdentity::None => Ok(()),
                NeededIdentity::Connection | NeededIdentity::Verified => {
                    let why = "`from` needs to know the workload that calls, and nothing names it";
                    Err(Denial::new(Reason::SourceUnauthenticated, why))
                }
            };
        };
        let mut terms = self.terms.iter();
        let broken = terms.find(|term| term.values.name(workload, &mesh.aliases) == term.excludes);
        broken.map_or(Ok(()), |term| {
            let why = format!("`from.{}` does not allow `{}`", term.field, workload.name());
            Err(Denial::new(Reason::SourceNotAllowed, why))
        })
    }
}

impl Values {
    /// Whether one of them names `workload`.
    fn name(&self, workload: &Workload<'_>, aliases: &Aliases) -> bool {
        let Some(id) = workload.spiffe_id() else {
            // somebody, whom nothing but `*` can mean
            return match self {
                Self::Principals(patterns) => patterns.contains(&TextPattern::Any),
                Self::Namespaces(_) | Self::ServiceAccounts(_) | Self::TrustDomains(_) => false,
            };
        };
        let of_any_name = |patterns: &[TextPattern], path: &str| {
            let mut names = aliases.names_of(id.trust_domain());
            names.any(|name| patterns.iter().any(|one| one.matches(name.as_str(), path)))
        };
        match self {
            Self::Principals(patterns) => of_any_name(patterns, id.path()),
            Self::TrustDomains(patterns) => of_any_name(patterns, ""),
            Self::Namespaces(patterns) => {
                let mut namespaces = namespaces(id);
                namespaces.any(|(name, _)| patterns.iter().any(|one| one.matches(name, "")))
            }
            Self::ServiceAccounts(accounts) => namespaces(id).any(|(namespace, behind)| {
                let mut accounts = accounts.iter();
                accounts
                    .any(|(wanted, account)| **wanted == *namespace && has_account(behind, account))
            }),
        }
    }
}

/// What stands behind each segment `ns` that is not at the end, and what follows it there
/// (Istio: `.*/ns/NAMESPACE/.*`).
fn namespaces(id: &SpiffeId) -> impl Iterator<Item = (&str, &str)> {
    let mut rest = id.path();
    std::iter::from_fn(move || {
        loop {
            let (segment, behind) = rest.strip_prefix('/')?.split_once('/')?;
            rest = rest.get(1 + segment.len()..)?;
            if segment == "ns"
                && let Some((namespace, behind)) = behind.split_once('/')
            {
                return Some((namespace, behind));
            }
        }
    })
}

/// Whether segments `sa` and `account` stand in `path` one behind the other (Istio:
/// `(.+/|)sa/ACCOUNT(/.+)?`).
fn has_account(path: &str, account: &str) -> bool {
    let mut segments = path.split('/').peekable();
    while let Some(segment) = segments.next() {
        if segment == "sa" && segments.peek() == Some(&account) {
            return true;
        }
    }
    false
}

impl TextPattern {
    /// Reads a text with a `*` at its begin, at its end, or alone.
    ///
    /// # Errors
    /// Where there is a `*` elsewhere, or nothing.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let pattern = match (text.strip_prefix('*'), text.strip_suffix('*')) {
            _ if text.is_empty() => return Err("it must not be empty"),
            (Some(""), _) => return Ok(Self::Any),
            (Some(end), None) => Self::Suffix(end.into()),
            (None, Some(begin)) => Self::Prefix(begin.into()),
            (None, None) => Self::Exact(text.into()),
            (Some(_), Some(_)) => return Err("a `*` stands at the begin or at the end"),
        };
        match &pattern {
            Self::Exact(rest) | Self::Prefix(rest) | Self::Suffix(rest) if rest.contains('*') => {
                Err("a `*` stands at the begin or at the end")
            }
            Self::Exact(_) | Self::Prefix(_) | Self::Suffix(_) | Self::Any => Ok(pattern),
        }
    }

    /// Whether it means the text that `begin` and `end` are together.
    #[must_use]
    pub fn matches(&self, begin: &str, end: &str) -> bool {
        match self {
            Self::Exact(text) => text.strip_prefix(begin) == Some(end),
            Self::Prefix(text) => match text.strip_prefix(begin) {
                Some(rest) => end.starts_with(rest),
                None => begin.starts_with(&**text),
            },
            Self::Suffix(text) => match text.strip_suffix(end) {
                Some(rest) => begin.ends_with(rest),
                None => end.ends_with(&**text),
            },
            Self::Any => !(begin.is_empty() && end.is_empty()),
        }
    }
}

impl fmt::Display for TextPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(text) => f.write_str(text),
            Self::Prefix(begin) => write!(f, "{begin}*"),
            Self::Suffix(end) => write!(f, "*{end}"),
            Self::Any => f.write_str("*"),
        }
    }
}

impl fmt::Display for SourceRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for term in &self.terms {
            write!(f, "{}: {}; ", term.field, term.values)?;
        }
        match self.needed {
            NeededIdentity::Connection => f.write_str("requireMtls: true"),
            NeededIdentity::Verified => f.write_str("an identity is needed"),
            NeededIdentity::None => f.write_str("requireMtls: false"),
        }
    }
}

impl fmt::Display for Values {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts: Vec<String> = match self {
            Self::Principals(all) | Self::Namespaces(all) | Self::TrustDomains(all) => {
                all.iter().map(ToString::to_string).collect()
            }
            Self::ServiceAccounts(all) => {
                let all = all.iter();
                all.map(|(namespace, account)| format!("{namespace}/{account}"))
                    .collect()
            }
        };
        f.write_str(&texts.join(", "))
    }
}

#[cfg(test)]
mod tests;
