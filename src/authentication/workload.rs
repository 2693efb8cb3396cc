//! The workload that calls: what Envoy says of the client's certificate, and what proxies before it
//! forward about theirs.
//!
//! Envoy names the peer of its own connection in `source.principal`. Where the client reached it over
//! a proxy, `x-forwarded-client-cert` tells the hops; it is read only where the request's listener and
//! peer make it count ([`DownstreamRequest::trusted_xfcc`]). Not for who may ask us: that is a proxy.
//
// INVARIANT: an empty name is nobody. INVARIANT: what two places say about one certificate must be the
// same; what is said of hops beyond the one before a trusted proxy is not believed. INVARIANT: a name
// that could be read as one of two kinds is nobody's.

mod certificate;

use std::borrow::Cow;
use std::sync::Arc;

use crate::check::decision::{Denial, Reason};
use crate::check::request::{DownstreamRequest, Values};
use crate::spiffe::config::Mesh;
use crate::spiffe::{Aliases, SpiffeId};
use crate::xfcc::{self, Element};

/// Why a header that counts says nothing.
const EMPTY: &str = "x-forwarded-client-cert is empty";
/// The longest DNS name (RFC 1035 section 2.3.4), in bytes.
const MAX_DNS_NAME_BYTES: usize = 253;

/// A workload, as its verified certificate names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Workload<'a> {
    /// By its SPIFFE ID, under the first name of its trust domain.
    Spiffe(SpiffeId),
    /// By its first DNS name, as it has no URI.
    Dns(Cow<'a, str>),
    /// By its subject (RFC 2253), as it has neither.
    Subject(Cow<'a, str>),
    /// By a URI that is no SPIFFE ID: it is somebody, and nobody that a rule can name.
    Uri(Cow<'a, str>),
}

/// What a certificate names its workload by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NameKind {
    Uri,
    Dns,
    Subject,
}

/// What was found, and how, for `explain`.
struct Walked<'a> {
    workload: Option<Workload<'a>>,
    said_by: &'static str,
    hops: usize,
}

/// What the word of who asks is worth.
struct Word<'w> {
    mesh: &'w Mesh,
    /// Whether it counts about the workload with this SPIFFE ID.
    counts: &'w dyn Fn(&str) -> bool,
}

/// The workload that calls, where a certificate names it.
///
/// # Errors
/// `certificate_untrusted` where what is said about it cannot be read in one way only, or differs.
pub fn caller<'a>(
    request: &'a DownstreamRequest,
    mesh: &Mesh,
) -> Result<Option<Workload<'a>>, Denial> {
    let walked = walk(request, mesh).map_err(untrusted)?;
    if tracing::enabled!(target: "portcullis::explain", tracing::Level::TRACE) {
        let found = walked.workload.as_ref();
        let found = found.map_or_else(
            || "no certificate of the caller's".to_owned(),
            |workload| format!("workload {}", workload.name()),
        );
        tracing::trace!(
            target: "portcullis::explain",
            stage = "source",
            found,
            said_by = walked.said_by,
            trusted_proxies_passed = walked.hops,
        );
    }
    Ok(walked.workload)
}

fn untrusted(why: &'static str) -> Denial {
    Denial::new(Reason::CertificateUntrusted, why)
}

fn walk<'a>(request: &'a DownstreamRequest, mesh: &Mesh) -> Result<Walked<'a>, &'static str> {
    let principal = request.named_principal();
    let word = Word {
        mesh,
        counts: &|uri| request.believes_naming(uri),
    };
    let shown = certificate::agree(request.peer_certificate(), principal)?;
    let of_principal = || -> Result<Walked<'a>, &'static str> {
        Ok(Walked {
            workload: Workload::of_principal(principal, shown, &word)?,
            said_by: "source.principal",
            hops: 0,
        })
    };
    let forwarded = match request.trusted_xfcc() {
        None | Some(Values::Absent) => return of_principal(),
        Some(Values::Several) => return Err("x-forwarded-client-cert stands more than once"),
        Some(Values::One(forwarded)) => forwarded,
    };
    let elements = xfcc::parse(forwarded)
        .map_err(|_| "x-forwarded-client-cert cannot be read in one way only")?;
    let nearest = elements.last().ok_or(EMPTY)?;
    if !principal.is_empty() && !names(nearest, principal, shown) {
        return Err("x-forwarded-client-cert and source.principal name two callers");
    }
    if !principal.is_empty() && says_nothing(nearest) {
        return of_principal();
    }
    let (element, hops) = word.of_caller(elements)?;
    Ok(Walked {
        workload: Workload::of_element(element, &word)?,
        said_by: "x-forwarded-client-cert",
        hops,
    })
}

