//! Header names and values that may leave Portcullis: the one checked type for both.
//!
//! Envoy writes what we send, also a line feed that splits a response and a `:path` that moves a
//! request to another target. So nothing else is ever put into a header of an answer.
//
// INVARIANT: no CR, LF, NUL or other control byte, no pseudo header, no header of framing,
// routing or hop-by-hop meaning, bounded length.

use std::fmt;
use std::sync::Arc;

/// The longest header value that we emit, in bytes.
pub const MAX_VALUE_BYTES: usize = 16 * 1024;
/// The longest header name that we emit, in bytes.
pub const MAX_NAME_BYTES: usize = 128;

/// Headers that an answer never sets or removes: routing, framing and hop-by-hop headers
/// (RFC 9110 section 7.6.1) and those that Envoy itself owns.
const FORBIDDEN: [&str; 14] = [
    "host",
    "connection",
    "content-length",
    "transfer-encoding",
    "te",
    "trailer",
    "upgrade",
    "keep-alive",
    "proxy-connection",
    "proxy-authenticate",
    "proxy-authorization",
    "x-request-id",
    "grpc-status",
    "grpc-message",
];
const FORBIDDEN_PREFIXES: [&str; 2] = ["x-envoy-", "x-forwarded-"];

/// The name of a header that we may set or remove: a lower-case token (RFC 9110 section 5.1).
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HeaderName(Arc<str>);

/// The value of a header that we may set.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct HeaderValue(Arc<str>);

/// Why a text is no [`HeaderName`] or [`HeaderValue`] of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// The name is empty.
    #[error("a header name cannot be empty")]
    EmptyName,
    /// The value is empty, where it must not be.
    #[error("the header's value is empty")]
    Empty,
    /// The name is no token.
    #[error("a header name has letters, digits and !#$%&'*+-.^_`|~ only")]
    NotAToken,
    /// The name is one that we must not touch.
    #[error("this header belongs to Envoy or to the connection and cannot be set or removed")]
    Forbidden,
    /// The name or value is too long.
    #[error(
        "a header name has at most {MAX_NAME_BYTES} bytes and a value at most {MAX_VALUE_BYTES}"
    )]
    TooLong,
    /// The value holds a control character.
    #[error("a header value cannot hold control characters")]
    ControlCharacter,
    /// The value begins or ends with white space.
    #[error("a header value cannot begin or end with white space")]
    OuterSpace,
}

impl HeaderName {
    /// Reads a name, in any case.
    ///
    /// # Errors
    /// Where it is no token, or names a header that an answer must not touch.
    pub fn parse(text: &str) -> Result<Self, HeaderError> {
        if text.is_empty() {
            return Err(HeaderError::EmptyName);
        }
        if text.len() > MAX_NAME_BYTES {
            return Err(HeaderError::TooLong);
        }
        if text.starts_with(':') {
            return Err(HeaderError::Forbidden);
        }
        if !text.bytes().all(is_token_byte) {
            return Err(HeaderError::NotAToken);
        }
        let name = text.to_ascii_lowercase();
        let plain = name.replace('_', "-");
        if FORBIDDEN.contains(&&*plain)
            || FORBIDDEN_PREFIXES
                .iter()
                .any(|prefix| plain.starts_with(prefix))
        {
            return Err(HeaderError::Forbidden);
        }
        Ok(Self(name.into()))
    }

    /// The name, in lower case.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl HeaderValue {
    /// Reads a value.
    ///
    /// # Errors
    /// Where it is too long, holds a control character, or begins or ends with white space.
    pub fn parse(text: impl AsRef<str>) -> Result<Self, HeaderError> {
        let text = text.as_ref();
        Self::check(text)?;
        Ok(Self(text.into()))
    }

    /// Whether `text` can stand in a header.
    ///
    /// # Errors
    /// As [`HeaderValue::parse`].
    pub fn check(text: &str) -> Result<(), HeaderError> {
        if text.len() > MAX_VALUE_BYTES {
            return Err(HeaderError::TooLong);
        }
        let plain = |byte: u8| matches!(byte, b' '..=b'~');
        if !text.bytes().all(plain) && text.chars().any(char::is_control) {
            return Err(HeaderError::ControlCharacter);
        }
        if text.starts_with(' ') || text.ends_with(' ') {
            return Err(HeaderError::OuterSpace);
        }
        Ok(())
    }

    /// The value.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for HeaderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for HeaderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A value may be a credential for the upstream: its `Debug` tells the length only.
impl fmt::Debug for HeaderValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HeaderValue({} bytes)", self.0.len())
    }
}

/// Whether `byte` may stand in a token (RFC 9110 section 5.6.2).
pub(crate) const fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_lower_case_tokens() {
        assert_eq!(
            HeaderName::parse("X-Client-Id").unwrap().as_str(),
            "x-client-id"
        );
        assert_eq!(HeaderName::parse(""), Err(HeaderError::EmptyName));
        assert_eq!(HeaderName::parse("x user"), Err(HeaderError::NotAToken));
        assert_eq!(HeaderName::parse("x-üser"), Err(HeaderError::NotAToken));
        assert_eq!(HeaderName::parse("x\r\ny"), Err(HeaderError::NotAToken));
    }

    #[test]
    fn headers_of_routing_and_framing_cannot_be_touched() {
        for name in [
            ":path",
            "Host",
            "connection",
            "Content-Length",
            "content_length",
            "x-envoy-foo",
            "X-Forwarded-For",
        ] {
            assert_eq!(
                HeaderName::parse(name),
                Err(HeaderError::Forbidden),
                "{name}"
            );
        }
    }

    #[test]
    fn values_hold_no_control_character() {
        for value in ["a\rb", "a\nb", "a\0b", "a\tb", "a\u{7f}", "a\u{85}b"] {
            assert_eq!(
                HeaderValue::parse(value),
                Err(HeaderError::ControlCharacter),
                "{value:?}"
            );
        }
        assert_eq!(HeaderValue::parse(" a"), Err(HeaderError::OuterSpace));
        assert_eq!(
            HeaderValue::parse("x".repeat(MAX_VALUE_BYTES + 1)),
            Err(HeaderError::TooLong)
        );
        assert_eq!(HeaderValue::parse("José").unwrap().as_str(), "José");
    }

    #[test]
    fn the_debug_of_a_value_does_not_tell_it() {
        assert_eq!(
            format!("{:?}", HeaderValue::parse("secret").unwrap()),
            "HeaderValue(6 bytes)"
        );
    }
}
