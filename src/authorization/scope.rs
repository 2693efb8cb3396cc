//! The scopes that an operation needs.

use crate::authentication::principal::Principal;
use crate::catalog::model::ScopeRule;
use crate::check::decision::{Denial, Reason};
use crate::routing::Route;

/// Verifies that `principal` has the scopes that the route's operation needs (RFC 6749 section
/// 3.3: scopes are compared exactly).
///
/// # Errors
/// `scope_insufficient`, with the scopes for the challenge.
pub fn check(route: &Route<'_>, principal: &Principal<'_>) -> Result<(), Denial> {
    let Some(operation) = route.operation else {
        return Ok(());
    };
    let (enough, needed) = match &operation.scopes {
        ScopeRule::None => return Ok(()),
        ScopeRule::AnyOf(scopes) => (
            scopes.iter().any(|scope| principal.has_scope(scope)),
            scopes,
        ),
        ScopeRule::AllOf(scopes) => (
            scopes.iter().all(|scope| principal.has_scope(scope)),
            scopes,
        ),
    };
    tracing::trace!(
        target: "portcullis::explain",
        stage = "authorize",
        found = if enough { "enough scopes" } else { "too few scopes" },
        compared = "scopes",
        needed = needed.join(" "),
        needed_are = match &operation.scopes {
            ScopeRule::AllOf(_) => "all of them",
            ScopeRule::AnyOf(_) | ScopeRule::None => "any of them",
        },
        granted = principal.identity().scopes.join(" "),
    );
    if enough {
        return Ok(());
    }
    let needed = needed.join(" ");
    Err(Denial::new(
        Reason::ScopeInsufficient,
        format!("the operation needs `{needed}`"),
    )
    .with_required_scopes(needed.into()))
}
