//! Which limits a request counts for, and which counter of each.

use std::borrow::Cow;
use std::net::IpAddr;

use serde_json::Value;
use smallvec::SmallVec;

use crate::authentication::claims::claim_at;
use crate::authorization::quota::{Asked, Counter, Values};
use crate::authorization::subscription::KnownApplication;
use crate::catalog::model::limit::{Limit, LimitKey};
use crate::catalog::model::{Api, Application, Operation};
use crate::check::request::PeerAddress;

/// What the values of keys are taken from. A text that is not known is empty.
#[derive(Debug, Clone, Copy)]
pub struct KeySources<'r> {
    /// The Api.
    pub api: &'r Api,
    /// The operation.
    pub operation: Option<&'r Operation>,
    /// The application of the catalog.
    pub application: Option<&'r Application>,
    /// The application that the token describes, by its id or its name, else the client: which of
    /// these, and its value.
    pub client: (&'static str, &'r str),
    /// The issuer of client and subject.
    pub issuer: &'r str,
    /// The subject.
    pub subject: &'r str,
    /// Where the client is.
    pub source: PeerAddress,
    /// The claims.
    pub claims: &'r Value,
}

/// The limits that count a request, and the counter of each, in the same order: those of the
/// subscription's plan, of the application's plan, of the Api and of the operation. One of which the
/// request takes nothing does not count it.
#[must_use]
pub fn select<'r, 's>(
    asked: &Asked<'r, 's>,
) -> (SmallVec<[&'s Limit; 4]>, SmallVec<[Counter<'r>; 4]>)
where
    's: 'r,
{
    let (mut limits, mut counters) = (SmallVec::new(), SmallVec::new());
    let route = asked.route;
    let plans = asked.standing.plans(route.catalog());
    let own = route
        .operation
        .map_or(&[][..], |operation| &operation.limits);
    let all = plans.flat_map(|plan| &plan.limits);
    let mut all = all.chain(&route.api.limits).chain(own).peekable();
    if all.peek().is_none() {
        return (limits, counters);
    }
    let sources = KeySources::of(asked);
    for limit in all {
        let cost = cost(limit, route.operation);
        if cost > 0 {
            limits.push(limit);
            counters.push(sources.counter(limit, cost));
        }
    }
    (limits, counters)
}

/// What a request for `operation` takes of `limit`.
#[must_use]
pub fn cost(limit: &Limit, operation: Option<&Operation>) -> u64 {
    let Some(metric) = &limit.metric else {
        return operation.map_or(1, |operation| operation.cost);
    };
    let mut metrics = operation
        .into_iter()
        .flat_map(|operation| &operation.metrics);
    metrics
        .find(|(name, _)| *name == *metric)
        .map_or(0, |(_, amount)| *amount)
}

impl<'r> KeySources<'r> {
    fn of<'s: 'r>(asked: &Asked<'r, 's>) -> Self {
        let identity = asked.principal.identity();
        let claimed = identity.claimed_application.as_ref();
        let by_id = claimed.and_then(|claimed| claimed.id.as_deref());
        let by_name = claimed.and_then(|claimed| claimed.name.as_deref());
        let client = by_id.map(|id| ("id", id));
        let client = client.or(by_name.map(|name| ("name", name)));
        let client = client.or(identity.client_id.as_deref().map(|id| ("client", id)));
        Self {
            api: asked.route.api,
            operation: asked.route.operation,
            application: match asked.standing.application() {
                Some(KnownApplication::Catalog(application)) => Some(application),
                Some(KnownApplication::Claimed) | None => None,
            },
            client: client.unwrap_or_default(),
            issuer: identity.issuer.as_deref().unwrap_or(""),
            subject: identity.subject.as_deref().unwrap_or(""),
            source: asked.request.source(),
            claims: &identity.claims,
        }
    }

    /// The counter of `limit`, which `cost` is taken of.
    #[must_use]
    pub fn counter(&self, limit: &'r Limit, cost: u64) -> Counter<'r> {
        let mut values = Values::new();
        let mut is_open = false;
        for key in &limit.keys {
            is_open |= key.is_open() | self.push(key, &mut values);
        }
        Counter {
            limit,
            values,
            cost,
            is_open,
        }
    }

    /// Adds the values of `key`; whether a caller chose them although the catalog usually does. Those
    /// of another kind are of another number.
    fn push(&self, key: &LimitKey, values: &mut Values<'r>) -> bool {
        let mut add = |value: &'r str| values.push(Cow::Borrowed(value));
        match key {
            LimitKey::Application => return self.push_application(values),
            LimitKey::Subscription => {
                add(self.api.id.as_str());
                return self.push_application(values);
            }
            LimitKey::Owner => {
                let owner = self.application.and_then(|one| one.owner.as_deref());
                let Some(owner) = owner else {
                    return self.push_application(values);
                };
                add("owner");
                add(owner);
            }
            LimitKey::Api => add(self.api.id.as_str()),
            LimitKey::Operation => {
                add(self.api.id.as_str());
                add(self.operation.map_or("", |operation| &operation.id));
            }
            LimitKey::Subject => {
                add(self.issuer);
                add(self.subject);
            }
            LimitKey::Address => values.push(address(self.source)),
            LimitKey::Claim(path) => {
                add(self.issuer);
                values.push(claim(self.claims, path));
            }
        }
        false
    }

    /// The application of the catalog, else the one that the token describes, else the client.
    fn push_application(&self, values: &mut Values<'r>) -> bool {
        if let Some(application) = self.application {
            values.push(Cow::Borrowed(application.id.as_str()));
            return false;
        }
        let (kind, name) = self.client;
        for value in [kind, name, self.issuer] {
            values.push(Cow::Borrowed(value));
        }
        true
    }
}

/// The client's address: whoever has one IPv6 address of a /64 has all of them.
fn address(source: PeerAddress) -> Cow<'static, str> {
    match source {
        PeerAddress::Ip(address) => match address.to_canonical() {
            IpAddr::V4(address) => Cow::Owned(address.to_string()),
            IpAddr::V6(address) => Cow::Owned(format!("{:x}/64", address.to_bits() >> 64)),
        },
        PeerAddress::Other => Cow::Borrowed(""),
    }
}

/// The claim at the dotted `path`, as text; empty where it is missing, a list or an object.
fn claim<'r>(claims: &'r Value, path: &str) -> Cow<'r, str> {
    let claims = claims.as_object();
    match claims.and_then(|claims| claim_at(claims, path)) {
        Some(Value::String(text)) => Cow::Borrowed(text),
        Some(Value::Number(number)) => Cow::Owned(number.to_string()),
        Some(Value::Bool(true)) => Cow::Borrowed("true"),
        Some(Value::Bool(false)) => Cow::Borrowed("false"),
        Some(Value::Null | Value::Array(_) | Value::Object(_)) | None => Cow::Borrowed(""),
    }
}
