//! Asks an authorization server about tokens that only it can judge (RFC 7662).
//!
//! An answer counts for a while and is then asked for again: that a token is active never beyond its
//! `exp`, that it is not for a few seconds. About one token there is one question at a time
//! ([`crate::fetch`]), and whoever presents many that do not hold is not asked about any more
//! ([`super::failures`]). Not for tokens that we can verify ourselves: that is [`super::jwt`].
//
// INVARIANT: what we could not find out is a fault and never says anything about the token.

pub mod config;
mod places;
mod server;

use std::fmt;
use std::sync::Arc;
use std::time::Instant as StdInstant;

use tokio::time::{Instant, timeout_at};

use crate::authentication::claims::ClaimError;
use crate::authentication::credential::CredentialPlace;
use crate::authentication::failures::FailureBudget;
use crate::authentication::introspection::places::SourcePlaces;
use crate::authentication::introspection::server::{Keeping, Server};
use crate::authentication::principal::{ClientIdentity, Method, Principal, SubscriptionSource};
use crate::authentication::proof::ProofRules;
use crate::authentication::unverified::{UnverifiedToken, looks_like_jose};
use crate::authentication::verified_tokens::{OwnTokens, VerifiedToken};
use crate::authentication::{Challenge, Outcome, presented};
use crate::cache::Cache;
use crate::check::decision::{Denial, Fault, FaultReason, Reason, Stop};
use crate::check::request::{DownstreamRequest, PeerAddress};
use crate::fetch::{FailureKind, FetchError, Fetches, Joined, Why};
use crate::secret::Secret;
use crate::spiffe::config::Mesh;

/// What the memory of refusals may take.
const REFUSED_BYTES: usize = 4 * 1024 * 1024;
/// What one remembered refusal takes, about.
const REFUSAL_BYTES: usize = 64;

/// Asks one authorization server about tokens.
pub struct IntrospectionAuthenticator {
    name: Arc<str>,
    places: Vec<CredentialPlace>,
    max_token: usize,
    subscriptions: SubscriptionSource,
    proofs: ProofRules,
    asked: Arc<Asked>,
    fetches: Fetches<Judged>,
    sources: SourcePlaces,
    failures: FailureBudget,
}

/// The server, and what it has answered: what a question needs that outlives its check.
struct Asked {
    server: Server,
    seen: OwnTokens,
    refused: Cache<Refused>,
    keeping: Keeping,
}

/// What is known of a token.
#[derive(Debug, Clone)]
enum Judged {
    /// It is active, and for us; its times are judged on each request.
    Active(Arc<VerifiedToken>),
    /// It is not.
    Refused(Refusal),
}

/// That a token is refused, and until when that counts.
#[derive(Debug)]
struct Refused {
    refusal: Refusal,
    until: Instant,
}

/// Why a token is refused. No text here has a value of the token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum Refusal {
    #[error("the authorization server says that the token is not active")]
    Inactive,
    #[error(transparent)]
    Claims(#[from] ClaimError),
}

/// Why a token does not hold, or we cannot find out.
#[derive(Debug, thiserror::Error)]
enum IntrospectionError {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("too many tokens from this source did not hold: this one was not asked about")]
    TooManyFailures,
    #[error("too many tokens from this source are asked about just now: this one was not")]
    TooManyQuestions,
    #[error("the authorization server cannot be asked: {0}")]
    Unavailable(String),
}

/// The one place that says what becomes of each error.
impl From<IntrospectionError> for Stop {
    fn from(error: IntrospectionError) -> Self {
        let reason = match &error {
            IntrospectionError::Refused(Refusal::Inactive) => Reason::TokenInactive,
            IntrospectionError::Refused(Refusal::Claims(error)) => error.reason(),
            IntrospectionError::TooManyFailures | IntrospectionError::TooManyQuestions => {
                Reason::RateLimited
            }
            IntrospectionError::Unavailable(_) => {
                return Fault::new(FaultReason::DependencyUnavailable, error.to_string()).into();
            }
        };
        Denial::new(reason, error.to_string()).into()
    }
}

impl IntrospectionAuthenticator {
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