/// What `forwarded`, an `x-forwarded-client-cert` that counts, says about the caller's certificate:
/// that of the nearest hop, or of the one before it, where that is a trusted proxy.
///
/// # Errors
/// What is wrong with it.
pub(super) fn forwarded<'a>(
    forwarded: &'a str,
    request: &DownstreamRequest,
    mesh: &Mesh,
) -> Result<Element<'a>, &'static str> {
    let elements =
        xfcc::parse(forwarded).map_err(|_| "it was forwarded in a form that cannot be read")?;
    let word = Word {
        mesh,
        counts: &|uri| request.believes_naming(uri),
    };
    Ok(word.of_caller(elements)?.0)
}

impl Word<'_> {
    /// The element of the caller's certificate, and how many trusted proxies stand behind it.
    fn of_caller<'a>(
        &self,
        mut elements: Vec<Element<'a>>,
    ) -> Result<(Element<'a>, usize), &'static str> {
        let nearest = elements.pop().ok_or(EMPTY)?;
        if !self.is_of_proxy(&nearest) {
            return Ok((nearest, 0));
        }
        // a URI that a proxy took from a stranger's certificate can hold a comma: it would stand here
        // as another hop, and could name a trusted proxy itself
        match (elements.pop(), elements.is_empty()) {
            (None, _) => Ok((nearest, 0)),
            (Some(caller), true) => Ok((caller, 1)),
            (Some(_), false) => Err(
                "x-forwarded-client-cert has more hops behind a trusted proxy than the one that it writes",
            ),
        }
    }

    fn is_of_proxy(&self, element: &Element<'_>) -> bool {
        element.uri.as_deref().is_some_and(|uri| {
            let id = SpiffeId::parse(uri);
            id.is_ok_and(|id| (self.counts)(uri) && self.mesh.trusts_proxy(&id))
        })
    }
}

/// Whether `element` names whom Envoy says that its peer is, or nobody.
fn names(element: &Element<'_>, principal: &str, shown: Option<NameKind>) -> bool {
    if says_nothing(element) {
        return true;
    }
    // Envoy: the first URI, else the first DNS name, else the subject
    let (kind, is_named) = match (&element.uri, element.dns.first()) {
        (Some(uri), _) => (NameKind::Uri, is_same(uri, principal)),
        (None, Some(dns)) => (NameKind::Dns, dns == principal),
        (None, None) => (NameKind::Subject, element.subject == Some(principal)),
    };
    is_named && shown.is_none_or(|shown| shown == kind)
}

/// Whether it names nobody: proxies may be told to forward nothing but a digest.
fn says_nothing(element: &Element<'_>) -> bool {
    let subject = element.subject.unwrap_or_default();
    element.uri.is_none() && element.dns.is_empty() && subject.is_empty()
}

/// Whether both are one URI. The trust domain of a SPIFFE ID may be in any case.
fn is_same(one: &str, other: &str) -> bool {
    one == other
        || match (SpiffeId::parse(one), SpiffeId::parse(other)) {
            (Ok(one), Ok(other)) => one.is_same(&other, &Aliases::default()),
            (Ok(_) | Err(_), _) => false,
        }
}

impl NameKind {
    /// What a name of this form is taken for. An authority that signs one kind of name as the text of
    /// another cannot be seen through here.
    fn of_form(name: &str) -> Self {
        // a subject is pairs of `name=value`; a URI has its scheme before anything else
        match name.find([':', '=']).map(|at| name.as_bytes().get(at)) {
            Some(Some(b'=')) => Self::Subject,
            Some(_) => Self::Uri,
            None => Self::Dns,
        }
    }
}

