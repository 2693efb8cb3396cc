//! Puts what providers give into a request, in place of the client's credential.
//
// INVARIANT: whatever a provider gives or fails to give, the client's own value of the header is
// removed ([`super::mutations::PreparedMutations`]).

use std::borrow::Cow;
use std::sync::Arc;

use tokio::time::{Instant, timeout_at};

use crate::authorization::Permit;
use crate::catalog::model::{CredentialRule, HostPattern, OnAbsent, OnFailure};
use crate::check::decision::{Fault, FaultReason};
use crate::check::request::DownstreamRequest;
use crate::fetch::{FetchError, Fetches, Flight, Joined, Why};
use crate::routing::Route;
use crate::secret::KeyedDigest;
use crate::upstream::credentials::is_spelling;
use crate::upstream::mutations::Mutations;
use crate::upstream::provider::answer::CredentialHeader;
use crate::upstream::provider::service::TokenOutcome;
use crate::upstream::provider::{Need, Provider, Providers, Target, Want};
use crate::upstream::token_cache::Held;

/// A credential of an Api's upstream, prepared when the Api was published.
#[derive(Debug)]
pub struct PreparedCredential {
    provider: Arc<Provider>,
    rule: CredentialRule,
    prefix: [u8; 16],
    /// A bit for each length of a name that is removed: most headers of a client can be told from it.
    lengths: u64,
    /// Whether the provider names its headers itself.
    names_headers: bool,
    /// The flights to the server that it asks.
    fetches: Fetches<Held>,
    /// The keys of the hosts that the Api names, where they do not depend on who calls.
    keys: Vec<(Box<str>, KeyedDigest)>,
}

/// How many keys of one Api are kept ready.
const MAX_KEYS: usize = 4;

