//! Where a credential sits in a request, and taking it from there.
//!
//! A credential is unverified and secret: it has no `Display` and its `Debug` is redacted.
//! Two values for one place, a list in it, or two places that are both filled are ambiguous and
//! end in a denial (RFC 6750 section 2: a client uses one method per request).

use std::borrow::Cow;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroize;

use crate::check::request::{DownstreamRequest, Values};
use crate::header::HeaderName;

/// Where a credential sits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CredentialPlace {
    /// A header; with a scheme, after it and one space (`Bearer x`).
    Header {
        /// The header.
        name: HeaderName,
        /// The scheme (RFC 9110 section 11.1), compared without regard to case.
        scheme: Option<Box<str>>,
    },
    /// A parameter of the query.
    Query(Box<str>),
    /// A cookie.
    Cookie(Box<str>),
    /// The user name and password of `authorization: Basic` (RFC 7617).
    Basic,
}

/// A credential as the request carried it.
pub struct Credential<'a> {
    text: Text<'a>,
    place: &'a CredentialPlace,
}

enum Text<'a> {
    Borrowed(&'a str),
    Owned(zeroize::Zeroizing<String>),
}

impl<'a> Credential<'a> {
    /// The one secret that it is, as [`Credential::single`].
    #[must_use]
    pub fn into_single(self) -> Option<Cow<'a, str>> {
        if *self.place == CredentialPlace::Basic {
            return self.single().map(|text| Cow::Owned(text.to_owned()));
        }
        Some(match self.text {
            Text::Borrowed(text) => Cow::Borrowed(text),
            Text::Owned(text) => Cow::Owned(text.to_string()),
        })
    }

    /// The credential itself: for the authenticator that verifies it, never for a text.
    #[must_use]
    pub fn expose(&self) -> &str {
        match &self.text {
            Text::Borrowed(text) => text,
            Text::Owned(text) => text,
        }
    }

    /// The one secret that it is; of user name and password, the one that is not empty. `None`
    /// where both are given, as they are two.
    #[must_use]
    pub fn single(&self) -> Option<&str> {
        let text = self.expose();
        if *self.place != CredentialPlace::Basic {
            return Some(text);
        }
        match text.split_once(':') {
            Some((one, "") | ("", one)) if !one.is_empty() => Some(one),
            _ => None,
        }
    }

    /// Where it was found.
    #[must_use]
    pub fn place(&self) -> &CredentialPlace {
        self.place
    }
}

impl fmt::Debug for Credential<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credential(redacted, {:?})", self.place)
    }
}

/// For people: never with what stands there.
impl fmt::Display for CredentialPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header { name, scheme: None } => write!(f, "header {name}"),
            Self::Header {
                name,
                scheme: Some(scheme),
            } => write!(f, "header {name} ({scheme})"),
            Self::Query(name) => write!(f, "query {name}"),
            Self::Cookie(name) => write!(f, "cookie {name}"),
            Self::Basic => f.write_str("header authorization (Basic)"),
        }
    }
}

