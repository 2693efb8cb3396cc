//! The decode stage: the bytes of a `CheckRequest` become a [`DownstreamRequest`].
//!
//! Host and path are brought into one normal form here, and whatever could be read in two ways
//! (by us, by Envoy, by the upstream) is denied, not guessed. Nothing that the client can forge
//! (`x-forwarded-*`, `source.service`, method overrides) is read for a decision.

mod host;
mod message;
mod path;
mod wire;

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;

use crate::check::decision::{Denial, Reason};
use crate::check::peer::Asker;
use crate::check::request::message::{Http, Message, Source};
use crate::check::request::wire::{Malformed, Span};
use crate::xfcc;

pub use host::Host;
pub use path::{NormalPath, without_parameters};

/// The context extension by which an Envoy route names the Api.
pub const API_EXTENSION: &str = "portcullis.api";

/// A check, decoded.
#[derive(Debug)]
pub enum Decoded {
    /// About an HTTP request.
    Http(DownstreamRequest),
    /// About a connection: the check has no `http` attributes.
    NoHttp,
}

/// A check that cannot be read in one way only.
#[derive(Debug)]
pub struct Unreadable {
    /// What is said of that.
    pub denial: Denial,
    /// Whether the client speaks gRPC, as far as that can be told.
    pub grpc: bool,
}

/// The HTTP request that a check is about, with host and path in normal form: parts of the frame
/// that was received, wherever they came in that form.
pub struct DownstreamRequest {
    frame: Bytes,
    id: Span,
    method: Span,
    host: Text,
    path: Text,
    query: Span,
    authority: Span,
    scheme: Span,
    headers: Vec<(Span, Span)>,
    /// Whether Envoy has joined lines of one name by commas (the map form).
    has_joined_lines: bool,
    source: PeerAddress,
    source_principal: Span,
    source_certificate: Span,
    destination_principal: Span,
    /// Who asks; where that is not told, nothing that it says of a certificate counts.
    asker: Option<Arc<Asker>>,
    api_extension: Option<Span>,
}

/// A text that stands in the frame, or had to be rewritten.
#[derive(Debug)]
enum Text {
    Received(Span),
    Rewritten(Box<str>),
}

/// The values that stand under one name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Values<'a> {
    /// None.
    Absent,
    /// One.
    One(&'a str),
    /// Several, or one that cannot be read.
    Several,
}

/// The client's headers, in the order received, without pseudo headers.
///
/// Where Envoy sends the map form, lines of one name have been joined by commas already.
#[derive(Clone, Copy)]
pub struct Headers<'a> {
    frame: &'a [u8],
    entries: &'a [(Span, Span)],
}

/// The address of a connection's far end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerAddress {
    /// A host's.
    Ip(IpAddr),
    /// A Unix socket, an internal listener of Envoy's, or none given.
    Other,
}

/// Decodes a check.
///
/// # Errors
/// `request_malformed` where the message, the host or the path cannot be read in one way only.
pub fn decode(frame: Bytes) -> Result<Decoded, Unreadable> {
    let message = Message::read(&frame)
        .map_err(|Malformed| Unreadable::new("the check cannot be decoded", false))?;
    let Message {
        source,
        destination_principal,
        http: Some(http),
        context_extensions,
    } = message
    else {
        return Ok(Decoded::NoHttp);
    };
    let mut request = DownstreamRequest::new(frame, http, source, &context_extensions)?;
    request.destination_principal = destination_principal;
    tracing::trace!(
        target: "portcullis::explain",
        stage = "decode",
        found = "an HTTP request",
        method = request.method(),
        host = request.host(),
        path = request.path(),
        headers = request.headers().names().collect::<Vec<_>>().join(", "),
    );
    Ok(Decoded::Http(request))
}

