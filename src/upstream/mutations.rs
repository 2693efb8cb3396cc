//! What an allowed request gains and loses on its way, and the headers that are ours.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::ops::Range;

use crate::catalog::Catalog;
use crate::catalog::model::Api;
use crate::header::{HeaderError, HeaderName, HeaderValue};
use crate::upstream::provider::answer::CredentialHeader;

/// The changes that Envoy makes to an allowed request and to its answer. Names are those of the
/// snapshot wherever they stand there; values are written one after the other.
//
// INVARIANT: no header stands among those that are set and those that are removed, as Envoy removes
// after it has set; and every value has passed [`HeaderValue::check`].
#[derive(Debug, Default)]
pub struct Mutations<'s> {
    /// Removed unless it is set.
    always: &'s [HeaderName],
    remove: Vec<Cow<'s, HeaderName>>,
    remove_query: Vec<Box<str>>,
    set: Vec<Setting<'s>>,
    response: Vec<Setting<'s>>,
    values: Values,
}

/// A header, and where its value stands.
type Setting<'s> = (Cow<'s, HeaderName>, Range<usize>);

/// Values, one after the other. One may be a credential for the upstream: `Debug` tells none.
#[derive(Default)]
struct Values(String);

/// Room for the values of most requests.
const USUAL_BYTES: usize = 256;
/// Room for the values of most requests that get a provider's token.
const USUAL_TOKEN_BYTES: usize = 2048;
/// Room for the headers that most Apis set.
const USUAL_HEADERS: usize = 8;

impl std::fmt::Debug for Values {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Values({} bytes)", self.0.len())
    }
}

impl Values {
    /// Adds a value that has been checked.
    fn put(&mut self, value: &str) -> Range<usize> {
        let start = self.0.len();
        self.0.push_str(value);
        start..self.0.len()
    }

    /// Lets `write` write a value; none, where it finds nothing to write.
    fn add<E: From<HeaderError>>(
        &mut self,
        write: impl FnOnce(&mut String) -> Result<bool, E>,
    ) -> Result<Option<Range<usize>>, E> {
        if self.0.capacity() == 0 {
            self.0.reserve(USUAL_BYTES);
        }
        let start = self.0.len();
        let written = write(&mut self.0).and_then(|written| {
            if written {
                HeaderValue::check(self.0.get(start..).unwrap_or_default())?;
            }
            Ok(written)
        });
        match written {
            Ok(true) => Ok(Some(start..self.0.len())),
            Ok(false) => {
                self.0.truncate(start);
                Ok(None)
            }
            Err(error) => {
                self.0.truncate(start);
                Err(error)
            }
        }
    }
}

impl<'s> Mutations<'s> {
    /// No more than the removals of `prepared`.
    #[must_use]
    pub fn removing(prepared: Option<&'s PreparedMutations>) -> Self {
        let room = prepared.map_or(0, |prepared| prepared.room);
        Self {
            always: prepared.map_or(&[], PreparedMutations::remove),
            values: Values(String::with_capacity(room)),
            ..Self::default()
        }
    }

    /// Sets a header for the upstream to what `write` writes: whatever the client sent under that
    /// name is gone. Where `write` finds nothing to write (`false`), nothing is set.
    ///
    /// # Errors
    /// Where `write` fails, or its text cannot stand in a header.
    pub fn set<E: From<HeaderError>>(
        &mut self,
        name: &'s HeaderName,
        write: impl FnOnce(&mut String) -> Result<bool, E>,
    ) -> Result<(), E> {
        if let Some(value) = self.values.add(write)? {
            self.set_to(Cow::Borrowed(name), value);
        }
        Ok(())
    }

    /// Sets a header that the client sent anew.
    ///
    /// # Errors
    /// Where `value` cannot stand in a header, or the header cannot be set.
    pub fn set_sent(&mut self, sent: &[u8], value: &str) -> Result<(), HeaderError> {
        let name = parse_sent(sent)?;
        let written = self.values.add(|values| {
            values.push_str(value);
            Ok::<_, HeaderError>(true)
        })?;
        if let Some(value) = written {
            self.set_to(Cow::Owned(name), value);
        }
        Ok(())
    }

