//! The catalog's things as the admin API shows them: in the words of their documents, without
//! what is or tells a credential, and without the values of header templates.

pub(super) mod limit;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::admin::view::limit::limits;
use crate::catalog::Catalog;
use crate::catalog::model::{
    Api, Application, ApplicationState, CredentialRule, Direction, Enforcement, OnAbsent,
    OnFailure, Operation, Origin, PlanIndex, PreflightRule, ScopeRule, SubscriptionRule,
    UnmatchedOperation, UpstreamRules,
};
use crate::header::HeaderName;

/// An Api as lists show it.
pub(super) fn api_summary(api: &Api) -> Value {
    json!({
        "id": api.id.as_str(),
        "title": api.title,
        "version": api.version,
        "direction": direction(api.direction),
        "hosts": hosts(api),
        "basePath": base_path(api),
        "enforcement": enforcement(api.enforcement),
    })
}

/// An Api, whole.
pub(super) fn api(api: &Api) -> Value {
    let operations: Vec<Value> = api.operations.iter().map(operation).collect();
    json!({
        "id": api.id.as_str(),
        "title": api.title,
        "version": api.version,
        "context": api.context,
        "direction": direction(api.direction),
        "hosts": hosts(api),
        "basePath": base_path(api),
        "precedence": api.precedence,
        "enforcement": enforcement(api.enforcement),
        "authenticators": api.authenticators,
        "subscription": match api.subscription {
            SubscriptionRule::Required => "required",
            SubscriptionRule::Optional => "optional",
            SubscriptionRule::NotNeeded => "none",
        },
        "operations": operations,
        "unmatchedOperation": match api.unmatched_operation {
            UnmatchedOperation::Deny => "deny",
            UnmatchedOperation::Allow => "allow",
        },
        "preflight": match api.preflight {
            PreflightRule::Deny => "deny",
            PreflightRule::Pass => "pass",
        },
        "limits": limits(&api.limits),
        "upstream": upstream(&api.upstream),
        "origin": origin(&api.origin),
    })
}

/// An application, without its keys and its app id.
pub(super) fn application(application: &Application, catalog: &Catalog) -> Value {
    let clients: Vec<Value> = application
        .clients
        .iter()
        .map(|client| json!({ "issuer": client.issuer, "clientId": client.client_id }))
        .collect();
    let api_keys: Vec<Value> = application
        .api_keys
        .iter()
        .map(|key| json!({ "name": key.name, "expires": key.expires }))
        .collect();
    let plan_id = |plan: PlanIndex| catalog.plan(plan).map(|plan| plan.id.as_str());
    let subscriptions: Vec<Value> = application
        .subscriptions
        .iter()
        .map(|(api, subscription)| {
            json!({
                "api": catalog.api(*api).map(|api| api.id.as_str()),
                "plan": subscription.plan.and_then(plan_id),
                "state": subscription.state.name(),
                "validUntil": subscription.valid_until,
            })
        })
        .collect();
    json!({
        "id": application.id.as_str(),
        "owner": application.owner,
        "state": match application.state {
            ApplicationState::Active => "active",
            ApplicationState::Suspended => "suspended",
        },
        "plan": application.plan.and_then(plan_id),
        "clients": clients,
        "apiKeys": api_keys,
        "hasAppId": application.app_id.is_some(),
        "appKeyCount": application.app_keys.len(),
        "subscriptions": subscriptions,
        "origin": origin(&application.origin),
    })
}

fn operation(operation: &Operation) -> Value {
    let scopes = match &operation.scopes {
        ScopeRule::None => Value::Null,
        ScopeRule::AnyOf(scopes) => json!({ "anyOf": scopes }),
        ScopeRule::AllOf(scopes) => json!({ "allOf": scopes }),
    };
    json!({
        "methods": operation.methods,
        "path": operation.path.text,
        "scopes": scopes,
        "authenticators": operation.authenticators,
        "cost": operation.cost,
        "metrics": operation.metrics.iter().cloned().collect::<BTreeMap<_, _>>(),
        "limits": limits(&operation.limits),
    })
}

fn upstream(rules: &UpstreamRules) -> Value {
    let names = |headers: &mut dyn Iterator<Item = &HeaderName>| -> Vec<Value> {
        headers.map(|name| json!(name.as_str())).collect()
    };
    json!({
        "headers": names(&mut rules.headers.iter().map(|(name, _)| name)),
        "removeHeaders": names(&mut rules.remove_headers.iter()),
        "keepCredential": rules.keep_credential,
        "responseHeaders": names(&mut rules.response_headers.iter().map(|(name, _)| name)),
        "credentials": rules.credentials.iter().map(credential).collect::<Vec<_>>(),
    })
}

fn credential(rule: &CredentialRule) -> Value {
    json!({
        "provider": rule.provider,
        "audience": rule.target.audience,
        "scope": rule.target.scope,
        "resource": rule.target.resource,
        "tokenUrl": rule.target.token_url,
        "party": rule.target.party,
        "header": rule.target.header.as_ref().map(HeaderName::as_str),
        "onFailure": match rule.on_failure {
            OnFailure::Deny => "deny",
            OnFailure::Stale => "stale",
            OnFailure::Allow => "allow",
        },
        "onAbsent": match rule.on_absent {
            OnAbsent::Deny => "deny",
            OnAbsent::Allow => "allow",
        },
    })
}

fn origin(origin: &Origin) -> Value {
    json!({ "source": origin.source, "file": origin.file, "line": origin.line })
}

fn hosts(api: &Api) -> Vec<String> {
    api.hosts.iter().map(ToString::to_string).collect()
}

fn base_path(api: &Api) -> &str {
    match api.base_path.as_str() {
        "" => "/",
        path => path,
    }
}

const fn direction(direction: Direction) -> &'static str {
    match direction {
        Direction::Inbound => "inbound",
        Direction::Outbound => "outbound",
    }
}

const fn enforcement(enforcement: Enforcement) -> &'static str {
    match enforcement {
        Enforcement::Enforce => "enforce",
        Enforcement::Shadow => "shadow",
    }
}
