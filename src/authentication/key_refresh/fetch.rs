//! The task of a [`super::KeySource`]: fetches a discovery document and a key set.

use std::sync::Arc;

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;
use tokio::time::Instant;
use url::Url;

use super::{KeyPlace, Shared};
use crate::authentication::key_set::{self, KeySet};
use crate::http_client::{HttpClient, Schemes};

/// The largest discovery document, in bytes.
const MAX_DISCOVERY_BYTES: usize = 256 * 1024;

/// Fetches once and publishes what came of it.
pub(super) async fn run_once(shared: &Shared, client: &HttpClient) -> anyhow::Result<()> {
    if let Some(wait) = shared.asking(|asking| asking.wait(Instant::now())) {
        tokio::time::sleep(wait).await;
    }
    let attempt = Attempt {
        shared,
        fetch: shared.asking(|asking| asking.start(Instant::now())),
        done: false,
    };
    let fetched = fetch(&shared.config.place, shared.config.schemes, client).await;
    attempt.finish(fetched)
}

/// A fetch under way; where it is dropped before it ended, it failed.
struct Attempt<'s> {
    shared: &'s Shared,
    fetch: u64,
    done: bool,
}

impl Attempt<'_> {
    fn finish(mut self, fetched: anyhow::Result<KeySet>) -> anyhow::Result<()> {
        self.done = true;
        match fetched {
            Ok(keys) => {
                for skipped in keys.skipped() {
                    tracing::warn!(source = %self.shared.name, skipped, "a key cannot be used");
                }
                self.shared.publish(self.fetch, Ok(Arc::new(keys)));
                Ok(())
            }
            Err(error) => {
                let text = format!("{error:#}").into();
                self.shared.publish(self.fetch, Err(text));
                Err(error)
            }
        }
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if !self.done {
            self.shared
                .publish(self.fetch, Err("it was given up".into()));
        }
    }
}

async fn fetch(place: &KeyPlace, schemes: Schemes, client: &HttpClient) -> anyhow::Result<KeySet> {
    let discovered;
    let address = match place {
        KeyPlace::Jwks(address) => address,
        KeyPlace::Discovery { issuer } => {
            let document = client
                .get_json(&discovery_address(issuer)?, MAX_DISCOVERY_BYTES)
                .await
                .context("the discovery document")?;
            discovered = jwks_address(&document, issuer, schemes)?;
            &discovered
        }
    };
    let document = client
        .get_json(address, key_set::MAX_BYTES)
        .await
        .context("the key set")?;
    KeySet::from_jwks(&document).context("the key set")
}

/// OpenID Connect Discovery 1.0 section 4: a final slash of the issuer goes.
pub(super) fn discovery_address(issuer: &str) -> anyhow::Result<Url> {
    let issuer = issuer.strip_suffix('/').unwrap_or(issuer);
    Url::parse(&format!("{issuer}/.well-known/openid-configuration"))
        .context("the issuer is no address")
}

fn jwks_address(document: &Value, issuer: &str, schemes: Schemes) -> anyhow::Result<Url> {
    // OpenID Connect Discovery 1.0 section 4.3: exactly the issuer that was asked for
    ensure!(
        document.get("issuer").and_then(Value::as_str) == Some(issuer),
        "the discovery document is another issuer's"
    );
    let Some(address) = document.get("jwks_uri").and_then(Value::as_str) else {
        bail!("the discovery document has no `jwks_uri`");
    };
    let address = Url::parse(address).context("the `jwks_uri` is no address")?;
    match (address.scheme(), schemes) {
        ("https", _) | ("http", Schemes::HttpsAndHttp) => Ok(address),
        _ => bail!("the `jwks_uri` is not https"),
    }
}
