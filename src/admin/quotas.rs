//! What the admin API tells of limits: a subscription's counters, and who took most.

use std::net::IpAddr;
use std::time::Duration;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use jiff::{Timestamp, Unit};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::admin::AdminState;
use crate::admin::answer::{AdminProblem, answer};
use crate::admin::view::limit as view;
use crate::authorization::quota::consumers::{Consumer, Hour};
use crate::authorization::quota::selection::KeySources;
use crate::authorization::quota::{Counter, Level};
use crate::catalog::Catalog;
use crate::catalog::model::limit::{Limit, LimitKey};
use crate::catalog::model::{ApiId, ApplicationId, Operation};
use crate::check::request::PeerAddress;

/// How many consumers are told.
const MAX_CONSUMERS: usize = 100;

/// Whose counters are meant.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Selection {
    /// The application: `name` or `namespace/name`.
    application: String,
    /// The Api.
    api: String,
    /// The issuer of the subject.
    #[serde(default)]
    issuer: String,
    /// The subject, for limits that count each.
    #[serde(default)]
    subject: String,
    /// The client's address, for limits that count each.
    address: Option<IpAddr>,
}

/// The counters of a subscription: what is left of each limit that a request of the application to
/// the Api counts for.
pub(super) async fn counters(
    State(state): State<AdminState>,
    selection: Result<Query<Selection>, QueryRejection>,
) -> Result<Response, AdminProblem> {
    let Query(selection) = selection.map_err(|_| {
        let detail = "give `application` and `api`, and where limits count them `issuer`, `subject` and `address` (an IP address), and nothing else";
        AdminProblem::new(StatusCode::BAD_REQUEST, detail)
    })?;
    let snapshot = state.snapshots.current();
    let catalog = snapshot.catalog();
    let found = Found::of(&selection, catalog).ok_or_else(|| {
        AdminProblem::new(StatusCode::NOT_FOUND, "there is no such application or api")
    })?;
    let (known, counters): (Vec<_>, Vec<_>) = found
        .limits
        .iter()
        .filter(|(limit, _)| needs(limit, &selection).is_empty())
        .map(|(limit, operation)| {
            let sources = KeySources {
                operation: *operation,
                ..found.sources
            };
            ((*limit, *operation), sources.counter(limit, 0))
        })
        .unzip();
    let levels = levels(&state, &counters).await?;
    let told = known.iter().zip(&levels);
    let told = told.map(|((limit, operation), level)| counter(limit, *operation, level));
    let unknown = found.limits.iter().filter_map(|(limit, operation)| {
        let needs = needs(limit, &selection);
        let about = || json!({ "limit": limit.id, "rule": view::limit(limit), "operation": operation.map(|one| &one.id), "needs": needs });
        (!needs.is_empty()).then(about)
    });
    let told: Vec<Value> = told.chain(unknown).collect();
    let view = json!({
        "application": found.sources.application.map(|application| application.id.as_str()),
        "api": found.sources.api.id.as_str(),
        "plans": found.plans,
        "counters": told,
    });
    Ok(answer(StatusCode::OK, &view))
}

async fn levels(state: &AdminState, counters: &[Counter<'_>]) -> Result<Vec<Level>, AdminProblem> {
    let mut levels = Vec::with_capacity(counters.len());
    // as many at once as a check may charge
    for some in counters.chunks(64) {
        let read = state.quota.store().read(some, Timestamp::now()).await;
        levels.extend(read.map_err(|error| {
            AdminProblem::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string())
        })?);
    }
    Ok(levels)
}

/// An application and an Api, and every limit that a request can count for.
struct Found<'c> {
    sources: KeySources<'c>,
    plans: Vec<&'c str>,
    limits: Vec<(&'c Limit, Option<&'c Operation>)>,
}

impl<'c> Found<'c> {
    fn of(selection: &'c Selection, catalog: &'c Catalog) -> Option<Self> {
        let application = ApplicationId::parse(&selection.application);
        let application = catalog.application(catalog.application_by_id(&application)?)?;
        let at = catalog.api_by_id(&ApiId::parse(&selection.api))?;
        let api = catalog.api(at)?;
        let subscribed = application.subscriptions.get(&at).and_then(|one| one.plan);
        let own = application.plan.filter(|own| Some(*own) != subscribed);
        let plans = [subscribed, own].into_iter().flatten();
        let plans: Vec<_> = plans.filter_map(|plan| catalog.plan(plan)).collect();
        let of_plans = plans.iter().flat_map(|plan| &plan.limits);
        let of_operations = api.operations.iter().flat_map(|operation| {
            let limits = operation.limits.iter();
            limits.map(move |limit| (limit, Some(operation)))
        });
        let limits = of_plans.chain(&api.limits).map(|limit| (limit, None));
        Some(Self {
            sources: KeySources {
                api,
                operation: None,
                application: Some(application),
                client: ("", ""),
                issuer: &selection.issuer,
                subject: &selection.subject,
                source: selection
                    .address
                    .map_or(PeerAddress::Other, PeerAddress::Ip),
                claims: &Value::Null,
            },
            limits: limits.chain(of_operations).collect(),
            plans: plans.iter().map(|plan| plan.id.as_str()).collect(),
        })
    }
}

/// What has to be given to tell the counter of `limit`.
fn needs(limit: &Limit, selection: &Selection) -> Vec<&'static str> {
    let needed = limit.keys.iter().filter_map(|key| match key {
        LimitKey::Subject if selection.subject.is_empty() || selection.issuer.is_empty() => {
            Some("issuer and subject")
        }
        LimitKey::Address if selection.address.is_none() => Some("address"),
        LimitKey::Claim(_) => Some("a claim, which cannot be given here"),
        LimitKey::Operation if limit.plan.is_some() => {
            Some("an operation, which cannot be given here")
        }
        LimitKey::Subject
        | LimitKey::Address
        | LimitKey::Application
        | LimitKey::Subscription
        | LimitKey::Owner
        | LimitKey::Api
        | LimitKey::Operation => None,
    });
    needed.collect()
}

fn counter(limit: &Limit, operation: Option<&Operation>, level: &Level) -> Value {
    json!({
        "limit": limit.id,
        "rule": view::limit(limit),
        "enforced": limit.rule.enforced,
        "operation": operation.map(|operation| &operation.id),
        "remaining": level.remaining,
        "used": limit.rule.capacity().saturating_sub(level.remaining),
        "resetSeconds": level.reset.map(|reset| reset.as_secs_f64()),
        "resetAt": level.reset.and_then(reset_at),
    })
}

/// When that is, to the second.
fn reset_at(reset: Duration) -> Option<Timestamp> {
    let at = Timestamp::now().checked_add(reset).ok()?;
    at.round(Unit::Second).ok()
}

/// The applications that took most, on this replica.
pub(super) async fn consumers(State(state): State<AdminState>) -> Response {
    let top = |hour| -> Vec<Value> {
        let consumers = state.quota.consumers().top(hour, MAX_CONSUMERS);
        consumers.iter().map(consumer).collect()
    };
    let view = json!({ "thisHour": top(Hour::Current), "lastHour": top(Hour::Last) });
    answer(StatusCode::OK, &view)
}

fn consumer(consumer: &Consumer) -> Value {
    json!({
        "application": consumer.application,
        "cost": consumer.cost,
        "tooHighByAtMost": consumer.error,
    })
}
