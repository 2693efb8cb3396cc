//! Listeners: the ports and sockets on which the process answers, each of one type.
//!
//! What is shared by all of them is [`accept`]: a cap on connections, and time-outs for those that
//! connect and say nothing. [`check`] serves Envoy, [`web`] people and monitoring.

pub mod accept;
pub mod address;
pub mod check;
pub mod connection;
pub mod fiware;
pub mod health;
pub mod jwks;
pub mod logout;
pub mod web;

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::catalog::model::Direction;
use crate::check::peer::config::PeersConfig;
use crate::config::findings::Findings;
use crate::config::value::{HumanDuration, SecretSource};
use crate::listener::address::ListenAddress;
use crate::listener::fiware::FiwareConfig;
use crate::routing::{ListenerRules, NoHttpRule, Unmatched};
use crate::tls::config::TlsConfig;

/// One listener. Its `type` is read first ([`crate::config::tagged`]).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(tag = "type")]
pub enum ListenerConfig {
    /// Answers the checks of Envoy.
    Check(CheckListener),
    /// Answers the admin API.
    Admin(AdminListener),
    /// Answers `/livez`, `/readyz` and `/metrics`.
    Observe(ObserveListener),
    /// Answers the public keys of `signed` providers.
    Jwks(JwksListener),
    /// Answers the issuers that say that a session is over.
    Logout(LogoutListener),
}

/// Answers the checks of Envoy, over gRPC.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct CheckListener {
    /// Where it listens: `host:port`, or `unix:/path`.
    pub address: ListenAddress,
    /// What it shows, and whose certificates it takes; plain text where it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsConfig>,
    /// Which Apis it serves.
    pub direction: DirectionConfig,
    /// What becomes of a request to a host that no Api claims; `allow` is for outbound listeners alone.
    pub unmatched: Judgement,
    /// What becomes of a check without HTTP attributes, as Istio's TCP filter sends them.
    pub no_http: Judgement,
    /// Whether `x-forwarded-client-cert` in the metadata of a check says who asks: where a sidecar of
    /// our own ends TLS before us, and nobody but it can connect. Its last element counts.
    pub trust_xfcc: bool,
    /// How many connections there may be at once; those beyond are closed.
    pub max_connections: usize,
    /// How long a new connection may take for a TLS handshake and to say that it speaks HTTP/2.
    pub handshake_timeout: HumanDuration,
    /// After this time, or up to a fifth sooner, a connection is asked to end, so that Envoy spreads
    /// over all replicas and shows its certificate anew; left out: `30m`, with `tls.spiffe` `20m`.
    /// With SVIDs it should be less than half of the life of one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_connection_age: Option<HumanDuration>,
    /// How long a connection that was asked to end may take for the checks that are under way.
    pub max_connection_age_grace: HumanDuration,
    /// Whether it describes its protocol by gRPC server reflection.
    pub reflection: bool,
    /// Who may ask. `allow` or `any` is needed beyond loopback where any provider is configured:
    /// whoever can ask is given tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peers: Option<PeersConfig>,
}

/// Answers the admin API, over HTTP.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct AdminListener {
    /// Where it listens: `host:port`, or `unix:/path`.
    pub address: ListenAddress,
    /// What it shows, and whose certificates it takes; plain text where it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsConfig>,
    /// The bearer token that every request must carry; needed beyond loopback.
    pub token: Option<SecretSource>,
    /// Serves FIWARE's management API too. The token is always needed then.
    pub fiware: Option<FiwareConfig>,
}

/// Answers `/livez`, `/readyz` and `/metrics`, over HTTP.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ObserveListener {
    /// Where it listens: `host:port`, or `unix:/path`.
    pub address: ListenAddress,
}

/// Answers the public keys of `signed` providers, over HTTP: `/.well-known/jwks.json` those of all,
/// `/{provider}/jwks.json` those of one.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct JwksListener {
    /// Where it listens: `host:port`, or `unix:/path`.
    pub address: ListenAddress,
    /// What it shows, and whose certificates it takes; plain text where it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsConfig>,
}

impl Default for JwksListener {
    fn default() -> Self {
        Self {
            address: ListenAddress::loopback(9004),
            tls: None,
        }
    }
}

