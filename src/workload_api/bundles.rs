//! What trust domains are verified by: each bundle of a message is judged by itself.
//
// INVARIANT: a bundle that cannot be used is left out alone, and its trust domain verifies nothing. It
// keeps nothing of what other bundles of the message say from being in force, removals above all.

use std::collections::{BTreeMap, BTreeSet};

use super::Inner;
use crate::spiffe::TrustDomain;

/// The most trust domains that a message may have.
const MAX_BUNDLES: usize = 200;
/// The most bytes that the bundle of one trust domain may have.
const MAX_BUNDLE_BYTES: usize = 4 * 1024 * 1024;

/// Those of `bundles`, as the agent names them, that `read` can use. The first one of a trust domain
/// counts.
pub(super) fn read<'m, T>(
    inner: &Inner,
    bundles: impl IntoIterator<Item = (&'m str, &'m [u8])>,
    read: impl Fn(&TrustDomain, &[u8]) -> Result<T, String>,
) -> Result<BTreeMap<TrustDomain, T>, String> {
    let (mut seen, mut good) = (BTreeSet::new(), BTreeMap::new());
    for (name, bytes) in bundles {
        let domain = match TrustDomain::parse(name) {
            Ok(domain) => domain,
            Err(error) => {
                tracing::warn!(trust_domain = name, %error, "a bundle is left out");
                continue;
            }
        };
        if !seen.insert(domain.clone()) {
            continue;
        }
        if seen.len() > MAX_BUNDLES {
            return Err(format!("it has more than {MAX_BUNDLES} trust domains"));
        }
        let judged = if bytes.len() > MAX_BUNDLE_BYTES {
            Err(format!("it has more than {MAX_BUNDLE_BYTES} bytes"))
        } else {
            read(&domain, bytes)
        };
        match judged {
            Ok(bundle) => {
                good.insert(domain, bundle);
            }
            Err(why) => left_out(inner, &domain, &why),
        }
    }
    Ok(good)
}

/// Tells it: loudly, unless the configuration names the trust domains of the mesh, and not this one.
fn left_out(inner: &Inner, domain: &TrustDomain, why: &str) {
    if inner.mesh.trust_domain.is_none() || inner.mesh.takes(domain) {
        tracing::warn!(
            trust_domain = %domain, why,
            "a bundle is left out: nothing of its trust domain is verified any more"
        );
    } else {
        tracing::info!(trust_domain = %domain, why, "a bundle is left out");
    }
}
