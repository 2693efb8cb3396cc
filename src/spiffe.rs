//! SPIFFE: identities of workloads, the trust domains that give them, and patterns over them.
//!
//! Only names are here. Who showed which identity is for those who verified it to say.
//
// INVARIANT: an identity is read once into its parts; what is compared is parts, never a suffix of
// the text, so that `spiffe://other/ns/x/sa/admin` is nobody else's `/sa/admin`.

pub mod config;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

const SCHEME: &str = "spiffe://";
/// SPIFFE-ID section 2.3.
const MAX_ID_BYTES: usize = 2048;
const MAX_TRUST_DOMAIN_BYTES: usize = 255;

/// The name of a trust domain (SPIFFE-ID section 2.1), in lower case.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TrustDomain(Arc<str>);

/// The identity of a workload (SPIFFE-ID section 2). The trust domain is in lower case; the path has
/// the case that it was given.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct SpiffeId {
    text: Arc<str>,
    trust_domain: TrustDomain,
}

/// A text that is no SPIFFE ID, trust domain or pattern of them; why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NoSpiffeId(&'static str);

/// Which identities are meant: one, or all that begin so, in one trust domain or any.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpiffeIdPattern {
    trust_domain: TrustDomain,
    path: PathPattern,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum PathPattern {
    /// This path, with its leading slash; `*` alone as a segment stands for any one segment.
    Segments(Box<[Segment]>),
    /// The same, and anything below.
    Below(Box<[Segment]>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Segment {
    Is(Box<str>),
    Any,
}

/// Trust domains that are one and the same under several names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Aliases {
    names: BTreeSet<TrustDomain>,
}

impl TrustDomain {
    /// Reads `name`, in any case, with `spiffe://` before it or not.
    ///
    /// # Errors
    /// Where it is no trust domain.
    pub fn parse(name: &str) -> Result<Self, NoSpiffeId> {
        let name = without_scheme(name).unwrap_or(name);
        if name.is_empty() || name.len() > MAX_TRUST_DOMAIN_BYTES {
            return Err(NoSpiffeId("a trust domain has 1 to 255 bytes"));
        }
        let name = name.to_ascii_lowercase();
        let is_named = |byte: u8| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b'_')
        };
        if !name.bytes().all(is_named) {
            return Err(NoSpiffeId(
                "a trust domain has letters, digits, `.`, `-` and `_` only",
            ));
        }
        Ok(Self(name.into()))
    }

    /// Its name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl SpiffeId {
    /// Reads `text`, whose scheme and trust domain may be in any case (SPIFFE-ID section 2). An
    /// identity of a whole trust domain, without a path, is read too.
    ///
    /// # Errors
    /// Where it is no SPIFFE ID.
    pub fn parse(text: &str) -> Result<Self, NoSpiffeId> {
        if text.len() > MAX_ID_BYTES {
            return Err(NoSpiffeId("a SPIFFE ID has 2048 bytes at most"));
        }
        let rest = without_scheme(text).ok_or(NoSpiffeId("it does not begin with `spiffe://`"))?;
        let (domain, path) = match rest.find('/') {
            Some(slash) => rest.split_at(slash),
            None => (rest, ""),
        };
        let trust_domain = TrustDomain::parse(domain)?;
        if let Some(segments) = path.strip_prefix('/') {
            for segment in segments.split('/') {
                check_segment(segment)?;
            }
        }
        Ok(Self {
            text: format!("{SCHEME}{trust_domain}{path}").into(),
            trust_domain,
        })
    }

    /// The whole of it: `spiffe://trust.domain/path`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Its trust domain.
    #[must_use]
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// Its path with the leading slash; empty for the identity of a trust domain.
    #[must_use]
    pub fn path(&self) -> &str {
        let before = SCHEME.len() + self.trust_domain.as_str().len();
        self.text.get(before..).unwrap_or_default()
    }

    /// Its namespace and service account, where it has exactly the form that Istio gives:
    /// `/ns/NAMESPACE/sa/ACCOUNT`.
    #[must_use]
    pub fn service_account(&self) -> Option<(&str, &str)> {
        service_account(self.as_str())
    }

    /// The same workload by another name of its trust domain.
    #[must_use]
    pub fn in_trust_domain(&self, trust_domain: &TrustDomain) -> Self {
        Self {
            text: format!("{SCHEME}{trust_domain}{}", self.path()).into(),
            trust_domain: trust_domain.clone(),
        }
    }

    /// The whole of it, shared.
    #[must_use]
    pub fn as_arc(&self) -> &Arc<str> {
        &self.text
    }

    /// Whether it is `other`, where trust domains that are aliases of each other count as one.
    #[must_use]
    pub fn is_same(&self, other: &Self, aliases: &Aliases) -> bool {
        self.path() == other.path() && aliases.are_same(&self.trust_domain, &other.trust_domain)
    }
}