/// Answers issuers, over HTTP: `POST /backchannel-logout` revokes what a logout token says, as
/// `revocation.logout` allows.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct LogoutListener {
    /// Where it listens: `host:port`, or `unix:/path`.
    pub address: ListenAddress,
    /// What it shows, and whose certificates it takes; plain text where it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsConfig>,
}

impl Default for LogoutListener {
    fn default() -> Self {
        Self {
            address: ListenAddress::loopback(9005),
            tls: None,
        }
    }
}

/// Which Apis a listener serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum DirectionConfig {
    /// Those for requests that come to us.
    Inbound,
    /// Those for requests of our workloads to others.
    Outbound,
}

/// What becomes of something that no Api judges.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Judgement {
    /// It is denied.
    Deny,
    /// It passes.
    Allow,
}

impl Default for CheckListener {
    fn default() -> Self {
        Self {
            address: ListenAddress::loopback(9001),
            tls: None,
            direction: DirectionConfig::Inbound,
            unmatched: Judgement::Deny,
            no_http: Judgement::Deny,
            trust_xfcc: false,
            max_connections: 4096,
            handshake_timeout: HumanDuration(Duration::from_secs(5)),
            max_connection_age: None,
            max_connection_age_grace: HumanDuration(Duration::from_secs(30)),
            reflection: false,
            peers: None,
        }
    }
}

impl Default for AdminListener {
    fn default() -> Self {
        Self {
            address: ListenAddress::loopback(9002),
            tls: None,
            token: None,
            fiware: None,
        }
    }
}

impl Default for ObserveListener {
    fn default() -> Self {
        Self {
            address: ListenAddress::loopback(9090),
        }
    }
}

/// The listeners of a configuration that names none.
#[must_use]
pub fn default_listeners() -> BTreeMap<String, ListenerConfig> {
    let named = |name: &str, listener| (name.to_owned(), listener);
    BTreeMap::from([
        named("inbound", ListenerConfig::Check(CheckListener::default())),
        named("admin", ListenerConfig::Admin(AdminListener::default())),
        named(
            "observe",
            ListenerConfig::Observe(ObserveListener::default()),
        ),
    ])
}

/// Finds what is wrong with the listeners of a configuration.
pub fn check_listeners(listeners: &BTreeMap<String, ListenerConfig>, findings: &mut Findings) {
    let mut taken: Vec<(&ListenAddress, &str)> = Vec::new();
    for (name, listener) in listeners {
        findings.within(name, |findings| {
            listener.check(findings);
            let address = listener.address();
            let other = taken.iter().find(|(other, _)| *other == address);
            if let Some((_, other)) = other.filter(|_| !address.is_chosen_by_system()) {
                findings.wrong("address", format!("is the address of `{other}` already"));
            }
            taken.push((address, name));
        });
    }
    let checks = |listener: &ListenerConfig| matches!(listener, ListenerConfig::Check(_));
    if !listeners.values().any(checks) {
        findings.wrong("", "no listener of type check answers Envoy");
    }
}

/// Finds listeners of type logout without what they need, and the other way round.
pub fn check_logout(
    listeners: &BTreeMap<String, ListenerConfig>,
    is_configured: bool,
    findings: &mut Findings,
) {
    let logouts = listeners
        .iter()
        .filter(|(_, listener)| matches!(listener, ListenerConfig::Logout(_)));
    let names: Vec<&String> = logouts.map(|(name, _)| name).collect();
    if !is_configured {
        for name in names {
            findings.wrong(&format!("listeners.{name}"), "needs `revocation.logout`");
        }
    } else if names.is_empty() {
        findings.wrong("revocation.logout", "needs a listener of type logout");
    }
}

/// Finds check listeners beyond loopback that would hand out tokens to whoever can connect.
pub fn check_peers(
    listeners: &BTreeMap<String, ListenerConfig>,
    has_providers: bool,
    findings: &mut Findings,
) {
    for (name, listener) in listeners {
        if let ListenerConfig::Check(listener) = listener
            && has_providers
            && !listener.address.is_local()
            && !listener.has_peer_rule()
        {
            findings.wrong(
                &format!("{name}.peers"),
                "is needed beyond loopback, as whoever can ask is given the tokens of `providers`: write `peers: { allow: [\"spiffe://…\"] }`, or `peers: { any: \"why this is safe\" }`",
            );
        }
    }
}

