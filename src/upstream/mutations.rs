//! What an allowed request gains and loses on its way, and the headers that are ours.

use std::collections::{HashMap, HashSet};

use crate::catalog::Catalog;
use crate::catalog::model::Api;
use crate::header::{HeaderName, HeaderValue};

/// The changes that Envoy makes to an allowed request and to its answer.
#[derive(Debug, Default, Clone)]
pub struct Mutations {
    set: Vec<(HeaderName, HeaderValue)>,
    remove: Vec<HeaderName>,
    remove_query: Vec<Box<str>>,
    response: Vec<(HeaderName, HeaderValue)>,
}

impl Mutations {
    /// Sets a header for the upstream: whatever the client sent under that name is gone.
    pub fn set(&mut self, name: HeaderName, value: HeaderValue) {
        // Envoy removes after it has set, so a header must never stand in both lists
        self.remove.retain(|removed| *removed != name);
        self.set.retain(|(set, _)| *set != name);
        self.set.push((name, value));
    }

    /// Removes a header from the client's request, unless it is set here.
    pub fn remove(&mut self, name: HeaderName) {
        if !self.set.iter().any(|(set, _)| *set == name) && !self.remove.contains(&name) {
            self.remove.push(name);
        }
    }

    /// Removes a parameter from the query.
    pub fn remove_query(&mut self, name: &str) {
        self.remove_query.push(name.into());
    }

    /// Sets a header of the answer to the client.
    pub fn set_response(&mut self, name: HeaderName, value: HeaderValue) {
        self.response.retain(|(set, _)| *set != name);
        self.response.push((name, value));
    }

    /// The headers to set for the upstream.
    #[must_use]
    pub fn set_headers(&self) -> &[(HeaderName, HeaderValue)] {
        &self.set
    }

    /// The headers to remove from the client's request.
    #[must_use]
    pub fn removed_headers(&self) -> &[HeaderName] {
        &self.remove
    }

    /// The query parameters to remove.
    #[must_use]
    pub fn removed_query(&self) -> &[Box<str>] {
        &self.remove_query
    }

    /// The headers to set in the answer to the client.
    #[must_use]
    pub fn response_headers(&self) -> &[(HeaderName, HeaderValue)] {
        &self.response
    }
}

/// The headers that any Api of the catalog may set for an upstream, by their spelling with `-`.
///
/// Upstreams behind CGI-like interfaces read `x_user` as `x-user`, so a name in any mix of the two
/// spellings is ours.
#[derive(Debug, Default)]
pub struct OwnedHeaders(HashSet<Box<str>>);

impl OwnedHeaders {
    /// The headers of every Api in `catalog`.
    #[must_use]
    pub fn of(catalog: &Catalog) -> Self {
        let names = catalog.apis().iter().flat_map(|api| &api.upstream.headers);
        Self(
            names
                .map(|(name, _)| name.as_str().replace('_', "-").into())
                .collect(),
        )
    }

    /// Whether a client's header `name` is ours in some spelling.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        if name.contains('_') {
            self.0.contains(&*name.replace('_', "-"))
        } else {
            self.0.contains(name)
        }
    }
}

/// The removals that every allowed request of one Api gets.
#[derive(Debug)]
pub struct PreparedMutations {
    remove: Vec<HeaderName>,
}

impl PreparedMutations {
    /// Those of `api`: what it removes, and what it sets, in the spellings with `-` and with `_`.
    #[must_use]
    pub fn of(api: &Api) -> Self {
        let mut remove: HashMap<HeaderName, ()> = HashMap::new();
        let ours = api
            .upstream
            .headers
            .iter()
            .map(|(name, _)| name)
            .chain(&api.upstream.remove_headers);
        for name in ours {
            for spelling in [
                name.as_str().replace('_', "-"),
                name.as_str().replace('-', "_"),
            ] {
                if let Ok(name) = HeaderName::parse(&spelling) {
                    remove.insert(name, ());
                }
            }
        }
        let mut remove: Vec<HeaderName> = remove.into_keys().collect();
        remove.sort();
        Self { remove }
    }

    /// The headers to remove unless they are set.
    #[must_use]
    pub fn remove(&self) -> &[HeaderName] {
        &self.remove
    }
}