    /// Sets or removes a credential for the upstream, which was checked when it was made. `own` is
    /// its name where the snapshot has it. A header that the Api itself sets stays as it is.
    pub fn set_credential(&mut self, own: Option<&'s HeaderName>, header: &CredentialHeader) {
        if self.sets(header.name()) {
            // the client's own cookies are not the Api's, although they are written anew
            if header.name().as_str() != "cookie" {
                return;
            }
            self.set.retain(|(set, _)| **set != *header.name());
        }
        let name = match own {
            Some(name) => Cow::Borrowed(name),
            None => Cow::Owned(header.name().clone()),
        };
        match header.value() {
            Some(value) => {
                let value = self.values.put(value);
                self.remove.retain(|removed| *removed != name);
                self.set.push((name, value));
            }
            None if !self.removes(name.as_str().as_bytes()) => self.remove.push(name),
            None => {}
        }
    }

    fn set_to(&mut self, name: Cow<'s, HeaderName>, value: Range<usize>) {
        self.remove.retain(|removed| *removed != name);
        self.set.retain(|(set, _)| *set != name);
        if self.set.capacity() == 0 {
            self.set.reserve(USUAL_HEADERS);
        }
        self.set.push((name, value));
    }

    /// Removes a header from the client's request, unless it is set here.
    pub fn remove(&mut self, name: &'s HeaderName) {
        if !self.removes(name.as_str().as_bytes()) && !self.sets(name) {
            self.remove.push(Cow::Borrowed(name));
        }
    }

    /// Removes a header that the client sent, unless it is set here. One that must not be touched
    /// stays.
    pub fn remove_sent(&mut self, sent: &[u8]) {
        if let Ok(name) = parse_sent(sent)
            && !self.removes(name.as_str().as_bytes())
            && !self.sets(&name)
        {
            self.remove.push(Cow::Owned(name));
        }
    }

    /// Removes a parameter from the query.
    pub fn remove_query(&mut self, name: &str) {
        self.remove_query.push(name.into());
    }

    /// Sets a header of the answer to the client to what `write` writes, if anything.
    ///
    /// # Errors
    /// As [`Mutations::set`].
    pub fn set_response<E: From<HeaderError>>(
        &mut self,
        name: &'s HeaderName,
        write: impl FnOnce(&mut String) -> Result<bool, E>,
    ) -> Result<(), E> {
        if let Some(value) = self.values.add(write)? {
            self.response.retain(|(set, _)| **set != *name);
            self.response.push((Cow::Borrowed(name), value));
        }
        Ok(())
    }

    fn sets(&self, name: &HeaderName) -> bool {
        self.set.iter().any(|(set, _)| **set == *name)
    }

    /// Whether a header, in lower case, is removed.
    #[must_use]
    pub fn removes(&self, name: &[u8]) -> bool {
        self.removed_headers()
            .any(|removed| removed.as_bytes() == name)
    }

    /// The headers to set for the upstream.
    pub fn set_headers(&self) -> impl Iterator<Item = (&str, &str)> + Clone {
        self.settings(&self.set)
    }

    /// The headers to remove from the client's request.
    pub fn removed_headers(&self) -> impl Iterator<Item = &str> + Clone {
        let always = self.always.iter().filter(|name| !self.sets(name));
        let remove = self.remove.iter().map(|name| name.as_str());
        always.map(HeaderName::as_str).chain(remove)
    }

    /// The query parameters to remove.
    pub fn removed_query(&self) -> impl Iterator<Item = &str> + Clone {
        self.remove_query.iter().map(AsRef::as_ref)
    }

    /// The headers to set in the answer to the client.
    pub fn response_headers(&self) -> impl Iterator<Item = (&str, &str)> + Clone {
        self.settings(&self.response)
    }

    fn settings<'m>(
        &'m self,
        settings: &'m [Setting<'s>],
    ) -> impl Iterator<Item = (&'m str, &'m str)> + Clone {
        settings.iter().map(|(name, value)| {
            let value = self.values.0.get(value.clone());
            (name.as_str(), value.unwrap_or_default())
        })
    }
}

fn parse_sent(sent: &[u8]) -> Result<HeaderName, HeaderError> {
    let text = std::str::from_utf8(sent).map_err(|_| HeaderError::NotAToken)?;
    HeaderName::parse(text)
}

/// The headers that any Api of the catalog may set for an upstream, by their spelling with `-`.
///
/// Upstreams behind CGI-like interfaces read `x_user` as `x-user`, so a name in any mix of the two
/// spellings is ours.
#[derive(Debug, Default)]
pub struct OwnedHeaders {
    names: HashSet<Box<[u8]>>,
    /// One bit for each [`mark`] of a name: most headers of a client can be told from it.
    marks: [u64; 4],
}

