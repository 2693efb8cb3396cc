//! The authorize stage: whether the caller's application may call this operation.
//!
//! Cheap checks without side effects come first: application, subscription, then scopes, so that
//! a request refused by those will never be charged to a quota.
//
// INVARIANT: a `Permit` is made here alone.

pub mod registry;
pub mod scope;
pub mod subscription;

use std::sync::Arc;

use crate::authentication::principal::{Caller, Principal};
use crate::authorization::registry::Registry;
use crate::authorization::subscription::Standing;
use crate::check::decision::{CallerSummary, Stop};
use crate::check::request::DownstreamRequest;
use crate::clock::Clock;
use crate::routing::Route;

/// Proof that authorization passed.
#[derive(Debug)]
pub struct Permit {
    principal: Principal,
    standing: Standing,
    caller: Arc<CallerSummary>,
}

impl Permit {
    /// Who calls.
    #[must_use]
    pub fn principal(&self) -> &Principal {
        &self.principal
    }

    /// The application and subscription.
    #[must_use]
    pub fn standing(&self) -> &Standing {
        &self.standing
    }

    /// Who calls, as logs tell it.
    #[must_use]
    pub fn caller(&self) -> &Arc<CallerSummary> {
        &self.caller
    }
}

/// The authorize stage.
#[derive(Debug, Clone)]
pub struct Authorization {
    clock: Clock,
}

impl Authorization {
    /// The stage, reading the time of day from `clock`.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self { clock }
    }

    /// Finds out whether `caller` may call the operation.
    ///
    /// # Errors
    /// A denial that says which of application, subscription and scopes refuses it.
    pub async fn authorize(
        &self,
        route: &Route<'_>,
        _request: &DownstreamRequest,
        caller: Caller,
    ) -> Result<Permit, Stop> {
        let Caller::Verified(principal) = caller;
        let registry = Registry::of(route);
        let standing = registry.standing(route, &principal, self.clock.now());
        let caller = Arc::new(CallerSummary {
            authenticator: Some(Arc::clone(principal.authenticator())),
            subject: principal.identity().subject.clone(),
            application: standing.as_ref().map_or_else(
                |refused| refused.application.clone(),
                |found| found.application_id(route),
            ),
            plan: standing
                .as_ref()
                .ok()
                .and_then(|found| found.plan().cloned()),
        });
        let standing =
            standing.map_err(|refused| refused.denial.with_caller(Arc::clone(&caller)))?;
        scope::check(route, &principal)
            .map_err(|denial| denial.with_caller(Arc::clone(&caller)))?;
        Ok(Permit {
            principal,
            standing,
            caller,
        })
    }
}