impl ListenerConfig {
    /// Finds what is wrong.
    pub fn check(&self, findings: &mut Findings) {
        match self {
            Self::Check(listener) => listener.check(findings),
            Self::Admin(listener) => listener.check(findings),
            Self::Observe(_) | Self::Jwks(_) | Self::Logout(_) => {}
        }
        if let Some(tls) = self.tls() {
            findings.within("tls", |findings| tls.check(findings));
        }
    }

    /// What it shows, where it speaks TLS.
    #[must_use]
    pub fn tls(&self) -> Option<&TlsConfig> {
        match self {
            Self::Check(listener) => listener.tls.as_ref(),
            Self::Admin(listener) => listener.tls.as_ref(),
            Self::Observe(_) => None,
            Self::Jwks(listener) => listener.tls.as_ref(),
            Self::Logout(listener) => listener.tls.as_ref(),
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> &ListenAddress {
        match self {
            Self::Check(listener) => &listener.address,
            Self::Admin(listener) => &listener.address,
            Self::Observe(listener) => &listener.address,
            Self::Jwks(listener) => &listener.address,
            Self::Logout(listener) => &listener.address,
        }
    }
}

impl CheckListener {
    /// What it lets pass without a permit, and which Apis it serves.
    #[must_use]
    pub fn rules(&self) -> ListenerRules {
        ListenerRules {
            direction: match self.direction {
                DirectionConfig::Inbound => Direction::Inbound,
                DirectionConfig::Outbound => Direction::Outbound,
            },
            unmatched: match self.unmatched {
                Judgement::Deny => Unmatched::Deny,
                Judgement::Allow => Unmatched::Allow,
            },
            no_http: match self.no_http {
                Judgement::Deny => NoHttpRule::Deny,
                Judgement::Allow => NoHttpRule::Allow,
            },
        }
    }

    fn check(&self, findings: &mut Findings) {
        if self.unmatched == Judgement::Allow && self.direction == DirectionConfig::Inbound {
            findings.wrong(
                "unmatched",
                "`allow` is for listeners of direction outbound alone",
            );
        }
        if self.no_http == Judgement::Allow {
            findings.warn(
                "noHttp",
                "checks of TCP connections pass without being judged",
            );
        }
        if self.max_connections == 0 {
            findings.wrong("maxConnections", "must be 1 or more");
        }
        for (path, duration) in [
            ("handshakeTimeout", self.handshake_timeout),
            ("maxConnectionAge", HumanDuration(self.connection_age())),
            ("maxConnectionAgeGrace", self.max_connection_age_grace),
        ] {
            if duration.0.is_zero() {
                findings.wrong(path, "must be longer than nothing");
            }
        }
        self.check_peers(findings);
        if !self.address.is_local() && !self.has_peer_rule() {
            findings.warn(
                "address",
                "whoever can connect is answered: let network policy admit Envoy alone",
            );
        }
    }
}

impl CheckListener {
    /// The greatest age of a connection.
    #[must_use]
    pub fn connection_age(&self) -> Duration {
        let tls = self.tls.as_ref();
        let minutes = match tls.and_then(|tls| tls.spiffe) {
            Some(_) => 20,
            None => 30,
        };
        let default = Duration::from_secs(minutes * 60);
        self.max_connection_age.map_or(default, |age| age.0)
    }

    fn has_peer_rule(&self) -> bool {
        self.peers.as_ref().is_some_and(PeersConfig::is_rule)
    }

    /// Finds what is wrong with how it tells who asks, and who may.
    fn check_peers(&self, findings: &mut Findings) {
        let asks_clients = self.tls.as_ref().is_some_and(TlsConfig::asks_clients);
        if let Some(peers) = &self.peers {
            let identified = asks_clients || self.trust_xfcc;
            findings.within("peers", |findings| peers.check(identified, findings));
            if peers.believes_xfcc() {
                findings.warn(
                    "peers.requestXfcc",
                    "`x-forwarded-client-cert` counts: every proxy that asks here must set it itself",
                );
            }
        }
        if self.trust_xfcc && self.tls.is_some() {
            findings.wrong(
                "trustXfcc",
                "stands beside `tls`: who asks is told by its own certificate, and whoever has one could write what is trusted here",
            );
        } else if self.trust_xfcc && !self.address.is_local() {
            findings.wrong(
                "trustXfcc",
                "is for loopback and Unix sockets, which our own sidecar alone can reach: beyond them anybody could write it",
            );
        }
        let any = self.peers.as_ref().and_then(|peers| peers.any.as_ref());
        if self.tls.is_some() && !asks_clients && any.is_none() {
            findings.wrong(
                "tls",
                "takes anybody: give `clientCa` or `spiffe`, or say in `peers.any` why that is safe",
            );
        }
    }
}

impl AdminListener {
    fn check(&self, findings: &mut Findings) {
        if self.token.is_none() && !self.address.is_local() {
            findings.wrong("token", "is needed where the address is not loopback");
        } else if self.token.is_none() && self.fiware.is_some() {
            findings.wrong("token", "is needed with `fiware`, also on loopback");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::locator::Locator;
    use crate::config::tagged::TaggedMap;
    use crate::config::yaml::YamlDocument;
    use crate::problem::Problem;

    /// The listener `x`, as the configuration reads it.
    fn parse(json: &str) -> Result<ListenerConfig, Problem> {
        let section = format!(r#"{{"x":{json}}}"#);
        let listeners = YamlDocument::whole("section", &section)
            .parse_with(TaggedMap::new("", &Locator::new(&section)));
        listeners.map(|mut listeners| listeners.remove("x").unwrap())
    }

    fn found(json: &str) -> Vec<String> {
        let listener = parse(json).unwrap();
        let mut findings = Findings::new();
        findings.within("listeners.x", |findings| listener.check(findings));
        let found = findings.found().iter();
        found.map(|finding| finding.path.clone()).collect()
    }

    #[test]
    fn unmatched_requests_pass_on_outbound_listeners_alone() {
        assert_eq!(
            found(r#"{"type":"check","unmatched":"allow"}"#),
            ["listeners.x.unmatched"]
        );
        assert!(found(r#"{"type":"check","unmatched":"allow","direction":"outbound"}"#).is_empty());
        assert_eq!(
            found(r#"{"type":"check","maxConnections":0,"handshakeTimeout":"0s"}"#),
            ["listeners.x.maxConnections", "listeners.x.handshakeTimeout"]
        );
    }

    #[test]
    fn an_admin_listener_beyond_loopback_needs_a_token() {
        assert_eq!(
            found(r#"{"type":"admin","address":"0.0.0.0:9002"}"#),
            ["listeners.x.token"]
        );
        assert!(
            found(r#"{"type":"admin","address":"0.0.0.0:9002","token":{"env":"T"}}"#).is_empty()
        );
        assert!(found(r#"{"type":"admin"}"#).is_empty());
    }

    #[test]
    fn unknown_fields_and_types_are_refused() {
        for json in [
            r#"{"type":"check","adress":"127.0.0.1:1"}"#,
            r#"{"type":"observe","token":{"env":"T"}}"#,
            r#"{"type":"admin","token":"inline"}"#,
            r#"{"type":"keys"}"#,
            r#"{"address":"127.0.0.1:1"}"#,
            r#"{"type":"check","address":"9001"}"#,
        ] {
            assert!(parse(json).is_err(), "{json}");
        }
    }

    #[test]
    fn an_address_is_taken_once_and_somebody_answers_envoy() {
        let mut listeners = default_listeners();
        let again = ListenerConfig::Observe(ObserveListener {
            address: ListenAddress::loopback(9001),
        });
        listeners.insert("zzz".to_owned(), again);
        let mut findings = Findings::new();
        check_listeners(&listeners, &mut findings);
        assert_eq!(findings.found()[0].path, "zzz.address");
        assert_eq!(findings.count(), 1);
        listeners.remove("inbound");
        let mut findings = Findings::new();
        check_listeners(&listeners, &mut findings);
        assert_eq!(findings.count(), 1);
    }

    #[test]
    fn the_defaults_are_loopback_and_valid() {
        for (name, listener) in default_listeners() {
            let mut findings = Findings::new();
            listener.check(&mut findings);
            assert!(
                listener.address().is_local() && findings.count() == 0,
                "{name}"
            );
            assert!(findings.warnings().is_empty());
        }
    }
}
