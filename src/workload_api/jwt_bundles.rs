//! The stream of the keys that sign JWT-SVIDs.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use spiffe::{JwtBundle, JwtBundleSet, WorkloadApiClient, WorkloadApiError};

use super::stream::{self, Feed, Messages};
use super::x509::{MAX_BUNDLE_BYTES, MAX_BUNDLES};
use super::{Inner, JwtBundles};
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
    type Message = JwtBundleSet;

    fn name(&self) -> &'static str {
        NAME
    }

    async fn open(
        &self,
        client: WorkloadApiClient,
    ) -> Result<Messages<JwtBundleSet>, WorkloadApiError> {
        Ok(Box::pin(client.stream_jwt_bundles().await?))
    }

    fn take(&self, message: JwtBundleSet) -> Result<(), String> {
        self.publish(read(&message)?);
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

fn read(set: &JwtBundleSet) -> Result<JwtBundles, String> {
    if set.len() > MAX_BUNDLES {
        return Err(format!("it has more than {MAX_BUNDLES} trust domains"));
    }
    let mut bundles = Vec::new();
    for (name, bundle) in set.iter() {
        let name = TrustDomain::parse(name.as_str()).map_err(|error| error.to_string())?;
        let keys = keys(bundle).map_err(|why| format!("the bundle of `{name}`: {why}"))?;
        for skipped in keys.skipped() {
            tracing::warn!(trust_domain = %name, %skipped, "a key of a JWT bundle is not used");
        }
        bundles.push((name, keys));
    }
    Ok(bundles.into_iter().collect())
}

/// The keys of one trust domain. Those for something else than JWT-SVIDs are left out
/// (SPIFFE Trust Domain and Bundle section 4.2.2).
pub(super) fn keys(bundle: &JwtBundle) -> Result<KeySet, String> {
    let mut keys = Vec::new();
    let mut bytes = 0;
    for authority in bundle.jwt_authorities() {
        bytes += authority.jwk_json().len();
        if bytes > MAX_BUNDLE_BYTES {
            return Err(format!("it has more than {MAX_BUNDLE_BYTES} bytes"));
        }
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
    KeySet::from_jwks(&json!({ "keys": keys })).map_err(|error| error.to_string())
}