impl DownstreamRequest {
    fn new(
        frame: Bytes,
        http: Http,
        source: Option<Source>,
        extensions: &[(Span, Span)],
    ) -> Result<Self, Unreadable> {
        let headers = Headers {
            frame: &frame,
            entries: &http.headers,
        };
        let unreadable = |detail: &'static str| Unreadable::new(detail, headers.say_grpc());
        if http.method.is_empty() {
            return Err(unreadable("there is no method"));
        }
        let target = http.path.text(&frame);
        if target.is_empty() {
            return Err(unreadable("there is no path to judge"));
        }
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        if query.contains('#') {
            return Err(unreadable("a fragment in the query"));
        }
        let path_text = NormalPath::parse(path).map_err(unreadable)?.into_text();
        let host_text = Host::parse(http.host.text(&frame))
            .map_err(unreadable)?
            .into_text();
        let named = |(name, _): &&(Span, Span)| name.of(&frame) == API_EXTENSION.as_bytes();
        let source = source.unwrap_or_default();
        let ip = source.ip.and_then(|ip| ip.text(&frame).parse().ok());
        Ok(Self {
            id: http.id,
            method: http.method,
            host: Text::of(http.host, host_text),
            path: Text::of(http.path, path_text),
            query: http.path.part(target.len() - query.len(), target.len()),
            source: ip.map_or(PeerAddress::Other, PeerAddress::Ip),
            source_principal: source.principal,
            source_certificate: source.certificate,
            destination_principal: Span::default(),
            asker: None,
            authority: http.host,
            scheme: http.scheme,
            api_extension: extensions.iter().rev().find(named).map(|(_, api)| *api),
            has_joined_lines: !http.raw_headers,
            headers: http.headers,
            frame,
        })
    }

    /// Envoy's id of the stream; the same for each try of one check.
    #[must_use]
    pub fn id(&self) -> &str {
        self.id.text(&self.frame)
    }

    /// The method, as sent.
    #[must_use]
    pub fn method(&self) -> &str {
        self.method.text(&self.frame)
    }

    /// The host, in normal form, without port ([`Host`]).
    #[must_use]
    pub fn host(&self) -> &str {
        self.host.text(&self.frame)
    }

    /// The path, in normal form, without query ([`NormalPath`]).
    #[must_use]
    pub fn path(&self) -> &str {
        self.path.text(&self.frame)
    }

