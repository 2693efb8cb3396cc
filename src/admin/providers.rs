//! What the admin API tells of providers and their tokens, and the eviction of tokens. No value of
//! a token, key or header is told.

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::admin::AdminState;
use crate::admin::answer::{AdminProblem, answer};
use crate::upstream::provider::Provider;
use crate::upstream::token_cache::HeldStatus;

/// The most tokens that are listed.
const MAX_LISTED: usize = 1000;

/// Which tokens are meant.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Selection {
    /// Those of this provider.
    provider: Option<String>,
    /// Those for this host.
    host: Option<String>,
}

impl Selection {
    fn matches(&self, provider: &str, host: &str) -> bool {
        let is = |wanted: &Option<String>, value: &str| {
            wanted.as_ref().is_none_or(|wanted| *wanted == value)
        };
        is(&self.provider, provider) && is(&self.host, host)
    }
}

pub(super) async fn providers(State(state): State<AdminState>) -> Response {
    let snapshot = state.snapshots.current();
    let statuses = state.provider_tokens.statuses();
    let providers = snapshot.providers().values();
    let told: Vec<Value> = providers
        .map(|provider| {
            let own = statuses
                .iter()
                .filter(|status| status.provider == *provider.name());
            view(provider, own.count())
        })
        .collect();
    answer(StatusCode::OK, &json!({ "providers": told }))
}

fn view(provider: &Provider, tokens: usize) -> Value {
    let service = provider.service();
    let (last, pause) = (service.last_fetch(), service.pause());
    let state = match (&pause, &last.error, &last.success) {
        (Some(_), _, _) => "paused",
        (None, Some(_), _) => "failing",
        (None, None, Some(_)) => "good",
        (None, None, None) if provider.fixed().is_some() => "always",
        (None, None, None) => "notAsked",
    };
    json!({
        "name": provider.name(),
        "type": provider.type_name(),
        "required": provider.is_required(),
        "state": state,
        "tokens": tokens,
        "lastSuccess": last.success,
        "lastFailure": last.failure,
        "lastError": last.error,
        "pausedForSeconds": pause.map(|pause| pause.left.as_secs()),
        "failuresInARow": pause.map(|pause| pause.failures),
    })
}

pub(super) async fn tokens(
    State(state): State<AdminState>,
    selection: Result<Query<Selection>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, AdminProblem> {
    let Query(selection) = selection.map_err(|_| unknown_parameter())?;
    let statuses = state.provider_tokens.statuses();
    let selected = statuses
        .iter()
        .filter(|status| selection.matches(&status.provider, &status.host));
    let selected: Vec<Value> = selected.map(token).collect();
    let listed = selected.get(..selected.len().min(MAX_LISTED));
    Ok(answer(
        StatusCode::OK,
        &json!({ "count": selected.len(), "tokens": listed }),
    ))
}

fn token(status: &HeldStatus) -> Value {
    json!({
        "provider": status.provider,
        "host": status.host,
        "path": status.path,
        "audience": status.audience,
        "scope": status.scope,
        "perCaller": status.per_caller,
        "headers": status.headers,
        "absent": status.headers.is_empty(),
        "givenAt": status.given_at,
        "expiresInSeconds": status.left_seconds,
        "used": status.used,
    })
}

pub(super) async fn evict(
    State(state): State<AdminState>,
    selection: Result<Query<Selection>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, AdminProblem> {
    let Query(selection) = selection.map_err(|_| unknown_parameter())?;
    let snapshot = state.snapshots.current();
    if let Some(provider) = &selection.provider
        && !snapshot.providers().contains_key(provider.as_str())
    {
        let detail = "there is no such provider";
        return Err(AdminProblem::new(StatusCode::NOT_FOUND, detail));
    }
    let evicted = state
        .provider_tokens
        .evict(|held| selection.matches(held.provider().0, &held.want().host));
    tracing::info!(evicted, "provider tokens were evicted");
    Ok(answer(StatusCode::OK, &json!({ "evicted": evicted })))
}

fn unknown_parameter() -> AdminProblem {
    AdminProblem::new(
        StatusCode::BAD_REQUEST,
        "the parameters are provider and host",
    )
}
