//! What is loaded: a summary, lists, and one thing at a time.

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::admin::AdminState;
use crate::admin::answer::{AdminProblem, answer};
use crate::admin::view;
use crate::catalog::model::{ApiId, ApplicationId};

/// The most that one answer lists.
pub(super) const MAX_PAGE: usize = 1000;

/// Which part of a list is asked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Page {
    pub(super) offset: usize,
    pub(super) limit: usize,
}

impl Default for Page {
    fn default() -> Self {
        Self {
            offset: 0,
            limit: MAX_PAGE,
        }
    }
}

impl Page {
    fn of<T>(&self, things: &[T], view: impl Fn(&T) -> Value) -> Vec<Value> {
        let page = things.iter().skip(self.offset);
        page.take(self.limit.min(MAX_PAGE)).map(view).collect()
    }
}

pub(super) async fn summary(State(state): State<AdminState>) -> Response {
    let snapshot = state.snapshots.current();
    let catalog = snapshot.catalog();
    let subscriptions: usize = catalog
        .applications()
        .iter()
        .map(|application| application.subscriptions.len())
        .sum();
    let reasons = state.readiness.reasons();
    answer(
        StatusCode::OK,
        &json!({
            "revision": snapshot.revision().as_str(),
            "counts": {
                "apis": catalog.apis().len(),
                "applications": catalog.applications().len(),
                "subscriptions": subscriptions,
                "plans": catalog.plans().len(),
                "blocks": catalog.blocks().all().len(),
            },
            "ready": reasons.is_empty(),
            "notReadyReasons": reasons,
            "status": (state.catalog_status)(),
            "problems": (state.problems)(),
        }),
    )
}

pub(super) async fn apis(
    State(state): State<AdminState>,
    page: Result<Query<Page>, QueryRejection>,
) -> Result<Response, AdminProblem> {
    let Query(page) = page.map_err(|_| no_page())?;
    let snapshot = state.snapshots.current();
    let apis = snapshot.catalog().apis();
    let listed = page.of(apis, view::api_summary);
    Ok(answer(
        StatusCode::OK,
        &json!({ "total": apis.len(), "apis": listed }),
    ))
}

pub(super) async fn api(
    State(state): State<AdminState>,
    Path((namespace, name)): Path<(String, String)>,
) -> Result<Response, AdminProblem> {
    let snapshot = state.snapshots.current();
    let catalog = snapshot.catalog();
    let api = catalog
        .api_by_id(&ApiId::new(&namespace, &name))
        .and_then(|at| catalog.api(at))
        .ok_or_else(|| AdminProblem::new(StatusCode::NOT_FOUND, "there is no such api"))?;
    Ok(answer(StatusCode::OK, &view::api(api)))
}

pub(super) async fn application(
    State(state): State<AdminState>,
    Path((namespace, name)): Path<(String, String)>,
) -> Result<Response, AdminProblem> {
    let snapshot = state.snapshots.current();
    let catalog = snapshot.catalog();
    let application = catalog
        .application_by_id(&ApplicationId::new(&namespace, &name))
        .and_then(|at| catalog.application(at))
        .ok_or_else(|| AdminProblem::new(StatusCode::NOT_FOUND, "there is no such application"))?;
    Ok(answer(
        StatusCode::OK,
        &view::application(application, catalog),
    ))
}

pub(super) async fn plans(
    State(state): State<AdminState>,
    page: Result<Query<Page>, QueryRejection>,
) -> Result<Response, AdminProblem> {
    let Query(page) = page.map_err(|_| no_page())?;
    let snapshot = state.snapshots.current();
    let plans = snapshot.catalog().plans();
    let listed = page.of(plans, view::limit::plan);
    Ok(answer(
        StatusCode::OK,
        &json!({ "total": plans.len(), "plans": listed }),
    ))
}

pub(super) async fn blocks(
    State(state): State<AdminState>,
    page: Result<Query<Page>, QueryRejection>,
) -> Result<Response, AdminProblem> {
    let Query(page) = page.map_err(|_| no_page())?;
    let snapshot = state.snapshots.current();
    let catalog = snapshot.catalog();
    let blocks = catalog.blocks().all();
    let listed = page.of(blocks, |block| view::limit::block(block, catalog));
    Ok(answer(
        StatusCode::OK,
        &json!({ "total": blocks.len(), "blocks": listed }),
    ))
}

pub(super) fn no_page() -> AdminProblem {
    AdminProblem::new(
        StatusCode::BAD_REQUEST,
        "a list takes `offset` and `limit`, which are numbers",
    )
}
