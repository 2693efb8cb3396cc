//! FIWARE's management API on the admin listener: endpoints, and iSHARE credentials.
//!
//! It has the paths, fields, defaults and statuses that clients of FIWARE's
//! endpoint-configuration-service and ishare-auth-provider know. Unlike those it knows its callers,
//! checks what it is given, and answers every refusal with a problem (RFC 7807).
//
// INVARIANT: no answer holds a signing key. INVARIANT: the token of the listener is always needed.

mod credentials;
mod endpoints;
mod registration;

use std::fmt;
use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{delete, get, put};
use url::Url;

use crate::admin::answer::{AdminProblem, answer};
use crate::catalog::admission::Inadmissible;
use crate::clock::Clock;
use crate::snapshot::SnapshotReader;
use crate::store::endpoint::Endpoint;
use crate::store::error::StoreError;
use crate::store::{Store, Written};
use crate::task::Tasks;

/// The largest body of a request, in bytes: certificates and a key.
const MAX_BODY: usize = 256 * 1024;

/// How many reasons are told why an endpoint is not kept.
const MAX_PROBLEMS: usize = 10;

/// The description of the API.
const OPENAPI: &str = include_str!("fiware/openapi.json");

/// What the endpoints' tokens may be.
pub struct ProviderRules {
    /// Whether a use of the provider may name this token address.
    pub allows_token_url: bool,
    /// The party that the provider names, where it does.
    pub party: Option<String>,
}

/// What changed in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// An endpoint came or went.
    Endpoints,
    /// A credential came, went, or is another.
    Credentials,
}

/// Judges an endpoint beside those that are stored.
pub type Admit = Arc<dyn Fn(&[Endpoint], &Endpoint) -> Result<(), Inadmissible> + Send + Sync>;

/// What the API reads and writes.
#[derive(Clone)]
pub struct FiwareState {
    /// Where endpoints and credentials are.
    pub store: Store,
    /// The name of the source that makes Apis of the endpoints.
    pub source: Arc<str>,
    /// The current catalog.
    pub snapshots: SnapshotReader,
    /// Tells what the provider says of a token address.
    pub provider: Arc<dyn Fn(&Url) -> ProviderRules + Send + Sync>,
    /// Asked before an endpoint is kept, where it may take long.
    pub admit: Admit,
    /// Called after each change, where it may take long.
    pub changed: Arc<dyn Fn(Change) + Send + Sync>,
    /// The time of day, for certificates.
    pub clock: Clock,
    /// Where files are written.
    pub tasks: Tasks,
}

impl fmt::Debug for ProviderRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProviderRules")
            .field("allows_token_url", &self.allows_token_url)
            .field("party", &self.party)
            .finish()
    }
}

impl fmt::Debug for FiwareState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FiwareState")
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}

/// The API.
pub(super) fn router<S: Clone + Send + Sync + 'static>(state: FiwareState) -> Router<S> {
    Router::new()
        .route("/endpoint", get(endpoints::list).post(endpoints::register))
        .route(
            "/endpoint/{id}",
            get(endpoints::one).delete(endpoints::remove),
        )
        .route("/endpoint/{id}/{credential}", put(endpoints::credential))
        .route("/auth", get(endpoints::auth))
        .route("/credentials", get(credentials::list))
        .route(
            "/credentials/{clientId}",
            delete(credentials::remove).post(credentials::add),
        )
        .route(
            "/credentials/{clientId}/certificateChain",
            put(credentials::set_chain),
        )
        .route(
            "/credentials/{clientId}/signingKey",
            put(credentials::set_key),
        )
        .route("/openapi.json", get(openapi))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(state)
}

async fn openapi() -> Response {
    match serde_json::from_str(OPENAPI) {
        Ok(description) => answer(StatusCode::OK, &description),
        Err(_) => AdminProblem::new(StatusCode::INTERNAL_SERVER_ERROR, "it cannot be read")
            .into_response(),
    }
}

impl FiwareState {
    /// Writes the store where nobody waits for it.
    async fn write(
        &self,
        change: Change,
        write: impl FnOnce(&Store) -> Result<Written, StoreError> + Send + 'static,
    ) -> Result<Written, AdminProblem> {
        self.write_if(change, |store| write(store).map(Ok)).await
    }

    /// The same of an endpoint, which may be inadmissible.
    async fn write_if(
        &self,
        change: Change,
        write: impl FnOnce(&Store) -> Result<Result<Written, Inadmissible>, StoreError> + Send + 'static,
    ) -> Result<Written, AdminProblem> {
        let (store, changed) = (self.store.clone(), Arc::clone(&self.changed));
        let write = move || {
            let written = write(&store)?;
            if matches!(written, Ok(Written::Done | Written::Waiting)) {
                changed(change);
            }
            Ok(written)
        };
        let written = self.tasks.blocking(write).await;
        let written = written.map_err(|_| {
            AdminProblem::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "the store could not be asked",
            )
        })?;
        let written = written.map_err(|error: StoreError| refused(&error))?;
        written.map_err(|reason| inadmissible(&reason))
    }
}

/// Why an endpoint is not kept.
fn inadmissible(refused: &Inadmissible) -> AdminProblem {
    let (status, problems) = match refused {
        Inadmissible::Invalid(problems) => (StatusCode::BAD_REQUEST, problems),
        Inadmissible::Conflict(problems) => (StatusCode::CONFLICT, problems),
    };
    let told = problems.iter().take(MAX_PROBLEMS).map(|problem| {
        let message = problem.message.as_str();
        match problem.path.as_str() {
            "" => message.to_owned(),
            path => format!("{path}: {message}"),
        }
    });
    let told: Vec<String> = told.collect();
    AdminProblem::new(
        status,
        format!("the catalog would not hold with it: {}", told.join("; ")),
    )
}

/// Why the store does not take a write.
fn refused(error: &StoreError) -> AdminProblem {
    let status = match error {
        StoreError::Full => StatusCode::INSUFFICIENT_STORAGE,
        StoreError::NoKey => StatusCode::NOT_IMPLEMENTED,
        StoreError::InUse => StatusCode::SERVICE_UNAVAILABLE,
        StoreError::WrongKey
        | StoreError::WeakKey(_)
        | StoreError::KeyUnread(_)
        | StoreError::Damaged(_)
        | StoreError::Foreign
        | StoreError::Newer(_)
        | StoreError::ReadOnly
        | StoreError::Unopened(_)
        | StoreError::Other(_) => StatusCode::INTERNAL_SERVER_ERROR,
    };
    tracing::error!(error = %error, "the store refused a write");
    AdminProblem::new(status, format!("the store was not changed: {error}"))
}

/// An answer without a body, which nobody stores.
fn empty(status: StatusCode) -> Response {
    let no_store = [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    (status, no_store).into_response()
}

fn bad(detail: impl Into<String>) -> AdminProblem {
    AdminProblem::new(StatusCode::BAD_REQUEST, detail)
}

#[cfg(test)]
mod tests;
