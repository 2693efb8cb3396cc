//! The authenticate stage: who calls, by the first authenticator of the Api that knows.
//!
//! Authenticators are asked in order. One whose credential is absent or belongs to another moves
//! on, one that verified ends the search, one that found its credential bad stops it. A request
//! that carries any credential of the Api's authenticators is never anonymous, wherever `anonymous`
//! stands in the order.

pub mod algorithm;
pub mod api_key;
pub mod app_id;
pub(crate) mod claims;
pub mod config;
pub mod credential;
pub mod failures;
pub mod introspection;
pub mod jwt;
pub mod jwt_svid;
pub mod key_refresh;
pub mod key_set;
pub mod mtls;
pub mod principal;
pub mod proof;
pub mod revocation;
#[cfg(test)]
mod testing;
mod unverified;
pub mod verified_tokens;
pub mod workload;

use crate::authentication::api_key::ApiKeyAuthenticator;
use crate::authentication::app_id::AppIdAuthenticator;
use crate::authentication::credential::{Credential, CredentialPlace, Found};
use crate::authentication::introspection::IntrospectionAuthenticator;
use crate::authentication::jwt::JwtAuthenticator;
use crate::authentication::jwt_svid::JwtSvidAuthenticator;
use crate::authentication::mtls::MtlsAuthenticator;
use crate::authentication::principal::{
    Caller, ClientIdentity, Method, Principal, SubscriptionSource,
};
use crate::authentication::revocation::Revocations;
use crate::check::decision::{Denial, Reason, Stop};
use crate::check::request::DownstreamRequest;
use crate::routing::Route;
use std::sync::Arc;
use std::time::Instant;

/// The name of the authenticator that lets everybody in; it always exists and must be named to be used.
pub const ANONYMOUS: &str = "anonymous";

/// A configured way to turn a credential into a [`Principal`].
#[derive(Debug)]
pub enum Authenticator {
    /// Tokens of an issuer.
    Jwt(Box<JwtAuthenticator>),
    /// Tokens that their issuer is asked about.
    Introspection(Box<IntrospectionAuthenticator>),
    /// API keys of the catalog's applications.
    ApiKey(ApiKeyAuthenticator),
    /// App ids and their keys.
    AppId(AppIdAuthenticator),
    /// Workloads, by the certificates of their connections.
    Mtls(MtlsAuthenticator),
    /// Workloads, by their JWT-SVIDs.
    JwtSvid(Box<JwtSvidAuthenticator>),
    /// Everybody.
    Anonymous,
}

/// What an authenticator makes of a request.
#[derive(Debug)]
pub enum Outcome<'s> {
    /// The request carries no credential in this authenticator's places.
    Absent,
    /// There is a credential, but another authenticator's; the denial is what to say if nobody
    /// claims it.
    NotMine(Denial),
    /// The credential holds.
    Verified(Principal<'s>),
    /// The credential is this authenticator's and does not hold, or we cannot find out.
    Stopped(Stop),
}

