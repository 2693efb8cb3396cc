//! The route stage: the Api and operation that a request is for, or the exemption that it falls under.
//!
//! It asks the catalog's [`crate::catalog::router`] and makes of its answer a [`Route`], which is
//! what the later stages are given. Nothing here knows who calls.

use std::sync::Arc;

use crate::authentication::Authenticator;
use crate::authentication::credential::CredentialPlace;
use crate::catalog::Catalog;
use crate::catalog::model::{Api, ApiId, ApiIndex, Direction, Operation, PreflightRule};
use crate::catalog::router::{Match, NoMatch};
use crate::check::decision::{Denial, Reason};
use crate::check::exemption::Exemption;
use crate::check::request::{DownstreamRequest, without_parameters};
use crate::check::response::ApiAnswers;
use crate::snapshot::{Admission, PreparedApi, Snapshot};
use crate::upstream::mutations::PreparedMutations;
use crate::upstream::provide::PreparedCredential;
use crate::usage::PermitCounter;

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

/// The Api and operation that a request is for.
#[derive(Debug, Clone, Copy)]
pub struct Route<'s> {
    snapshot: &'s Snapshot,
    index: ApiIndex,
    /// The Api.
    pub api: &'s Api,
    /// The operation; none where the Api lets unmatched ones pass.
    pub operation: Option<&'s Operation>,
    admission: &'s Admission,
    prepared: &'s PreparedApi,
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

/// Finds where a request to a listener with these rules belongs.
///
/// # Errors
/// `api_not_found`, `operation_not_found`, or `request_malformed` where the path's parameters
/// decide which operation it is.
pub fn route<'s>(
    snapshot: &'s Snapshot,
    request: &DownstreamRequest,
    rules: &ListenerRules,
) -> Result<Routed<'s>, Unrouted<'s>> {
    let found = find(snapshot, request, request.path(), rules.direction);
    explain(snapshot, request, found);
    if let Some(plain) = without_parameters(request.path())
        && found != find(snapshot, request, &plain, rules.direction)
    {
        let detail = "a path whose parameters change what it means";
        return Err(Unrouted::new(None, Reason::RequestMalformed, detail));
    }
    match found {
        Ok(matched) => end_at(snapshot, request, matched),
        Err(NoMatch::Host)
            if rules.unmatched == Unmatched::Allow && request.api_extension().is_none() =>
        {
            Ok(Routed::Exempt(Exemption::Unmatched, None))
        }
        Err(NoMatch::Host) => {
            let detail = match request.api_extension() {
                Some(_) => "there is no such api as the Envoy route names",
                None => "no api claims the host",
            };
            Err(Unrouted::new(None, Reason::ApiNotFound, detail))
        }
        Err(NoMatch::Path) => {
            let detail = "no api lies at the path";
            Err(Unrouted::new(None, Reason::ApiNotFound, detail))
        }
        Err(NoMatch::Operation(api)) => without_operation(snapshot, request, api),
    }
}

/// Tells `explain` what the search found.
fn explain(snapshot: &Snapshot, request: &DownstreamRequest, found: Result<Match, NoMatch>) {
    if !tracing::enabled!(target: "portcullis::explain", tracing::Level::TRACE) {
        return;
    }
    let catalog = snapshot.catalog();
    let id = |at: ApiIndex| catalog.api(at).map_or("", |api| api.id.as_str());
    let named = request.api_extension();
    let (found, operation) = match found {
        Ok(matched) => {
            let operation = matched.operation;
            let operation =
                operation.and_then(|operation| catalog.operation(matched.api, operation));
            let template =
                operation.map_or("none: the api allows all", |operation| &operation.path.text);
            (format!("api {}", id(matched.api)), Some(template))
        }
        Err(NoMatch::Host) => match named {
            Some(named) => (format!("there is no such api as `{named}`"), None),
            None => ("no api claims the host".to_owned(), None),
        },
        Err(NoMatch::Path) => ("no api lies at the path".to_owned(), None),
        Err(NoMatch::Operation(api)) => (format!("api {}", id(api)), Some("none matches")),
    };
    tracing::trace!(
        target: "portcullis::explain",
        stage = "route",
        found,
        operation,
        method = request.method(),
        host = request.host(),
        path = request.path(),
        named,
    );
}

