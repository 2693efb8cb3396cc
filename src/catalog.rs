//! The catalog: one immutable snapshot of Apis, applications, subscriptions and plans.
//!
//! [`Catalog`] answers lookups and decides nothing. It is made whole by [`build`] from the
//! documents of the [`source`]s, and published by [`sync`].

pub mod admission;
pub mod blocks;
pub mod build;
pub mod index;
pub mod model;
pub mod router;
pub mod source;
pub mod sync;

use crate::catalog::blocks::Blocks;
use crate::catalog::index::Index;
use crate::catalog::model::limit::{Block, Plan};
use crate::catalog::model::{
    Api, ApiId, ApiIndex, Application, ApplicationId, ApplicationIndex, Operation, OperationIndex,
    PlanIndex,
};
use crate::catalog::router::Router;

/// The catalog of one revision.
#[derive(Debug)]
pub struct Catalog {
    apis: Vec<Api>,
    applications: Vec<Application>,
    plans: Vec<Plan>,
    blocks: Blocks,
    router: Router,
    index: Index,
}

/// What a catalog is made of. References are places in these lists.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    /// Every Api.
    pub(crate) apis: Vec<Api>,
    /// Every application.
    pub(crate) applications: Vec<Application>,
    /// Every plan.
    pub(crate) plans: Vec<Plan>,
    /// Every block.
    pub(crate) blocks: Vec<Block>,
}

impl Catalog {
    /// The catalog of these things, whose references have been checked ([`build`]).
    #[must_use]
    pub(crate) fn new(contents: Contents) -> Self {
        let Contents {
            apis,
            applications,
            plans,
            blocks,
        } = contents;
        let router = Router::new(&apis);
        let index = Index::new(&apis, &applications, &plans);
        Self {
            apis,
            applications,
            plans,
            blocks: Blocks::new(blocks),
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

    /// The plan at `index`.
    #[must_use]
    pub fn plan(&self, index: PlanIndex) -> Option<&Plan> {
        self.plans.get(usize::try_from(index.0).ok()?)
    }

    /// What refuses requests that nothing else refuses.
    #[must_use]
    pub fn blocks(&self) -> &Blocks {
        &self.blocks
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
