//! The authorize stage: whether the caller's application may call this operation.
//!
//! Cheap checks without side effects come first: application, subscription, then scopes, so that
//! a request refused by those will never be charged to a quota.
//
// INVARIANT: a `Permit` is made here alone.

pub mod registry;
pub mod scope;
pub mod subscription;

use crate::authentication::principal::{Caller, Principal};
use crate::authentication::revocation::Revocations;
use crate::authorization::registry::Registry;
use crate::authorization::subscription::{Refused, Standing};
use crate::check::decision::Stop;
use crate::check::request::DownstreamRequest;
use crate::clock::Clock;
use crate::routing::Route;
use crate::usage::CallerRecord;

/// Proof that authorization passed.
#[derive(Debug)]
pub struct Permit<'s> {
    principal: Principal<'s>,
    standing: Standing<'s>,
}

impl<'s> Permit<'s> {
    /// Who calls.
    #[must_use]
    pub fn principal(&self) -> &Principal<'s> {
        &self.principal
    }

    /// The application and subscription.
    #[must_use]
    pub fn standing(&self) -> &Standing<'s> {
        &self.standing
    }

    /// Who calls, as logs tell it.
    #[must_use]
    pub fn caller(&self) -> CallerRecord<&str> {
        CallerRecord {
            application: self.standing.application_id(),
            plan: self.standing.plan(),
            ..verified(&self.principal)
        }
    }
}

/// What is told about a caller of whom no more is known than the credential says.
fn verified<'p>(principal: &'p Principal<'_>) -> CallerRecord<&'p str> {
    CallerRecord {
        authenticator: Some(principal.authenticator()),
        subject: principal.identity().subject.as_deref(),
        application: None,
        plan: None,
    }
}

/// The authorize stage.
#[derive(Debug, Clone)]
pub struct Authorization {
    clock: Clock,
    revocations: Revocations,
}

impl Authorization {
    /// The stage, reading the time of day from `clock` and what is revoked from `revocations`.
    #[must_use]
    pub fn new(clock: Clock, revocations: Revocations) -> Self {
        Self { clock, revocations }
    }

    /// What is revoked.
    #[must_use]
    pub fn revocations(&self) -> &Revocations {
        &self.revocations
    }

    /// Finds out whether `caller` may call the operation.
    ///
    /// # Errors
    /// A denial that says which of application, subscription and scopes refuses it.
    pub async fn authorize<'s>(
        &self,
        route: &Route<'s>,
        _request: &DownstreamRequest,
        caller: Caller<'s>,
    ) -> Result<Permit<'s>, Stop> {
        let Caller::Verified(principal) = caller;
        let registry = Registry::of(route);
        let standing = match registry.standing(route, &principal, self.clock.now()) {
            Ok(standing) => standing,
            Err(Refused {
                denial,
                application,
            }) => {
                let application = application.map(|application| application.id.as_str());
                let caller = CallerRecord {
                    application,
                    ..verified(&principal)
                };
                return Err(denial.with_caller(&caller).into());
            }
        };
        let permit = Permit {
            principal,
            standing,
        };
        if let Some(application) = permit.standing.application_id() {
            let checked = (self.revocations).check_application(application, &permit.principal);
            checked.map_err(|denial| denial.with_caller(&permit.caller()))?;
        }
        match scope::check(route, &permit.principal) {
            Ok(()) => Ok(permit),
            Err(denial) => Err(denial.with_caller(&permit.caller()).into()),
        }
    }
}
