//! Who asks, whether it may, and what of its word counts.
//!
//! Who can ask is given tokens, and what a check says about its caller is the word of who asks. Who
//! that is belongs to a connection, and is judged once for it; where a sidecar of ours stands before
//! us, each check says it in the gRPC metadata.
//
// INVARIANT: an [`Asker`] is made by [`PeerRules`] alone, of a certificate that was verified or of
// what our own sidecar wrote; nothing in a check makes one.

pub mod config;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use http::HeaderMap;
use prometheus_client::metrics::counter::Counter;

use crate::check::decision::{Denial, Reason};
use crate::check::peer::config::{PeerEntry, PeersConfig};
use crate::spiffe::config::Mesh;
use crate::spiffe::{SpiffeId, SpiffeIdPattern, TrustDomain};
use crate::telemetry::metrics::Metrics;
use crate::tls::leaf::Named;
use crate::xfcc;

/// How many values of it are remembered with who they name.
const MAX_REMEMBERED: usize = 256;

/// Who may ask at a listener.
pub struct PeerRules {
    who: Who,
    /// Whether who asks is what the metadata say, and not who connected.
    from_metadata: bool,
    request_xfcc: bool,
    mesh: Arc<Mesh>,
    refusals: Refusals,
    remembered: Mutex<HashMap<Box<[u8]>, Arc<Asker>>>,
}

enum Who {
    Anybody,
    Listed(Box<[Listed]>),
}

/// An entry of `allow`.
struct Listed {
    who: Pattern,
    trust_domains: Box<[TrustDomain]>,
    request_xfcc: bool,
}

enum Pattern {
    Id(SpiffeIdPattern),
    DnsName(Box<str>),
}

/// Who asks, and what of its word counts.
pub struct Asker {
    named: Named,
    refused: Option<PeerRefusal>,
    /// The trust domains about whose workloads its word counts; nothing where it counts about all.
    believed: Option<Box<[TrustDomain]>>,
    request_xfcc: bool,
    mesh: Arc<Mesh>,
    refusals: Refusals,
}

/// Why a check is refused because of who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerRefusal {
    /// Nobody can tell who asks.
    Unidentified,
    /// `peers.allow` does not name it.
    NotListed,
    /// It asks for another workload than itself.
    Destination,
    /// The Api is for other peers.
    Api,
    /// A provider's tokens are for other peers.
    Provider,
}

impl PeerRefusal {
    const ALL: [Self; 5] = [
        Self::Unidentified,
        Self::NotListed,
        Self::Destination,
        Self::Api,
        Self::Provider,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Unidentified => "unidentified",
            Self::NotListed => "not_listed",
            Self::Destination => "destination",
            Self::Api => "api",
            Self::Provider => "provider",
        }
    }

    const fn detail(self) -> &'static str {
        match self {
            Self::Unidentified => "who asks cannot be told",
            Self::NotListed => "who asks is not listed in `peers.allow`",
            Self::Destination => "who asks is not the workload that the check is for",
            Self::Api => "the api is for other peers than who asks",
            Self::Provider => "a provider of the api gives nothing to who asks",
        }
    }
}

/// Counts refusals, where they are counted.
#[derive(Debug, Clone, Default)]
struct Refusals(Option<Arc<[Counter; PeerRefusal::ALL.len()]>>);

impl Refusals {
    fn of(metrics: &Metrics, listener: &Arc<str>) -> Self {
        let counter = |refusal: PeerRefusal| metrics.peers_refused(listener, refusal.name());
        Self(Some(Arc::new(PeerRefusal::ALL.map(counter))))
    }

    fn count(&self, refusal: PeerRefusal) {
        let at = PeerRefusal::ALL.iter().position(|known| *known == refusal);
        let counters = self.0.as_ref().zip(at);
        if let Some(counter) = counters.and_then(|(counters, at)| counters.get(at)) {
            counter.inc();
        }
    }
}

impl PeerRules {
    /// What `config` says, of a listener where who asks is told by the metadata or by the connection.
    #[must_use]
    pub fn new(
        config: Option<&PeersConfig>,
        from_metadata: bool,
        mesh: Arc<Mesh>,
        (metrics, listener): (&Metrics, &Arc<str>),
    ) -> Self {
        let allow = config.and_then(|config| config.allow.as_ref());
        let who = match allow {
            None => Who::Anybody,
            Some(entries) => Who::Listed(entries.iter().filter_map(Listed::new).collect()),
        };
        Self {
            who,
            from_metadata,
            request_xfcc: config.is_some_and(|config| config.request_xfcc),
            mesh,
            refusals: Refusals::of(metrics, listener),
            remembered: Mutex::default(),
        }
    }

