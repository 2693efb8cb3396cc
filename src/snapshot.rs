//! One immutable published state: the catalog and everything prepared from it and from the
//! reloadable part of the configuration. A request reads one snapshot from start to end.
//!
//! Nothing here decides: it only puts what the stages need side by side.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::authentication::Authenticator;
use crate::catalog::Catalog;
use crate::catalog::model::{
    Api, ApiIndex, Direction, Operation, PreflightRule, UnmatchedOperation,
};
use crate::catalog::router::{Match, NoMatch};
use crate::check::decision::{Denial, Reason};
use crate::check::exemption::Exemption;
use crate::check::request::{DownstreamRequest, without_parameters};
use crate::check::response::ApiAnswers;
use crate::upstream::mutations::{OwnedHeaders, PreparedMutations};

/// The authenticators of the configuration, by name; `anonymous` is always among them.
pub type Authenticators = HashMap<Arc<str>, Arc<Authenticator>>;

/// One published state.
#[derive(Debug)]
pub struct Snapshot {
    revision: Revision,
    catalog: Catalog,
    apis: Vec<PreparedApi>,
    owned: OwnedHeaders,
}

/// Which state it is: a digest of every document and of the reloadable configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revision(Arc<str>);

/// What the stages need of one Api, prepared when it was published.
#[derive(Debug)]
struct PreparedApi {
    admission: Admission,
    /// For the operations that have authenticators of their own.
    operations: Vec<Option<Admission>>,
    mutations: PreparedMutations,
}

/// Who is asked about callers, and what callers are told about that.
#[derive(Debug)]
struct Admission {
    authenticators: Vec<Arc<Authenticator>>,
    answers: ApiAnswers,
}

/// The Api and operation that a request is for.
#[derive(Debug, Clone, Copy)]
pub struct Route<'s> {
    snapshot: &'s Snapshot,
    matched: Match,
    /// The Api.
    pub api: &'s Api,
    /// The operation; none where the Api lets unmatched ones pass.
    pub operation: Option<&'s Operation>,
    prepared: &'s PreparedApi,
}

/// What a listener lets pass without a permit, and which Apis it serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListenerRules {
    /// Which Apis it serves.
    pub direction: Direction,
    /// What becomes of a host that no Api claims.
    pub unmatched: Unmatched,
    /// What becomes of a check without HTTP attributes.
    pub no_http: NoHttpRule,
}

/// What becomes of a request to a host that no Api claims.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unmatched {
    /// It is denied.
    Deny,
    /// It passes untouched; on outbound listeners only.
    Allow,
}

/// What becomes of a check without HTTP attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoHttpRule {
    /// It is denied.
    Deny,
    /// It passes.
    Allow,
}

/// Where a request belongs.
#[derive(Debug)]
pub enum Routed<'s> {
    /// To an operation of an Api.
    To(Route<'s>),
    /// To nothing that we judge; the Api is given where there is one.
    Exempt(Exemption, Option<Route<'s>>),
}

/// A request that belongs nowhere.
#[derive(Debug)]
pub struct Unrouted<'s> {
    /// What is said of that.
    pub denial: Denial,
    /// The Api, where the search came so far.
    pub route: Option<Route<'s>>,
}

impl<'s> Unrouted<'s> {
    fn new(route: Option<Route<'s>>, reason: Reason, detail: &'static str) -> Self {
        let denial = Denial::new(reason, detail);
        Self { denial, route }
    }
}

impl Snapshot {
    /// Prepares `catalog` for the stages. Every authenticator that an Api names is in
    /// `authenticators` ([`crate::catalog::build`] has checked that).
    #[must_use]
    pub fn new(revision: Revision, catalog: Catalog, authenticators: &Authenticators) -> Self {
        let named = |names: &[Arc<str>]| -> Vec<Arc<Authenticator>> {
            names
                .iter()
                .filter_map(|name| authenticators.get(name))
                .map(Arc::clone)
                .collect()
        };
        let apis = catalog.apis().iter().map(|api| {
            let admission = |names: &[Arc<str>]| Admission::new(api, named(names));
            let operations = api.operations.iter();
            PreparedApi {
                admission: admission(&api.authenticators),
                operations: operations
                    .map(|operation| operation.authenticators.as_deref().map(admission))
                    .collect(),
                mutations: PreparedMutations::of(api),
            }
        });
        let apis = apis.collect();
        Self {
            revision,
            owned: OwnedHeaders::of(&catalog),
            apis,
            catalog,
        }
    }

    /// Which state it is.
    #[must_use]
    pub fn revision(&self) -> &Revision {
        &self.revision
    }

    /// The catalog.
    #[must_use]
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// The headers that are ours.
    #[must_use]
    pub fn owned_headers(&self) -> &OwnedHeaders {
        &self.owned
    }

