//! The public keys of `signed` providers that were taken from the configuration while assertions
//! that they signed are still valid.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jsonwebtoken::jwk::Jwk;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::upstream::provider::Providers;

/// How far clocks of ours and of upstreams may lie apart.
const LEEWAY: Duration = Duration::from_secs(60);

/// Every key that upstreams may still meet; clones share them.
#[derive(Debug, Clone, Default)]
pub struct PublishedKeys(Arc<Mutex<Keys>>);

/// Keys by provider and thumbprint.
type Keys = BTreeMap<(Arc<str>, Box<str>), Published>;

#[derive(Debug)]
struct Published {
    key: Jwk,
    lifetime: Duration,
    /// Until when it is published; none while it is configured.
    until: Option<Instant>,
}

impl PublishedKeys {
    /// Takes note of the keys of `providers`, which are those in force now.
    pub fn follow(&self, providers: &Providers) {
        let now = Instant::now();
        let mut published = self.locked();
        for entry in published.values_mut() {
            let until = entry.until.unwrap_or(now + entry.lifetime + LEEWAY);
            entry.until = Some(until);
        }
        let signed = providers.values();
        let signed = signed.filter_map(|provider| Some((provider.name(), provider.signed()?)));
        for (name, signed) in signed {
            for (id, key) in signed.public_keys() {
                let entry = Published {
                    key: key.clone(),
                    lifetime: signed.lifetime(),
                    until: None,
                };
                published.insert((Arc::clone(name), id.into()), entry);
            }
        }
        published.retain(|_, entry| entry.until.is_none_or(|until| now < until));
    }

    /// The key set (RFC 7517 section 5) of the provider called `name`, or of all.
    #[must_use]
    pub fn key_set(&self, name: Option<&str>) -> Option<Value> {
        let now = Instant::now();
        let published = self.locked();
        let keys = published.iter().filter(|((provider, _), entry)| {
            name.is_none_or(|name| **provider == *name)
                && entry.until.is_none_or(|until| now < until)
        });
        let mut keys: Vec<&Jwk> = keys.map(|(_, entry)| &entry.key).collect();
        keys.sort_by(|a, b| a.common.key_id.cmp(&b.common.key_id));
        (name.is_none() || !keys.is_empty()).then(|| json!({ "keys": keys }))
    }

    fn locked(&self) -> MutexGuard<'_, Keys> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
