//! The decode stage: the bytes of a `CheckRequest` become a [`DownstreamRequest`].
//!
//! Host and path are brought into one normal form here, and whatever could be read in two ways
//! (by us, by Envoy, by the upstream) is denied, not guessed. Nothing that the client can forge
//! (`x-forwarded-*`, `source.service`, method overrides) is read for a decision.

mod host;
mod path;

use std::net::IpAddr;

use envoy_types::pb::envoy::config::core::v3::address::Address as AddressVariant;
use envoy_types::pb::envoy::config::core::v3::{Address, HeaderMap};
use envoy_types::pb::envoy::service::auth::v3::attribute_context::{HttpRequest, Peer};
use envoy_types::pb::envoy::service::auth::v3::{AttributeContext, CheckRequest};
use prost::Message as _;

use crate::check::decision::{Denial, Reason};

pub use host::Host;
pub use path::NormalPath;

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

/// The HTTP request that a check is about, with host and path in normal form.
pub struct DownstreamRequest {
    id: Box<str>,
    method: Box<str>,
    host: Host,
    path: NormalPath,
    query: Box<str>,
    headers: Headers,
    source: PeerAddress,
    source_principal: Box<str>,
    api_extension: Option<Box<str>>,
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

/// The client's headers, names in lower case, in the order received, without pseudo headers.
///
/// Where Envoy sends the map form, lines of one name have been joined by commas already.
#[derive(Default)]
pub struct Headers(Vec<(Box<str>, Box<str>)>);

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
pub fn decode(message: &[u8]) -> Result<Decoded, Unreadable> {
    let check = CheckRequest::decode(message)
        .map_err(|error| Unreadable::new(format!("the check cannot be decoded: {error}"), false))?;
    let mut attributes = check.attributes.unwrap_or_default();
    let Some(http) = attributes.request.take().and_then(|request| request.http) else {
        return Ok(Decoded::NoHttp);
    };
    let request = DownstreamRequest::from_attributes(attributes, http)?;
    tracing::trace!(
        target: "portcullis::explain",
        stage = "decode",
        found = "an HTTP request",
        method = request.method(),
        host = request.host().as_str(),
        path = request.path().as_str(),
        headers = ?request.headers(),
    );
    Ok(Decoded::Http(request))
}

impl DownstreamRequest {
    fn from_attributes(
        mut attributes: AttributeContext,
        http: HttpRequest,
    ) -> Result<Self, Unreadable> {
        let headers = match http.header_map {
            Some(map) => Headers::from_raw(map),
            None => Headers::from_pairs(http.headers),
        };
        let unreadable = |detail: &'static str| Unreadable::new(detail, headers.say_grpc());
        if http.method.is_empty() {
            return Err(unreadable("there is no method"));
        }
        if http.path.is_empty() {
            return Err(unreadable("there is no path to judge"));
        }
        let host = Host::parse(&http.host).map_err(unreadable)?;
        let (path, query) = http.path.split_once('?').unwrap_or((&http.path, ""));
        if query.contains('#') {
            return Err(unreadable("a fragment in the query"));
        }
        let path = NormalPath::parse(path).map_err(unreadable)?;
        let query = query.into();
        let (source, source_principal) = peer(attributes.source.take());
        let api_extension = attributes.context_extensions.remove(API_EXTENSION);
        Ok(Self {
            id: http.id.into(),
            method: http.method.into(),
            host,
            path,
            query,
            headers,
            source,
            source_principal,
            api_extension: api_extension.map(Into::into),
        })
    }

    /// Envoy's id of the stream; the same for each try of one check.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The method, as sent.
    #[must_use]
    pub fn method(&self) -> &str {
        &self.method
    }

    /// The host, without port.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The path, without query.
    #[must_use]
    pub fn path(&self) -> &NormalPath {
        &self.path
    }

    /// The client's headers.
    #[must_use]
    pub fn headers(&self) -> &Headers {
        &self.headers
    }

    /// The address that Envoy found for the client.
    #[must_use]
    pub fn source(&self) -> PeerAddress {
        self.source
    }

    /// The identity of the client's certificate, as Envoy verified it; empty without one.
    #[must_use]
    pub fn source_principal(&self) -> &str {
        &self.source_principal
    }

    /// The Api that the Envoy route names, if it names one.
    #[must_use]
    pub fn api_extension(&self) -> Option<&str> {
        self.api_extension.as_deref()
    }

