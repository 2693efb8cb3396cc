//! What is revoked: listed, added to and removed from. No token is told, nor kept.

use std::sync::Arc;

use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{MethodRouter, get};
use bytes::Bytes;
use serde_json::{Value, json};

use crate::admin::answer::{AdminProblem, answer};
use crate::admin::catalog::{MAX_PAGE, Page, no_page};
use crate::admin::{AdminState, Told};
use crate::authentication::revocation::document::EntryDocument;
use crate::authentication::revocation::entry::{Entered, Entry, EntryId};
use crate::authentication::revocation::keeper::{Keeper, Kept, NotKept, NotRemoved};

/// The largest body: the longest token, and what is said about it.
const MAX_BODY: usize = 20 * 1024;

/// What revocations are told by.
#[derive(Clone)]
pub struct RevocationState {
    /// What keeps them.
    pub keeper: Keeper,
    /// How their sources stand.
    pub sources: Told,
}

impl std::fmt::Debug for RevocationState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RevocationState").finish_non_exhaustive()
    }
}

/// `/v1/revocations`
pub(super) fn all() -> MethodRouter<AdminState> {
    get(list).post(add).layer(DefaultBodyLimit::max(MAX_BODY))
}

/// `/v1/revocations/{id}`
pub(super) fn one() -> MethodRouter<AdminState> {
    get(find).delete(remove)
}

async fn list(
    State(state): State<AdminState>,
    page: Result<Query<Page>, QueryRejection>,
) -> Result<Response, AdminProblem> {
    let Query(page) = page.map_err(|_| no_page())?;
    let RevocationState { keeper, sources } = &state.revocations;
    let (total, listed) = keeper
        .revocations()
        .list(page.offset, page.limit.min(MAX_PAGE));
    let listed: Vec<Value> = listed.iter().map(view).collect();
    Ok(answer(
        StatusCode::OK,
        &json!({ "total": total, "revocations": listed, "sources": sources() }),
    ))
}

async fn find(
    State(state): State<AdminState>,
    Path(id): Path<String>,
) -> Result<Response, AdminProblem> {
    let found = state.revocations.keeper.revocations().get(parse(&id)?);
    let found = found.ok_or_else(|| not_removed(&NotRemoved::Missing))?;
    Ok(answer(StatusCode::OK, &view(&found)))
}

async fn add(
    State(state): State<AdminState>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, AdminProblem> {
    let body = body
        .map_err(|_| AdminProblem::new(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large"))?;
    let bad = |why: String| AdminProblem::new(StatusCode::BAD_REQUEST, why);
    // read as what has one meaning, and told without what stands in it
    let value = crate::json::parse_object(&body)
        .map_err(|_| bad("the body is no JSON object of one meaning".to_owned()))?;
    let document: EntryDocument = serde_json::from_value(Value::Object(value)).map_err(|_| {
        bad("an entry has `kind`, `value` or `token`, `issuer`, `before`, `until` and `note`; kinds are token, jti, subject, client, session, issuer, application; times are as 2027-01-01T00:00:00Z".to_owned())
    })?;
    let keeper = &state.revocations.keeper;
    let reading = keeper.reading(Entered::Admin);
    let entry = document
        .read(&reading, state.snapshots.current().mesh())
        .map_err(|wrong| bad(format!("`{}` {}", wrong.place, wrong.why)))?;
    let (entry, kept) = keeper
        .enter(entry)
        .await
        .map_err(|error| not_kept(&error))?;
    let mut told = view(&entry);
    if let Value::Object(told) = &mut told {
        told.insert("kept".to_owned(), json!(kept.name()));
    }
    let status = match kept {
        Kept::Redis | Kept::Store | Kept::Memory => StatusCode::CREATED,
        Kept::Pending => StatusCode::ACCEPTED,
    };
    Ok(answer(status, &told))
}

async fn remove(
    State(state): State<AdminState>,
    Path(id): Path<String>,
) -> Result<Response, AdminProblem> {
    let removed = state.revocations.keeper.remove(parse(&id)?).await;
    let removed = removed.map_err(|error| not_removed(&error))?;
    Ok(answer(
        StatusCode::OK,
        &json!({ "removed": view(&removed) }),
    ))
}

fn view(entry: &Arc<Entry>) -> Value {
    serde_json::to_value(entry.view()).unwrap_or_default()
}

fn parse(id: &str) -> Result<EntryId, AdminProblem> {
    id.parse().map_err(|_| not_removed(&NotRemoved::Missing))
}

fn not_kept(error: &NotKept) -> AdminProblem {
    let status = match error {
        NotKept::Full(_) => StatusCode::INSUFFICIENT_STORAGE,
        NotKept::Store(_) | NotKept::Ending => StatusCode::SERVICE_UNAVAILABLE,
    };
    AdminProblem::new(status, error.to_string())
}

fn not_removed(error: &NotRemoved) -> AdminProblem {
    let status = match error {
        NotRemoved::Missing => StatusCode::NOT_FOUND,
        NotRemoved::InFile => StatusCode::CONFLICT,
        NotRemoved::Shared(_) | NotRemoved::Store(_) | NotRemoved::Ending => {
            StatusCode::SERVICE_UNAVAILABLE
        }
    };
    AdminProblem::new(status, error.to_string())
}
