//! The authorize stage: whether the caller's application may call this operation.
//!
//! Checks without side effects come first: workload, application, subscription, scopes, blocks. Only a
//! request that none of those refuses is charged to its limits. A later fault gives nothing back.
//
// INVARIANT: a `Permit` is made here alone.

pub mod block;
pub mod quota;
pub mod registry;
pub mod scope;
pub mod source;
pub mod subscription;

use crate::authentication::principal::{Caller, Principal};
use crate::authentication::revocation::Revocations;
use crate::authorization::quota::{Allowance, Asked, Quota};
use crate::authorization::registry::Registry;
use crate::authorization::subscription::{Refused, Standing};
use crate::check::decision::Stop;
use crate::check::request::DownstreamRequest;
use crate::clock::Clock;
use crate::routing::Route;
use crate::spiffe::SpiffeId;
use crate::usage::CallerRecord;

/// Proof that authorization passed.
#[derive(Debug)]
pub struct Permit<'s> {
    principal: Principal<'s>,
    source: Option<SpiffeId>,
    standing: Standing<'s>,
    allowance: Option<Allowance<'s>>,
}

impl<'s> Permit<'s> {
    /// Who calls.
    #[must_use]
    pub fn principal(&self) -> &Principal<'s> {
        &self.principal
    }

    /// The workload that calls, where an authenticator or `from` looked at it, or a provider gives it
    /// tokens of its own. It is not revoked.
    #[must_use]
    pub fn source(&self) -> Option<&SpiffeId> {
        self.source.as_ref()
    }

    /// The application and subscription.
    #[must_use]
    pub fn standing(&self) -> &Standing<'s> {
        &self.standing
    }

    /// What is left of the limit of which least is left, where there is one.
    #[must_use]
    pub fn allowance(&self) -> Option<&Allowance<'s>> {
        self.allowance.as_ref()
    }

    /// Who calls, as logs tell it.
    #[must_use]
    pub fn caller(&self) -> CallerRecord<&str> {
        CallerRecord {
            application: self.standing.application_id(),
            plan: self.standing.plan(),
            ..verified(&self.principal, self.source.as_ref())
        }
    }
}

/// What is told about a caller of whom no more is known than the credential says.
fn verified<'p>(
    principal: &'p Principal<'_>,
    source: Option<&'p SpiffeId>,
) -> CallerRecord<&'p str> {
    CallerRecord {
        authenticator: Some(principal.authenticator()),
        subject: principal.identity().subject.as_deref(),
        source: source.map(SpiffeId::as_str),
        application: None,
        plan: None,
    }
}

/// The authorize stage.
#[derive(Debug, Clone)]
pub struct Authorization {
    clock: Clock,
    revocations: Revocations,
    quota: Quota,
}

impl Authorization {
    /// The stage, reading the time of day from `clock` and what is revoked from `revocations`, and
    /// counting by `quota`.
    #[must_use]
    pub fn new(clock: Clock, revocations: Revocations, quota: Quota) -> Self {
        Self {
            clock,
            revocations,
            quota,
        }
    }

    /// What is revoked.
    #[must_use]
    pub fn revocations(&self) -> &Revocations {
        &self.revocations
    }

    /// Finds out whether `caller` may call the operation, and charges its limits.
    ///
    /// # Errors
    /// A denial that says which of application, subscription, scopes, blocks and limits refuses it;
    /// a fault where limits cannot be counted.
    pub async fn authorize<'s>(
        &self,
        route: &Route<'s>,
        request: &DownstreamRequest,
        caller: Caller<'s>,
    ) -> Result<Permit<'s>, Stop> {
        let Caller::Verified(principal) = caller;
        let source = source::check(route, request, &principal, &self.revocations)?;
        let registry = Registry::of(route);
        let now = self.clock.now();
        let standing = match registry.standing(route, &principal, now) {
            Ok(standing) => standing,
            Err(Refused {
                denial,
                application,
            }) => {
                let application = application.map(|application| application.id.as_str());
                let caller = CallerRecord {
                    application,
                    ..verified(&principal, source.as_ref())
                };
                return Err(denial.with_caller(&caller).into());
            }
        };
        let mut permit = Permit {
            principal,
            source,
            standing,
            allowance: None,
        };
        if let Some(application) = permit.standing.application_id() {
            let checked = (self.revocations).check_application(application, &permit.principal);
            checked.map_err(|denial| denial.with_caller(&permit.caller()))?;
        }
        let asked = Asked {
            route,
            request,
            principal: &permit.principal,
            standing: &permit.standing,
        };
        let allowance =
            match scope::check(route, &permit.principal).and_then(|()| block::check(&asked, now)) {
                Ok(()) => self.quota.charge(&asked, now).await,
                Err(denial) => Err(denial.into()),
            };
        match allowance {
            Ok(allowance) => {
                permit.allowance = allowance;
                Ok(permit)
            }
            Err(Stop::Deny(denial)) => Err(denial.with_caller(&permit.caller()).into()),
            Err(fault @ Stop::Fail(_)) => Err(fault),
        }
    }
}