    /// Verifies the token of `request`, if it has one; an answer is waited for `until` at most.
    pub async fn authenticate(
        &self,
        (request, mesh): (&DownstreamRequest, &Mesh),
        until: &(impl Fn() -> StdInstant + Sync),
    ) -> Outcome<'_> {
        let credential = match presented(&self.places, self.max_token, request) {
            Ok(credential) => credential,
            Err(outcome) => return outcome,
        };
        let text = credential.single().unwrap_or_default();
        let judged = match self.asked.known(text) {
            Some(judged) => Ok(judged),
            None if self.is_anothers(text) => {
                let denial = Denial::new(Reason::IssuerUntrusted, "a token of another issuer");
                return Outcome::NotMine(denial);
            }
            // in a box, so that checks which need not wait carry nothing of it
            None => Box::pin(self.find_out(text, request.source(), until().into())).await,
        };
        let token = match judged.and_then(|judged| self.judge(judged)) {
            Ok(token) => token,
            Err(error) => return Outcome::Stopped(error.into()),
        };
        let bound = token.identity.confirmation.as_deref();
        if self.proofs.are_due(bound, credential.place())
            && let Err(error) =
                Box::pin(self.proofs.judge(bound, &credential, (request, mesh))).await
        {
            return Outcome::Stopped(error.into());
        }
        Outcome::Verified(self.principal(&token))
    }

    /// Whether `token` is a JSON Web Token that is, or may be, another issuer's: that is nothing to
    /// show to this one. What else it says is for the server to judge.
    fn is_anothers(&self, token: &str) -> bool {
        is_anothers(token, &self.asked.server.rules.issuer)
    }

    /// Judges what changes with time.
    fn judge(&self, judged: Judged) -> Result<Arc<VerifiedToken>, IntrospectionError> {
        match judged {
            Judged::Refused(refusal) => Err(refusal.into()),
            Judged::Active(token) => {
                let server = &self.asked.server;
                let now = server.clock.unix_seconds();
                let timely = server.rules.judge_times(token.times, now);
                timely.map_err(Refusal::Claims)?;
                Ok(token)
            }
        }
    }

    /// Asks about `token`, or waits for the answer to who asks about it already.
    async fn find_out(
        &self,
        token: &str,
        source: PeerAddress,
        until: Instant,
    ) -> Result<Judged, IntrospectionError> {
        let now = StdInstant::now();
        if !self.failures.is_left(source, now) {
            return Err(IntrospectionError::TooManyFailures);
        }
        let unavailable =
            |error: &FetchError| Err(IntrospectionError::Unavailable(error.message.clone()));
        let landed = match self.join(token, source)? {
            Joined::Known(judged) => return Ok(Judged::clone(&judged)),
            Joined::Failed(error) => return unavailable(&error),
            Joined::Flying(flight) => timeout_at(until, flight.landed()).await,
        };
        match landed {
            Ok(Ok(judged)) => {
                if matches!(*judged, Judged::Refused(_)) {
                    self.failures.take(source, now);
                }
                Ok(Judged::clone(&judged))
            }
            Ok(Err(error)) => {
                if was_asked(error.kind) {
                    self.failures.take(source, now);
                }
                unavailable(&error)
            }
            Err(_) => {
                self.failures.take(source, now);
                let why = "no answer within the time that the check may take";
                Err(IntrospectionError::Unavailable(why.to_owned()))
            }
        }
    }

    /// Joins the question about `token`. One that was active when last asked about has places that
    /// made-up tokens cannot take; of the others, each source has a part.
    fn join(&self, token: &str, source: PeerAddress) -> Result<Joined<Judged>, IntrospectionError> {
        let key = self.asked.seen.key(token);
        let (why, place) = if self.asked.seen.find(token).is_some() {
            (Why::Renewal, None)
        } else if self.fetches.is_flying(key) {
            (Why::Missing, None)
        } else {
            let place = self.sources.take(source);
            let place = place.ok_or(IntrospectionError::TooManyQuestions)?;
            (Why::Missing, Some(place))
        };
        let known = || self.asked.known(token).map(Arc::new);
        let fetch = || {
            let asked = Arc::clone(&self.asked);
            let token = Secret::new(token.to_owned());
            async move {
                let _until_the_answer = place;
                asked.ask(&token).await.map(Arc::new)
            }
        };
        Ok(self.fetches.join((key, why), known, fetch))
    }

    fn principal(&self, token: &VerifiedToken) -> Principal<'_> {
        Principal {
            authenticator: &self.name,
            method: Method::Introspection,
            client: match token.identity.client_id {
                Some(_) => ClientIdentity::Client,
                None => ClientIdentity::None,
            },
            identity: Some(Arc::clone(&token.identity)),
            subscriptions: self.subscriptions,
        }
    }
}

