//! Who knows applications and subscriptions. Today that is the catalog for every Api; a registry that
//! cannot list its applications would be a variant of its own, chosen by the Api.

use jiff::Timestamp;

use crate::authentication::principal::Principal;
use crate::authorization::subscription::{self, Refused, Standing};
use crate::routing::Route;

/// What is asked about applications and subscriptions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Registry {
    /// The catalog.
    Catalog,
}

impl Registry {
    /// The registry of the route's Api.
    #[must_use]
    pub fn of(_route: &Route<'_>) -> Self {
        Self::Catalog
    }

    /// How the caller stands with the Api.
    ///
    /// # Errors
    /// The denial, where it may not call.
    pub fn standing<'s>(
        self,
        route: &Route<'s>,
        principal: &Principal<'_>,
        now: Timestamp,
    ) -> Result<Standing<'s>, Refused<'s>> {
        match self {
            Self::Catalog => subscription::standing(route, principal, now),
        }
    }
}
