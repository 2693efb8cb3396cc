//! The `spiffe` section: who we are in the mesh, and whose word counts there.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Aliases, SpiffeId, SpiffeIdPattern, TrustDomain};
use crate::config::findings::Findings;
use crate::config::reader::Reader;

/// Where the Workload API answers, if the section does not say (SPIFFE Workload Endpoint section 4).
const ENDPOINT_VARIABLE: &str = "SPIFFE_ENDPOINT_SOCKET";
/// The longest hint of an SVID (SPIFFE Workload API section 5.2.1).
const MAX_HINT_BYTES: usize = 1024;

/// Who we are in the mesh, and whose word counts there. The Workload API is asked only where
/// something uses it: a listener with `tls.spiffe`, a `jwtSvid` authenticator, a provider.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct SpiffeConfig {
    /// Where the Workload API answers: `unix:///path` or `tcp://ip:port`; left out, what the
    /// environment says in `SPIFFE_ENDPOINT_SOCKET`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Which SVID is ours, where the Workload API gives several; left out, the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The same by the hint that the registration gives it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// What holds where no SVID has that id or hint.
    pub on_missing: OnMissing,
    /// The mesh's trust domain; left out, that of our SVID. Needed with `trustDomainAliases` and
    /// with `federated`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trust_domain: Option<String>,
    /// Other names of the mesh's trust domain, as Istio's `trustDomainAliases`.
    pub trust_domain_aliases: Vec<String>,
    /// Trust domains beside the mesh's own whose workloads may call or ask; each is verified by its
    /// own bundle alone.
    pub federated: Vec<String>,
    /// Proxies that forward calls of others, such as an ingress gateway before sidecars: where
    /// `x-forwarded-client-cert` counts, the caller is the one before them.
    pub trusted_proxies: Vec<String>,
}

/// What holds where no SVID has the id or hint that is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum OnMissing {
    /// We have no identity.
    #[default]
    Fail,
    /// The first one is ours, and a warning says so.
    First,
}

/// What the section says, read.
#[derive(Debug, Clone, Default)]
pub struct Mesh {
    /// The mesh's trust domain, where the configuration names it.
    pub trust_domain: Option<TrustDomain>,
    /// It and its other names.
    pub aliases: Aliases,
    /// Trust domains beside it that are taken.
    pub federated: Vec<TrustDomain>,
    /// Proxies whose callers count in their place.
    pub trusted_proxies: Vec<SpiffeIdPattern>,
}

impl Mesh {
    /// `id` by the first name of its trust domain, where that has others: what is said of a workload
    /// by one of them holds for it by all.
    #[must_use]
    pub fn canonical(&self, id: SpiffeId) -> SpiffeId {
        match &self.trust_domain {
            Some(own)
                if own != id.trust_domain() && self.aliases.are_same(own, id.trust_domain()) =>
            {
                id.in_trust_domain(own)
            }
            Some(_) | None => id,
        }
    }

    /// Whether `name` is the mesh's own trust domain by any of its names, or one that it is
    /// federated with.
    #[must_use]
    pub fn takes(&self, name: &TrustDomain) -> bool {
        let own = self.trust_domain.as_ref();
        own.is_some_and(|own| self.aliases.are_same(own, name)) || self.federated.contains(name)
    }

    /// Whether `id` is of a proxy whose callers count in its place.
    #[must_use]
    pub fn trusts_proxy(&self, id: &SpiffeId) -> bool {
        let mut proxies = self.trusted_proxies.iter();
        proxies.any(|proxy| proxy.matches(id, &self.aliases))
    }
}

impl SpiffeConfig {
    /// Finds what is wrong.
    pub fn check(&self, findings: &mut Findings) {
        if let Some(endpoint) = &self.endpoint
            && let Err(why) = check_endpoint(endpoint)
        {
            findings.wrong("endpoint", why);
        }
        if self.id.is_some() && self.hint.is_some() {
            findings.wrong("hint", "stands beside `id`; give one of them");
        }
        if let Some(id) = &self.id
            && let Err(error) = SpiffeId::parse(id)
        {
            findings.wrong("id", error.to_string());
        }
        if self
            .hint
            .as_ref()
            .is_some_and(|hint| hint.is_empty() || hint.len() > MAX_HINT_BYTES)
        {
            findings.wrong("hint", "has 1 to 1024 bytes");
        }
        // else nothing would say about whom those of other trust domains are not believed
        if self.trust_domain.is_none()
            && !(self.trust_domain_aliases.is_empty() && self.federated.is_empty())
        {
            findings.wrong(
                "trustDomain",
                "is needed with `trustDomainAliases` and with `federated`",
            );
        }
        let own = self.trust_domain.iter().map(|name| ("trustDomain", name));
        let aliases = self.trust_domain_aliases.iter();
        let federated = self.federated.iter();
        for (path, name) in own
            .chain(aliases.map(|name| ("trustDomainAliases", name)))
            .chain(federated.map(|name| ("federated", name)))
        {
            if let Err(error) = TrustDomain::parse(name) {
                findings.wrong(path, format!("`{name}`: {error}"));
            }
        }
        for proxy in &self.trusted_proxies {
            if let Err(error) = SpiffeIdPattern::parse(proxy) {
                findings.wrong("trustedProxies", format!("`{proxy}`: {error}"));
            }
        }
    }

