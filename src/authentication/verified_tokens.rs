//! Tokens whose signature held before, so that it need not be verified again.
//!
//! What is remembered is what cannot change while the token's keys and its authenticator's
//! configuration stay: its claims. Times, keys, subscription and scopes are judged on each request.
//
// INVARIANT: a token is found again only as a whole, by the authenticator that verified it, and
// while its keys are still those that its issuer publishes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use serde_json::Value;
use tokio::time::Instant;

use crate::authentication::key_set::KeySet;
use crate::authentication::principal::Identity;
use crate::authentication::proof::Confirmation;
use crate::cache::Cache;
use crate::secret::KeyedDigest;

/// The tokens that were verified, of all authenticators; clones share them.
#[derive(Debug, Clone)]
pub struct VerifiedTokens {
    cache: Cache<VerifiedToken>,
    authenticators: Arc<AtomicU64>,
}

/// The verified tokens of one authenticator, as it is configured now. One that a reload builds does
/// not find what another has verified, unless what it is told apart by is its whole configuration.
#[derive(Debug)]
pub(super) struct OwnTokens {
    cache: Cache<VerifiedToken>,
    authenticator: [u8; 16],
}

/// A token whose signature held, or that its issuer said to be active.
#[derive(Debug)]
pub(super) struct VerifiedToken {
    pub identity: Arc<Identity>,
    pub times: Times,
    /// The keys that it was verified with, where they may be replaced; it does not keep them alive.
    pub keys: Option<Weak<KeySet>>,
    /// Until when what its issuer answered about it counts, where that was asked.
    pub until: Option<Instant>,
}

/// When a token may be used, in seconds since 1970 (RFC 7519 sections 4.1.4 to 4.1.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Times {
    pub expires: i64,
    pub not_before: Option<i64>,
    pub issued: Option<i64>,
}

impl VerifiedTokens {
    /// Remembers tokens in `max_bytes` at most; none, where that is 0.
    #[must_use]
    pub fn new(max_bytes: usize) -> Self {
        Self {
            cache: Cache::new(max_bytes),
            authenticators: Arc::default(),
        }
    }

    /// How many tokens are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.cache.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.cache.is_empty()
    }

    /// How many bytes they take, about.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.cache.bytes()
    }

    /// Those of an authenticator that is being built.
    pub(super) fn of_next_authenticator(&self) -> OwnTokens {
        let number = self.authenticators.fetch_add(1, Ordering::Relaxed);
        OwnTokens {
            cache: self.cache.clone(),
            authenticator: u128::from(number).to_le_bytes(),
        }
    }

    /// Those of an authenticator that finds again what one of the same name and configuration has
    /// verified before a reload.
    pub(super) fn of_authenticator(&self, name: &str, configuration: &[u8]) -> OwnTokens {
        OwnTokens {
            cache: self.cache.clone(),
            authenticator: KeyedDigest::of(&[name.as_bytes(), configuration]).to_bytes(),
        }
    }
}

impl OwnTokens {
    /// What `token` was found to be.
    pub(super) fn find(&self, token: &str) -> Option<Arc<VerifiedToken>> {
        if self.cache.is_off() {
            return None;
        }
        self.cache.get(self.key(token))
    }

    /// Remembers what `token` was found to be.
    pub(super) fn remember(&self, token: &str, found: Arc<VerifiedToken>) {
        let bytes = size_of::<VerifiedToken>() + identity_bytes(&found.identity);
        self.cache.insert(self.key(token), found, bytes);
    }

    /// Forgets what `token` was found to be.
    pub(super) fn forget(&self, token: &str) {
        self.cache.remove(self.key(token));
    }

    /// What stands for `token`, of this authenticator alone.
    pub(super) fn key(&self, token: &str) -> KeyedDigest {
        KeyedDigest::of(&[&self.authenticator, token.as_bytes()])
    }
}

/// What an allocation takes beside its content.
const ALLOCATION_BYTES: usize = 16;

fn identity_bytes(identity: &Identity) -> usize {
    let text = |text: &str| text.len() + ALLOCATION_BYTES;
    let application = identity.claimed_application.iter();
    let application = application.flat_map(|claimed| [&claimed.id, &claimed.name, &claimed.owner]);
    let texts = [&identity.subject, &identity.client_id].into_iter();
    let texts = texts.chain(application).flatten();
    let named: usize = texts.map(|one| text(one)).sum();
    let scopes: usize = identity.scopes.iter().map(|one| text(one) + 16).sum();
    let apis = identity.subscribed_apis.iter().flatten();
    let plan = |plan: &Option<Arc<str>>| plan.as_deref().map_or(0, text);
    let apis: usize = apis
        .map(|api| 64 + text(&api.name) + text(&api.version) + plan(&api.plan))
        .sum();
    let bound = identity.confirmation.as_ref();
    let bound = bound.map_or(0, |_| size_of::<Confirmation>() + ALLOCATION_BYTES);
    let workload = identity.workload.as_ref();
    let workload = workload.map_or(0, |id| text(id.as_str()) + text(id.trust_domain().as_str()));
    size_of::<Identity>() + bound + workload + named + scopes + apis + value_bytes(&identity.claims)
}

fn value_bytes(value: &Value) -> usize {
    /// A node of the tree that objects are; it holds up to 11 members, and half of that on average.
    const NODE_BYTES: usize = 640;
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        Value::String(text) => text.len() + ALLOCATION_BYTES,
        Value::Array(items) => {
            let content: usize = items.iter().map(value_bytes).sum();
            items.capacity() * size_of::<Value>() + ALLOCATION_BYTES + content
        }
        Value::Object(members) => {
            let member = |(name, value): (&String, &Value)| {
                name.len() + ALLOCATION_BYTES + value_bytes(value)
            };
            let content: usize = members.iter().map(member).sum();
            members.len().div_ceil(6) * NODE_BYTES + content
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> VerifiedToken {
        VerifiedToken {
            identity: Arc::default(),
            times: Times {
                expires: 1,
                not_before: None,
                issued: None,
            },
            keys: None,
            until: None,
        }
    }

    #[test]
    fn a_token_is_found_by_the_authenticator_that_verified_it_and_as_a_whole() {
        let tokens = VerifiedTokens::new(1024 * 1024);
        let (one, other) = (
            tokens.of_next_authenticator(),
            tokens.of_next_authenticator(),
        );
        one.remember("a.b.c", Arc::new(token()));
        assert!(one.find("a.b.c").is_some());
        assert!(other.find("a.b.c").is_none());
        for another in ["a.b.d", "a.b.", "a.b.cc", ""] {
            assert!(one.find(another).is_none(), "{another}");
        }
        assert_eq!(tokens.len(), 1);
    }

    #[test]
    fn large_claims_weigh_what_they_take() {
        let claims = serde_json::json!({"a": ["x".repeat(5000)], "b": {"c": "d"}});
        let bytes = value_bytes(&claims);
        assert!((6000..8000).contains(&bytes), "{bytes}");
    }
}
