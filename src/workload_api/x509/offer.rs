//! The X509-SVIDs of a message, and which one is ours.

use std::sync::Arc;

use jiff::Timestamp;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;
use spiffe::X509Svid;
use x509_parser::prelude::{FromDer as _, ParsedExtension, X509Certificate};

use crate::secret::Secret;
use crate::spiffe::SpiffeId;
use crate::spiffe::config::Mesh;
use crate::workload_api::messages::{X509Given, X509Message};
use crate::workload_api::selection::{Candidate, Chosen};
use crate::workload_api::stream::causes;
use crate::workload_api::{Inner, Svid};

/// The most SVIDs that a message may have.
const MAX_SVIDS: usize = 100;

/// One SVID of a message.
pub(super) struct Offer<'m> {
    pub(super) given: &'m X509Given,
    /// By its certificate, or as the agent calls it where that cannot be read.
    id: String,
    pub(super) domain: String,
    svid: Result<X509Svid, String>,
}

/// The SVIDs of a message. One that cannot be read is a fault only where it is ours.
pub(super) fn read_svids(message: &X509Message) -> Result<Vec<Offer<'_>>, String> {
    if message.svids.is_empty() {
        return Err("it has no SVID".to_owned());
    }
    if message.svids.len() > MAX_SVIDS {
        return Err(format!("it has more than {MAX_SVIDS} SVIDs"));
    }
    let svids = message.svids.iter().map(|given| {
        let svid = X509Svid::parse_from_der(&given.chain, &given.key);
        let id = match &svid {
            Ok(svid) => svid.spiffe_id().to_string(),
            Err(_) => given.id.clone(),
        };
        Offer {
            given,
            domain: SpiffeId::parse(&id)
                .map_or_else(|_| id.clone(), |id| id.trust_domain().as_str().to_owned()),
            id,
            svid: svid.map_err(|error| causes(&error)),
        }
    });
    Ok(svids.collect())
}

/// Which of `svids` is ours.
pub(super) fn chosen(inner: &Inner, svids: &[Offer<'_>]) -> Option<usize> {
    let candidates = svids.iter().map(|one| Candidate {
        id: one.id.clone(),
        hint: Some(one.given.hint.as_str()).filter(|hint| !hint.is_empty()),
    });
    match inner.selection.choose(candidates) {
        Chosen::At(at) => Some(at),
        Chosen::FirstInstead => {
            let wanted = inner.selection.to_string();
            tracing::warn!(%wanted, "no SVID is the one that is asked for; the first is ours");
            Some(0)
        }
        Chosen::None => {
            let wanted = inner.selection.to_string();
            tracing::warn!(%wanted, "no SVID is the one that is asked for; we have none");
            None
        }
    }
}

/// The SVID that is ours, where it may be.
pub(super) fn ours(inner: &Inner, offer: &Offer<'_>) -> Result<Svid, String> {
    let now = inner.surroundings.clock.now();
    let svid = offer.svid.as_ref().map_err(Clone::clone);
    let checked = svid.and_then(|svid| check(svid, &inner.mesh, now));
    checked.map_err(|why| format!("the SVID `{}`: {why}", offer.id))
}

/// Checks an SVID before it is ours (X509-SVID sections 2 to 5); that it has one SPIFFE ID with a
/// path, and the key usage of a leaf, was checked as it was read.
fn check(svid: &X509Svid, mesh: &Mesh, now: Timestamp) -> Result<Svid, String> {
    let id = SpiffeId::parse(&svid.spiffe_id().to_string()).map_err(|error| error.to_string())?;
    if let Some(own) = &mesh.trust_domain
        && !mesh.aliases.are_same(own, id.trust_domain())
    {
        return Err(format!("it is not of `spiffe.trustDomain`, `{own}`"));
    }
    let (_, leaf) = X509Certificate::from_der(svid.leaf().as_bytes())
        .map_err(|_| "its certificate cannot be read".to_owned())?;
    let time = |seconds| Timestamp::from_second(seconds).unwrap_or(Timestamp::MIN);
    let not_before = time(leaf.validity().not_before.timestamp());
    let not_after = time(leaf.validity().not_after.timestamp());
    if not_after <= now {
        return Err(format!("it is over since {not_after}"));
    }
    check_extensions(&leaf)?;
    let chain = svid.cert_chain().iter();
    let chain: Vec<_> = chain
        .map(|one| CertificateDer::from(one.as_bytes().to_vec()))
        .collect();
    let key = PrivatePkcs8KeyDer::from(svid.private_key().as_bytes().to_vec());
    let key = Secret::new(PrivateKeyDer::from(key));
    let provider = aws_lc_rs::default_provider();
    let certified_key = CertifiedKey::from_der(chain.clone(), key.expose().clone_key(), &provider)
        .map_err(|error| format!("its key and certificate are no pair: {error}"))?;
    Ok(Svid {
        id,
        chain,
        key,
        certified_key: Arc::new(certified_key),
        not_before,
        not_after,
    })
}

/// X509-SVID sections 4.3 and 4.4: the key usage is critical, and an extended one is for both sides.
fn check_extensions(leaf: &X509Certificate<'_>) -> Result<(), String> {
    for extension in leaf.extensions() {
        let parsed = extension.parsed_extension();
        if matches!(parsed, ParsedExtension::KeyUsage(_)) && !extension.critical {
            return Err("its key usage is not critical".to_owned());
        }
        if let ParsedExtension::ExtendedKeyUsage(usage) = parsed
            && !(usage.any || usage.server_auth && usage.client_auth)
        {
            return Err("its extended key usage is not for servers and clients".to_owned());
        }
    }
    Ok(())
}