    /// Who asks on a connection whose certificate names `named`.
    #[must_use]
    pub fn asker(&self, named: Named) -> Arc<Asker> {
        let (refused, believed, request_xfcc) = match &self.who {
            Who::Anybody => (None, self.believed_of_anybody(), false),
            Who::Listed(entries) => {
                let aliases = &self.mesh.aliases;
                let means = |entry: &&Listed| match (&entry.who, &named) {
                    (Pattern::Id(pattern), Named::Spiffe(id)) => pattern.matches(id, aliases),
                    (Pattern::DnsName(name), Named::Dns(names)) => names.contains(name),
                    (Pattern::Id(_) | Pattern::DnsName(_), _) => false,
                };
                let entries: Vec<&Listed> = entries.iter().filter(means).collect();
                let refused = match (&named, entries.is_empty()) {
                    (_, false) => None,
                    (Named::Nobody, true) => Some(PeerRefusal::Unidentified),
                    (Named::Spiffe(_) | Named::Dns(_), true) => Some(PeerRefusal::NotListed),
                };
                let request_xfcc = entries.iter().any(|entry| entry.request_xfcc);
                (
                    refused,
                    Some(self.believed_of(&named, &entries)),
                    request_xfcc,
                )
            }
        };
        Arc::new(Asker {
            named,
            refused,
            believed,
            request_xfcc: self.request_xfcc || request_xfcc,
            mesh: Arc::clone(&self.mesh),
            refusals: self.refusals.clone(),
        })
    }

    /// Somebody who may ask here, whoever that is: for checks that come from no connection. Where whoever
    /// connects may ask, its word counts about the mesh's trust domains, else about all.
    #[must_use]
    pub fn anybody(&self) -> Arc<Asker> {
        let mut asker = Asker::unnamed();
        asker.request_xfcc = self.request_xfcc;
        asker.believed = match &self.who {
            Who::Anybody => self.believed_of_anybody(),
            Who::Listed(_) => None,
        };
        asker.mesh = Arc::clone(&self.mesh);
        Arc::new(asker)
    }

    /// Who asks by a check with this metadata, on a connection of `connected`.
    #[must_use]
    pub fn asker_of(&self, connected: &Arc<Asker>, metadata: &HeaderMap) -> Arc<Asker> {
        if !self.from_metadata {
            return Arc::clone(connected);
        }
        let mut values = metadata.get_all(xfcc::HEADER).into_iter();
        // a proxy appends to the one that is there: several are nobody's
        let (Some(value), None) = (values.next(), values.next()) else {
            return self.asker(Named::Nobody);
        };
        let mut remembered = self
            .remembered
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(asker) = remembered.get(value.as_bytes()) {
            return Arc::clone(asker);
        }
        let asker = self.asker(value.to_str().map_or(Named::Nobody, forwarded));
        if remembered.len() >= MAX_REMEMBERED {
            remembered.clear();
        }
        remembered.insert(value.as_bytes().into(), Arc::clone(&asker));
        asker
    }

    /// The trust domains of the mesh, where it has any.
    fn believed_of_anybody(&self) -> Option<Box<[TrustDomain]>> {
        self.mesh.trust_domain.as_ref()?;
        let own = self.mesh.aliases.names();
        Some(own.chain(&self.mesh.federated).cloned().collect())
    }

    /// That of who asks, with its other names, and those that its entries name.
    fn believed_of(&self, named: &Named, entries: &[&Listed]) -> Box<[TrustDomain]> {
        let mut believed = Vec::new();
        if let Named::Spiffe(id) = named {
            let own = id.trust_domain();
            believed.push(own.clone());
            let names = self.mesh.aliases.names();
            believed.extend(
                names
                    .filter(|name| *name != own && self.mesh.aliases.are_same(name, own))
                    .cloned(),
            );
        }
        let named = entries.iter().flat_map(|entry| &entry.trust_domains);
        believed.extend(named.cloned());
        believed.into()
    }
}

impl Listed {
    /// The entry; none for one that the check of the configuration refuses.
    fn new(entry: &PeerEntry) -> Option<Self> {
        let (who, object) = match entry {
            PeerEntry::Pattern(pattern) => {
                (Pattern::Id(SpiffeIdPattern::parse(pattern).ok()?), None)
            }
            PeerEntry::Object(object) => {
                let who = match (&object.id, &object.dns_name) {
                    (Some(id), _) => Pattern::Id(SpiffeIdPattern::parse(id).ok()?),
                    (None, Some(name)) => Pattern::DnsName(name.to_ascii_lowercase().into()),
                    (None, None) => return None,
                };
                (who, Some(object))
            }
        };
        let domains = object.map_or(&[][..], |object| &object.trust_domains);
        let domains = domains.iter().map(|name| TrustDomain::parse(name));
        Some(Self {
            who,
            trust_domains: domains.filter_map(Result::ok).collect(),
            request_xfcc: object.is_some_and(|object| object.request_xfcc),
        })
    }
}