/// Whether `token` says itself to be of another than `issuer`, or cannot be read to find out.
fn is_anothers(token: &str, issuer: &str) -> bool {
    match UnverifiedToken::parse(token) {
        Ok(token) => {
            token.unverified_claims.contains_key("iss") && token.unverified_issuer() != Some(issuer)
        }
        Err(_) => looks_like_jose(token),
    }
}

/// Whether the server had a call to answer: a token may be why it could not.
fn was_asked(kind: FailureKind) -> bool {
    match kind {
        FailureKind::Refused | FailureKind::Unusable | FailureKind::Unavailable => true,
        FailureKind::NotAsked => false,
    }
}

impl Asked {
    fn new(server: Server, seen: OwnTokens, keeping: Keeping) -> Self {
        Self {
            server,
            seen,
            refused: Cache::new(REFUSED_BYTES),
            keeping,
        }
    }

    /// What was answered about `token`, where that still counts.
    fn known(&self, token: &str) -> Option<Judged> {
        let now = Instant::now();
        if let Some(seen) = self.seen.find(token) {
            let counts = seen.until.is_some_and(|until| now < until);
            // never beyond its end, leeway or not
            if counts && self.server.clock.unix_seconds() < seen.times.expires {
                return Some(Judged::Active(seen));
            }
            return None;
        }
        let refused = self.refused.get(self.seen.key(token))?;
        (now < refused.until).then(|| Judged::Refused(refused.refusal.clone()))
    }

    /// Asks the server about `token` and remembers what it says.
    async fn ask(&self, token: &Secret<String>) -> Result<Judged, FetchError> {
        let judged = self.server.ask(token, self.keeping).await?;
        let key = self.seen.key(token.expose());
        match judged {
            Ok(active) => {
                let active = Arc::new(active);
                self.refused.remove(key);
                self.seen.remember(token.expose(), Arc::clone(&active));
                Ok(Judged::Active(active))
            }
            Err(refusal) => {
                let refused = Refused {
                    refusal: refusal.clone(),
                    until: Instant::now() + self.keeping.refused,
                };
                self.seen.forget(token.expose());
                self.refused.insert(key, Arc::new(refused), REFUSAL_BYTES);
                Ok(Judged::Refused(refusal))
            }
        }
    }
}

impl fmt::Debug for IntrospectionAuthenticator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IntrospectionAuthenticator")
            .field("name", &self.name)
            .field("server", &self.asked.server)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::*;

    #[test]
    fn a_token_that_may_be_anothers_is_not_for_this_issuer() {
        let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
        let header = part(r#"{"alg":"RS256"}"#);
        let signed = |claims: &str| format!("{header}.{}.AA", part(claims));
        let certificates = part(&format!(r#"{{"x5c":["{}"]}}"#, "A".repeat(4096)));
        for token in [
            signed(r#"{"iss":"b"}"#),
            signed(r#"{"iss":1}"#),
            signed(r#"{"iss":"a","iss":"b"}"#),
            format!("{certificates}.{}.AA", part(r#"{"iss":"b"}"#)),
            format!("{header}.AA.AA.AA.AA"),
            format!("{header}=.{}.AA", part(r#"{"iss":"b"}"#)),
        ] {
            assert!(is_anothers(&token, "a"), "{token}");
        }
        for token in ["opaque", "a.b.c", &signed(r#"{"iss":"a"}"#), &signed("{}")] {
            assert!(!is_anothers(token, "a"), "{token}");
        }
    }

    #[test]
    fn every_call_that_was_made_and_failed_is_charged() {
        for kind in [
            FailureKind::Refused,
            FailureKind::Unusable,
            FailureKind::Unavailable,
        ] {
            assert!(was_asked(kind), "{kind:?}");
        }
        assert!(!was_asked(FailureKind::NotAsked));
    }
}
