//! Which limits a request counts for, and which counter of each.

use std::borrow::Cow;
use std::net::IpAddr;

use serde_json::Value;
use smallvec::SmallVec;

use crate::authentication::principal::Identity;
use crate::authorization::quota::{Asked, Counter, Values};
use crate::authorization::subscription::KnownApplication;
use crate::catalog::model::limit::{Limit, LimitKey};
use crate::check::request::PeerAddress;

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
    let operation = route.operation;
    let own = operation.map_or(&[][..], |operation| &operation.limits);
    let all = plans.flat_map(|plan| &plan.limits);
    for limit in all.chain(&route.api.limits).chain(own) {
        let cost = match &limit.metric {
            None => asked.cost(),
            Some(metric) => taken(asked, metric),
        };
        if cost > 0 {
            limits.push(limit);
            counters.push(counter(asked, limit, cost));
        }
    }
    (limits, counters)
}

/// What the request takes of `metric`.
fn taken(asked: &Asked<'_, '_>, metric: &str) -> u64 {
    let metrics = asked.route.operation.map(|operation| &operation.metrics);
    let mut metrics = metrics.into_iter().flatten();
    metrics
        .find(|(name, _)| **name == *metric)
        .map_or(0, |(_, amount)| *amount)
}

fn counter<'r, 's: 'r>(asked: &Asked<'r, 's>, limit: &'s Limit, cost: u64) -> Counter<'r> {
    let mut values = Values::new();
    let mut is_open = false;
    for key in &limit.keys {
        is_open |= key.is_open();
        is_open |= push(asked, key, &mut values);
    }
    Counter {
        limit,
        values,
        cost,
        is_open,
    }
}

/// Adds the values of `key`, as many as that key always has; whether a caller chose them although
/// the catalog usually does.
fn push<'r, 's: 'r>(asked: &Asked<'r, 's>, key: &LimitKey, values: &mut Values<'r>) -> bool {
    let (route, identity) = (asked.route, asked.principal.identity());
    let api = || Cow::Borrowed(route.api.id.as_str());
    match key {
        LimitKey::Application => return push_application(asked, values),
        LimitKey::Subscription => {
            values.push(api());
            return push_application(asked, values);
        }
        LimitKey::Owner => match asked.standing.application() {
            Some(KnownApplication::Catalog(application)) if application.owner.is_some() => {
                values.push(Cow::Borrowed(application.owner.as_deref().unwrap_or("")));
                values.push(Cow::Borrowed("owner"));
            }
            Some(KnownApplication::Catalog(_) | KnownApplication::Claimed) | None => {
                return push_application(asked, values);
            }
        },
        LimitKey::Api => values.push(api()),
        LimitKey::Operation => {
            values.push(api());
            let operation = route.operation.map_or("", |operation| &operation.id);
            values.push(Cow::Borrowed(operation));
        }
        LimitKey::Subject => {
            values.push(Cow::Borrowed(identity.issuer.as_deref().unwrap_or("")));
            values.push(Cow::Borrowed(identity.subject.as_deref().unwrap_or("")));
        }
        LimitKey::Address => values.push(address(asked.request.source())),
        LimitKey::Claim(path) => values.push(claim(identity, path)),
    }
    false
}

/// The application of the catalog, else the one that the token describes, else the client.
fn push_application<'r, 's: 'r>(asked: &Asked<'r, 's>, values: &mut Values<'r>) -> bool {
    if let Some(id) = asked.standing.application_id() {
        values.push(Cow::Borrowed(id));
        values.push(Cow::Borrowed(""));
        return false;
    }
    let identity = asked.principal.identity();
    let claimed = identity.claimed_application.as_ref();
    let claimed = claimed.and_then(|claimed| claimed.id.as_deref().or(claimed.name.as_deref()));
    let client = claimed.or(identity.client_id.as_deref()).unwrap_or("");
    values.push(Cow::Borrowed(client));
    values.push(Cow::Borrowed(identity.issuer.as_deref().unwrap_or("")));
    true
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
fn claim<'r>(identity: &'r Identity, path: &str) -> Cow<'r, str> {
    let found = path
        .split('.')
        .try_fold(&identity.claims, |value, name| value.get(name));
    match found {
        Some(Value::String(text)) => Cow::Borrowed(text),
        Some(Value::Number(number)) => Cow::Owned(number.to_string()),
        Some(Value::Bool(value)) => Cow::Borrowed(if *value { "true" } else { "false" }),
        Some(Value::Null | Value::Array(_) | Value::Object(_)) | None => Cow::Borrowed(""),
    }
}
