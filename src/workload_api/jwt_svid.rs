//! Our JWT-SVIDs: one for each audience, asked for once and used until it ends soon.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use spiffe::transport::{GrpcStatusCode, TransportError};
use spiffe::{WorkloadApiClient, WorkloadApiError};

use super::selection::{Candidate, Chosen, Wanted};
use super::stream::causes;
use super::{Inner, Selection};
use crate::cache::Cache;
use crate::fetch::{FailureKind, FetchError, Fetches, Joined, Why};
use crate::secret::{KeyedDigest, Secret};
use crate::spiffe::SpiffeId;
use crate::task::Tasks;

/// How long the agent may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// A token with less life than this is not used again.
const LEAST_LIFE: Duration = Duration::from_secs(30);
/// Nor one with less than this part of the life that it had when it came.
const LEAST_PART: u32 = 4;
/// What the cache of tokens may take.
const CACHE_BYTES: usize = 4 * 1024 * 1024;

/// A JWT-SVID: who we are, for one audience.
#[derive(Clone)]
pub struct JwtSvid {
    /// Who we are.
    pub id: SpiffeId,
    /// Until when it holds.
    pub expires: Timestamp,
    token: Arc<Secret<String>>,
    /// From when on another is asked for.
    pub(super) renew: Timestamp,
}

impl JwtSvid {
    /// The token itself: for the place that sends it, never for a text.
    #[must_use]
    pub fn token(&self) -> &Secret<String> {
        &self.token
    }
}

impl fmt::Debug for JwtSvid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JwtSvid")
            .field("id", &self.id)
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}

/// The tokens that are known, and the flights for others.
pub(super) struct JwtSvids {
    known: Cache<JwtSvid>,
    fetches: Fetches<JwtSvid>,
}

impl JwtSvids {
    pub(super) fn new(tasks: Tasks) -> Self {
        Self {
            known: Cache::new(CACHE_BYTES),
            fetches: Fetches::new(Some(tasks), TIMEOUT),
        }
    }
}

/// Our token for `audience`.
pub(super) async fn get(inner: &Arc<Inner>, audience: &str) -> Result<JwtSvid, FetchError> {
    let key = KeyedDigest::of(&[audience.as_bytes()]);
    let known = || {
        let now = inner.surroundings.clock.now();
        let known = inner.jwt_svids.known.get(key);
        known.filter(|known| now < known.renew)
    };
    if let Some(known) = known() {
        return Ok(JwtSvid::clone(&known));
    }
    let asked = (Arc::clone(inner), audience.to_owned());
    let fetch = || async move {
        let (inner, audience) = asked;
        let svid = Arc::new(ask(&inner, &audience).await?);
        let bytes = svid.token.expose().len() + audience.len() + 256;
        let known = &inner.jwt_svids.known;
        known.insert(key, Arc::clone(&svid), bytes);
        Ok(svid)
    };
    let landed = match inner
        .jwt_svids
        .fetches
        .join((key, Why::Missing), known, fetch)
    {
        Joined::Known(svid) => Ok(svid),
        Joined::Flying(flight) => flight.landed().await,
        Joined::Failed(error) => Err(error),
    };
    match landed {
        Ok(svid) => Ok(JwtSvid::clone(&svid)),
        Err(error) => Err(FetchError::clone(&error)),
    }
}

/// Asks the agent.
async fn ask(inner: &Inner, audience: &str) -> Result<JwtSvid, FetchError> {
    let client = WorkloadApiClient::connect(inner.endpoint.clone()).await;
    let client = client.map_err(|error| failure(inner, &error))?;
    let wanted = match &inner.selection.wanted {
        Wanted::Id(id) => spiffe::SpiffeId::new(id.as_str()).ok(),
        Wanted::First | Wanted::Hint(_) => None,
    };
    let given = client.fetch_all_jwt_svids([audience], wanted.as_ref());
    let given = given.await.map_err(|error| failure(inner, &error))?;
    let svid = choose(&inner.selection, &given).ok_or_else(|| {
        let why = format!("{}: no JWT-SVID is {}", inner.asked(), inner.selection);
        FetchError::new(FailureKind::Refused, why)
    })?;
    check(svid, audience, inner.surroundings.clock.now())
        .map_err(|why| FetchError::new(FailureKind::Unusable, format!("our JWT-SVID {why}")))
}

fn choose<'s>(selection: &Selection, given: &'s [spiffe::JwtSvid]) -> Option<&'s spiffe::JwtSvid> {
    let candidates = given.iter().map(|svid| Candidate {
        id: svid.spiffe_id().to_string(),
        hint: svid.hint(),
    });
    match selection.choose(candidates) {
        Chosen::At(at) => given.get(at),
        Chosen::FirstInstead => given.first(),
        Chosen::None => None,
    }
}

/// Checks a token before it is used (JWT-SVID section 3); its signature is for whom it is for.
pub(super) fn check(
    svid: &spiffe::JwtSvid,
    audience: &str,
    now: Timestamp,
) -> Result<JwtSvid, &'static str> {
    let id = SpiffeId::parse(&svid.spiffe_id().to_string()).map_err(|_| "names no SPIFFE ID")?;
    if !svid.audience().iter().any(|one| one == audience) {
        return Err("is not for the audience that was asked for");
    }
    let expires = Timestamp::from_second(svid.expiry().unix_timestamp());
    let expires = expires.map_err(|_| "has no end that can be read")?;
    let left = Duration::try_from(expires.duration_since(now)).unwrap_or_default();
    if left.is_zero() {
        return Err("has expired already");
    }
    let reserve = LEAST_LIFE.max(left / LEAST_PART).min(left);
    let renew = expires.checked_sub(reserve).unwrap_or(now);
    Ok(JwtSvid {
        id,
        expires,
        token: Arc::new(Secret::new(svid.token().to_owned())),
        renew,
    })
}

/// Why the agent gave none.
fn failure(inner: &Inner, error: &WorkloadApiError) -> FetchError {
    let kind = match code(error) {
        Some(
            GrpcStatusCode::PermissionDenied
            | GrpcStatusCode::InvalidArgument
            | GrpcStatusCode::Unimplemented,
        ) => FailureKind::Refused,
        Some(_) => FailureKind::Unavailable,
        None if matches!(error, WorkloadApiError::Transport(_)) => FailureKind::Unavailable,
        None => FailureKind::Unusable,
    };
    let why = format!("our JWT-SVID: {}: {}", inner.asked(), causes(error));
    FetchError::new(kind, why)
}

/// The code that the agent answered with, where it did.
fn code(error: &WorkloadApiError) -> Option<GrpcStatusCode> {
    if let WorkloadApiError::Transport(TransportError::Status(status)) = error {
        return Some(status.code());
    }
    let is_denied = matches!(
        error,
        WorkloadApiError::PermissionDenied(_) | WorkloadApiError::NoIdentityIssued
    );
    is_denied.then_some(GrpcStatusCode::PermissionDenied)
}
