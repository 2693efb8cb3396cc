//! The path of a request, in normal form.
//!
//! Escapes of unreserved characters are decoded once (RFC 3986 section 6.2.2.2) and runs of
//! slashes are merged, as Envoy does when told to. Whatever an upstream might resolve in another
//! way than we do is refused: dot segments, escaped slashes, backslashes, percent signs and NUL,
//! control bytes, fragments.

use std::borrow::Cow;

/// A path in normal form: begins with a slash, has no dot segment, no empty segment but the last,
/// and no escape of an unreserved character.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NormalPath<'a>(Cow<'a, str>);

impl<'a> NormalPath<'a> {
    /// Reads a path without query.
    ///
    /// # Errors
    /// Says what is wrong where the path could be read in two ways.
    pub fn parse(raw: &'a str) -> Result<Self, &'static str> {
        if !raw.starts_with('/') {
            return Err("the path does not begin with a slash");
        }
        if is_plain(raw) {
            return Ok(Self(raw.into()));
        }
        let mut path = String::with_capacity(raw.len());
        let mut rest = raw.bytes();
        while let Some(byte) = rest.next() {
            match byte {
                b'%' => push_escape(&mut path, rest.next(), rest.next())?,
                b'/' if path.ends_with('/') => {}
                b'#' => return Err("a fragment in the path"),
                b'\\' => return Err("a backslash in the path"),
                b'?' => return Err("a query in the path"),
                0x21..=0x7e => path.push(char::from(byte)),
                _ => return Err("the path has a byte that must be escaped"),
            }
        }
        if path.split('/').any(is_dot_segment) {
            return Err("a dot segment in the path");
        }
        Ok(Self(path.into()))
    }

    /// The path.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The text: borrowed where the path came in normal form.
    #[must_use]
    pub fn into_text(self) -> Cow<'a, str> {
        self.0
    }
}

/// `path`, which is in normal form, without the parameters of its segments (`;x=1`, RFC 3986
/// section 3.3), where it has any: some upstreams cut them off before they look at the path.
#[must_use]
pub fn without_parameters(path: &str) -> Option<String> {
    if !path.contains(';') {
        return None;
    }
    let segments = path
        .split('/')
        .map(|segment| segment.split(';').next().unwrap_or(""));
    let mut plain = String::with_capacity(path.len());
    for segment in segments.skip(1) {
        if !(segment.is_empty() && plain.ends_with('/')) {
            if !plain.ends_with('/') {
                plain.push('/');
            }
            plain.push_str(segment);
        }
    }
    Some(plain)
}

/// Whether there is nothing in `raw` that has more than one reading: unreserved characters, and
/// slashes and dots that do not follow a slash.
fn is_plain(raw: &str) -> bool {
    let mut after_slash = false;
    raw.bytes().all(|byte| {
        let plain = match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'~' => true,
            b'/' | b'.' => !after_slash,
            _ => false,
        };
        after_slash = byte == b'/';
        plain
    })
}

/// Decodes an escape of an unreserved character and keeps any other, in upper case.
fn push_escape(path: &mut String, high: Option<u8>, low: Option<u8>) -> Result<(), &'static str> {
    let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
    let (Some(high), Some(low)) = (digit(high), digit(low)) else {
        return Err("a broken escape in the path");
    };
    let byte = u8::try_from(high * 16 + low).map_err(|_| "a broken escape in the path")?;
    match byte {
        b'/' => Err("an escaped slash in the path"),
        b'\\' => Err("an escaped backslash in the path"),
        b'%' => Err("an escaped percent sign in the path"),
        0x00..=0x1f | 0x7f => Err("an escaped control byte in the path"),
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
            path.push(char::from(byte));
            Ok(())
        }
        _ => {
            path.push_str(&format!("%{byte:02X}"));
            Ok(())
        }
    }
}

/// `.`, `..`, or one of them with parameters (`..;x`), which servlet containers resolve. An escaped
/// semicolon counts too.
fn is_dot_segment(segment: &str) -> bool {
    let end = segment.find([';', '%']).unwrap_or(segment.len());
    matches!(segment.split_at(end), ("." | "..", rest) if rest.is_empty() || rest.starts_with(';') || rest.starts_with("%3B"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_brought_into_normal_form() {
        for (given, normal) in [
            ("/", "/"),
            ("/a/b", "/a/b"),
            ("/a/", "/a/"),
            ("//a///b", "/a/b"),
            ("/%61%2Db%7e", "/a-b~"),
            ("/%c3%a9", "/%C3%A9"),
            ("/a;x=1/b", "/a;x=1/b"),
            ("/a%20b", "/a%20B".replace('B', "b").as_str()),
            ("/...", "/..."),
            ("/.well-known/x", "/.well-known/x"),
            ("/a..b", "/a..b"),
        ] {
            assert_eq!(
                NormalPath::parse(given).map(|path| path.0),
                Ok(normal.into()),
                "{given}"
            );
        }
    }

    #[test]
    fn ambiguous_paths_are_refused() {
        for given in [
            "",
            "a",
            "*",
            "/a#b",
            "/a\\b",
            "/a%2fb",
            "/a%2Fb",
            "/a%5cb",
            "/a%25b",
            "/a%252fb",
            "/%00",
            "/%0a",
            "/%7f",
            "/a b",
            "/a\tb",
            "/\u{e9}",
            "/%",
            "/%z",
            "/%zz",
            "/a%2",
            "/.",
            "/..",
            "/a/../b",
            "/a/./b",
            "/a/%2e%2e/b",
            "/a/.%2e",
            "/a/..;/b",
            "/a/..;x=1/b",
            "/a/.;/b",
            "/a/..%3b/b",
            "/a/%2e%2e;/b",
            "/\u{7f}",
            "http://a/b",
            "/a?b",
        ] {
            assert!(NormalPath::parse(given).is_err(), "{given:?}");
        }
    }

    #[test]
    fn parameters_can_be_cut_off() {
        let cut = |path| without_parameters(NormalPath::parse(path).unwrap().as_str());
        assert_eq!(cut("/a/b"), None);
        assert_eq!(cut("/a;x=1/b;y").as_deref(), Some("/a/b"));
        assert_eq!(cut("/;x/a").as_deref(), Some("/a"));
        assert_eq!(cut("/a/;x").as_deref(), Some("/a/"));
        assert_eq!(cut("/;a").as_deref(), Some("/"));
    }
}
