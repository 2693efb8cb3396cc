//! Tokens that are bound to a key: what their bearer must show beside them, on every request.
//!
//! A token says by `cnf` (RFC 7800) what it is bound to: a key that signs a proof for each request
//! (DPoP, RFC 9449), or the certificate of the client's connection (RFC 8705). Not for tokens that
//! are bound to nothing, unless the configuration asks that they be.
//
// INVARIANT: a `cnf` is enforced wherever it stands; one that we cannot enforce refuses the token.

pub mod config;

mod certificate;
mod dpop;
pub mod replay;

use std::sync::Arc;
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use crate::authentication::Challenge;
use crate::authentication::claims::ClaimError;
use crate::authentication::credential::{Credential, CredentialPlace};
use crate::authentication::failures::FailureBudget;
use crate::authentication::proof::config::RequiredBinding;
use crate::authentication::proof::dpop::{DpopError, DpopRules, Shown};
use crate::authentication::proof::replay::{ReplayError, ReplayStore};
use crate::check::decision::{Denial, Fault, FaultReason, Reason, Stop};
use crate::check::request::DownstreamRequest;
use crate::clock::Clock;
use crate::spiffe::config::Mesh;

/// The scheme of tokens that come with a proof (RFC 9449 section 7.1).
pub(super) const DPOP_SCHEME: &str = "DPoP";

/// What a token is bound to: SHA-256 digests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confirmation {
    /// Of a public key (RFC 7638), which signs proofs (RFC 9449 section 6.1).
    pub(super) key: Option<[u8; 32]>,
    /// Of a certificate (RFC 8705 section 3.1).
    pub(super) certificate: Option<[u8; 32]>,
}

impl Confirmation {
    /// Reads `cnf`, where there is one.
    pub(super) fn read(claims: &Map<String, Value>) -> Result<Option<Box<Self>>, ClaimError> {
        let wrong = |why| ClaimError::Claim("cnf".into(), why);
        let members = match claims.get("cnf") {
            None => return Ok(None),
            Some(Value::Object(members)) if !members.is_empty() => members,
            Some(_) => return Err(wrong("no object that says what the token is bound to")),
        };
        let mut bound = Self {
            key: None,
            certificate: None,
        };
        for (name, value) in members {
            let place = match name.as_str() {
                "jkt" => &mut bound.key,
                "x5t#S256" => &mut bound.certificate,
                // to take it as a bearer token would be a downgrade (RFC 7800 section 3.1)
                _ => return Err(wrong("bound to what we cannot check")),
            };
            let digest = value.as_str().and_then(read_digest);
            *place = Some(digest.ok_or_else(|| wrong("no SHA-256 digest in base64url"))?);
        }
        Ok(Some(Box::new(bound)))
    }
}

/// A SHA-256 digest in base64url.
fn read_digest(text: &str) -> Option<[u8; 32]> {
    URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()
}

/// What an authenticator asks of bound tokens, and of tokens that are not.
pub(super) struct ProofRules {
    required: RequiredBinding,
    dpop: DpopRules,
    /// Whether what a sidecar forwards about the client's certificate counts.
    xfcc: bool,
    /// The header of proofs, where a token may come with one.
    proof_places: Vec<CredentialPlace>,
    replays: ReplayStore,
    failures: FailureBudget,
    clock: Clock,
}