/// How a need was met.
enum Obtained<'s> {
    Fixed(&'s [CredentialHeader]),
    Held(Arc<Held>, TokenOutcome),
    Absent,
    Failed(Cow<'static, str>),
}

impl PreparedCredential {
    /// That of `rule`, of an Api with these `hosts`, where its provider is among `providers`.
    #[must_use]
    pub fn of(rule: &CredentialRule, hosts: &[HostPattern], providers: &Providers) -> Option<Self> {
        let provider = Arc::clone(providers.get(&rule.provider)?);
        let mut prepared = Self {
            lengths: rule
                .removed
                .iter()
                .fold(0, |lengths, name| lengths | bit(name.as_str().len())),
            names_headers: rule.target.header.is_none() && provider.fixed().is_none(),
            prefix: provider.prefix(&rule.target),
            fetches: provider.service().fetches(&rule.target),
            provider,
            rule: rule.clone(),
            keys: Vec::new(),
        };
        let known = prepared.known_needs(hosts).into_iter();
        prepared.keys = known
            .map(|(key, want)| (want.host, key))
            .take(MAX_KEYS)
            .collect();
        Some(prepared)
    }

    /// Its provider.
    #[must_use]
    pub fn provider(&self) -> &Arc<Provider> {
        &self.provider
    }

    /// What checks of an Api with these `hosts` will need, as far as it is known before they come.
    pub fn known_needs(&self, hosts: &[HostPattern]) -> Vec<(KeyedDigest, Want)> {
        if self.provider.is_per_caller() || self.provider.fixed().is_some() {
            return Vec::new();
        }
        let exact = hosts.iter().filter_map(|host| match host {
            HostPattern::Exact(host) => Some(&**host),
            HostPattern::Suffix(_) | HostPattern::Any => None,
        });
        let mut hosts: Vec<&str> = exact.filter(|host| self.provider.serves(host)).collect();
        if !self.provider.is_per_host() {
            // one for all of them, also where the Api is for hosts that it does not name
            hosts = vec![hosts.first().copied().unwrap_or_default()];
        }
        let need = |host: &str| {
            Need {
                key: self.key(host, None),
                host,
                caller: None,
            }
            .to_keyed_want(self.target())
        };
        hosts.into_iter().map(need).collect()
    }

    /// Whether a client's header `sent`, in lower case, is a mixed spelling of one that the provider
    /// sets, or, where the provider names its headers itself, one that it gave before. The plain
    /// spellings of the configuration's are removed from every request.
    #[must_use]
    #[inline]
    pub fn owns(&self, sent: &[u8]) -> bool {
        if self.lengths & bit(sent.len()) != 0 && self.is_mixed_spelling(sent) {
            return true;
        }
        self.names_headers && self.provider.service().gave(sent)
    }

    fn is_mixed_spelling(&self, sent: &[u8]) -> bool {
        let mut removed = self.rule.removed.iter();
        sent.contains(&b'_') && removed.any(|name| is_spelling(sent, name.as_str().as_bytes()))
    }

    fn target(&self) -> &Arc<Target> {
        &self.rule.target
    }

    fn key(&self, host: &str, caller: Option<&str>) -> KeyedDigest {
        let host = if self.provider.is_per_host() {
            host.as_bytes()
        } else {
            b""
        };
        match caller {
            None => KeyedDigest::of(&[&self.prefix, host]),
            Some(caller) => KeyedDigest::of(&[&self.prefix, host, caller.as_bytes()]),
        }
    }

    async fn obtain<'s>(
        &'s self,
        route: &Route<'s>,
        request: &DownstreamRequest,
        permit: &Permit<'_>,
        until: &impl Fn() -> std::time::Instant,
    ) -> Obtained<'s> {
        let host = request.host();
        if request.api_extension().is_some() && !route.claims(host) {
            // the Envoy route chose the Api: the host is what the client made of it
            return Obtained::Failed("the request's host is none of the api's".into());
        }
        if let Some(headers) = self.provider.fixed() {
            return Obtained::Fixed(headers);
        }
        if !self.provider.serves(host) {
            return Obtained::Absent;
        }
        let caller = self.provider.caller(route, request, permit, self.target());
        let caller = match caller {
            Ok(caller) => caller,
            Err(why) => return Obtained::Failed(why.into()),
        };
        let known = self.keys.iter().find(|(known, _)| **known == *host);
        let key = match (known, &caller) {
            (Some((_, key)), None) => *key,
            (None, _) | (_, Some(_)) => self.key(host, caller.as_deref()),
        };
        let need = Need { key, host, caller };
        let now = Instant::now();
        let cached = self.cached(&need);
        match cached {
            Some(held) if held.is_fresh(now) => {
                if held.is_due(now) {
                    // goes on beside this check; the next ones find what it gives
                    let _ = self.join(&need, |held| !held.is_due(Instant::now()), Why::Renewal);
                }
                let outcome = if held.touch() {
                    TokenOutcome::Refreshed
                } else {
                    TokenOutcome::Hit
                };
                Obtained::Held(held, outcome)
            }
            // in a box, so that checks which need not wait carry nothing of it
            cached => Box::pin(self.wait(&need, cached, until().into())).await,
        }
    }

    /// What is kept for `need`, also where it is over.
    fn cached(&self, need: &Need<'_>) -> Option<Arc<Held>> {
        let held = self.provider.service().cache().get(need.key)?;
        // keys are digests: what another host got is not given out whatever they say
        let is_for_host = !self.provider.is_per_host() || *held.want().host == *need.host;
        is_for_host.then_some(held)
    }

    fn join(&self, need: &Need<'_>, is_known: impl Fn(&Held) -> bool, why: Why) -> Joined<Held> {
        let known = || self.cached(need).filter(|held| is_known(held));
        let fetch = || {
            let want = need.to_want(self.target());
            fetch(Arc::clone(&self.provider), need.key, want, why)
        };
        self.fetches.join((need.key, why), known, fetch)
    }

    /// Waits until it is fetched, or `until`; `over` is what was kept before.
    async fn wait(&self, need: &Need<'_>, over: Option<Arc<Held>>, until: Instant) -> Obtained<'_> {
        let stale = || {
            let usable = over.clone().filter(|held| {
                self.rule.on_failure == OnFailure::Stale && held.is_usable(Instant::now())
            });
            usable.map(|held| Obtained::Held(held, TokenOutcome::Stale))
        };
        if self.provider.signed().is_some() {
            let want = need.to_want(self.target());
            let signed = fetch(Arc::clone(&self.provider), need.key, want, Why::Missing).await;
            return match signed {
                Ok(held) => Obtained::Held(held, TokenOutcome::Waited),
                Err(error) => Obtained::Failed(error.message.into()),
            };
        }
        let was_failing = self.fetches.is_failing(need.key);
        let failed = match self.join(need, |held| held.is_fresh(Instant::now()), Why::Missing) {
            Joined::Known(held) => return Obtained::Held(held, TokenOutcome::Waited),
            Joined::Failed(error) => error.message.clone(),
            Joined::Flying(flight) => {
                if let Some(stale) = stale().filter(|_| was_failing) {
                    return stale;
                }
                match landed(flight, until).await {
                    Ok(held) => return Obtained::Held(held, TokenOutcome::Waited),
                    Err(why) => why,
                }
            }
        };
        stale().unwrap_or(Obtained::Failed(failed.into()))
    }
}

/// The bit for names of `length` bytes; some lengths share one.
const fn bit(length: usize) -> u64 {
    1 << (length % 64)
}

/// Waits for the end of a flight, or `until`.
async fn landed(flight: Flight<Held>, until: Instant) -> Result<Arc<Held>, String> {
    match timeout_at(until, flight.landed()).await {
        Ok(Ok(held)) => {
            held.touch();
            Ok(held)
        }
        Ok(Err(error)) => Err(error.message.clone()),
        Err(_) => Err("no answer within the time that the check may take".to_owned()),
    }
}

