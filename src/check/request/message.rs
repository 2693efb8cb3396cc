//! Walks a `CheckRequest` (`envoy/service/auth/v3/attribute_context.proto`) and notes where the
//! fields stand that the line reads. Field numbers are those of our `proto/`.
//!
//! A field that should stand once and stands twice is refused: protobuf would merge the two, and
//! nobody who means well sends that.

use super::wire::{Field, Fields, Malformed, Span};

/// Where things stand in a check.
#[derive(Debug, Default)]
pub(super) struct Message {
    /// `attributes.source`.
    pub(super) source: Option<Source>,
    /// `attributes.destination.principal`.
    pub(super) destination_principal: Span,
    /// `attributes.request.http`.
    pub(super) http: Option<Http>,
    /// `attributes.context_extensions`: names and values.
    pub(super) context_extensions: Vec<(Span, Span)>,
}

/// Where things stand in a `Peer`.
#[derive(Debug, Default)]
pub(super) struct Source {
    /// `address.socket_address.address`.
    pub(super) ip: Option<Span>,
    /// `principal`.
    pub(super) principal: Span,
    /// `certificate`.
    pub(super) certificate: Span,
}

/// Where things stand in an `HttpRequest`.
#[derive(Debug, Default)]
pub(super) struct Http {
    /// `id`.
    pub(super) id: Span,
    /// `method`.
    pub(super) method: Span,
    /// `path`, with the query.
    pub(super) path: Span,
    /// `host`.
    pub(super) host: Span,
    /// `scheme`.
    pub(super) scheme: Span,
    /// `headers`, or `header_map` where that is there: names and values.
    pub(super) headers: Vec<(Span, Span)>,
    /// Whether they come from `header_map`.
    pub(super) raw_headers: bool,
}

impl Message {
    /// Walks the message that is the whole `frame`.
    pub(super) fn read(frame: &[u8]) -> Result<Self, Malformed> {
        let mut message = Self::default();
        let mut attributes = None;
        each(Fields::of_frame(frame), |field, content| match field {
            1 => once(&mut attributes, content),
            _ => Ok(()),
        })?;
        let Some(attributes) = attributes else {
            return Ok(message);
        };
        let (mut source, mut destination, mut request) = (None, None, None);
        each(
            Fields::of(frame, attributes),
            |field, content| match field {
                1 => once(&mut source, content),
                2 => once(&mut destination, content),
                4 => once(&mut request, content),
                10 => {
                    message.context_extensions.push(entry(frame, content)?);
                    Ok(())
                }
                _ => Ok(()),
            },
        )?;
        message.source = source
            .map(|source| Source::read(frame, source))
            .transpose()?;
        if let Some(destination) = destination {
            message.destination_principal = principal(frame, destination)?;
        }
        let mut http = None;
        if let Some(request) = request {
            each(Fields::of(frame, request), |field, content| match field {
                2 => once(&mut http, content),
                _ => Ok(()),
            })?;
        }
        message.http = http.map(|http| Http::read(frame, http)).transpose()?;
        Ok(message)
    }
}

impl Source {
    fn read(frame: &[u8], span: Span) -> Result<Self, Malformed> {
        let (mut address, mut principal, mut certificate) = (None, None, None);
        each(Fields::of(frame, span), |field, content| match field {
            1 => once(&mut address, content),
            4 => once_text(frame, &mut principal, content),
            5 => once(&mut certificate, content),
            _ => Ok(()),
        })?;
        let mut socket_address = None;
        if let Some(address) = address {
            each(Fields::of(frame, address), |field, content| match field {
                1 => once(&mut socket_address, content),
                _ => Ok(()),
            })?;
        }
        let mut ip = None;
        if let Some(socket_address) = socket_address {
            each(
                Fields::of(frame, socket_address),
                |field, content| match field {
                    2 => once_text(frame, &mut ip, content),
                    _ => Ok(()),
                },
            )?;
        }
        Ok(Self {
            ip,
            principal: principal.unwrap_or_default(),
            certificate: certificate.unwrap_or_default(),
        })
    }
}

