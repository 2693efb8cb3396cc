//! Plans, limits and blocks as the admin API shows them.

use serde_json::{Value, json};

use crate::admin::view::origin;
use crate::catalog::Catalog;
use crate::catalog::model::limit::{Block, Limit, LimitKey, OnExceed, Plan, WindowAlignment};

/// A plan.
pub(in crate::admin) fn plan(plan: &Plan) -> Value {
    json!({
        "id": plan.id.as_str(),
        "limits": limits(&plan.limits),
        "onExceed": match plan.on_exceed {
            OnExceed::Deny => "deny",
            OnExceed::Report => "report",
        },
        "origin": origin(&plan.origin),
    })
}

/// A block.
pub(in crate::admin) fn block(block: &Block, catalog: &Catalog) -> Value {
    let application = block.application.and_then(|at| catalog.application(at));
    let api = block.api.and_then(|at| catalog.api(at));
    json!({
        "id": block.id,
        "application": application.map(|application| application.id.as_str()),
        "subject": block.subject,
        "addresses": block.addresses.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "notAddresses": block.not_addresses.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "api": api.map(|api| api.id.as_str()),
        "until": block.until,
        "note": block.note,
        "origin": origin(&block.origin),
    })
}

/// Limits.
pub(in crate::admin) fn limits(limits: &[Limit]) -> Value {
    limits.iter().map(limit).collect()
}

/// A limit.
pub(in crate::admin) fn limit(limit: &Limit) -> Value {
    let keys: Vec<String> = limit.keys.iter().map(key).collect();
    json!({
        "name": limit.name,
        "amount": limit.rule.amount,
        "per": limit.rule.window.name(),
        "burst": limit.rule.burst,
        "key": keys,
        "metric": limit.metric,
        "window": match limit.rule.alignment {
            WindowAlignment::Calendar => "calendar",
            WindowAlignment::Sliding => "sliding",
        },
    })
}

fn key(key: &LimitKey) -> String {
    match key {
        LimitKey::Application => "application".to_owned(),
        LimitKey::Subscription => "subscription".to_owned(),
        LimitKey::Owner => "owner".to_owned(),
        LimitKey::Api => "api".to_owned(),
        LimitKey::Operation => "operation".to_owned(),
        LimitKey::Subject => "subject".to_owned(),
        LimitKey::Address => "address".to_owned(),
        LimitKey::Claim(claim) => format!("claims.{claim}"),
    }
}
