//! What is logged, shown and changed while the process runs.

use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use serde_json::json;

use crate::admin::AdminState;
use crate::admin::answer::{AdminProblem, answer};
use crate::telemetry::logging::LevelError;

/// The body of a change.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    level: String,
}

pub(super) async fn current(State(state): State<AdminState>) -> Response {
    told(&state)
}

pub(super) async fn set(
    State(state): State<AdminState>,
    body: Bytes,
) -> Result<Response, AdminProblem> {
    let change: Change = serde_json::from_slice(&body).map_err(|_| {
        AdminProblem::new(
            StatusCode::BAD_REQUEST,
            "send an object such as {\"level\": \"debug\"}",
        )
    })?;
    state.log_level.set(&change.level).map_err(|error| {
        let status = match error {
            LevelError::Unreadable(..) => StatusCode::BAD_REQUEST,
            LevelError::Gone(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        AdminProblem::new(status, error.to_string())
    })?;
    tracing::warn!(log.level = change.level, "the log level was changed");
    Ok(told(&state))
}

fn told(state: &AdminState) -> Response {
    answer(
        StatusCode::OK,
        &json!({ "level": state.log_level.current() }),
    )
}