/// The end of the search at what the request is for.
fn end_at<'s>(
    snapshot: &'s Snapshot,
    request: &DownstreamRequest,
    matched: Match,
) -> Result<Routed<'s>, Unrouted<'s>> {
    let Some(route) = Route::new(snapshot, matched) else {
        return Err(Unrouted::new(None, Reason::ApiNotFound, "the api is gone"));
    };
    if passes_as_preflight(request, &route) {
        return Ok(Routed::Exempt(Exemption::Preflight, Some(route)));
    }
    Ok(Routed::To(route))
}

/// The end of the search at an Api that has no operation for the request. A preflight request names
/// none of its own, so where the Api lets those pass, so does this one.
fn without_operation<'s>(
    snapshot: &'s Snapshot,
    request: &DownstreamRequest,
    api: ApiIndex,
) -> Result<Routed<'s>, Unrouted<'s>> {
    let operation = None;
    let route = Route::new(snapshot, Match { api, operation });
    match route {
        Some(route) if passes_as_preflight(request, &route) => {
            Ok(Routed::Exempt(Exemption::Preflight, Some(route)))
        }
        route => {
            let detail = "the api has no such operation";
            Err(Unrouted::new(route, Reason::OperationNotFound, detail))
        }
    }
}

fn passes_as_preflight(request: &DownstreamRequest, route: &Route<'_>) -> bool {
    request.is_preflight() && route.api.preflight == PreflightRule::Pass
}

fn find(
    snapshot: &Snapshot,
    request: &DownstreamRequest,
    path: &str,
    direction: Direction,
) -> Result<Match, NoMatch> {
    let catalog = snapshot.catalog();
    let router = catalog.router();
    let Some(named) = request.api_extension() else {
        return router.find(direction, request.host(), path, request.method());
    };
    let named = ApiId::parse(named);
    let api = catalog.api_by_id(&named).filter(|at| {
        catalog
            .api(*at)
            .is_some_and(|api| api.direction == direction)
    });
    router.find_operation(api.ok_or(NoMatch::Host)?, path, request.method())
}

impl<'s> Route<'s> {
    fn new(snapshot: &'s Snapshot, matched: Match) -> Option<Self> {
        let catalog = snapshot.catalog();
        let prepared = snapshot.prepared(matched.api)?;
        let operation = matched.operation;
        Some(Self {
            snapshot,
            index: matched.api,
            api: catalog.api(matched.api)?,
            operation: operation.and_then(|operation| catalog.operation(matched.api, operation)),
            admission: prepared.admission(operation),
            prepared,
        })
    }

    /// The snapshot that it was found in.
    #[must_use]
    pub fn snapshot(&self) -> &'s Snapshot {
        self.snapshot
    }

    /// The catalog that it was found in.
    #[must_use]
    pub fn catalog(&self) -> &'s Catalog {
        self.snapshot.catalog()
    }

    /// The place of its Api.
    #[must_use]
    pub fn api_index(&self) -> ApiIndex {
        self.index
    }

    /// The authenticators to ask, in order: the operation's own, else the Api's.
    #[must_use]
    pub fn authenticators(&self) -> &'s [Arc<Authenticator>] {
        &self.admission.authenticators
    }

    /// What the answers have in common.
    #[must_use]
    pub fn answers(&self) -> &'s ApiAnswers {
        &self.admission.answers
    }

    /// Whether a provider of its Api gives each workload that calls tokens of its own.
    #[must_use]
    pub fn gives_each_workload_its_own(&self) -> bool {
        let mut credentials = self.credentials().iter();
        credentials.any(|credential| credential.provider().is_per_workload())
    }

    /// Every place where an authenticator of its Api looks for a credential.
    #[must_use]
    pub fn credential_places(&self) -> &'s [CredentialPlace] {
        self.prepared.places()
    }

    /// Whether its Api claims `host`: always so, unless the Envoy route named the Api.
    #[must_use]
    pub fn claims(&self, host: &str) -> bool {
        self.api.hosts.iter().any(|pattern| pattern.matches(host))
    }

    /// The credentials that its Api's upstream sees.
    #[must_use]
    pub fn credentials(&self) -> &'s [PreparedCredential] {
        self.prepared.credentials()
    }

    /// Counts the permitted checks of its Api.
    #[must_use]
    pub fn permits(&self) -> &'s PermitCounter {
        self.prepared.permits()
    }

    /// The removals of its Api.
    #[must_use]
    pub fn prepared_mutations(&self) -> &'s PreparedMutations {
        self.prepared.mutations()
    }
}