impl Asker {
    /// Nobody in particular, who may ask: for checks that come from no listener.
    #[must_use]
    pub fn anybody() -> Arc<Self> {
        Arc::new(Self::unnamed())
    }

    fn unnamed() -> Self {
        Self {
            named: Named::Nobody,
            refused: None,
            believed: None,
            request_xfcc: false,
            mesh: Arc::default(),
            refusals: Refusals::default(),
        }
    }

    /// Whether it may ask at all.
    ///
    /// # Errors
    /// `peer_not_allowed`.
    pub fn may_ask(&self) -> Result<(), Denial> {
        match self.refused {
            None => Ok(()),
            Some(refusal) => Err(self.refuse(refusal)),
        }
    }

    /// Whether it may ask for the workload whose certificate its listener showed: itself, where that
    /// is a workload and we know who asks.
    ///
    /// # Errors
    /// `peer_not_allowed`.
    pub fn may_ask_for(&self, destination: &str) -> Result<(), Denial> {
        let is_workload = destination
            .get(..7)
            .is_some_and(|scheme| scheme.eq_ignore_ascii_case("spiffe:"));
        if !is_workload {
            return Ok(());
        }
        let is_own = match &self.named {
            Named::Nobody => true,
            Named::Spiffe(id) if id.as_str() == destination => true,
            Named::Spiffe(id) => SpiffeId::parse(destination)
                .is_ok_and(|destination| destination.is_same(id, &self.mesh.aliases)),
            Named::Dns(_) => false,
        };
        if is_own {
            Ok(())
        } else {
            Err(self.refuse(PeerRefusal::Destination))
        }
    }

    /// Whether it is one of `peers`, where any are named; else it is refused for `refusal`.
    ///
    /// # Errors
    /// `peer_not_allowed`.
    pub fn may_ask_as(
        &self,
        peers: &[SpiffeIdPattern],
        refusal: PeerRefusal,
    ) -> Result<(), Denial> {
        let mut patterns = peers.iter();
        let is_one = peers.is_empty()
            || match &self.named {
                Named::Spiffe(id) => {
                    patterns.any(|pattern| pattern.matches(id, &self.mesh.aliases))
                }
                Named::Dns(_) | Named::Nobody => false,
            };
        if is_one {
            Ok(())
        } else {
            Err(self.refuse(refusal))
        }
    }

    /// Whether its word counts about workloads of `trust_domain`, which may be in any case.
    #[must_use]
    pub fn is_believed_about(&self, trust_domain: &str) -> bool {
        let Some(believed) = &self.believed else {
            return true;
        };
        believed
            .iter()
            .any(|name| name.as_str().eq_ignore_ascii_case(trust_domain))
    }

    /// Whether what it says of a caller counts: always, but where that is a workload of a trust
    /// domain about which its word does not.
    #[must_use]
    pub fn is_believed_to_name(&self, principal: &str) -> bool {
        let Some(rest) = principal.split_at_checked(9) else {
            return true;
        };
        let (scheme, rest) = rest;
        if !scheme.eq_ignore_ascii_case("spiffe://") {
            return true;
        }
        let trust_domain = rest.split_once('/').map_or(rest, |(domain, _)| domain);
        self.is_believed_about(trust_domain)
    }

    /// Whether it writes `x-forwarded-client-cert` of the requests that it asks about itself.
    #[must_use]
    pub fn writes_xfcc(&self) -> bool {
        self.request_xfcc
    }

    /// Who it is, for people; nothing where that is not known.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        match &self.named {
            Named::Spiffe(id) => Some(id.as_str()),
            Named::Dns(names) => names.first().map(|name| &**name),
            Named::Nobody => None,
        }
    }

    fn refuse(&self, refusal: PeerRefusal) -> Denial {
        self.refusals.count(refusal);
        let detail = match self.name() {
            Some(name) => format!("{} (`{name}`)", refusal.detail()).into(),
            None => refusal.detail().into(),
        };
        let detail: std::borrow::Cow<'static, str> = detail;
        Denial::new(Reason::PeerNotAllowed, detail)
    }
}

impl fmt::Debug for Asker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Asker")
            .field("named", &self.named)
            .field("refused", &self.refused)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for PeerRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerRules")
            .field("from_metadata", &self.from_metadata)
            .finish_non_exhaustive()
    }
}

/// Whom the last element of `value` names: the client of our own sidecar.
fn forwarded(value: &str) -> Named {
    let uri = xfcc::last(value).ok().and_then(|element| element.uri);
    let id = uri.and_then(|uri| SpiffeId::parse(&uri).ok());
    // the identity of a whole trust domain is no workload's
    let id = id.filter(|id| !id.path().is_empty());
    id.map_or(Named::Nobody, Named::Spiffe)
}

#[cfg(test)]
mod tests;
