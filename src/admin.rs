//! The admin API: what is loaded and how it fares, for people, on a port of its own.
//!
//! It shows the catalog and changes nothing in it, but for FIWARE's endpoints ([`fiware`]), and revokes
//! tokens ([`revocations`]); it holds no lock while it answers.
//
// INVARIANT: no answer holds a secret, a key's digest, or an app id, which alone may be a credential.

pub mod access;
mod answer;
mod catalog;
pub mod fiware;
mod log_level;
pub mod observe;
mod providers;
mod quotas;
pub mod revocations;
mod view;

use std::fmt;
use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Router, middleware};
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::admin::access::Access;
use crate::admin::answer::{AdminProblem, answer};
use crate::admin::fiware::FiwareState;
use crate::admin::revocations::RevocationState;
use crate::authorization::quota::Quota;
use crate::readiness::Readiness;
use crate::snapshot::SnapshotReader;
use crate::task::Tasks;
use crate::telemetry::logging::LogLevel;
use crate::upstream::token_cache::TokenCache;

/// The largest body of a request, in bytes.
const MAX_BODY: usize = 4096;

/// Tells something as JSON when it is asked.
pub type Told = Arc<dyn Fn() -> Value + Send + Sync>;

/// What the admin API tells and does.
#[derive(Clone)]
pub struct AdminState {
    /// The current catalog.
    pub snapshots: SnapshotReader,
    /// The background tasks.
    pub tasks: Tasks,
    /// Whether checks may be sent.
    pub readiness: Readiness,
    /// How the sources of the catalog fare, and which sections of the configuration need a restart.
    pub catalog_status: Told,
    /// What is wrong with what was last loaded.
    pub problems: Told,
    /// The key sets and their ages.
    pub key_sets: Told,
    /// The counters of limits.
    pub quota: Quota,
    /// The tokens of providers.
    pub provider_tokens: TokenCache,
    /// What is revoked.
    pub revocations: RevocationState,
    /// What is logged.
    pub log_level: LogLevel,
    /// Notified to load the catalog again now.
    pub nudge_reload: Arc<Notify>,
}

impl fmt::Debug for AdminState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdminState").finish_non_exhaustive()
    }
}

/// The admin API, for those whom `access` lets in.
pub fn router(state: AdminState, fiware: Option<FiwareState>, access: Access) -> Router {
    let fiware = fiware.map_or_else(Router::new, fiware::router);
    Router::new()
        .route("/v1/catalog", get(catalog::summary))
        .route("/v1/catalog/reload", post(reload))
        .route("/v1/apis", get(catalog::apis))
        .route("/v1/apis/{namespace}/{name}", get(catalog::api))
        .route(
            "/v1/applications/{namespace}/{name}",
            get(catalog::application),
        )
        .route("/v1/plans", get(catalog::plans))
        .route("/v1/blocks", get(catalog::blocks))
        .route("/v1/quotas", get(quotas::counters))
        .route("/v1/quotas/consumers", get(quotas::consumers))
        .route("/v1/problems", get(problems))
        .route("/v1/key-sets", get(key_sets))
        .route("/v1/providers", get(providers::providers))
        .route("/v1/tokens", get(providers::tokens))
        .route("/v1/tokens/evict", post(providers::evict))
        .route("/v1/revocations", revocations::all())
        .route("/v1/revocations/{id}", revocations::one())
        .route("/v1/tasks", get(tasks))
        .route("/v1/log-level", get(log_level::current).put(log_level::set))
        .merge(fiware)
        .fallback(async || AdminProblem::new(StatusCode::NOT_FOUND, "there is nothing here"))
        .method_not_allowed_fallback(async || {
            AdminProblem::new(StatusCode::METHOD_NOT_ALLOWED, "this cannot be done here")
        })
        .with_state(state)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::from_fn_with_state(access, access::guard))
}

async fn reload(State(state): State<AdminState>) -> Response {
    state.nudge_reload.notify_one();
    tracing::info!("a reload of the catalog was asked for");
    answer(StatusCode::ACCEPTED, &json!({ "reload": "asked" }))
}

async fn problems(State(state): State<AdminState>) -> Response {
    answer(StatusCode::OK, &json!({ "problems": (state.problems)() }))
}

async fn key_sets(State(state): State<AdminState>) -> Response {
    answer(StatusCode::OK, &json!({ "keySets": (state.key_sets)() }))
}

async fn tasks(State(state): State<AdminState>) -> Response {
    let statuses = state.tasks.statuses();
    let tasks: serde_json::Map<String, Value> = statuses
        .iter()
        .map(|(name, status)| (name.to_string(), json!(status)))
        .collect();
    answer(StatusCode::OK, &json!({ "tasks": tasks }))
}

#[cfg(test)]
mod tests;
