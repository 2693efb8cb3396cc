//! The workload that calls: what Envoy says of the client's certificate, and what proxies before it
//! forward about theirs.
//!
//! Envoy names the peer of its own connection in `source.principal`. Where the client reached it over
//! proxies, `x-forwarded-client-cert` tells the hops; it is read only where the request's listener and
//! peer make it count ([`DownstreamRequest::trusted_xfcc`]). Not for who may ask us: that is a proxy.
//
// INVARIANT: an empty name is nobody. INVARIANT: what two places say about one certificate must be the
// same; what is said of hops beyond the first that is no trusted proxy is not believed.

mod certificate;

use std::borrow::Cow;
use std::sync::Arc;

use crate::check::decision::{Denial, Reason};
use crate::check::request::{DownstreamRequest, Values};
use crate::spiffe::config::Mesh;
use crate::spiffe::{Aliases, SpiffeId};
use crate::xfcc::{self, Element};

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
    certificate::agree(request.peer_certificate(), principal)?;
    let forwarded = match request.trusted_xfcc() {
        None | Some(Values::Absent) => {
            return Ok(Walked {
                workload: Workload::of_principal(principal, &word)?,
                said_by: "source.principal",
                hops: 0,
            });
        }
        Some(Values::Several) => return Err("x-forwarded-client-cert stands more than once"),
        Some(Values::One(forwarded)) => forwarded,
    };
    let mut elements = xfcc::parse(forwarded)
        .map_err(|_| "x-forwarded-client-cert cannot be read in one way only")?;
    let nearest = elements.last().ok_or("x-forwarded-client-cert is empty")?;
    if !principal.is_empty() && !names(nearest, principal) {
        return Err("x-forwarded-client-cert and source.principal name two callers");
    }
    if !principal.is_empty() && says_nothing(nearest) {
        return Ok(Walked {
            workload: Workload::of_principal(principal, &word)?,
            said_by: "source.principal",
            hops: 0,
        });
    }
    let mut hops = 0;
    loop {
        let element = elements.pop().ok_or("x-forwarded-client-cert is empty")?;
        let workload = Workload::of_element(element, &word)?;
        let is_proxy = matches!(&workload, Some(Workload::Spiffe(id)) if mesh.trusts_proxy(id));
        if is_proxy && !elements.is_empty() {
            hops += 1;
            continue;
        }
        // a URI that a proxy took from a stranger's certificate can hold a comma: it would stand here
        // as another hop, behind what is left
        if hops > 0 && !elements.is_empty() {
            return Err(
                "x-forwarded-client-cert has hops before the caller that no trusted proxy forwards",
            );
        }
        return Ok(Walked {
            workload,
            said_by: "x-forwarded-client-cert",
            hops,
        });
    }
}

/// Whether `element` names whom Envoy says that its peer is, or nobody.
fn names(element: &Element<'_>, principal: &str) -> bool {
    if says_nothing(element) {
        return true;
    }
    // Envoy: the first URI, else the first DNS name, else the subject
    match (&element.uri, element.dns.first()) {
        (Some(uri), _) => is_same(uri, principal),
        (None, Some(dns)) => dns == principal,
        (None, None) => element.subject == Some(principal),
    }
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

impl<'a> Workload<'a> {
    /// Whom Envoy says that its peer is; none where it says nothing.
    fn of_principal(principal: &'a str, word: &Word<'_>) -> Result<Option<Self>, &'static str> {
        if principal.is_empty() {
            return Ok(None);
        }
        // a subject is pairs of `name=value`; a URI has its scheme before anything else
        match principal
            .find([':', '='])
            .map(|at| principal.as_bytes().get(at))
        {
            Some(Some(b'=')) => Ok(Some(Self::Subject(principal.into()))),
            Some(_) => Self::of_uri(principal.into(), word).map(Some),
            None => Ok(Some(Self::Dns(principal.into()))),
        }
    }

    /// Whom a proxy says that its peer was.
    fn of_element(element: Element<'a>, word: &Word<'_>) -> Result<Option<Self>, &'static str> {
        if let Some(uri) = element.uri {
            return Self::of_uri(uri, word).map(Some);
        }
        if let Some(dns) = element.dns.into_iter().next() {
            return Ok(Some(Self::Dns(dns)));
        }
        let subject = element.subject.filter(|subject| !subject.is_empty());
        Ok(subject.map(|subject| Self::Subject(subject.into())))
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
