//! What a listener of type `jwks` answers: public keys, to whoever asks.

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;

use crate::upstream::provider::signed::published::PublishedKeys;

/// How long a reader may keep a key set, in seconds: less than the time that a new key should be
/// published ahead of its use.
const MAX_AGE: u32 = 300;

/// The routes.
pub fn router(keys: PublishedKeys) -> Router {
    Router::new()
        .route("/.well-known/jwks.json", get(all))
        .route("/{provider}/jwks.json", get(one))
        .with_state(keys)
}

async fn all(State(keys): State<PublishedKeys>) -> Response {
    answer(&keys, None)
}

async fn one(State(keys): State<PublishedKeys>, Path(provider): Path<String>) -> Response {
    answer(&keys, Some(&provider))
}

fn answer(keys: &PublishedKeys, provider: Option<&str>) -> Response {
    let Some(set) = keys.key_set(provider) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let headers = [
        (header::CONTENT_TYPE, "application/jwk-set+json".to_owned()),
        (header::CACHE_CONTROL, format!("public, max-age={MAX_AGE}")),
    ];
    (headers, set.to_string()).into_response()
}
