//! Where a listener listens: a TCP address, or a Unix socket.

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// `host:port`, or `unix:/path`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListenAddress {
    /// A TCP port of a host, which is an address or a name.
    Tcp {
        /// The address or name, without brackets.
        host: Box<str>,
        /// The port; 0 lets the system choose.
        port: u16,
    },
    /// A Unix socket at this path.
    Unix(PathBuf),
}

impl ListenAddress {
    /// A port of 127.0.0.1.
    #[must_use]
    pub fn loopback(port: u16) -> Self {
        Self::Tcp {
            host: Ipv4Addr::LOCALHOST.to_string().into(),
            port,
        }
    }

    /// Reads `host:port`, `[::1]:port` or `unix:/path`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if let Some(path) = text.strip_prefix("unix:") {
            return (path.starts_with('/') && path.len() > 1).then(|| Self::Unix(path.into()));
        }
        let (host, port) = text.rsplit_once(':')?;
        let host = match host.strip_prefix('[') {
            Some(rest) => rest.strip_suffix(']').filter(|host| host.contains(':'))?,
            None => host,
        };
        let is_address = host.parse::<IpAddr>().is_ok();
        let is_name = !host.is_empty()
            && host
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'));
        if !(is_name || is_address) || port.starts_with('+') {
            return None;
        }
        Some(Self::Tcp {
            host: host.into(),
            port: port.parse().ok()?,
        })
    }

    /// Whether the system chooses the port.
    #[must_use]
    pub fn is_chosen_by_system(&self) -> bool {
        matches!(self, Self::Tcp { port: 0, .. })
    }

    /// Whether only this host can reach it.
    #[must_use]
    pub fn is_local(&self) -> bool {
        match self {
            Self::Unix(_) => true,
            Self::Tcp { host, .. } => is_loopback(host),
        }
    }
}

/// Whether `host` names this host itself: `localhost`, 127.0.0.0/8 or `::1`.
#[must_use]
pub fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || host
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

const EXPECTED: &str = "address such as 127.0.0.1:9001, [::1]:9001 or unix:/run/portcullis.sock";

impl<'de> Deserialize<'de> for ListenAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        Self::parse(&text)
            .ok_or_else(|| serde::de::Error::custom(format!("`{text}` is no {EXPECTED}")))
    }
}

impl Serialize for ListenAddress {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for ListenAddress {
    fn schema_name() -> Cow<'static, str> {
        "ListenAddress".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^(unix:/.+|.+:[0-9]+)$", "description": EXPECTED })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_print_as_read() {
        for text in [
            "127.0.0.1:9001",
            "[::1]:0",
            "localhost:80",
            "unix:/run/a.sock",
            "0.0.0.0:1",
        ] {
            assert_eq!(ListenAddress::parse(text).unwrap().to_string(), text);
        }
        for text in [
            "", ":1", "9001", "a:", "a:70000", "a:+1", "unix:", "unix:a", "unix:/", "[a]:1",
            "a b:1", "a/b:1",
        ] {
            assert!(ListenAddress::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn only_loopback_and_unix_sockets_are_local() {
        for text in [
            "127.0.0.1:1",
            "127.1.2.3:1",
            "[::1]:1",
            "LocalHost:1",
            "unix:/a",
        ] {
            assert!(ListenAddress::parse(text).unwrap().is_local(), "{text}");
        }
        for text in ["0.0.0.0:1", "[::]:1", "10.0.0.1:1", "localhost.example:1"] {
            assert!(!ListenAddress::parse(text).unwrap().is_local(), "{text}");
        }
    }
}
