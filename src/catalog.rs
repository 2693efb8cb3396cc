//! The catalog: one immutable snapshot of Apis, applications, subscriptions and plans.
//!
//! [`Catalog`] answers lookups and decides nothing. It is made whole by [`build`] from the
//! documents of the [`source`]s, and published by [`sync`].

pub mod admission;
pub mod build;
pub mod index;
pub mod model;
pub mod router;
pub mod source;
pub mod sync;

use crate::catalog::index::Index;
use crate::catalog::model::{
    Api, ApiId, ApiIndex, Application, ApplicationId, ApplicationIndex, Operation, OperationIndex,
    Plan,
};
use crate::catalog::router::Router;

/// The catalog of one revision.
#[derive(Debug)]
pub struct Catalog {
    apis: Vec<Api>,
    applications: Vec<Application>,
    plans: Vec<Plan>,
    router: Router,
    index: Index,
}

impl Catalog {
    /// The catalog of these things, whose references have been checked ([`build`]).
    #[must_use]
    pub(crate) fn new(apis: Vec<Api>, applications: Vec<Application>, plans: Vec<Plan>) -> Self {
        let router = Router::new(&apis);
        let index = Index::new(&apis, &applications);
        Self {
            apis,
            applications,
            plans,
            router,
            index,
        }
    }

    /// Every Api, in the order of [`ApiIndex`].
    #[must_use]
    pub fn apis(&self) -> &[Api] {
        &self.apis
    }

    /// Every application, in the order of [`ApplicationIndex`].
    #[must_use]
    pub fn applications(&self) -> &[Application] {
        &self.applications
    }

    /// Every plan.
    #[must_use]
    pub fn plans(&self) -> &[Plan] {
        &self.plans
    }

    /// The Api at `index`.
    #[must_use]
    pub fn api(&self, index: ApiIndex) -> Option<&Api> {
        self.apis.get(usize::try_from(index.0).ok()?)
    }

    /// The operation at `operation` of the Api at `api`.
    #[must_use]
    pub fn operation(&self, api: ApiIndex, operation: OperationIndex) -> Option<&Operation> {
        self.api(api)?
            .operations
            .get(usize::try_from(operation.0).ok()?)
    }

    /// The application at `index`.
    #[must_use]
    pub fn application(&self, index: ApplicationIndex) -> Option<&Application> {
        self.applications.get(usize::try_from(index.0).ok()?)
    }

    /// The Api called `id`.
    #[must_use]
    pub fn api_by_id(&self, id: &ApiId) -> Option<ApiIndex> {
        self.index.api(id.as_str())
    }

    /// The application called `id`.
    #[must_use]
    pub fn application_by_id(&self, id: &ApplicationId) -> Option<ApplicationIndex> {
        self.index.application(id.as_str())
    }

    /// Finds the Api and operation of a request.
    #[must_use]
    pub fn router(&self) -> &Router {
        &self.router
    }

    /// Finds applications by what their credentials say.
    #[must_use]
    pub fn index(&self) -> &Index {
        &self.index
    }
}
