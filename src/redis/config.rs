//! How Redis is reached: the keys of `quota.store` and of a revocation source of type `redis`.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::{Host, Url};

use super::transport::{Material, TlsTarget, Transport};
use crate::config::findings::Findings;
use crate::config::reader::Reader;
use crate::config::value::{HumanDuration, SecretSource};
use crate::secret::Secret;

const DEFAULT_PREFIX: &str = "portcullis";
const DEFAULT_CONNECTIONS: usize = 2;
const MAX_CONNECTIONS: usize = 16;
const DEFAULT_BUDGET: HumanDuration = HumanDuration(Duration::from_millis(5));
const MAX_BUDGET: Duration = Duration::from_secs(1);
const DEFAULT_CONNECT_TIMEOUT: HumanDuration = HumanDuration(Duration::from_millis(200));
const MAX_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const DEFAULT_PORT: u16 = 6379;
const MAX_PREFIX: usize = 64;

/// How Redis or Valkey is reached.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct RedisConfig {
    /// The server: `rediss://host:6379/0` (TLS), `redis://…` (in the clear), or
    /// `unix:///run/redis.sock`; the number is the database. User name and password stand apart.
    pub url: Option<String>,
    /// The user of the ACL; left out: `default`.
    pub username: Option<String>,
    /// Its password.
    pub password: Option<SecretSource>,
    /// The certificates (PEM) that the server is verified with; left out, the system's.
    pub ca: Option<SecretSource>,
    /// Our certificate chain (PEM), where the server asks who we are.
    pub certificate: Option<SecretSource>,
    /// Its private key (PEM).
    pub key: Option<SecretSource>,
    /// What every key begins with, as `{prefix}`: all keys are in one slot of a cluster. Two
    /// installations on one server need two.
    pub prefix: String,
    /// How many connections are shared by all checks.
    pub connections: usize,
    /// How long a check waits for an answer.
    pub budget: HumanDuration,
    /// How long making a connection may take; no check waits for it.
    pub connect_timeout: HumanDuration,
}

impl Default for RedisConfig {
    fn default() -> Self {
        Self {
            url: None,
            username: None,
            password: None,
            ca: None,
            certificate: None,
            key: None,
            prefix: DEFAULT_PREFIX.to_owned(),
            connections: DEFAULT_CONNECTIONS,
            budget: DEFAULT_BUDGET,
            connect_timeout: DEFAULT_CONNECT_TIMEOUT,
        }
    }
}

/// What [`super::Redis`] is started with.
#[derive(Debug)]
pub struct RedisSettings {
    pub(super) transport: Transport,
    pub(super) database: i64,
    pub(super) username: Option<String>,
    pub(super) password: Option<Secret<String>>,
    pub(super) prefix: String,
    pub(super) connections: usize,
    pub(super) budget: Duration,
    pub(super) connect_timeout: Duration,
}

/// What an address says.
#[derive(Debug, PartialEq, Eq)]
enum Address {
    Tcp {
        host: String,
        port: u16,
        tls: bool,
        database: i64,
    },
    Unix(PathBuf),
}

impl RedisConfig {
    /// Whether nothing is said.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Finds what is wrong, without reading anything else.
    pub fn check(&self, findings: &mut Findings) {
        match self.url.as_deref().map(parse) {
            None => findings.wrong("url", "is needed, such as rediss://redis:6379/0"),
            Some(Err(message)) => findings.wrong("url", message),
            Some(Ok(address)) => self.check_address(&address, findings),
        }
        if self.username.is_some() && self.password.is_none() {
            findings.wrong("password", "is needed with `username`");
        }
        match (&self.certificate, &self.key) {
            (Some(_), None) => findings.wrong("key", "is needed with `certificate`"),
            (None, Some(_)) => findings.wrong("certificate", "is needed with `key`"),
            (Some(_), Some(_)) | (None, None) => {}
        }
        self.check_sizes(findings);
    }