    /// The parameter `name` of the query, not decoded; names are compared decoded.
    #[must_use]
    pub fn query_parameter(&self, name: &str) -> Values<'_> {
        let parameters = self
            .query
            .split('&')
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        one_of(
            parameters
                .filter(|(key, _)| decoded_equals(key, name))
                .map(|(_, value)| value),
        )
    }

    /// The cookie `name` (RFC 6265 section 5.4); repeated `Cookie` lines that Envoy joined by
    /// commas are told apart.
    #[must_use]
    pub fn cookie(&self, name: &str) -> Values<'_> {
        let lines = self.headers.all("cookie");
        let cookies = lines
            .flat_map(|line| line.split([';', ',']))
            .filter_map(|pair| pair.split_once('='));
        one_of(
            cookies
                .filter(|(key, _)| key.trim() == name)
                .map(|(_, value)| value.trim()),
        )
    }

    /// Whether the client speaks gRPC, and so reads `grpc-status` and not a body.
    #[must_use]
    pub fn is_grpc(&self) -> bool {
        self.headers.say_grpc()
    }

    /// Whether this is a CORS preflight request (Fetch standard, "CORS-preflight request").
    #[must_use]
    pub fn is_preflight(&self) -> bool {
        &*self.method == "OPTIONS"
            && matches!(self.headers.get("origin"), Values::One(_))
            && matches!(
                self.headers.get("access-control-request-method"),
                Values::One(_)
            )
    }
}

impl Headers {
    fn from_pairs(pairs: impl IntoIterator<Item = (String, String)>) -> Self {
        let pairs = pairs.into_iter().filter(|(name, _)| !name.starts_with(':'));
        Self(
            pairs
                .map(|(mut name, value)| {
                    name.make_ascii_lowercase();
                    (name.into_boxed_str(), value.into_boxed_str())
                })
                .collect(),
        )
    }

    /// Reads the raw form. Bytes that are no UTF-8 become U+FFFD, which no credential contains.
    fn from_raw(map: HeaderMap) -> Self {
        Self::from_pairs(map.headers.into_iter().map(|header| {
            let value = if header.raw_value.is_empty() {
                header.value
            } else {
                String::from_utf8_lossy(&header.raw_value).into_owned()
            };
            (header.key, value)
        }))
    }

    /// Whether the content is that of a gRPC call (gRPC over HTTP/2, "Content-Type").
    fn say_grpc(&self) -> bool {
        let Values::One(content_type) = self.get("content-type") else {
            return false;
        };
        content_type
            .strip_prefix("application/grpc")
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(['+', ';']))
    }

    /// The values under `name`, which is in lower case.
    #[must_use]
    pub fn get(&self, name: &str) -> Values<'_> {
        one_of(self.all(name))
    }

    pub(crate) fn all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        self.0
            .iter()
            .filter(move |(key, _)| **key == *name)
            .map(|(_, value)| &**value)
    }

    /// Every name, as often as it stands.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| &**name)
    }
}

/// A header may be a credential: `Debug` tells the names only.
impl std::fmt::Debug for Headers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}

/// The query may hold a credential, and so may each header: `Debug` tells neither.
impl std::fmt::Debug for DownstreamRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DownstreamRequest")
            .field("id", &self.id)
            .field("method", &self.method)
            .field("host", &self.host)
            .field("path", &self.path)
            .field("headers", &self.headers)
            .field("source", &self.source)
            .field("source_principal", &self.source_principal)
            .field("api_extension", &self.api_extension)
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

fn peer(peer: Option<Peer>) -> (PeerAddress, Box<str>) {
    let Some(peer) = peer else {
        return (PeerAddress::Other, "".into());
    };
    (address(peer.address), peer.principal.into())
}

fn address(address: Option<Address>) -> PeerAddress {
    match address.and_then(|address| address.address) {
        Some(AddressVariant::SocketAddress(socket)) => socket
            .address
            .parse()
            .map_or(PeerAddress::Other, PeerAddress::Ip),
        Some(AddressVariant::Pipe(_) | AddressVariant::EnvoyInternalAddress(_)) | None => {
            PeerAddress::Other
        }
    }
}

impl Unreadable {
    fn new(detail: impl Into<std::borrow::Cow<'static, str>>, grpc: bool) -> Self {
        let denial = Denial::new(Reason::RequestMalformed, detail);
        Self { denial, grpc }
    }
}

#[cfg(test)]
mod tests;
