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
pub fn mutate<'s>(
    route: &Route<'s>,
    request: &DownstreamRequest,
    permit: &Permit<'s>,
) -> Result<Mutations<'s>, Denial> {
    let rules = &route.api.upstream;
    let unusable = |name: &HeaderName, error| {
        let why = format!("header `{name}` cannot be made: {error}");
        Denial::new(Reason::CredentialInvalid, why).with_caller(&permit.caller())
    };
    let mut mutations = strip(Some(route), route.snapshot(), request);
    for (name, template) in &rules.headers {
        mutations
            .set(name, |value| template.render(route, permit, value))
            .map_err(|error| unusable(name, error))?;
    }
    for (name, template) in &rules.response_headers {
        mutations
            .set_response(name, |value| template.render(route, permit, value))
            .map_err(|error| unusable(name, error))?;
    }
    Ok(mutations)
}

/// The removals that are due whoever calls: what the Api removes, every credential in a place where
/// its authenticators look, and the client's copies of every header that any Api of the catalog or a
/// provider of this one may set, in whatever spelling they came.
#[must_use]
pub fn strip<'s>(
    route: Option<&Route<'s>>,
    snapshot: &Snapshot,
    request: &DownstreamRequest,
) -> Mutations<'s> {
    let prepared = route.map(Route::prepared_mutations);
    let mut mutations = Mutations::removing(prepared);
    if let Some(route) = route
        && !route.api.upstream.keep_credential
    {
        credentials::remove(route.credential_places(), request, &mut mutations);
    }
    let provided = route.map(Route::credentials).unwrap_or_default();
    let is_credential = |sent: &[u8]| provided.iter().any(|credential| credential.owns(sent));
    for name in request.headers().raw_names() {
        if snapshot.owned_headers().contains(name) || is_credential(name) {
            mutations.remove_sent(name);
        }
    }
    mutations
}
