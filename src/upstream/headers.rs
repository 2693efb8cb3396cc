//! The headers of an allowed request: ours set, the client's copies of ours and its credential gone.

use crate::authorization::Permit;
use crate::check::decision::{Denial, Reason};
use crate::check::request::DownstreamRequest;
use crate::header::HeaderName;
use crate::routing::Route;
use crate::snapshot::Snapshot;
use crate::upstream::credentials;
use crate::upstream::mutations::Mutations;

/// The changes for one request that has a permit.
///
/// # Errors
/// `credential_invalid` where a claim that a header needs cannot stand in one.
pub fn mutate(
    route: &Route<'_>,
    request: &DownstreamRequest,
    permit: &Permit,
) -> Result<Mutations, Denial> {
    let rules = &route.api.upstream;
    let unusable = |name: &HeaderName, error| {
        Denial::new(
            Reason::CredentialInvalid,
            format!("header `{name}` cannot be made: {error}"),
        )
        .with_caller(permit.caller().clone())
    };
    let mut mutations = strip(Some(route), route.snapshot(), request);
    for (name, template) in &rules.headers {
        if let Some(value) = template
            .render(route, permit)
            .map_err(|error| unusable(name, error))?
        {
            mutations.set(name.clone(), value);
        }
    }
    for (name, template) in &rules.response_headers {
        if let Some(value) = template
            .render(route, permit)
            .map_err(|error| unusable(name, error))?
        {
            mutations.set_response(name.clone(), value);
        }
    }
    Ok(mutations)
}

/// The removals that are due whoever calls: what the Api removes, every credential in a place where
/// its authenticators look, and the client's copies of every header that any Api of the catalog may
/// set, in whatever spelling they came.
#[must_use]
pub fn strip(
    route: Option<&Route<'_>>,
    snapshot: &Snapshot,
    request: &DownstreamRequest,
) -> Mutations {
    let mut mutations = Mutations::default();
    if let Some(route) = route {
        for name in route.prepared_mutations().remove() {
            mutations.remove(name.clone());
        }
        if !route.api.upstream.keep_credential {
            credentials::remove(route.credential_places(), request, &mut mutations);
        }
    }
    for name in request.headers().names() {
        if snapshot.owned_headers().contains(name)
            && let Ok(name) = HeaderName::parse(name)
        {
            mutations.remove(name);
        }
    }
    mutations
}
