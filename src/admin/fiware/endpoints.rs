//! `/endpoint` and `/auth`: which host and path gets a token.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use serde::Deserialize;
use serde_json::Value;
use url::Url;
use uuid::Uuid;

use crate::admin::answer::{AdminProblem, answer};
use crate::admin::fiware::registration::{Registration, auth_info, info};
use crate::admin::fiware::{Change, FiwareState, bad, empty};
use crate::catalog::model::{Api, Direction, HostPattern};
use crate::catalog::source::store::endpoint_host;
use crate::check::request::NormalPath;
use crate::store::Written;
use crate::store::endpoint::Endpoint;

pub(super) async fn list(State(state): State<FiwareState>) -> Response {
    let endpoints: Vec<Value> = state.store.endpoints().iter().map(info).collect();
    answer(StatusCode::OK, &Value::Array(endpoints))
}

pub(super) async fn register(
    State(state): State<FiwareState>,
    body: Bytes,
) -> Result<Response, AdminProblem> {
    let registration: Registration = serde_json::from_slice(&body)
        .map_err(|error| bad(format!("the body is no registration: {}", form(&error))))?;
    let (endpoint, url) = registration.into_endpoint().map_err(bad)?;
    check_provider(&state, &endpoint, &url)?;
    check_claims(&state, &endpoint)?;
    let id = endpoint.id.to_string();
    let place = format!("{}{}", endpoint.host, endpoint.base_path);
    let admit = Arc::clone(&state.admit);
    match state
        .write_if(Change::Endpoints, move |store| {
            store.add_endpoint_if(&endpoint, |stored| admit(stored, &endpoint))
        })
        .await?
    {
        Written::Taken => Err(conflict(format!("`{place}` has an endpoint already"))),
        Written::Done | Written::Waiting | Written::Missing => {
            tracing::info!(
                endpoint.id = id,
                endpoint = place,
                "an endpoint was registered"
            );
            let mut response = empty(StatusCode::CREATED);
            if let Ok(location) = HeaderValue::from_str(&id) {
                response.headers_mut().insert(header::LOCATION, location);
            }
            Ok(response)
        }
    }
}

pub(super) async fn one(
    State(state): State<FiwareState>,
    Path(id): Path<String>,
) -> Result<Response, AdminProblem> {
    Ok(answer(StatusCode::OK, &info(&find(&state, &id)?)))
}

pub(super) async fn remove(
    State(state): State<FiwareState>,
    Path(id): Path<String>,
) -> Result<Response, AdminProblem> {
    let id = parse_id(&id)?;
    match state
        .write(Change::Endpoints, move |store| store.remove_endpoint(id))
        .await?
    {
        Written::Missing => Err(missing()),
        Written::Done | Written::Waiting | Written::Taken => {
            tracing::info!(endpoint.id = %id, "an endpoint was removed");
            Ok(empty(StatusCode::NO_CONTENT))
        }
    }
}

/// FIWARE answers 204 here and changes nothing, as iSHARE credentials belong to clients.
pub(super) async fn credential(
    State(state): State<FiwareState>,
    Path((id, _)): Path<(String, String)>,
) -> Result<Response, AdminProblem> {
    find(&state, &id)?;
    Err(AdminProblem::new(
        StatusCode::NOT_IMPLEMENTED,
        "an endpoint has no credential of its own: change that of its client, at /credentials/{clientId}",
    ))
}

/// Which endpoint is asked for.
#[derive(Debug, Deserialize)]
pub(super) struct Place {
    domain: String,
    path: String,
}

pub(super) async fn auth(
    State(state): State<FiwareState>,
    place: Result<Query<Place>, QueryRejection>,
) -> Result<Response, AdminProblem> {
    let Query(place) = place.map_err(|_| bad("`domain` and `path` are needed, once each"))?;
    if place.domain.is_empty() || place.path.is_empty() {
        return Err(bad("`domain` and `path` must not be empty"));
    }
    let host = endpoint_host(&place.domain).map_err(|reason| bad(format!("`domain`: {reason}")))?;
    let endpoints = state.store.endpoints();
    let asked = place.path.split(['?', '#']).next().unwrap_or_default();
    let path = NormalPath::parse(asked).map_or(asked.into(), NormalPath::into_text);
    let own = endpoints
        .iter()
        .filter(|endpoint| endpoint.host == host && is_below(&path, &endpoint.base_path));
    let longest = own.max_by_key(|endpoint| endpoint.base_path.len());
    let endpoint = longest.ok_or_else(missing)?;
    Ok(answer(StatusCode::OK, &auth_info(endpoint)))
}