    /// Finds where a request to a listener with these rules belongs.
    ///
    /// # Errors
    /// `api_not_found`, `operation_not_found`, or `request_malformed` where the path's parameters
    /// decide which operation it is.
    pub fn route(
        &self,
        request: &DownstreamRequest,
        rules: &ListenerRules,
    ) -> Result<Routed<'_>, Unrouted<'_>> {
        let found = self.find(request, request.path(), rules.direction);
        tracing::trace!(
            target: "portcullis::explain",
            stage = "route",
            host = request.host(),
            path = request.path(),
            method = request.method(),
            named = request.api_extension(),
            ?found,
        );
        if let Some(plain) = without_parameters(request.path())
            && found != self.find(request, &plain, rules.direction)
        {
            let detail = "a path whose parameters change what it means";
            return Err(Unrouted::new(None, Reason::RequestMalformed, detail));
        }
        match found {
            Ok(matched) => self.routed(request, matched),
            Err(NoMatch::Host)
                if rules.unmatched == Unmatched::Allow && request.api_extension().is_none() =>
            {
                Ok(Routed::Exempt(Exemption::Unmatched, None))
            }
            Err(NoMatch::Host) => {
                let detail = "no api claims the host";
                Err(Unrouted::new(None, Reason::ApiNotFound, detail))
            }
            Err(NoMatch::Path) => {
                let detail = "no api lies at the path";
                Err(Unrouted::new(None, Reason::ApiNotFound, detail))
            }
            Err(NoMatch::Operation(api)) => self.routed(
                request,
                Match {
                    api,
                    operation: None,
                },
            ),
        }
    }

    /// The end of the search at an Api. A preflight request names no operation of its own, so
    /// where the Api lets those pass, so does one that no operation matches.
    fn routed(
        &self,
        request: &DownstreamRequest,
        matched: Match,
    ) -> Result<Routed<'_>, Unrouted<'_>> {
        let Some(route) = self.route_of(matched) else {
            return Err(Unrouted::new(None, Reason::ApiNotFound, "the api is gone"));
        };
        if request.is_preflight() && route.api.preflight == PreflightRule::Pass {
            return Ok(Routed::Exempt(Exemption::Preflight, Some(route)));
        }
        if route.operation.is_none() && route.api.unmatched_operation == UnmatchedOperation::Deny {
            let detail = "the api has no such operation";
            return Err(Unrouted::new(
                Some(route),
                Reason::OperationNotFound,
                detail,
            ));
        }
        Ok(Routed::To(route))
    }

    fn find(
        &self,
        request: &DownstreamRequest,
        path: &str,
        direction: Direction,
    ) -> Result<Match, NoMatch> {
        let router = self.catalog.router();
        let Some(named) = request.api_extension() else {
            return router.find(direction, request.host(), path, request.method());
        };
        let named = if named.contains('/') {
            named.into()
        } else {
            format!("default/{named}")
        };
        let api = self.catalog.index().api(&named).filter(|at| {
            self.catalog
                .api(*at)
                .is_some_and(|api| api.direction == direction)
        });
        router.find_operation(api.ok_or(NoMatch::Host)?, path, request.method())
    }

    fn route_of(&self, matched: Match) -> Option<Route<'_>> {
        Some(Route {
            snapshot: self,
            matched,
            api: self.catalog.api(matched.api)?,
            operation: matched
                .operation
                .and_then(|operation| self.catalog.operation(matched.api, operation)),
            prepared: self.apis.get(usize::try_from(matched.api.0).ok()?)?,
        })
    }
}

impl<'s> Route<'s> {
    /// The snapshot that it was found in.
    #[must_use]
    pub fn snapshot(&self) -> &'s Snapshot {
        self.snapshot
    }

    /// The catalog that it was found in.
    #[must_use]
    pub fn catalog(&self) -> &'s Catalog {
        &self.snapshot.catalog
    }

    /// The place of its Api.
    #[must_use]
    pub fn api_index(&self) -> ApiIndex {
        self.matched.api
    }

    /// The authenticators to ask, in order: the operation's own, else the Api's.
    #[must_use]
    pub fn authenticators(&self) -> &'s [Arc<Authenticator>] {
        &self.admission().authenticators
    }

    /// What the answers have in common.
    #[must_use]
    pub fn answers(&self) -> &'s ApiAnswers {
        &self.admission().answers
    }

    fn admission(&self) -> &'s Admission {
        let own = self.matched.operation.and_then(|operation| {
            let operation = usize::try_from(operation.0).ok()?;
            self.prepared.operations.get(operation)?.as_ref()
        });
        own.unwrap_or(&self.prepared.admission)
    }

    /// The removals of its Api.
    #[must_use]
    pub fn prepared_mutations(&self) -> &'s PreparedMutations {
        &self.prepared.mutations
    }
}

impl Admission {
    fn new(api: &Api, authenticators: Vec<Arc<Authenticator>>) -> Self {
        let answers = ApiAnswers::of(api, authenticators.iter().map(AsRef::as_ref));
        Self {
            authenticators,
            answers,
        }
    }
}

impl Revision {
    /// The revision with this digest, in hexadecimal.
    #[must_use]
    pub fn new(digest: &[u8]) -> Self {
        Self(
            digest
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect::<String>()
                .into(),
        )
    }

    /// The digest, in hexadecimal.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Hands out the current snapshot; publishing swaps it once.
#[derive(Debug, Clone)]
pub struct SnapshotReader(Arc<ArcSwap<Snapshot>>);

impl SnapshotReader {
    /// Hands out `first` until another is published.
    #[must_use]
    pub fn new(first: Snapshot) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(first)))
    }

    /// The current snapshot.
    #[must_use]
    pub fn current(&self) -> Arc<Snapshot> {
        self.0.load_full()
    }

    /// Makes `next` the current snapshot.
    pub fn publish(&self, next: Snapshot) {
        self.0.store(Arc::new(next));
    }
}