/// Why what a token is bound to was not shown. No text here has a value of a token.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProofError {
    #[error("the token is not bound as it must be: {0}")]
    NotBound(&'static str),
    #[error("the token is bound to a key and was shown without scheme DPoP")]
    NotAsDpop,
    #[error("the token was shown with scheme DPoP and is bound to no key")]
    NotForDpop,
    #[error("the client's certificate: {0}")]
    Certificate(&'static str),
    #[error("the DPoP proof: {0}")]
    Dpop(&'static str),
    #[error("the DPoP proof: its signature does not hold")]
    Signature,
    #[error("the DPoP proof was used before")]
    Replayed,
    #[error("too many signatures from this source did not hold: the proof was not looked at")]
    TooManyFailures,
    #[error(transparent)]
    Replay(#[from] ReplayError),
}

/// The one place that says what becomes of each error.
impl From<ProofError> for Stop {
    fn from(error: ProofError) -> Self {
        let why = error.to_string();
        match error {
            ProofError::NotBound(_)
            | ProofError::NotAsDpop
            | ProofError::NotForDpop
            | ProofError::Certificate(_) => Denial::new(Reason::ProofInvalid, why).into(),
            ProofError::Dpop(_) | ProofError::Signature | ProofError::Replayed => {
                Denial::new(Reason::ProofInvalid, why).about_proof().into()
            }
            ProofError::TooManyFailures | ProofError::Replay(ReplayError::TooMany) => {
                Denial::new(Reason::RateLimited, why).into()
            }
            ProofError::Replay(ReplayError::Forgotten) => {
                Denial::new(Reason::ProofInvalid, why).about_proof().into()
            }
            ProofError::Replay(ReplayError::Full | ReplayError::Redis(_)) => {
                Fault::new(FaultReason::DependencyUnavailable, why).into()
            }
        }
    }
}

impl ProofRules {
    /// The header that proofs come in, where tokens are taken with one: it is emptied with them.
    pub(super) fn places(&self) -> &[CredentialPlace] {
        &self.proof_places
    }

    /// The challenges of an authenticator with these rules.
    pub(super) fn challenges(&self) -> Vec<Challenge> {
        let mut challenges = Vec::new();
        if self.required != RequiredBinding::Dpop {
            challenges.push(Challenge::Bearer);
        }
        if !self.proof_places.is_empty() {
            challenges.push(Challenge::Dpop(Arc::clone(&self.dpop.algorithm_names)));
        }
        challenges
    }

    /// Whether there is anything to judge about a token that was found in `place`.
    pub(super) fn are_due(&self, bound: Option<&Confirmation>, place: &CredentialPlace) -> bool {
        bound.is_some() || self.required != RequiredBinding::None || is_dpop(place)
    }

    /// Judges what `request` shows beside the token in `credential`, which holds and is `bound`.
    pub(super) async fn judge(
        &self,
        bound: Option<&Confirmation>,
        credential: &Credential<'_>,
        (request, mesh): (&DownstreamRequest, &Mesh),
    ) -> Result<(), ProofError> {
        self.judge_required(bound)?;
        let Some(bound) = bound else {
            // RFC 9449 section 7.1: a proof is for the key that the token is bound to
            return if is_dpop(credential.place()) {
                Err(ProofError::NotForDpop)
            } else {
                Ok(())
            };
        };
        if let Some(digest) = &bound.certificate {
            let judged = certificate::judge(digest, self.xfcc, request, mesh);
            judged.map_err(ProofError::Certificate)?;
        }
        match (&bound.key, is_dpop(credential.place())) {
            (Some(key), true) => self.judge_proof(key, credential, request).await,
            // RFC 9449 section 7.2
            (Some(_), false) => Err(ProofError::NotAsDpop),
            (None, true) => Err(ProofError::NotForDpop),
            (None, false) => Ok(()),
        }
    }

    fn judge_required(&self, bound: Option<&Confirmation>) -> Result<(), ProofError> {
        let is_there = match self.required {
            RequiredBinding::None => true,
            RequiredBinding::Any => bound.is_some(),
            RequiredBinding::Dpop => bound.is_some_and(|bound| bound.key.is_some()),
            RequiredBinding::Certificate => bound.is_some_and(|bound| bound.certificate.is_some()),
        };
        let what = match self.required {
            RequiredBinding::None | RequiredBinding::Any => "to anything",
            RequiredBinding::Dpop => "to a key that signs proofs",
            RequiredBinding::Certificate => "to a certificate",
        };
        is_there.then_some(()).ok_or(ProofError::NotBound(what))
    }

    async fn judge_proof(
        &self,
        key: &[u8; 32],
        credential: &Credential<'_>,
        request: &DownstreamRequest,
    ) -> Result<(), ProofError> {
        let (source, now) = (request.source(), Instant::now());
        if !self.failures.is_left(source, now) {
            return Err(ProofError::TooManyFailures);
        }
        let seconds = self.clock.unix_seconds();
        let shown = Shown {
            token: credential.single().unwrap_or_default(),
            key,
            now: seconds,
        };
        let used = self
            .dpop
            .judge(&shown, request)
            .map_err(|error| match error {
                DpopError::Refused(why) => ProofError::Dpop(why),
                DpopError::Signature => {
                    self.failures.take(source, now);
                    ProofError::Signature
                }
            })?;
        let is_first = self.replays.is_first(&used, request.id(), seconds).await?;
        is_first.then_some(()).ok_or(ProofError::Replayed)
    }
}

/// Whether tokens in `place` come with a proof.
fn is_dpop(place: &CredentialPlace) -> bool {
    match place {
        CredentialPlace::Header {
            scheme: Some(scheme),
            ..
        } => scheme.eq_ignore_ascii_case(DPOP_SCHEME),
        CredentialPlace::Header { scheme: None, .. }
        | CredentialPlace::Query(_)
        | CredentialPlace::Cookie(_)
        | CredentialPlace::Basic => false,
    }
}
