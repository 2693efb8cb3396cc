//! The host of a request, in normal form: lower case, without port and final dot.

use std::borrow::Cow;
use std::net::Ipv6Addr;

/// A host in normal form: a DNS name (RFC 1123 section 2.1), an IPv4 address, or an IPv6 address
/// in brackets.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Host<'a>(Cow<'a, str>);

impl<'a> Host<'a> {
    /// Reads a host as it stands in `:authority`, with or without port.
    ///
    /// # Errors
    /// Says what is wrong where the text is no host and port: lists, user information, empty
    /// labels, other characters than letters, digits and inner hyphens, a port above 65535.
    pub fn parse(authority: &'a str) -> Result<Self, &'static str> {
        let (host, port) = split_port(authority)?;
        if let Some(port) = port {
            check_port(port)?;
        }
        if let Some(inner) = host.strip_prefix('[') {
            let address = inner
                .strip_suffix(']')
                .and_then(|inner| inner.parse::<Ipv6Addr>().ok());
            return address
                .map(|address| Self(format!("[{address}]").into()))
                .ok_or("the host is no IPv6 address");
        }
        let name = host.strip_suffix('.').unwrap_or(host);
        check_name(name)?;
        if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Ok(Self(name.to_ascii_lowercase().into()));
        }
        Ok(Self(name.into()))
    }

    /// The port in `authority`, where it names one.
    #[must_use]
    pub fn port(authority: &str) -> Option<u16> {
        split_port(authority).ok()?.1?.parse().ok()
    }

    /// The host.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The text: borrowed where the authority begins with it as it is.
    #[must_use]
    pub fn into_text(self) -> Cow<'a, str> {
        self.0
    }
}

fn split_port(authority: &str) -> Result<(&str, Option<&str>), &'static str> {
    if authority.starts_with('[') {
        let end = authority.find(']').ok_or("the host is no IPv6 address")?;
        let (host, rest) = authority.split_at(end + 1);
        return match rest.strip_prefix(':') {
            Some(port) => Ok((host, Some(port))),
            None if rest.is_empty() => Ok((host, None)),
            None => Err("the host is no IPv6 address"),
        };
    }
    match authority.split_once(':') {
        Some((host, port)) => Ok((host, Some(port))),
        None => Ok((authority, None)),
    }
}

fn check_port(port: &str) -> Result<(), &'static str> {
    let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    match port.parse::<u16>() {
        Ok(1..) if digits => Ok(()),
        _ => Err("the port is none"),
    }
}

pub(super) fn check_name(name: &str) -> Result<(), &'static str> {
    if name.is_empty() {
        return Err("there is no host");
    }
    if name.len() > 253 {
        return Err("the host is too long");
    }
    if name.split('.').all(is_label) {
        Ok(())
    } else {
        Err("the host is no DNS name")
    }
}

fn is_label(label: &str) -> bool {
    !label.is_empty()
        && label.len() <= 63
        && label
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        && !label.starts_with('-')
        && !label.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_brought_into_normal_form() {
        for (given, normal) in [
            ("API.Example:443", "api.example"),
            ("api.example.", "api.example"),
            ("api.example.:8080", "api.example"),
            ("127.0.0.1:80", "127.0.0.1"),
            ("localhost", "localhost"),
            ("[::1]:8080", "[::1]"),
            ("[0:0::1]", "[::1]"),
            ("a--b.example", "a--b.example"),
        ] {
            assert_eq!(
                Host::parse(given).map(|host| host.0),
                Ok(normal.into()),
                "{given}"
            );
        }
    }

    #[test]
    fn what_is_no_host_is_refused() {
        for given in [
            "", ".", ":80", "a,b", "a, b", ".a", "_a", "-a", "a-", "a..b", "a:99999", "a:0", "a:",
            "a:+80", "a:b", "a:80:80", "u@a", "a b", "a\u{e4}", "a%2eb", "a/b", "[::1", "[::1]x",
            "[zz]", "::1", "a.-b", "a?b", "*.a", "a\0",
        ] {
            assert!(Host::parse(given).is_err(), "{given:?}");
        }
        assert!(Host::parse(&"a".repeat(64)).is_err());
        assert!(Host::parse(&vec!["a".repeat(63); 4].join(".")).is_err());
    }
}