    /// The client's headers.
    #[must_use]
    pub fn headers(&self) -> Headers<'_> {
        Headers {
            frame: &self.frame,
            entries: &self.headers,
        }
    }

    /// The address of the other end of the connection to Envoy.
    #[must_use]
    pub fn source(&self) -> PeerAddress {
        self.source
    }

    /// The identity of the client's certificate, as who asks verified it; empty without one, and
    /// where the word of who asks does not count about the trust domain that it names.
    #[must_use]
    pub fn source_principal(&self) -> &str {
        let named = self.named_principal();
        if self.believes_naming(named) {
            named
        } else {
            ""
        }
    }

    /// The same, whether the word of who asks counts or not.
    #[must_use]
    pub fn named_principal(&self) -> &str {
        self.source_principal.text(&self.frame)
    }

    /// Whether the word of who asks counts where it says that the caller is `principal`: always, but
    /// about workloads of trust domains that are not its own.
    #[must_use]
    pub fn believes_naming(&self, principal: &str) -> bool {
        let asker = self.asker.as_ref();
        asker.is_none_or(|asker| asker.is_believed_to_name(principal))
    }

    /// The identity of the certificate that Envoy's own listener showed; empty without one.
    #[must_use]
    pub fn destination_principal(&self) -> &str {
        self.destination_principal.text(&self.frame)
    }

    /// The client's certificate in PEM, percent-encoded, where Envoy was told to send it
    /// (`include_peer_certificate`); empty without one.
    #[must_use]
    pub fn peer_certificate(&self) -> &str {
        self.source_certificate.text(&self.frame)
    }

    /// The same request, asked about by `asker`.
    #[must_use]
    pub fn asked_by(mut self, asker: &Arc<Asker>) -> Self {
        self.asker = Some(Arc::clone(asker));
        self
    }

    /// What `x-forwarded-client-cert` says; none where who asks is not known to write it itself, as
    /// whoever calls could.
    #[must_use]
    pub fn trusted_xfcc(&self) -> Option<Values<'_>> {
        let is_written = self.asker.as_ref().is_some_and(|asker| asker.writes_xfcc());
        is_written.then(|| self.headers().get(xfcc::HEADER))
    }

    /// Host and port as they were sent.
    #[must_use]
    pub fn authority(&self) -> &str {
        self.authority.text(&self.frame)
    }

    /// `http` or `https`, as Envoy says; empty where it does not.
    #[must_use]
    pub fn scheme(&self) -> &str {
        self.scheme.text(&self.frame)
    }

    /// The Api that the Envoy route names, if it names one.
    #[must_use]
    pub fn api_extension(&self) -> Option<&str> {
        self.api_extension.map(|api| api.text(&self.frame))
    }

    /// The parameter `name` of the query, not decoded; names are compared decoded.
    #[must_use]
    pub fn query_parameter(&self, name: &str) -> Values<'_> {
        let named = self
            .parameters()
            .filter(|(key, _)| decoded_equals(key, name));
        one_of(named.map(|(_, value)| value))
    }

    /// The names in the query that are `name` once they are decoded, as they were sent.
    pub fn query_names(&self, name: &str) -> impl Iterator<Item = &str> {
        let named = self
            .parameters()
            .filter(move |(key, _)| decoded_equals(key, name));
        named.map(|(key, _)| key)
    }

    fn parameters(&self) -> impl Iterator<Item = (&str, &str)> {
        let pairs = self.query.text(&self.frame).split('&');
        pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")))
    }

    /// The cookie `name` (RFC 6265 section 5.4).
    #[must_use]
    pub fn cookie(&self, name: &str) -> Values<'_> {
        if self.headers().all("cookie").any(|line| line.is_none()) {
            return Values::Several;
        }
        let pairs = self.cookies().filter_map(|pair| pair.split_once('='));
        one_of(
            pairs
                .filter(|(key, _)| key.trim() == name)
                .map(|(_, value)| value.trim()),
        )
    }

    /// Every cookie, `name=value`. Where Envoy joined repeated lines by commas, they are told apart.
    pub fn cookies(&self) -> impl Iterator<Item = &str> {
        let separators: &'static [char] = if self.has_joined_lines {
            &[';', ',']
        } else {
            &[';']
        };
        let lines = self.headers().all("cookie").flatten();
        let pairs = lines
            .flat_map(move |line| line.split(separators))
            .map(str::trim);
        pairs.filter(|pair| !pair.is_empty())
    }

    /// Whether the client speaks gRPC, and so reads `grpc-status` and not a body.
    #[must_use]
    pub fn is_grpc(&self) -> bool {
        self.headers().say_grpc()
    }

    /// Whether this is a CORS preflight request (Fetch standard, "CORS-preflight request").
    #[must_use]
    pub fn is_preflight(&self) -> bool {
        self.method() == "OPTIONS"
            && matches!(self.headers().get("origin"), Values::One(_))
            && matches!(
                self.headers().get("access-control-request-method"),
                Values::One(_)
            )
    }
}