/// Whether `name` can be nothing but a DNS name, whose first label may be a wildcard.
fn is_dns_name(name: &str) -> bool {
    let name = name.strip_prefix("*.").unwrap_or(name);
    let is_named = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    name.len() <= MAX_DNS_NAME_BYTES
        && name
            .split('.')
            .all(|label| !label.is_empty() && label.bytes().all(is_named))
}

/// Whether `text` begins as a subject does (RFC 2253 section 2.3): by the type of an attribute.
fn is_subject(text: &str) -> bool {
    let is_named = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
    let kind = text.split_once('=').map_or("", |(kind, _)| kind);
    !kind.is_empty() && kind.bytes().all(is_named)
}

impl<'a> Workload<'a> {
    /// Whom Envoy says that its peer is; none where it says nothing. Of which kind the name is, its
    /// certificate says where it is `shown`; else its form must leave one reading only.
    fn of_principal(
        principal: &'a str,
        shown: Option<NameKind>,
        word: &Word<'_>,
    ) -> Result<Option<Self>, &'static str> {
        if principal.is_empty() {
            return Ok(None);
        }
        let found = match shown.unwrap_or_else(|| NameKind::of_form(principal)) {
            NameKind::Uri => Self::of_uri(principal.into(), word),
            NameKind::Dns => Self::of_dns(principal.into()),
            NameKind::Subject => Self::of_subject(principal),
        };
        found.map(Some)
    }

    /// Whom a proxy says that its peer was.
    fn of_element(element: Element<'a>, word: &Word<'_>) -> Result<Option<Self>, &'static str> {
        if let Some(uri) = element.uri {
            return Self::of_uri(uri, word).map(Some);
        }
        if let Some(dns) = element.dns.into_iter().next() {
            return Self::of_dns(dns).map(Some);
        }
        let subject = element.subject.filter(|subject| !subject.is_empty());
        subject.map(Self::of_subject).transpose()
    }

    fn of_dns(name: Cow<'a, str>) -> Result<Self, &'static str> {
        if !is_dns_name(&name) {
            return Err("its DNS name is not well formed");
        }
        Ok(Self::Dns(name))
    }

    fn of_subject(subject: &'a str) -> Result<Self, &'static str> {
        if !is_subject(subject) {
            return Err("its subject is not well formed");
        }
        Ok(Self::Subject(subject.into()))
    }

    fn of_uri(uri: Cow<'a, str>, word: &Word<'_>) -> Result<Self, &'static str> {
        let scheme = uri.split_once(':').map_or("", |(scheme, _)| scheme);
        if !scheme.eq_ignore_ascii_case("spiffe") {
            return Ok(Self::Uri(uri));
        }
        let id = SpiffeId::parse(&uri).map_err(|_| "its SPIFFE ID is not well formed")?;
        // X.509-SVID section 2: the identity of a trust domain signs, and never calls
        if id.path().is_empty() {
            return Err("its SPIFFE ID is that of a whole trust domain");
        }
        if !(word.counts)(&uri) {
            return Err("it is of a trust domain about which the word of who asks does not count");
        }
        Ok(Self::Spiffe(word.mesh.canonical(id)))
    }

    /// What names it.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Spiffe(id) => id.as_str(),
            Self::Dns(name) | Self::Subject(name) | Self::Uri(name) => name,
        }
    }

    /// What names it, to keep.
    #[must_use]
    pub fn to_arc(&self) -> Arc<str> {
        match self {
            Self::Spiffe(id) => Arc::clone(id.as_arc()),
            Self::Dns(name) | Self::Subject(name) | Self::Uri(name) => Arc::from(&**name),
        }
    }

    /// Its SPIFFE ID, where it has one.
    #[must_use]
    pub fn spiffe_id(&self) -> Option<&SpiffeId> {
        match self {
            Self::Spiffe(id) => Some(id),
            Self::Dns(_) | Self::Subject(_) | Self::Uri(_) => None,
        }
    }
}

#[cfg(test)]
mod tests;