/// The `principal` of a `Peer`.
fn principal(frame: &[u8], peer: Span) -> Result<Span, Malformed> {
    let mut principal = None;
    each(Fields::of(frame, peer), |field, content| match field {
        4 => once_text(frame, &mut principal, content),
        _ => Ok(()),
    })?;
    Ok(principal.unwrap_or_default())
}

impl Http {
    fn read(frame: &[u8], span: Span) -> Result<Self, Malformed> {
        let (mut id, mut method, mut path, mut host) = (None, None, None, None);
        let (mut scheme, mut header_map) = (None, None);
        let mut headers = Vec::with_capacity(32);
        each(Fields::of(frame, span), |field, content| match field {
            1 => once_text(frame, &mut id, content),
            2 => once_text(frame, &mut method, content),
            3 => {
                headers.push(entry(frame, content)?);
                Ok(())
            }
            4 => once_text(frame, &mut path, content),
            5 => once_text(frame, &mut host, content),
            6 => once(&mut scheme, content),
            13 => once(&mut header_map, content),
            _ => Ok(()),
        })?;
        if let Some(header_map) = header_map {
            headers.clear();
            each(
                Fields::of(frame, header_map),
                |field, content| match field {
                    1 => {
                        headers.push(raw_entry(frame, content)?);
                        Ok(())
                    }
                    _ => Ok(()),
                },
            )?;
        }
        let text = Option::unwrap_or_default;
        Ok(Self {
            id: text(id),
            method: text(method),
            path: text(path),
            host: text(host),
            scheme: text(scheme),
            headers,
            raw_headers: header_map.is_some(),
        })
    }
}

/// An entry of a `map<string, string>`: name in field 1, value in field 2.
fn entry(frame: &[u8], span: Span) -> Result<(Span, Span), Malformed> {
    let (mut name, mut value) = (None, None);
    each(Fields::of(frame, span), |field, content| match field {
        1 => once_text(frame, &mut name, content),
        2 => once_text(frame, &mut value, content),
        _ => Ok(()),
    })?;
    Ok((name.unwrap_or_default(), value.unwrap_or_default()))
}

/// A `HeaderValue`: name in field 1, text in field 2, or bytes in field 3, which need be no UTF-8.
fn raw_entry(frame: &[u8], span: Span) -> Result<(Span, Span), Malformed> {
    let (mut name, mut value, mut raw) = (None, None, None);
    each(Fields::of(frame, span), |field, content| match field {
        1 => once_text(frame, &mut name, content),
        2 => once_text(frame, &mut value, content),
        3 => once(&mut raw, content),
        _ => Ok(()),
    })?;
    let raw = raw.filter(|raw| !raw.is_empty());
    Ok((name.unwrap_or_default(), raw.or(value).unwrap_or_default()))
}

/// Gives each field that has content to `take`. A field that we know has content.
fn each(
    mut fields: Fields<'_>,
    mut take: impl FnMut(u32, Span) -> Result<(), Malformed>,
) -> Result<(), Malformed> {
    while let Some(Field { number, content }) = fields.next()? {
        if let Some(content) = content {
            take(number, content)?;
        }
    }
    Ok(())
}

fn once(place: &mut Option<Span>, content: Span) -> Result<(), Malformed> {
    match place.replace(content) {
        None => Ok(()),
        Some(_) => Err(Malformed),
    }
}

/// The same for a `string`, which is UTF-8 (Protocol Buffers, "Scalar Value Types").
fn once_text(frame: &[u8], place: &mut Option<Span>, content: Span) -> Result<(), Malformed> {
    let bytes = content.of(frame);
    // most texts are ASCII, which is seen sooner
    if bytes.is_ascii() || std::str::from_utf8(bytes).is_ok() {
        once(place, content)
    } else {
        Err(Malformed)
    }
}