impl Authenticator {
    async fn authenticate(
        &self,
        request: &DownstreamRequest,
        route: &Route<'_>,
        until: &(impl Fn() -> Instant + Sync),
    ) -> Outcome<'_> {
        let (catalog, mesh) = (route.catalog(), route.snapshot().mesh());
        match self {
            Self::Jwt(jwt) => jwt.authenticate(request, mesh).await,
            Self::Introspection(introspection) => {
                introspection.authenticate((request, mesh), until).await
            }
            Self::ApiKey(api_key) => api_key.authenticate(request, catalog),
            Self::AppId(app_id) => app_id.authenticate(request, catalog),
            Self::Mtls(mtls) => mtls.authenticate(request, catalog, mesh),
            Self::JwtSvid(svid) => svid.authenticate(request, catalog, mesh).await,
            Self::Anonymous => Outcome::Verified(anonymous()),
        }
    }

    /// Its name in the configuration.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Jwt(jwt) => jwt.name(),
            Self::Introspection(introspection) => introspection.name(),
            Self::ApiKey(api_key) => api_key.name(),
            Self::AppId(app_id) => app_id.name(),
            Self::Mtls(mtls) => mtls.name(),
            Self::JwtSvid(svid) => svid.name(),
            Self::Anonymous => ANONYMOUS,
        }
    }

    /// How it verifies.
    #[must_use]
    pub fn method(&self) -> Method {
        match self {
            Self::Jwt(_) => Method::Jwt,
            Self::Introspection(_) => Method::Introspection,
            Self::ApiKey(_) => Method::ApiKey,
            Self::AppId(_) => Method::AppId,
            Self::Mtls(_) => Method::Mtls,
            Self::JwtSvid(_) => Method::JwtSvid,
            Self::Anonymous => Method::Anonymous,
        }
    }

    /// Where it looks for a credential, and for what is shown beside one.
    pub fn places(&self) -> impl Iterator<Item = &CredentialPlace> {
        let (first, second): (&[_], &[_]) = match self {
            Self::Jwt(jwt) => (jwt.places(), jwt.proof_places()),
            Self::Introspection(introspection) => {
                (introspection.places(), introspection.proof_places())
            }
            Self::JwtSvid(svid) => (svid.places(), svid.proof_places()),
            Self::ApiKey(api_key) => (api_key.places(), &[]),
            Self::AppId(app_id) => app_id.places(),
            // a certificate is nothing that could be taken from a request
            Self::Mtls(_) | Self::Anonymous => (&[], &[]),
        };
        first.iter().chain(second)
    }

    /// Where it looks for a token that can be exchanged for another, where it verifies tokens.
    #[must_use]
    pub fn token_places(&self) -> Option<&[CredentialPlace]> {
        match self {
            Self::Jwt(jwt) => Some(jwt.places()),
            Self::Introspection(introspection) => Some(introspection.places()),
            Self::JwtSvid(svid) => Some(svid.places()),
            Self::ApiKey(_) | Self::AppId(_) | Self::Mtls(_) | Self::Anonymous => None,
        }
    }

    /// The challenges for a 401 (RFC 9110 section 11.6.1), without parameters beyond the realm.
    #[must_use]
    pub fn challenges(&self) -> Vec<Challenge> {
        match self {
            Self::Jwt(jwt) => jwt.challenges(),
            Self::Introspection(introspection) => introspection.challenges(),
            Self::ApiKey(api_key) => vec![api_key.challenge()],
            Self::AppId(app_id) => vec![app_id.challenge()],
            Self::Mtls(mtls) => vec![mtls.challenge()],
            Self::JwtSvid(svid) => svid.challenges(),
            Self::Anonymous => Vec::new(),
        }
    }
}

/// The scheme that an authenticator asks for in `WWW-Authenticate`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Challenge {
    /// RFC 6750.
    Bearer,
    /// RFC 9449, with the algorithms that proofs may be signed with.
    Dpop(Arc<str>),
    /// RFC 7617.
    Basic,
    /// A key in a place of its own; no RFC names a scheme.
    ApiKey,
    /// The certificate of the connection; no RFC names a scheme.
    ClientCertificate,
}

impl Challenge {
    /// The challenge of an authenticator of keys in `places`.
    fn for_keys(places: &[CredentialPlace]) -> Self {
        if places.contains(&CredentialPlace::Basic) {
            Self::Basic
        } else {
            Self::ApiKey
        }
    }
}

/// The token in `places`, of `max_token` bytes at most; else what becomes of a request without one.
fn presented<'a>(
    places: &'a [CredentialPlace],
    max_token: usize,
    request: &'a DownstreamRequest,
) -> Result<Credential<'a>, Outcome<'static>> {
    let credential = match CredentialPlace::find(places, request) {
        Found::Absent => return Err(Outcome::Absent),
        Found::One(credential) => credential,
        Found::Ambiguous(why) => {
            let denial = Denial::new(Reason::CredentialInvalid, why);
            return Err(Outcome::Stopped(denial.into()));
        }
    };
    let not_mine = |why| Outcome::NotMine(Denial::new(Reason::CredentialInvalid, why));
    match credential.single() {
        None => Err(not_mine("user name and password, no token")),
        // before anything is computed over it
        Some(text) if text.len() > max_token => Err(not_mine("it is longer than tokens may be")),
        Some(_) => Ok(credential),
    }
}

