//! The stream of the keys that sign JWT-SVIDs.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use spiffe::JwtBundle;

use super::messages::JwtMessage;
use super::stream::{self, Feed, causes};
use super::{Inner, JwtBundles, bundles};
use crate::authentication::key_set::KeySet;
use crate::spiffe::TrustDomain;

const NAME: &str = "workload_api_jwt";

/// Begins the stream.
pub(super) fn follow(inner: &Arc<Inner>) {
    let feed = JwtFeed(Arc::clone(inner));
    let following = stream::follow(Arc::clone(inner), feed);
    let tasks = &inner.surroundings.tasks;
    tasks.streaming(NAME, following).keep();
}

struct JwtFeed(Arc<Inner>);

impl Feed for JwtFeed {
    type Message = JwtMessage;

    const CALL: &'static str = "/SpiffeWorkloadAPI/FetchJWTBundles";

    fn name(&self) -> &'static str {
        NAME
    }

    fn take(&self, message: JwtMessage) -> Result<(), String> {
        self.publish(read(&self.0, &message)?);
        Ok(())
    }

    fn take_away(&self) {
        if !self.0.jwt_bundles.load().is_empty() {
            tracing::warn!("the Workload API says that no JWT bundle is for us any more");
            self.publish(JwtBundles::default());
        }
    }

    fn patience(&self) -> Option<Duration> {
        None
    }
}

impl JwtFeed {
    fn publish(&self, bundles: JwtBundles) {
        let metrics = &self.0.surroundings.metrics;
        metrics.set_trust_bundles(NAME, bundles.len());
        self.0.jwt_bundles.store(Arc::new(bundles));
    }
}

fn read(inner: &Inner, message: &JwtMessage) -> Result<JwtBundles, String> {
    if message.bundles.is_empty() {
        return Err("it has no bundle".to_owned());
    }
    let given = message.bundles.iter();
    let given = given.map(|(name, bundle)| (name.as_str(), bundle.as_slice()));
    Ok(bundles::read(inner, given, keys)?.into_iter().collect())
}

/// The keys of one trust domain. Those for something else than JWT-SVIDs are left out
/// (SPIFFE Trust Domain and Bundle section 4.2.2).
pub(super) fn keys(name: &TrustDomain, bundle: &[u8]) -> Result<KeySet, String> {
    let of = spiffe::TrustDomain::new(name.as_str()).map_err(|error| error.to_string())?;
    let bundle = JwtBundle::from_jwt_authorities(of, bundle).map_err(|error| causes(&error))?;
    let mut keys = Vec::new();
    for authority in bundle.jwt_authorities() {
        let mut key = serde_json::from_slice::<Value>(authority.jwk_json())
            .map_err(|error| error.to_string())?;
        let Some(members) = key.as_object_mut() else {
            return Err("a key is no object".to_owned());
        };
        match members.remove("use").as_ref().map(Value::as_str) {
            None | Some(Some("jwt-svid" | "sig")) => keys.push(key),
            Some(_) => {}
        }
    }
    let keys = KeySet::from_jwks(&json!({ "keys": keys })).map_err(|error| error.to_string())?;
    for skipped in keys.skipped() {
        tracing::warn!(trust_domain = %name, %skipped, "a key of a JWT bundle is not used");
    }
    Ok(keys)
}
