//! Verifies JSON Web Tokens (RFC 7519) of one issuer.
//!
//! The order: size and form, whose token it is, header, key, signature, and only then claims. A
//! token that is nobody's here is left to the next authenticator; one that is this issuer's and
//! does not hold ends the search. Key and algorithm come from the configuration, never the token.
//! A token whose signature held before is judged again on its times alone ([`super::verified_tokens`]).

mod build;
mod check;
pub mod config;
pub mod logout;

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use crate::authentication::algorithm::Algorithm;
use crate::authentication::claims::{ClaimError, ClaimRules};
use crate::authentication::credential::{Credential, CredentialPlace};
use crate::authentication::failures::FailureBudget;
use crate::authentication::key_refresh::{KeySource, KeysUnavailable};
use crate::authentication::key_set::{KeySet, NoKey};
use crate::authentication::principal::{
    ClientIdentity, Identity, Method, Principal, SubscriptionSource,
};
use crate::authentication::proof::ProofRules;
use crate::authentication::unverified::{TokenTypes, UnverifiedHeader, UnverifiedToken};
use crate::authentication::verified_tokens::{OwnTokens, Times, VerifiedToken};
use crate::authentication::{Challenge, Outcome, presented};
use crate::check::decision::{Denial, Fault, FaultReason, Reason, Stop};
use crate::check::request::{DownstreamRequest, PeerAddress};
use crate::clock::Clock;
use crate::spiffe::config::Mesh;

/// Verifies the tokens of one issuer.
pub struct JwtAuthenticator {
    name: Arc<str>,
    places: Vec<CredentialPlace>,
    max_token: usize,
    /// Whether another authenticator takes tokens of this issuer, for another audience.
    issuer_is_shared: bool,
    types: TokenTypes,
    algorithms: Vec<Algorithm>,
    keys: Keys,
    rules: ClaimRules,
    subscriptions: SubscriptionSource,
    proofs: ProofRules,
    seen: OwnTokens,
    clock: Clock,
    failures: FailureBudget,
}

/// Where the keys come from.
enum Keys {
    /// They were read with the configuration.
    Fixed(Arc<KeySet>),
    /// A task fetches them.
    Fetched(Arc<KeySource>),
}

