//! What monitoring asks: `/livez`, `/readyz` and `/metrics`, on a listener of their own.

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use serde_json::json;

use crate::admin::answer::{AdminProblem, answer};
use crate::readiness::Readiness;
use crate::telemetry::metrics::Metrics;

/// The media type of the metrics.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Debug, Clone)]
struct ObserveState {
    readiness: Readiness,
    metrics: Metrics,
}

/// What monitoring asks.
pub fn router(readiness: Readiness, metrics: Metrics) -> Router {
    Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/metrics", get(told_metrics))
        .fallback(async || AdminProblem::new(StatusCode::NOT_FOUND, "there is nothing here"))
        .with_state(ObserveState { readiness, metrics })
}

/// The process lives where it can say so.
async fn livez() -> Response {
    answer(StatusCode::OK, &json!({ "live": true }))
}

/// Ready, or the reasons why not.
async fn readyz(State(state): State<ObserveState>) -> Response {
    let reasons = state.readiness.reasons();
    let status = if reasons.is_empty() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    answer(
        status,
        &json!({ "ready": reasons.is_empty(), "reasons": reasons }),
    )
}

async fn told_metrics(State(state): State<ObserveState>) -> Result<Response, AdminProblem> {
    let text = state.metrics.render().map_err(|_| {
        AdminProblem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the metrics cannot be told",
        )
    })?;
    Ok(([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response())
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::Request;
    use http_body_util::BodyExt as _;
    use tower::ServiceExt as _;

    use super::*;

    async fn get(router: &Router, path: &str) -> (StatusCode, String) {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let response = router.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn readiness_tells_its_reasons() {
        let readiness = Readiness::new();
        let router = router(readiness.clone(), Metrics::new(jiff::Timestamp::UNIX_EPOCH));
        let latch = readiness.hold("key set of `partners`");
        let (status, body) = get(&router, "/readyz").await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(
            body,
            r#"{"ready":false,"reasons":["key set of `partners`"]}"#
        );
        assert_eq!(get(&router, "/livez").await.0, StatusCode::OK);
        drop(latch);
        assert_eq!(get(&router, "/readyz").await.0, StatusCode::OK);
    }

    #[tokio::test]
    async fn metrics_are_told_and_nothing_else_is() {
        let router = router(Readiness::new(), Metrics::new(jiff::Timestamp::UNIX_EPOCH));
        let (status, body) = get(&router, "/metrics").await;
        assert_eq!(status, StatusCode::OK);
        assert!(body.contains("portcullis_checks_in_flight 0"), "{body}");
        assert_eq!(get(&router, "/v1/catalog").await.0, StatusCode::NOT_FOUND);
    }
}
