//! The headers of an allowed request: ours set, the client's copies of ours and its credential gone.

use crate::authentication::credential::CredentialPlace;
use crate::authorization::Permit;
use crate::check::decision::{Denial, Reason};
use crate::check::request::{DownstreamRequest, Values};
use crate::header::{HeaderName, HeaderValue};
use crate::routing::Route;
use crate::snapshot::Snapshot;
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
    if !rules.keep_credential {
        for place in permit.principal().consumed() {
            remove_credential(place, request, &mut mutations);
        }
    }
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

/// The removals that are due whoever calls: what the Api removes, and the client's copies of
/// every header that any Api of the catalog may set, in whatever spelling they came.
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

fn remove_credential(
    place: &CredentialPlace,
    request: &DownstreamRequest,
    mutations: &mut Mutations,
) {
    match place {
        CredentialPlace::Header { name, .. } => mutations.remove(name.clone()),
        CredentialPlace::Basic => remove_header("authorization", mutations),
        CredentialPlace::Query(name) => mutations.remove_query(name),
        CredentialPlace::Cookie(name) => match without_cookie(request, name) {
            Some(rest) => {
                if let Ok(cookie) = HeaderName::parse("cookie") {
                    mutations.set(cookie, rest);
                }
            }
            None => remove_header("cookie", mutations),
        },
    }
}

fn remove_header(name: &str, mutations: &mut Mutations) {
    if let Ok(name) = HeaderName::parse(name) {
        mutations.remove(name);
    }
}

/// The `cookie` header without the cookie `name`; `None` where nothing is left, or where what is
/// left cannot be written again and so goes too.
fn without_cookie(request: &DownstreamRequest, name: &str) -> Option<HeaderValue> {
    let Values::One(_) = request.cookie(name) else {
        return None;
    };
    let lines: Vec<&str> = request.headers().all("cookie").flatten().collect();
    let left = lines
        .iter()
        .flat_map(|line| line.split([';', ',']))
        .map(str::trim);
    let left: Vec<&str> = left
        .filter(|pair| {
            !pair.is_empty() && pair.split_once('=').map_or(*pair, |(key, _)| key.trim()) != name
        })
        .collect();
    if left.is_empty() {
        None
    } else {
        HeaderValue::parse(left.join("; ")).ok()
    }
}