    fn check_address(&self, address: &Address, findings: &mut Findings) {
        if !matches!(address, Address::Tcp { tls: true, .. }) {
            for (path, given) in [
                ("ca", self.ca.is_some()),
                ("certificate", self.certificate.is_some()),
                ("key", self.key.is_some()),
            ] {
                if given {
                    findings.wrong(path, "is of use with rediss:// only");
                }
            }
        }
        if let Address::Tcp {
            host, tls: false, ..
        } = address
            && !is_loopback(host)
        {
            findings.warn(
                "url",
                "whoever is on the way can read and change counters and the password; rediss:// is not in the clear",
            );
        }
    }

    fn check_sizes(&self, findings: &mut Findings) {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-:".contains(&byte);
        if self.prefix.is_empty()
            || self.prefix.len() > MAX_PREFIX
            || !self.prefix.bytes().all(is_plain)
        {
            findings.wrong(
                "prefix",
                "must have letters, digits, `.`, `_`, `-` and `:` only, 64 at most",
            );
        }
        if !(1..=MAX_CONNECTIONS).contains(&self.connections) {
            findings.wrong("connections", "must be 1 or more and 16 at most");
        }
        if self.budget.0.is_zero() || self.budget.0 > MAX_BUDGET {
            findings.wrong("budget", "must be longer than nothing and 1s at most");
        }
        if self.connect_timeout.0.is_zero() || self.connect_timeout.0 > MAX_CONNECT_TIMEOUT {
            findings.wrong(
                "connectTimeout",
                "must be longer than nothing and 10s at most",
            );
        }
    }

    /// Reads the files that it names. What is wrong is told below where we are.
    #[must_use]
    pub fn build(&self, reader: &mut Reader, findings: &mut Findings) -> Option<RedisSettings> {
        let address = parse(self.url.as_deref().unwrap_or_default())
            .map_err(|message| findings.wrong("url", message))
            .ok()?;
        let mut load = |path: &str, source: &Option<SecretSource>| {
            let Some(source) = source else {
                return Some(None);
            };
            let loaded = source.load(reader);
            let loaded = loaded.map_err(|error| findings.wrong(path, error.to_string()));
            loaded.ok().map(Some)
        };
        let password = load("password", &self.password)?;
        let material = Material {
            ca: load("ca", &self.ca)?,
            certificate: load("certificate", &self.certificate)?,
            key: load("key", &self.key)?,
        };
        let password = password.map(|password| String::from_utf8(password.expose().clone()));
        let password = password
            .transpose()
            .map_err(|_| findings.wrong("password", "is no UTF-8"))
            .ok()?
            .map(Secret::new);
        let (transport, database) = transport(address, &material, findings)?;
        Some(RedisSettings {
            transport,
            database,
            username: self.username.clone(),
            password,
            prefix: self.prefix.clone(),
            connections: self.connections,
            budget: self.budget.0,
            connect_timeout: self.connect_timeout.0,
        })
    }
}

fn transport(
    address: Address,
    material: &Material,
    findings: &mut Findings,
) -> Option<(Transport, i64)> {
    match address {
        Address::Unix(path) => Some((Transport::Unix(path), 0)),
        Address::Tcp {
            host,
            port,
            tls,
            database,
        } => {
            let tls = tls.then(|| TlsTarget::new(&host, material)).transpose();
            let tls = tls.map_err(|(path, message)| findings.wrong(path, message));
            let tls = tls.ok()?;
            Some((Transport::Tcp { host, port, tls }, database))
        }
    }
}

