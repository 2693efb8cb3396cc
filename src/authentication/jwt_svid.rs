//! Verifies JWT-SVIDs: the identity of a workload as a token, by the keys of its trust domain.
//!
//! The keys come from the Workload API, which says them anew with each change: a token is good while
//! the key that signed it stands in the bundle of the trust domain in its own `sub`, and no other. The
//! same token may come any number of times, as agents give it out more than once.
//
// INVARIANT: a bundle that was taken away verifies nothing any more, remembered or not.

pub mod config;

use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use crate::authentication::algorithm::Algorithm;
use crate::authentication::claims::ClaimRules;
use crate::authentication::credential::{Credential, CredentialPlace};
use crate::authentication::failures::FailureBudget;
use crate::authentication::jwt::{JwtError, holds};
use crate::authentication::mtls::{client_of, identity_of};
use crate::authentication::principal::{
    ClientIdentity, Identity, Method, Principal, SubscriptionSource,
};
use crate::authentication::proof::ProofRules;
use crate::authentication::unverified::{TokenTypes, UnverifiedToken};
use crate::authentication::verified_tokens::{OwnTokens, Times, VerifiedToken};
use crate::authentication::workload::Workload;
use crate::authentication::{Challenge, Outcome, presented};
use crate::catalog::Catalog;
use crate::check::decision::{Denial, Fault, FaultReason, Reason, Stop};
use crate::check::request::{DownstreamRequest, PeerAddress};
use crate::clock::Clock;
use crate::spiffe::config::Mesh;
use crate::spiffe::{SpiffeId, TrustDomain};
use crate::workload_api::{JwtBundles, WorkloadApi};

/// The algorithms that a JWT-SVID may be signed with (JWT-SVID section 2.1).
const ALGORITHMS: [Algorithm; 9] = [
    Algorithm::Rs256,
    Algorithm::Rs384,
    Algorithm::Rs512,
    Algorithm::Es256,
    Algorithm::Es384,
    Algorithm::Es512,
    Algorithm::Ps256,
    Algorithm::Ps384,
    Algorithm::Ps512,
];
/// What its header may have (JWT-SVID section 2).
const HEADER: [&str; 3] = ["alg", "kid", "typ"];

/// Verifies JWT-SVIDs.
pub struct JwtSvidAuthenticator {
    name: Arc<str>,
    places: Vec<CredentialPlace>,
    max_token: usize,
    trust_domains: Option<Vec<TrustDomain>>,
    agent: Option<WorkloadApi>,
    rules: ClaimRules,
    proofs: ProofRules,
    seen: OwnTokens,
    clock: Clock,
    failures: FailureBudget,
}

impl JwtSvidAuthenticator {
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