/// Whether `path` is `base` or lies below it, by whole segments.
fn is_below(path: &str, base: &str) -> bool {
    let path = path.split(['?', '#']).next().unwrap_or_default();
    match path.strip_prefix(base) {
        Some(rest) => base == "/" || rest.is_empty() || rest.starts_with('/'),
        None => false,
    }
}

fn check_provider(state: &FiwareState, endpoint: &Endpoint, url: &Url) -> Result<(), AdminProblem> {
    let rules = (state.provider)(url);
    if !rules.allows_token_url {
        return Err(bad(
            "`iShareIdpAddress` is none that the provider's `tokenUrls` allow",
        ));
    }
    match rules.party {
        Some(party) if party != endpoint.client_id => Err(bad(format!(
            "`iShareClientId` must be `{party}`: the provider is that party's"
        ))),
        _ => Ok(()),
    }
}

/// What another source claims would make the whole source of endpoints contradict it.
fn check_claims(state: &FiwareState, endpoint: &Endpoint) -> Result<(), AdminProblem> {
    let snapshot = state.snapshots.current();
    let base = match endpoint.base_path.as_str() {
        "/" => "",
        path => path,
    };
    let claims = |api: &&Api| {
        api.direction == Direction::Outbound
            && *api.origin.source != *state.source
            && (api.base_path.as_str() == base || api.base_path.as_str().is_empty())
            && api.hosts.iter().any(|host| match host {
                HostPattern::Exact(host) => **host == *endpoint.host,
                HostPattern::Suffix(_) | HostPattern::Any => false,
            })
    };
    match snapshot.catalog().apis().iter().find(claims) {
        None => Ok(()),
        Some(api) => Err(conflict(format!(
            "the api `{}` of source `{}` claims `{}` already",
            api.id.as_str(),
            api.origin.source,
            endpoint.host
        ))),
    }
}

fn find(state: &FiwareState, id: &str) -> Result<Endpoint, AdminProblem> {
    let id = parse_id(id)?;
    let endpoints = state.store.endpoints();
    let found = endpoints.into_iter().find(|endpoint| endpoint.id == id);
    found.ok_or_else(missing)
}

fn parse_id(id: &str) -> Result<Uuid, AdminProblem> {
    Uuid::try_parse(id).map_err(|_| bad("the id of an endpoint is a UUID"))
}

fn missing() -> AdminProblem {
    AdminProblem::new(StatusCode::NOT_FOUND, "there is no such endpoint")
}

fn conflict(detail: String) -> AdminProblem {
    AdminProblem::new(StatusCode::CONFLICT, detail)
}

/// What is wrong with the form of a body, without what stands there.
pub(super) fn form(error: &serde_json::Error) -> String {
    let kind = match error.classify() {
        serde_json::error::Category::Data => "a field has another type than it should",
        serde_json::error::Category::Eof
        | serde_json::error::Category::Io
        | serde_json::error::Category::Syntax => "it is no JSON",
    };
    format!("{kind}, at line {} column {}", error.line(), error.column())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_for_whole_segments_at_any_depth() {
        for (path, base) in [
            ("/", "/"),
            ("/x/y", "/"),
            ("/?x=1", "/"),
            ("/p", "/p"),
            ("/p/", "/p"),
            ("/p/a/b", "/p"),
            ("/p?x=1", "/p"),
        ] {
            assert!(is_below(path, base), "{path} {base}");
        }
        for (path, base) in [
            ("/", "/p"),
            ("/pq", "/p"),
            ("/P", "/p"),
            ("p", "/"),
            ("/*", "/p"),
        ] {
            assert!(!is_below(path, base), "{path} {base}");
        }
    }
}