impl SpiffeIdPattern {
    /// Reads a SPIFFE ID in which a whole segment of the path may be `*`; a last segment `*` stands
    /// for one segment, `**` for one or more.
    ///
    /// # Errors
    /// Where it is no such pattern. One without a path would mean a whole trust domain: that is
    /// written `spiffe://domain/**`.
    pub fn parse(text: &str) -> Result<Self, NoSpiffeId> {
        let rest = without_scheme(text).ok_or(NoSpiffeId("it does not begin with `spiffe://`"))?;
        let (domain, path) = rest.split_once('/').ok_or(NoSpiffeId(
            "it names no workload; a whole trust domain is `spiffe://domain/**`",
        ))?;
        let trust_domain = TrustDomain::parse(domain)?;
        let (path, below) = match path.strip_suffix("**") {
            Some("") => ("", true),
            Some(before) => {
                let before = before
                    .strip_suffix('/')
                    .ok_or(NoSpiffeId("`**` is a whole segment, the last one"))?;
                (before, true)
            }
            None => (path, false),
        };
        let mut segments = Vec::new();
        for segment in path.split('/').filter(|_| !path.is_empty() || !below) {
            segments.push(match segment {
                "*" => Segment::Any,
                other => {
                    check_segment(other)?;
                    Segment::Is(other.into())
                }
            });
        }
        let segments = segments.into_boxed_slice();
        let path = if below {
            PathPattern::Below(segments)
        } else {
            PathPattern::Segments(segments)
        };
        Ok(Self { trust_domain, path })
    }

    /// The trust domain whose identities it means.
    #[must_use]
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// Whether it means `id`.
    #[must_use]
    pub fn matches(&self, id: &SpiffeId, aliases: &Aliases) -> bool {
        if !aliases.are_same(&self.trust_domain, id.trust_domain()) {
            return false;
        }
        let Some(path) = id.path().strip_prefix('/') else {
            return false;
        };
        let mut given = path.split('/');
        let (wanted, below) = match &self.path {
            PathPattern::Segments(segments) => (segments, false),
            PathPattern::Below(segments) => (segments, true),
        };
        for segment in wanted {
            match (segment, given.next()) {
                (_, None) => return false,
                (Segment::Any, Some(_)) => {}
                (Segment::Is(wanted), Some(given)) if **wanted == *given => {}
                (Segment::Is(_), Some(_)) => return false,
            }
        }
        given.next().is_some() == below
    }
}

impl Aliases {
    /// Trust domains that are one.
    #[must_use]
    pub fn new(names: impl IntoIterator<Item = TrustDomain>) -> Self {
        Self {
            names: names.into_iter().collect(),
        }
    }

    /// Every name of the trust domain `name`, itself among them.
    pub fn names_of<'a>(&'a self, name: &'a TrustDomain) -> impl Iterator<Item = &'a TrustDomain> {
        let others = self.names.contains(name).then_some(&self.names);
        let others = others
            .into_iter()
            .flatten()
            .filter(move |other| *other != name);
        std::iter::once(name).chain(others)
    }

    /// The names.
    pub fn names(&self) -> impl Iterator<Item = &TrustDomain> {
        self.names.iter()
    }

    /// Whether both are the same trust domain.
    #[must_use]
    pub fn are_same(&self, one: &TrustDomain, other: &TrustDomain) -> bool {
        one == other || (self.names.contains(one) && self.names.contains(other))
    }
}

/// The namespace and service account of the SPIFFE ID `text`, which has been found to be one.
#[must_use]
pub fn service_account(text: &str) -> Option<(&str, &str)> {
    let (_, path) = without_scheme(text)?.split_once('/')?;
    let mut segments = path.split('/');
    let parts = (
        segments.next()?,
        segments.next()?,
        segments.next()?,
        segments.next()?,
        segments.next(),
    );
    match parts {
        ("ns", namespace, "sa", account, None) => Some((namespace, account)),
        (_, _, _, _, _) => None,
    }
}

/// What follows `spiffe://`, whose case does not count (RFC 3986 section 3.1).
fn without_scheme(text: &str) -> Option<&str> {
    let (scheme, rest) = text.split_at_checked(SCHEME.len())?;
    scheme.eq_ignore_ascii_case(SCHEME).then_some(rest)
}

/// SPIFFE-ID section 2.2.
fn check_segment(segment: &str) -> Result<(), NoSpiffeId> {
    if matches!(segment, "" | "." | "..") {
        return Err(NoSpiffeId(
            "its path has a segment that is empty, `.` or `..`",
        ));
    }
    let is_named = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    if !segment.bytes().all(is_named) {
        return Err(NoSpiffeId(
            "its path has something beside letters, digits, `.`, `-` and `_`",
        ));
    }
    Ok(())
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests;
