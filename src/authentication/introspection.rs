//! Asks an authorization server about tokens that only it can judge (RFC 7662).
//!
//! An answer counts for a while and is then asked for again: that a token is active never beyond its
//! `exp`, that it is not for a few seconds. About one token there is one question at a time
//! ([`crate::fetch`]), and whoever presents many that do not hold is not asked about any more
//! ([`super::failures`]). Not for tokens that we can verify ourselves: that is [`super::jwt`].
//
// INVARIANT: what we could not find out is a fault and never says anything about the token.

pub mod config;
mod server;

use std::fmt;
use std::sync::Arc;
use std::time::Instant as StdInstant;

use tokio::time::{Instant, timeout_at};

use crate::authentication::claims::ClaimError;
use crate::authentication::credential::CredentialPlace;
use crate::authentication::failures::FailureBudget;
use crate::authentication::introspection::server::{Keeping, Server};
use crate::authentication::principal::{ClientIdentity, Method, Principal, SubscriptionSource};
use crate::authentication::proof::ProofRules;
use crate::authentication::unverified::UnverifiedToken;
use crate::authentication::verified_tokens::{OwnTokens, VerifiedToken};
use crate::authentication::{Challenge, Outcome, presented};
use crate::cache::Cache;
use crate::check::decision::{Denial, Fault, FaultReason, Reason, Stop};
use crate::check::request::{DownstreamRequest, PeerAddress};
use crate::fetch::{FailureKind, FetchError, Fetches, Joined, Why};
use crate::secret::Secret;

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
    #[error("the authorization server cannot be asked: {0}")]
    Unavailable(String),
}

/// The one place that says what becomes of each error.
impl From<IntrospectionError> for Stop {
    fn from(error: IntrospectionError) -> Self {
        let reason = match &error {
            IntrospectionError::Refused(Refusal::Inactive) => Reason::TokenInactive,
            IntrospectionError::Refused(Refusal::Claims(error)) => error.reason(),
            IntrospectionError::TooManyFailures => Reason::RateLimited,
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
        request: &DownstreamRequest,
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
            && let Err(error) = Box::pin(self.proofs.judge(bound, &credential, request)).await
        {
            return Outcome::Stopped(error.into());
        }
        Outcome::Verified(self.principal(&token))
    }

    /// Whether `token` is a JSON Web Token that says itself to be another issuer's: that is nothing
    /// to show to this one. What else it says is for the server to judge.
    fn is_anothers(&self, token: &str) -> bool {
        let Ok(token) = UnverifiedToken::parse(token) else {
            return false;
        };
        let rules = &self.asked.server.rules;
        token.unverified_claims.contains_key("iss")
            && token.unverified_issuer() != Some(&*rules.issuer)
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
        let landed = match self.join(token) {
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
                if is_of_token(error.kind) {
                    self.failures.take(source, now);
                }
                unavailable(&error)
            }
            Err(_) => {
                let why = "no answer within the time that the check may take";
                Err(IntrospectionError::Unavailable(why.to_owned()))
            }
        }
    }

    fn join(&self, token: &str) -> Joined<Judged> {
        let key = self.asked.seen.key(token);
        let known = || self.asked.known(token).map(Arc::new);
        let fetch = || {
            let asked = Arc::clone(&self.asked);
            let token = Secret::new(token.to_owned());
            async move { asked.ask(&token).await.map(Arc::new) }
        };
        self.fetches.join((key, Why::Missing), known, fetch)
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

/// Whether another token might have had an answer.
fn is_of_token(kind: FailureKind) -> bool {
    match kind {
        FailureKind::Refused | FailureKind::Unusable => true,
        FailureKind::Unavailable | FailureKind::NotAsked => false,
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