/// Reads an address. What is wrong is told without the address, which may have a password in it.
fn parse(url: &str) -> Result<Address, &'static str> {
    const FORM: &str =
        "must be an address: rediss://host:6379/0, redis://host:6379/0 or unix:///run/redis.sock";
    let url = Url::parse(url).map_err(|_| FORM)?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must have no user name and password: they stand in `username` and `password`");
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("must have no query and no fragment");
    }
    let tls = match url.scheme() {
        "redis" => false,
        "rediss" => true,
        "unix"
            if url.host_str().is_none() && url.path().starts_with('/') && url.path().len() > 1 =>
        {
            return Ok(Address::Unix(PathBuf::from(url.path())));
        }
        _ => return Err(FORM),
    };
    let host = match url.host().ok_or(FORM)? {
        Host::Domain(name) => name.to_owned(),
        Host::Ipv4(address) => address.to_string(),
        Host::Ipv6(address) => address.to_string(),
    };
    let database = match url.path().trim_start_matches('/') {
        "" => 0,
        number => number
            .parse()
            .ok()
            .filter(|number| (0..=65_535).contains(number))
            .ok_or("must end with the number of a database, such as /0")?,
    };
    Ok(Address::Tcp {
        host,
        port: url.port().unwrap_or(DEFAULT_PORT),
        tls,
        database,
    })
}

fn is_loopback(host: &str) -> bool {
    host == "localhost"
        || host
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(config: &RedisConfig) -> (Vec<String>, Vec<String>) {
        let mut findings = Findings::new();
        config.check(&mut findings);
        let path = |finding: &crate::config::findings::Finding| finding.path.clone();
        (
            findings.found().iter().map(path).collect(),
            findings.warnings().iter().map(path).collect(),
        )
    }

    fn at(url: &str) -> RedisConfig {
        RedisConfig {
            url: Some(url.to_owned()),
            ..RedisConfig::default()
        }
    }

    #[test]
    fn addresses_are_read() {
        for (url, host, port, tls, database) in [
            ("redis://localhost", "localhost", 6379, false, 0),
            ("rediss://redis.example:7/3", "redis.example", 7, true, 3),
            ("redis://[::1]:7", "::1", 7, false, 0),
        ] {
            let host = host.to_owned();
            let expected = Address::Tcp {
                host,
                port,
                tls,
                database,
            };
            assert_eq!(parse(url), Ok(expected));
        }
        let socket = parse("unix:///run/redis.sock");
        assert_eq!(socket, Ok(Address::Unix("/run/redis.sock".into())));
    }

    #[test]
    fn addresses_that_mean_nothing_are_refused_without_telling_them() {
        for url in [
            "",
            "redis",
            "http://localhost",
            "redis://",
            "redis://user:hunter2@localhost",
            "redis://:hunter2@localhost:port",
            "redis://localhost?password=hunter2",
            "redis://localhost/zero",
            "redis://localhost/-1",
            "unix:relative",
        ] {
            let (found, _) = found(&at(url));
            assert_eq!(found, ["url"], "{url}");
            let mut findings = Findings::new();
            at(url).check(&mut findings);
            assert!(!findings.found()[0].message.contains("hunter2"));
        }
    }

    #[test]
    fn in_the_clear_is_warned_about_unless_it_stays_on_the_machine() {
        for (url, warnings) in [
            ("redis://redis.example", 1),
            ("redis://10.0.0.1", 1),
            ("redis://localhost", 0),
            ("redis://127.0.0.2", 0),
            ("redis://[::1]", 0),
            ("rediss://redis.example", 0),
            ("unix:///run/redis.sock", 0),
        ] {
            assert_eq!(found(&at(url)).1.len(), warnings, "{url}");
        }
    }

    #[test]
    fn what_does_not_fit_together_is_refused() {
        let secret = || Some(SecretSource::Env("X".to_owned()));
        let mut config = at("redis://localhost");
        config.ca = secret();
        assert_eq!(found(&config).0, ["ca"]);
        let mut config = at("rediss://localhost");
        config.certificate = secret();
        assert_eq!(found(&config).0, ["key"]);
        let mut config = at("rediss://localhost");
        config.username = Some("us".to_owned());
        assert_eq!(found(&config).0, ["password"]);
        let mut config = at("rediss://localhost");
        config.prefix = "a{b}".to_owned();
        config.connections = 0;
        config.budget = HumanDuration(Duration::ZERO);
        config.connect_timeout = HumanDuration(Duration::from_secs(11));
        let wrong = ["prefix", "connections", "budget", "connectTimeout"];
        assert_eq!(found(&config).0, wrong);
        assert_eq!(found(&RedisConfig::default()).0, ["url"]);
    }
}
