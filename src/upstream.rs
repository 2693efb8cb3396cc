//! The augment stage: what the upstream sees of an allowed request, and the [`Grant`] that says so.
//!
//! Every header set overwrites; every header that the catalog may set is taken from the client's
//! copy of the request, also when this request sets none; the credential that was used is removed.
//
// INVARIANT: a `Grant` is made from a `Permit`, or from one of the three exemptions.

mod credentials;
pub mod headers;
pub mod mutations;
pub mod provide;
pub mod provider;
pub mod template;
pub mod token_cache;
pub mod token_refresh;

use std::time::Instant;

use crate::authorization::Permit;
use crate::authorization::quota::Allowance;
use crate::check::decision::Stop;
use crate::check::exemption::Exemption;
use crate::check::request::DownstreamRequest;
use crate::routing::Route;
use crate::upstream::mutations::Mutations;
use crate::upstream::provide::provide;
use crate::upstream::provider::service::TokenOutcome;
use crate::usage::CallerRecord;

/// Leave to pass, with what changes on the way.
#[derive(Debug)]
pub struct Grant<'s> {
    ground: Ground,
    mutations: Mutations<'s>,
    permit: Option<Permit<'s>>,
    token: Option<TokenOutcome>,
}

/// Why a request may pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ground {
    /// Its caller was authenticated and authorized.
    Permit,
    /// It is one of the exemptions.
    Exempt(Exemption),
}

impl<'s> Grant<'s> {
    /// The grant of an exemption, with the removals that are due.
    #[must_use]
    pub fn exempt(exemption: Exemption, mutations: Mutations<'s>) -> Self {
        Self {
            ground: Ground::Exempt(exemption),
            mutations,
            permit: None,
            token: None,
        }
    }

    /// Why the request may pass.
    #[must_use]
    pub fn ground(&self) -> Ground {
        self.ground
    }

    /// What changes on the way.
    #[must_use]
    pub fn mutations(&self) -> &Mutations<'s> {
        &self.mutations
    }

    /// The headers that tell the client of its limits, where it is told.
    #[must_use]
    pub fn quota_headers(&self) -> &[(&'static str, String)] {
        let allowance = self.permit.as_ref().and_then(Permit::allowance);
        allowance.map_or(&[][..], Allowance::headers)
    }

    /// The limit of which least is left, where there is one.
    #[must_use]
    pub fn allowance(&self) -> Option<&Allowance<'s>> {
        self.permit.as_ref()?.allowance()
    }

    /// How its need for a provider's token was met, where it had any.
    #[must_use]
    pub fn token(&self) -> Option<TokenOutcome> {
        self.token
    }

    /// Who called.
    #[must_use]
    pub fn caller(&self) -> CallerRecord<&str> {
        self.permit.as_ref().map(Permit::caller).unwrap_or_default()
    }
}

/// Names for `explain`.
fn listed<'n>(names: impl Iterator<Item = &'n str>) -> String {
    names.collect::<Vec<_>>().join(", ")
}

/// Makes the changes for the upstream; a token that is not there yet is waited for, `until` at most.
///
/// # Errors
/// `credential_invalid` where a claim that a header needs cannot stand in one;
/// `dependency_unavailable` where a provider's token cannot be had.
pub async fn augment<'s>(
    route: &Route<'s>,
    request: &DownstreamRequest,
    permit: Permit<'s>,
    until: impl Fn() -> Instant,
) -> Result<Grant<'s>, Stop> {
    let mut mutations = headers::mutate(route, request, &permit)?;
    let token = if route.api.upstream.credentials.is_empty() {
        None
    } else {
        provide(route, request, &permit, &mut mutations, &until).await?
    };
    tracing::trace!(
        target: "portcullis::explain",
        stage = "augment",
        set = listed(mutations.set_headers().map(|(name, _)| name)),
        removed = listed(mutations.removed_headers()),
        removed_from_query = listed(mutations.removed_query()),
    );
    Ok(Grant {
        ground: Ground::Permit,
        mutations,
        permit: Some(permit),
        token,
    })
}