impl OwnedHeaders {
    /// The headers of every Api in `catalog`.
    #[must_use]
    pub fn of(catalog: &Catalog) -> Self {
        let mut owned = Self::default();
        let names = catalog.apis().iter().flat_map(|api| &api.upstream.headers);
        for (name, _) in names {
            let name = name.as_str().replace('_', "-").into_bytes();
            let (word, bit) = mark(&name);
            if let Some(word) = owned.marks.get_mut(word) {
                *word |= bit;
            }
            owned.names.insert(name.into());
        }
        owned
    }

    /// Whether a client's header `name`, in lower case, is ours in some spelling.
    #[must_use]
    pub fn contains(&self, name: &[u8]) -> bool {
        let (word, bit) = mark(name);
        if self.marks.get(word).is_none_or(|word| word & bit == 0) {
            return false;
        }
        if !name.contains(&b'_') {
            return self.names.contains(name);
        }
        let dashed: Vec<u8> = name.iter().copied().map(dashed).collect();
        self.names.contains(&*dashed)
    }
}

const fn dashed(byte: u8) -> u8 {
    if byte == b'_' { b'-' } else { byte }
}

/// A word and a bit in it, by the length and two bytes of a name, which `_` for `-` does not change.
fn mark(name: &[u8]) -> (usize, u64) {
    let byte = |at: usize| usize::from(name.get(at).copied().map_or(0, dashed));
    let last = byte(name.len().saturating_sub(1));
    let sum = name.len() * 5 + byte(2) * 3 + last;
    (sum / 64 % 4, 1 << (sum % 64))
}

/// The removals that every allowed request of one Api gets.
#[derive(Debug)]
pub struct PreparedMutations {
    remove: Vec<HeaderName>,
    /// How many bytes the values of most requests have; 0 where that is not known.
    room: usize,
}

impl PreparedMutations {
    /// Those of `api`: what it removes, and what it or a provider sets, in the spellings with `-` and with `_`.
    #[must_use]
    pub fn of(api: &Api) -> Self {
        let mut remove: HashMap<HeaderName, ()> = HashMap::new();
        let ours = api
            .upstream
            .headers
            .iter()
            .map(|(name, _)| name)
            .chain(&api.upstream.remove_headers)
            .chain(
                api.upstream
                    .credentials
                    .iter()
                    .flat_map(|rule| &rule.removed),
            );
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
        let room = if api.upstream.credentials.is_empty() {
            0
        } else {
            USUAL_TOKEN_BYTES
        };
        Self { remove, room }
    }

    /// The headers to remove unless they are set.
    #[must_use]
    pub fn remove(&self) -> &[HeaderName] {
        &self.remove
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> HeaderName {
        HeaderName::parse(text).unwrap()
    }

    fn put<'v>(value: &'v str) -> impl FnOnce(&mut String) -> Result<bool, HeaderError> + 'v {
        |text| {
            text.push_str(value);
            Ok(true)
        }
    }

    #[test]
    fn a_header_is_set_or_removed_and_never_both() {
        let (user, plan) = (name("x-user"), name("x-plan"));
        let prepared = PreparedMutations {
            remove: vec![user.clone(), name("x_user"), plan.clone()],
            room: 0,
        };
        let mut mutations = Mutations::removing(Some(&prepared));
        mutations.remove_sent(b"cookie");
        mutations.remove_sent(b"cookie");
        mutations.set(&user, put("eve")).unwrap();
        mutations.set(&user, put("ann")).unwrap();
        mutations.set_sent(b"cookie", "a=b").unwrap();
        mutations.remove(&user);
        let set: Vec<_> = mutations.set_headers().collect();
        assert_eq!(set, [("x-user", "ann"), ("cookie", "a=b")]);
        let removed: Vec<_> = mutations.removed_headers().collect();
        assert_eq!(removed, ["x_user", "x-plan"]);
    }

    #[test]
    fn what_cannot_stand_in_a_header_sets_nothing() {
        let user = name("x-user");
        let mut mutations = Mutations::default();
        let error = mutations.set(&user, put("a\r\nb")).unwrap_err();
        assert_eq!(error, HeaderError::ControlCharacter);
        mutations
            .set(&user, |text| {
                text.push_str("half ");
                Ok::<_, HeaderError>(false)
            })
            .unwrap();
        assert_eq!(mutations.set_headers().count(), 0);
        mutations.set(&user, put("whole")).unwrap();
        let set: Vec<_> = mutations.set_headers().collect();
        assert_eq!(set, [("x-user", "whole")]);
        assert!(!format!("{mutations:?}").contains("whole"));
    }
}