impl<'a> Headers<'a> {
    /// Whether the content is that of a gRPC call (gRPC over HTTP/2, "Content-Type").
    fn say_grpc(self) -> bool {
        let Values::One(content_type) = self.get("content-type") else {
            return false;
        };
        content_type
            .strip_prefix("application/grpc")
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(['+', ';']))
    }

    /// The values under `name`, which is in lower case.
    #[must_use]
    pub fn get(self, name: &str) -> Values<'a> {
        let mut values = self.all(name);
        match (values.next(), values.next()) {
            (None, _) => Values::Absent,
            (Some(Some(value)), None) => Values::One(value),
            (Some(_), _) => Values::Several,
        }
    }

    /// Every value under `name`; none for one that is no UTF-8.
    pub(crate) fn all(self, name: &str) -> impl Iterator<Item = Option<&'a str>> {
        let named = self
            .entries
            .iter()
            .filter(move |(key, _)| key.of(self.frame).eq_ignore_ascii_case(name.as_bytes()));
        named.map(move |(_, value)| std::str::from_utf8(value.of(self.frame)).ok())
    }

    /// Every value under the name that was sent as `name`; none for one that is no UTF-8.
    pub(crate) fn all_of(self, name: &[u8]) -> impl Iterator<Item = Option<&'a str>> {
        let named = self
            .entries
            .iter()
            .filter(move |(key, _)| key.of(self.frame) == name);
        named.map(move |(_, value)| std::str::from_utf8(value.of(self.frame)).ok())
    }

    /// Every name as it was sent, as often as it stands.
    pub(crate) fn raw_names(self) -> impl Iterator<Item = &'a [u8]> {
        let names = self
            .entries
            .iter()
            .map(move |(name, _)| name.of(self.frame));
        names.filter(|name| !name.starts_with(b":"))
    }

    /// Every name, as often as it stands.
    pub fn names(self) -> impl Iterator<Item = &'a str> {
        let names = self
            .entries
            .iter()
            .map(move |(name, _)| name.text(self.frame));
        names.filter(|name| !name.starts_with(':'))
    }
}

/// A header may be a credential: `Debug` tells the names only.
impl std::fmt::Debug for Headers<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}

impl Text {
    /// `text`, which stands at the start of `received` where it is borrowed.
    fn of(received: Span, text: Cow<'_, str>) -> Self {
        match text {
            Cow::Borrowed(text) => Self::Received(received.part(0, text.len())),
            Cow::Owned(text) => Self::Rewritten(text.into()),
        }
    }

    fn text<'a>(&'a self, frame: &'a [u8]) -> &'a str {
        match self {
            Self::Received(span) => span.text(frame),
            Self::Rewritten(text) => text,
        }
    }
}

/// The query may hold a credential, and so may each header: `Debug` tells neither.
impl std::fmt::Debug for DownstreamRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DownstreamRequest")
            .field("id", &self.id())
            .field("method", &self.method())
            .field("host", &self.host())
            .field("path", &self.path())
            .field("headers", &self.headers())
            .field("source", &self.source)
            .field("source_principal", &self.source_principal())
            .field("api_extension", &self.api_extension())
            .finish_non_exhaustive()
    }
}

fn one_of<'a>(mut values: impl Iterator<Item = &'a str>) -> Values<'a> {
    match (values.next(), values.next()) {
        (None, _) => Values::Absent,
        (Some(value), None) => Values::One(value),
        (Some(_), Some(_)) => Values::Several,
    }
}

/// Whether `raw`, percent-decoded once and with `+` as a space, is `name`.
fn decoded_equals(raw: &str, name: &str) -> bool {
    let mut rest = raw.bytes();
    let mut decoded = std::iter::from_fn(|| match rest.next()? {
        b'+' => Some(b' '),
        b'%' => {
            let (Some(high), Some(low)) = (rest.next().and_then(hex), rest.next().and_then(hex))
            else {
                return Some(0);
            };
            Some(high << 4 | low)
        }
        byte => Some(byte),
    });
    name.bytes().all(|byte| decoded.next() == Some(byte)) && decoded.next().is_none()
}

fn hex(byte: u8) -> Option<u8> {
    char::from(byte)
        .to_digit(16)
        .and_then(|digit| u8::try_from(digit).ok())
}

impl Unreadable {
    fn new(detail: &'static str, grpc: bool) -> Self {
        let denial = Denial::new(Reason::RequestMalformed, detail);
        Self { denial, grpc }
    }
}

#[cfg(test)]
mod tests;