/// Why a token of this issuer does not hold. No text here has a value of the token.
#[derive(Debug, thiserror::Error)]
pub(super) enum JwtError {
    #[error("the token is refused: {0}")]
    Header(&'static str),
    #[error("the token's algorithm `{name}` is not allowed for this issuer or key", name = .0.name())]
    Algorithm(Algorithm),
    #[error("the issuer has no key with the token's `kid`")]
    KeyUnknown,
    #[error("the token names no key, and the issuer has not exactly one")]
    KeyNotNamed,
    #[error(transparent)]
    KeysUnavailable(#[from] KeysUnavailable),
    #[error("the signature does not hold")]
    Signature,
    #[error("too many signatures from this source did not hold: this one was not looked at")]
    TooManyFailures,
    #[error(transparent)]
    Claims(#[from] ClaimError),
}

/// The one place that says what becomes of each error.
impl From<JwtError> for Stop {
    fn from(error: JwtError) -> Self {
        let reason = match &error {
            JwtError::KeysUnavailable(error) => {
                return Fault::new(FaultReason::DependencyUnavailable, error.to_string()).into();
            }
            JwtError::Header(_) | JwtError::Algorithm(_) => Reason::CredentialInvalid,
            JwtError::KeyUnknown | JwtError::KeyNotNamed => Reason::KeyUnknown,
            JwtError::Signature => Reason::SignatureInvalid,
            JwtError::TooManyFailures => Reason::RateLimited,
            JwtError::Claims(error) => error.reason(),
        };
        Denial::new(reason, error.to_string()).into()
    }
}

impl JwtAuthenticator {
    /// Its name in the configuration.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Where it looks.
    #[must_use]
    pub fn places(&self) -> &[CredentialPlace] {
        &self.places
    }

    /// Where it looks for what is shown beside a token.
    #[must_use]
    pub fn proof_places(&self) -> &[CredentialPlace] {
        self.proofs.places()
    }

    /// Its challenges.
    #[must_use]
    pub fn challenges(&self) -> Vec<Challenge> {
        self.proofs.challenges()
    }

    /// Verifies the token of `request`, if it has one of this issuer's.
    pub async fn authenticate(&self, request: &DownstreamRequest, mesh: &Mesh) -> Outcome<'_> {
        let credential = match presented(&self.places, self.max_token, request) {
            Ok(credential) => credential,
            Err(outcome) => return outcome,
        };
        let text = credential.single().unwrap_or_default();
        let not_mine = |reason, why: &'static str| Outcome::NotMine(Denial::new(reason, why));
        if let Some(seen) = self.seen.find(text).filter(|seen| self.still_holds(seen)) {
            let timely = self
                .rules
                .judge_times(seen.times, self.clock.unix_seconds());
            let identity = timely.map(|()| Arc::clone(&seen.identity));
            let verified = identity.map_err(JwtError::Claims);
            return self.outcome(verified, &credential, (request, mesh)).await;
        }
        let token = match UnverifiedToken::parse(text) {
            Ok(token) => token,
            Err(why) => return not_mine(Reason::CredentialInvalid, why),
        };
        if token.unverified_issuer() != Some(&*self.rules.issuer) {
            return not_mine(Reason::IssuerUntrusted, "a token of another issuer");
        }
        if self.issuer_is_shared && !self.rules.audience.matches(&token.unverified_claims) {
            return not_mine(Reason::AudienceMismatch, "a token for another audience");
        }
        let verified = self.verify(token, request.source()).await;
        self.outcome(verified, &credential, (request, mesh)).await
    }

    async fn outcome(
        &self,
        verified: Result<Arc<Identity>, JwtError>,
        credential: &Credential<'_>,
        shown: (&DownstreamRequest, &Mesh),
    ) -> Outcome<'_> {
        let identity = match verified {
            Ok(identity) => identity,
            Err(error) => return Outcome::Stopped(error.into()),
        };
        let bound = identity.confirmation.as_deref();
        if self.proofs.are_due(bound, credential.place()) {
            // in a box, so that checks of bearer tokens carry nothing of it
            let judged = Box::pin(self.proofs.judge(bound, credential, shown)).await;
            if let Err(error) = judged {
                return Outcome::Stopped(error.into());
            }
        }
        Outcome::Verified(self.principal(identity))
    }

    /// Whether the keys that `seen` was verified with are still in force.
    fn still_holds(&self, seen: &VerifiedToken) -> bool {
        match (&self.keys, &seen.keys) {
            (Keys::Fixed(_), _) => true,
            (Keys::Fetched(source), Some(keys)) => source.still_holds(keys),
            (Keys::Fetched(_), None) => false,
        }
    }

    /// The keys by one of which the signature of `token` holds; one that does not is counted against
    /// what `source` has left of `failures`.
    async fn signed(
        &self,
        token: &UnverifiedToken<'_>,
        types: &TokenTypes,
        (source, failures): (PeerAddress, &FailureBudget),
    ) -> Result<Arc<KeySet>, JwtError> {
        let header = token.header(types).map_err(JwtError::Header)?;
        // RFC 8725 section 3.1: what the configuration allows, and what the key is for
        let algorithm = header.unverified_algorithm;
        if !self.algorithms.contains(&algorithm) {
            return Err(JwtError::Algorithm(algorithm));
        }
        let keys = match &self.keys {
            Keys::Fixed(keys) => Arc::clone(keys),
            Keys::Fetched(source) => source.keys(header.unverified_key_id).await?,
        };
        holds(token, &header, &keys, (source, failures))?;
        Ok(keys)
    }

    async fn verify(
        &self,
        token: UnverifiedToken<'_>,
        source: PeerAddress,
    ) -> Result<Arc<Identity>, JwtError> {
        let counted = (source, &self.failures);
        let keys = self.signed(&token, &self.types, counted).await?;
        let (text, claims) = (token.text, token.unverified_claims);
        let times = Times::read(&claims)?;
        let timely = self.rules.judge_times(times, self.clock.unix_seconds());
        match (timely, self.rules.identify(claims, times)) {
            (Err(error), Err(_)) | (Ok(()), Err(error)) => Err(error.into()),
            (timely, Ok(identity)) => {
                // also where it has expired: the next time, that is told without its signature
                let identity = Arc::new(identity);
                let replaceable = matches!(self.keys, Keys::Fetched(_));
                let found = VerifiedToken {
                    identity: Arc::clone(&identity),
                    times,
                    keys: replaceable.then(|| Arc::downgrade(&keys)),
                    until: None,
                };
                self.seen.remember(text, Arc::new(found));
                timely.map(|()| identity).map_err(JwtError::Claims)
            }
        }
    }

    fn principal(&self, identity: Arc<Identity>) -> Principal<'_> {
        Principal {
            authenticator: &self.name,
            method: Method::Jwt,
            client: match identity.client_id {
                Some(_) => ClientIdentity::Client,
                None => ClientIdentity::None,
            },
            identity: Some(identity),
            subscriptions: self.subscriptions,
        }
    }
}

/// Whether the signature of `token` holds by one of `keys`; one that does not is counted against what
/// `source` has left of `failures`. That its algorithm is allowed has been found before.
pub(super) fn holds(
    token: &UnverifiedToken<'_>,
    header: &UnverifiedHeader<'_>,
    keys: &KeySet,
    (source, failures): (PeerAddress, &FailureBudget),
) -> Result<(), JwtError> {
    let algorithm = header.unverified_algorithm;
    let key = keys
        .find(header.unverified_key_id, algorithm)
        .map_err(|no_key| match no_key {
            NoKey::Unknown => JwtError::KeyUnknown,
            NoKey::NotNamed => JwtError::KeyNotNamed,
            NoKey::OtherAlgorithm => JwtError::Algorithm(algorithm),
        })?;
    let now = Instant::now();
    if !failures.is_left(source, now) {
        return Err(JwtError::TooManyFailures);
    }
    if !key.verifies(token.signing_input.as_bytes(), &token.signature) {
        failures.take(source, now);
        return Err(JwtError::Signature);
    }
    Ok(())
}

impl fmt::Debug for JwtAuthenticator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JwtAuthenticator")
            .field("name", &self.name)
            .field("issuer", &self.rules.issuer)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