/// Finds out who calls; a credential that holds and is among the `revoked` ends the search. What has
/// to be asked for is waited for `until` at most.
///
/// # Errors
/// The denial of the authenticator that the credential belongs to, or `credential_missing`.
pub async fn authenticate<'s>(
    route: &Route<'s>,
    request: &DownstreamRequest,
    revoked: &Revocations,
    until: impl Fn() -> Instant + Sync,
) -> Result<Caller<'s>, Stop> {
    let mut unclaimed: Option<Denial> = None;
    let mut everybody: Option<Principal<'s>> = None;
    for authenticator in route.authenticators() {
        let outcome = authenticator.authenticate(request, route, &until).await;
        let outcome = unless_revoked(outcome, authenticator, request, revoked);
        explain(authenticator, &outcome);
        match outcome {
            Outcome::Absent => {}
            Outcome::NotMine(denial) => unclaimed = Some(closest(unclaimed, denial)),
            // wherever it stands in the order, it comes last: first whether there is a credential
            Outcome::Verified(principal) if principal.method == Method::Anonymous => {
                everybody = Some(principal);
            }
            Outcome::Verified(principal) => return Ok(Caller::Verified(principal)),
            Outcome::Stopped(stop) => return Err(stop),
        }
    }
    match (unclaimed, everybody) {
        (Some(denial), _) => Err(denial.into()),
        (None, Some(anonymous)) => Ok(Caller::Verified(anonymous)),
        (None, None) => Err(nobody(route).into()),
    }
}

/// What is said where no authenticator of the Api found anything.
fn nobody(route: &Route<'_>) -> Denial {
    let is_mtls = |one: &Arc<Authenticator>| matches!(**one, Authenticator::Mtls(_));
    if route.authenticators().iter().all(is_mtls) {
        let why = "no certificate names the workload that calls, and the api takes nothing else";
        return Denial::new(Reason::SourceUnauthenticated, why);
    }
    let why = "no credential in any place of the api's authenticators";
    Denial::new(Reason::CredentialMissing, why)
}

/// Whatever verified the credential, and whether that was remembered: it may be revoked since.
fn unless_revoked<'s>(
    outcome: Outcome<'s>,
    authenticator: &Authenticator,
    request: &DownstreamRequest,
    revoked: &Revocations,
) -> Outcome<'s> {
    match outcome {
        Outcome::Verified(principal) if principal.method != Method::Anonymous => {
            match revoked.check(&principal, authenticator, request) {
                Ok(()) => Outcome::Verified(principal),
                Err(stop) => Outcome::Stopped(stop),
            }
        }
        Outcome::Absent | Outcome::NotMine(_) | Outcome::Verified(_) | Outcome::Stopped(_) => {
            outcome
        }
    }
}

/// Of the reasons why nobody claimed a credential, the one that came closest to its owner.
fn closest(before: Option<Denial>, next: Denial) -> Denial {
    let rank = |denial: &Denial| {
        let order = [Reason::IssuerUntrusted, Reason::AudienceMismatch];
        order.iter().position(|reason| *reason == denial.reason())
    };
    match before {
        Some(before) if rank(&before) >= rank(&next) => before,
        _ => next,
    }
}

/// Tells `explain` what an authenticator did: places and reasons, never a credential or a claim.
fn explain(authenticator: &Authenticator, outcome: &Outcome<'_>) {
    if !tracing::enabled!(target: "portcullis::explain", tracing::Level::TRACE) {
        return;
    }
    let (found, reason, detail) = match outcome {
        Outcome::Absent => ("no credential", None, None),
        Outcome::NotMine(denial) => (
            "a credential of another",
            Some(denial.reason().name()),
            Some(denial.detail()),
        ),
        Outcome::Verified(_) => ("a credential that holds", None, None),
        Outcome::Stopped(Stop::Deny(denial)) => (
            "a credential that does not hold",
            Some(denial.reason().name()),
            Some(denial.detail()),
        ),
        Outcome::Stopped(Stop::Fail(fault)) => (
            "nothing, because it failed",
            Some(fault.reason().name()),
            Some(fault.detail()),
        ),
    };
    tracing::trace!(
        target: "portcullis::explain",
        stage = "authenticate",
        found,
        authenticator = authenticator.name(),
        kind = authenticator.method().name(),
        looked_in = authenticator.places().map(ToString::to_string).collect::<Vec<_>>().join(", "),
        reason,
        detail,
    );
}

fn anonymous() -> Principal<'static> {
    Principal {
        authenticator: ANONYMOUS,
        method: Method::Anonymous,
        client: ClientIdentity::None,
        identity: None,
        subscriptions: SubscriptionSource::Catalog,
    }
}

#[cfg(test)]
mod tests;