/// Asks `provider`, and keeps what it gives.
///
/// # Errors
/// Why it gives nothing.
pub(super) async fn fetch(
    provider: Arc<Provider>,
    key: KeyedDigest,
    want: Want,
    why: Why,
) -> Result<Arc<Held>, FetchError> {
    let service = Arc::clone(provider.service());
    // what is forgotten while it is asked for is not kept when it comes
    let epoch = service.cache().epoch();
    let fetched = provider.fetch(&want).await.map(|given| {
        let times = provider.policy().times(&given.life, Instant::now());
        let held = Held::new(&provider, want, given.headers, times);
        let held = Arc::new(match why {
            Why::Renewal => held.renewed(),
            Why::Missing => held,
        });
        service.cache().insert(key, &held, epoch);
        held
    });
    service.fetched(fetched.as_ref());
    fetched
}

/// Puts the credentials of the route's Api into `mutations`. Waits for those that are not there,
/// `until` at most. Tells how the worst of them was met.
///
/// # Errors
/// `dependency_unavailable` where one cannot be had, or there is none, and the Api does not allow
/// that.
pub(super) async fn provide<'s>(
    route: &Route<'s>,
    request: &DownstreamRequest,
    permit: &Permit<'_>,
    mutations: &mut Mutations<'s>,
    until: &impl Fn() -> std::time::Instant,
) -> Result<Option<TokenOutcome>, Fault> {
    if route.credentials().len() != route.api.upstream.credentials.len() {
        // the load refuses an Api whose provider is not there; without one nothing passes
        let why = "a provider of the api is not there";
        return Err(Fault::new(FaultReason::Internal, why).with_token(TokenOutcome::Failed));
    }
    let mut worst = None;
    for credential in route.credentials() {
        let obtained = credential.obtain(route, request, permit, until).await;
        let met = credential.put(&obtained, request, mutations);
        let outcome = match &met {
            Ok(outcome) | Err((outcome, _)) => *outcome,
        };
        credential.provider.service().count(outcome);
        explain(credential, outcome, &obtained);
        worst = worst.max(Some(outcome));
        if let Err((outcome, why)) = met {
            let fault = Fault::new(FaultReason::DependencyUnavailable, why);
            return Err(fault.with_token(outcome));
        }
    }
    Ok(worst)
}

impl PreparedCredential {
    /// Puts what was obtained into `mutations`; the error says why the request may not go on.
    fn put<'s>(
        &'s self,
        obtained: &Obtained<'_>,
        request: &DownstreamRequest,
        mutations: &mut Mutations<'s>,
    ) -> Result<TokenOutcome, (TokenOutcome, String)> {
        let name = self.provider.name();
        if let Obtained::Held(held, _) = obtained {
            // also where it only removes
            self.put_headers(held.headers(), request, mutations);
        }
        match obtained {
            Obtained::Fixed(headers) => {
                self.put_headers(headers, request, mutations);
                Ok(TokenOutcome::Hit)
            }
            Obtained::Held(held, outcome) if held.has_values() => Ok(*outcome),
            Obtained::Held(..) | Obtained::Absent => match self.rule.on_absent {
                OnAbsent::Allow => Ok(TokenOutcome::Absent),
                OnAbsent::Deny => {
                    let why = format!("provider `{name}` has nothing for this upstream");
                    Err((TokenOutcome::Absent, why))
                }
            },
            Obtained::Failed(why) => match self.rule.on_failure {
                OnFailure::Allow => Ok(TokenOutcome::Failed),
                OnFailure::Deny | OnFailure::Stale => Err((
                    TokenOutcome::Failed,
                    format!("provider `{name}` gives no credential: {why}"),
                )),
            },
        }
    }

    fn put_headers<'s>(
        &'s self,
        headers: &[CredentialHeader],
        request: &DownstreamRequest,
        mutations: &mut Mutations<'s>,
    ) {
        for header in headers {
            let own = self.rule.removed.iter().find(|own| *own == header.name());
            mutations.set_credential(own, header);
            if own.is_none() {
                // nobody knew of it when the client's headers were stripped
                let name = header.name().as_str().as_bytes();
                for sent in request.headers().raw_names() {
                    if sent != name && is_spelling(sent, name) {
                        mutations.remove_sent(sent);
                    }
                }
            }
        }
    }
}

/// Tells `explain` how a need was met: by which headers, never by what they hold.
fn explain(credential: &PreparedCredential, outcome: TokenOutcome, obtained: &Obtained<'_>) {
    if !tracing::enabled!(target: "portcullis::explain", tracing::Level::TRACE) {
        return;
    }
    let (headers, why) = match obtained {
        Obtained::Fixed(headers) => (*headers, None),
        Obtained::Held(held, _) => (held.headers(), None),
        Obtained::Absent => (&[][..], Some("it has nothing for this upstream")),
        Obtained::Failed(why) => (&[][..], Some(&**why)),
    };
    tracing::trace!(
        target: "portcullis::explain",
        stage = "provide",
        found = outcome.name(),
        provider = &**credential.provider.name(),
        kind = credential.provider.type_name(),
        headers = super::listed(headers.iter().map(|header| header.name().as_str())),
        detail = why,
    );
}

#[cfg(test)]
mod tests;