    /// Where the Workload API answers: as the section says, or else the environment.
    ///
    /// # Errors
    /// Where the environment says what is no endpoint.
    pub fn endpoint(&self, reader: &Reader) -> Result<Option<String>, String> {
        if let Some(endpoint) = &self.endpoint {
            return Ok(Some(endpoint.clone()));
        }
        let Ok(endpoint) = reader.env(ENDPOINT_VARIABLE) else {
            return Ok(None);
        };
        match check_endpoint(&endpoint) {
            Ok(()) => Ok(Some(endpoint)),
            Err(why) => Err(format!(
                "the environment variable `{ENDPOINT_VARIABLE}` {why}"
            )),
        }
    }

    /// What it says; only for a section in which [`SpiffeConfig::check`] finds nothing wrong.
    #[must_use]
    pub fn mesh(&self) -> Mesh {
        let domains = |names: &[String]| -> Vec<TrustDomain> {
            let parsed = names.iter().map(|name| TrustDomain::parse(name));
            parsed.filter_map(Result::ok).collect()
        };
        let trust_domain = self
            .trust_domain
            .as_deref()
            .and_then(|name| TrustDomain::parse(name).ok());
        let proxies = self.trusted_proxies.iter();
        Mesh {
            aliases: Aliases::new(
                trust_domain
                    .iter()
                    .cloned()
                    .chain(domains(&self.trust_domain_aliases)),
            ),
            trust_domain,
            federated: domains(&self.federated),
            trusted_proxies: proxies
                .filter_map(|proxy| SpiffeIdPattern::parse(proxy).ok())
                .collect(),
        }
    }
}

/// SPIFFE Workload Endpoint section 4: a Unix socket, or an IP address and port; nothing else.
///
/// # Errors
/// What is wrong with `endpoint`.
pub fn check_endpoint(endpoint: &str) -> Result<(), &'static str> {
    if let Some(path) = endpoint.strip_prefix("unix://") {
        return if path.starts_with('/') && !path.contains(['?', '#']) && path.len() > 1 {
            Ok(())
        } else {
            Err("`unix://` is followed by an absolute path, such as `unix:///run/spire/agent.sock`")
        };
    }
    let Some(address) = endpoint.strip_prefix("tcp://") else {
        return Err("is `unix:///path` or `tcp://ip:port`");
    };
    match address.parse::<std::net::SocketAddr>() {
        Ok(address) if address.port() != 0 => Ok(()),
        Ok(_) | Err(_) => Err("`tcp://` is followed by an IP address, no name, and a port"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(config: &SpiffeConfig) -> Vec<String> {
        let mut findings = Findings::new();
        config.check(&mut findings);
        let found = findings.found().iter();
        found.map(|finding| finding.path.clone()).collect()
    }

    #[test]
    fn s1_endpoints_are_sockets_or_ip_addresses() {
        for good in [
            "unix:///run/a.sock",
            "tcp://127.0.0.1:8081",
            "tcp://[::1]:8081",
        ] {
            assert_eq!(check_endpoint(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "/run/a.sock",
            "unix:/run/a.sock",
            "unix://run/a.sock",
            "unix:///",
            "unix:///a?b",
            "unix:///a#b",
            "tcp://localhost:8081",
            "tcp://127.0.0.1",
            "tcp://127.0.0.1:0",
            "tcp://127.0.0.1:80/x",
            "tcp://u@127.0.0.1:80",
            "http://127.0.0.1:80",
        ] {
            assert!(check_endpoint(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn every_mistake_is_found() {
        let config = SpiffeConfig {
            endpoint: Some("agent.sock".into()),
            id: Some("td/a".into()),
            hint: Some(String::new()),
            trust_domain: None,
            trust_domain_aliases: vec!["old.example".into(), "a b".into()],
            federated: vec!["spiffe://x/y".into()],
            trusted_proxies: vec!["*".into()],
            ..SpiffeConfig::default()
        };
        assert_eq!(
            found(&config),
            [
                "endpoint",
                "hint",
                "id",
                "hint",
                "trustDomain",
                "trustDomainAliases",
                "federated",
                "trustedProxies"
            ]
        );
        assert!(found(&SpiffeConfig::default()).is_empty());
        let federated = SpiffeConfig {
            federated: vec!["partner.example".into()],
            ..SpiffeConfig::default()
        };
        assert_eq!(found(&federated), ["trustDomain"]);
    }
}