    /// Verifies the token of `request`, if it has one of a workload's. Nothing is waited for.
    pub async fn authenticate(
        &self,
        request: &DownstreamRequest,
        catalog: &Catalog,
        mesh: &Mesh,
    ) -> Outcome<'_> {
        let credential = match presented(&self.places, self.max_token, request) {
            Ok(credential) => credential,
            Err(outcome) => return outcome,
        };
        let bundles = self.agent.as_ref().map(WorkloadApi::jwt_bundles);
        let bundles = bundles.unwrap_or_default();
        let text = credential.single().unwrap_or_default();
        let seen = self.seen.find(text).filter(|seen| {
            let keys = seen.keys.as_ref();
            keys.is_some_and(|keys| bundles.holds(keys))
        });
        let verified = match seen {
            Some(seen) => self
                .rules
                .judge_times(seen.times, self.clock.unix_seconds())
                .map(|()| Arc::clone(&seen.identity))
                .map_err(|error| JwtError::Claims(error).into()),
            None => match self.read(text, mesh) {
                Ok((token, id)) => self.verify(token, id, (&bundles, mesh), request.source()),
                Err(denial) => return Outcome::NotMine(denial),
            },
        };
        self.outcome(verified, &credential, (request, mesh), catalog)
            .await
    }

    /// The token in `text`, and whose it says to be, where that is a workload whose trust domain
    /// counts; else why it is another authenticator's.
    fn read<'t>(
        &self,
        text: &'t str,
        mesh: &Mesh,
    ) -> Result<(UnverifiedToken<'t>, SpiffeId), Denial> {
        let token = UnverifiedToken::parse(text);
        let token = token.map_err(|why| Denial::new(Reason::CredentialInvalid, why))?;
        let unverified_subject = token.unverified_claims.get("sub").and_then(Value::as_str);
        let unverified_id = unverified_subject.and_then(|subject| SpiffeId::parse(subject).ok());
        let Some(unverified_id) = unverified_id.filter(|id| !id.path().is_empty()) else {
            let why = "a token whose `sub` is no workload's SPIFFE ID";
            return Err(Denial::new(Reason::CredentialInvalid, why));
        };
        let name = unverified_id.trust_domain();
        let is_taken = match &self.trust_domains {
            None => mesh.takes(name),
            Some(names) => names.iter().any(|one| mesh.aliases.are_same(one, name)),
        };
        if !is_taken {
            let why = "a workload of a trust domain that is not taken";
            return Err(Denial::new(Reason::IssuerUntrusted, why));
        }
        Ok((token, unverified_id))
    }

    fn verify(
        &self,
        token: UnverifiedToken<'_>,
        unverified_id: SpiffeId,
        (bundles, mesh): (&JwtBundles, &Mesh),
        source: PeerAddress,
    ) -> Result<Arc<Identity>, Stop> {
        if bundles.is_empty() {
            let why = "the Workload API has not said any key of JWT-SVIDs, or has taken all away";
            return Err(Fault::new(FaultReason::DependencyUnavailable, why).into());
        }
        let Some(keys) = bundles.get(unverified_id.trust_domain()) else {
            let why = "the Workload API knows no key of the trust domain";
            return Err(Denial::new(Reason::IssuerUntrusted, why).into());
        };
        let is_known = |name: &String| HEADER.contains(&name.as_str());
        if !token.unverified_header.keys().all(is_known) {
            return Err(JwtError::Header("its header has more than `alg`, `kid` and `typ`").into());
        }
        let header = token.header(&TokenTypes::Svid).map_err(JwtError::Header)?;
        if !ALGORITHMS.contains(&header.unverified_algorithm) {
            return Err(JwtError::Algorithm(header.unverified_algorithm).into());
        }
        holds(&token, &header, keys, (source, &self.failures))?;
        let (text, claims, id) = (token.text, token.unverified_claims, unverified_id);
        let times = Times::read(&claims).map_err(JwtError::Claims)?;
        let timely = self.rules.judge_times(times, self.clock.unix_seconds());
        let identity = self.rules.identify(claims, times);
        let identity = match (timely.clone(), identity) {
            (Err(error), Err(_)) | (Ok(()), Err(error)) => {
                return Err(JwtError::Claims(error).into());
            }
            (_, Ok(identity)) => identity,
        };
        let identity = Arc::new(Identity {
            scopes: identity.scopes,
            confirmation: identity.confirmation,
            claims: identity.claims,
            ..identity_of(&Workload::Spiffe(mesh.canonical(id)))
        });
        let found = VerifiedToken {
            identity: Arc::clone(&identity),
            times,
            keys: Some(Arc::downgrade(keys)),
            until: None,
        };
        self.seen.remember(text, Arc::new(found));
        timely.map_err(JwtError::Claims)?;
        Ok(identity)
    }

    async fn outcome(
        &self,
        verified: Result<Arc<Identity>, Stop>,
        credential: &Credential<'_>,
        shown: (&DownstreamRequest, &Mesh),
        catalog: &Catalog,
    ) -> Outcome<'_> {
        let identity = match verified {
            Ok(identity) => identity,
            Err(stop) => return Outcome::Stopped(stop),
        };
        let bound = identity.confirmation.as_deref();
        if self.proofs.are_due(bound, credential.place())
            && let Err(error) = Box::pin(self.proofs.judge(bound, credential, shown)).await
        {
            return Outcome::Stopped(error.into());
        }
        let id = identity.workload.as_ref();
        Outcome::Verified(Principal {
            authenticator: &self.name,
            method: Method::JwtSvid,
            client: id.map_or(ClientIdentity::None, |id| client_of(id, catalog)),
            identity: Some(identity),
            subscriptions: SubscriptionSource::Catalog,
        })
    }
}

impl fmt::Debug for JwtSvidAuthenticator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JwtSvidAuthenticator")
            .field("name", &self.name)
            .field("trust_domains", &self.trust_domains)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