/// What stands in the places where a credential may sit.
#[derive(Debug)]
pub enum Found<'a> {
    /// Nothing.
    Absent,
    /// One credential.
    One(Credential<'a>),
    /// More than one, or something that can be read in two ways; the text says what.
    Ambiguous(&'static str),
}

impl CredentialPlace {
    /// Looks for a credential in `places`, which are alternatives.
    #[must_use]
    pub fn find<'a>(places: &'a [Self], request: &'a DownstreamRequest) -> Found<'a> {
        let mut found = Found::Absent;
        for place in places {
            match (place.look(request), &found) {
                (Found::Absent, _) => {}
                (Found::One(credential), Found::Absent) => found = Found::One(credential),
                (Found::One(_), _) => return Found::Ambiguous("credentials in two places"),
                (Found::Ambiguous(why), _) => return Found::Ambiguous(why),
            }
        }
        found
    }

    fn look<'a>(&'a self, request: &'a DownstreamRequest) -> Found<'a> {
        match self {
            Self::Header { name, scheme } => {
                self.in_header(request.headers().get(name.as_str()), scheme.as_deref())
            }
            Self::Query(name) => match request.query_parameter(name) {
                Values::Absent => Found::Absent,
                // Envoy compares names as they were sent, and so could not remove it
                Values::One(_) if request.query_names(name).any(|sent| sent != &**name) => {
                    Found::Ambiguous("a query parameter whose name is encoded")
                }
                Values::One(raw) => match percent_decode(raw) {
                    Some(decoded) => self.checked(Text::Owned(decoded)),
                    None => Found::Ambiguous("a query parameter that cannot be decoded"),
                },
                Values::Several => Found::Ambiguous("a query parameter that stands twice"),
            },
            Self::Cookie(name) => match request.cookie(name) {
                Values::Absent => Found::Absent,
                Values::One(value) => self.checked(Text::Borrowed(value)),
                Values::Several => Found::Ambiguous("a cookie that stands twice"),
            },
            Self::Basic => match request.headers().get("authorization") {
                Values::Absent => Found::Absent,
                Values::One(value) => self.basic(value),
                Values::Several => Found::Ambiguous("a header that stands twice"),
            },
        }
    }

    fn in_header<'a>(&'a self, values: Values<'a>, scheme: Option<&str>) -> Found<'a> {
        match values {
            Values::Absent => Found::Absent,
            Values::Several => Found::Ambiguous("a header that stands twice"),
            Values::One(value) => match scheme {
                None => self.checked(Text::Borrowed(value)),
                Some(scheme) => match after_scheme(value, scheme) {
                    Some(rest) => self.checked(Text::Borrowed(rest)),
                    // another scheme: a credential, but none that sits here. A list (Envoy joins
                    // repeated lines by a comma) may hide ours behind the other.
                    None if value.contains(',') => Found::Ambiguous("a list of credentials"),
                    None if names_scheme(value, scheme) => {
                        Found::Ambiguous("a scheme without one space and a credential")
                    }
                    None => Found::Absent,
                },
            },
        }
    }

    fn basic<'a>(&'a self, value: &str) -> Found<'a> {
        let Some(encoded) = after_scheme(value, "Basic") else {
            return if value.contains(',') {
                Found::Ambiguous("a list of credentials")
            } else {
                Found::Absent
            };
        };
        let Ok(mut bytes) = STANDARD.decode(encoded) else {
            return Found::Ambiguous("basic credentials that cannot be decoded");
        };
        let text = std::str::from_utf8(&bytes).map(|text| zeroize::Zeroizing::new(text.to_owned()));
        bytes.zeroize();
        match text {
            Ok(text) if text.contains(':') => Found::One(Credential {
                text: Text::Owned(text),
                place: self,
            }),
            _ => Found::Ambiguous("basic credentials that cannot be decoded"),
        }
    }

    /// An empty value counts as absent; a comma is a list, as Envoy joins repeated headers.
    fn checked<'a>(&'a self, text: Text<'a>) -> Found<'a> {
        let credential = Credential { text, place: self };
        let value = credential.expose();
        if value.is_empty() {
            return Found::Absent;
        }
        if value.as_bytes().contains(&b',') {
            return Found::Ambiguous("a list of credentials");
        }
        // to the end also where the first is odd: so that many bytes are looked at in one step
        let odd = |odd: bool, byte: u8| odd | !byte.is_ascii_graphic();
        if value.bytes().fold(false, odd) {
            return Found::Ambiguous("a credential with characters that none has");
        }
        Found::One(credential)
    }
}

/// The text after `scheme` and one space, where `value` begins with them.
fn after_scheme<'a>(value: &'a str, scheme: &str) -> Option<&'a str> {
    let (head, rest) = value.split_once(' ')?;
    head.eq_ignore_ascii_case(scheme).then_some(rest)
}

/// Whether `value` begins with `scheme` as a word, so that some would read a credential after it.
fn names_scheme(value: &str, scheme: &str) -> bool {
    let value = value.trim_start();
    let head = value.get(..scheme.len());
    let next = value.as_bytes().get(scheme.len());
    head.is_some_and(|head| head.eq_ignore_ascii_case(scheme))
        && next.is_some_and(|next| !next.is_ascii_alphanumeric())
}

/// Decodes `%xx` once; `+` stays itself. `None` where an escape is broken or the result is no UTF-8.
pub(super) fn percent_decode(raw: &str) -> Option<zeroize::Zeroizing<String>> {
    let mut bytes = Vec::with_capacity(raw.len());
    let mut rest = raw.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let high = char::from(rest.next()?).to_digit(16)?;
            let low = char::from(rest.next()?).to_digit(16)?;
            bytes.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok().map(zeroize::Zeroizing::new)
}
