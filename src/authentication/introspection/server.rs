//! One introspection endpoint: what is asked, and what an answer must be to be believed.
//
// INVARIANT: a token counts as active only where the answer says so by the one value `true`.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use serde_json::{Map, Value};
use tokio::time::Instant;

use super::Refusal;
use crate::authentication::claims::{ClaimError, ClaimRules};
use crate::authentication::proof::DPOP_SCHEME;
use crate::authentication::verified_tokens::{Times, VerifiedToken};
use crate::clock::Clock;
use crate::fetch::{FailureKind, FetchError};
use crate::http_client::HttpAnswer;
use crate::json;
use crate::secret::Secret;
use crate::upstream::provider::oauth::TokenEndpoint;
use crate::upstream::provider::oauth::token::failure;

/// An introspection endpoint, and what is asked of its answers.
pub(super) struct Server {
    endpoint: TokenEndpoint,
    pub(super) rules: ClaimRules,
    pub(super) clock: Clock,
}

/// How long answers count.
#[derive(Debug, Clone, Copy)]
pub(super) struct Keeping {
    pub active: Duration,
    pub refused: Duration,
}

impl Server {
    pub(super) fn new(endpoint: TokenEndpoint, rules: ClaimRules, clock: Clock) -> Self {
        Self {
            endpoint,
            rules,
            clock,
        }
    }

    /// Asks about `token` (RFC 7662 section 2.1).
    pub(super) async fn ask(
        &self,
        token: &Secret<String>,
        keeping: Keeping,
    ) -> Result<Result<VerifiedToken, Refusal>, FetchError> {
        let form = vec![
            ("token", Cow::Borrowed(token.expose().as_str())),
            ("token_type_hint", Cow::Borrowed("access_token")),
        ];
        // from here on, so that nothing counts for longer than it may
        let until = Instant::now() + keeping.active;
        let answer = self.endpoint.post(form).await?;
        let now = self.clock.unix_seconds();
        let Some(claims) = read(&answer, now)? else {
            return Ok(Err(Refusal::Inactive));
        };
        Ok(self.judge(claims, now, until).map_err(Refusal::Claims))
    }

    fn judge(
        &self,
        claims: Map<String, Value>,
        now: i64,
        until: Instant,
    ) -> Result<VerifiedToken, ClaimError> {
        let times = Times::read_open(&claims)?;
        // what begins later is judged on each request
        if self.rules.judge_times(times, now) == Err(ClaimError::Expired) {
            return Err(ClaimError::Expired);
        }
        // RFC 9449 section 6.2: without saying to which key, that cannot be enforced
        let is_for_proofs = claims
            .get("token_type")
            .and_then(Value::as_str)
            .is_some_and(|kind| kind.eq_ignore_ascii_case(DPOP_SCHEME));
        let identity = self.rules.identify(claims, times)?;
        let bound = identity.confirmation.as_ref();
        if is_for_proofs && bound.is_none_or(|bound| bound.key.is_none()) {
            let why = "missing, although the token needs proofs";
            return Err(ClaimError::Claim("cnf".into(), why));
        }
        Ok(VerifiedToken {
            identity: Arc::new(identity),
            times,
            keys: None,
            until: Some(until),
        })
    }
}

/// The claims of a token that is active, or none (RFC 7662 section 2.2). Whatever is no such answer
/// is the server's failure or ours, and says nothing about the token.
fn read(answer: &HttpAnswer, now: i64) -> Result<Option<Map<String, Value>>, FetchError> {
    let unusable = |why: &str| FetchError::new(FailureKind::Unusable, why);
    match answer.status {
        StatusCode::OK => {}
        // RFC 7662 section 2.3: it does not know us, whatever the token
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            let why = format!(
                "the server refuses our client, with status {}",
                answer.status
            );
            return Err(FetchError::new(FailureKind::Unavailable, why));
        }
        status if status.is_success() => {
            return Err(unusable("the answer is a success without being an answer"));
        }
        _ => return Err(failure(answer, now)),
    }
    let claims = json::parse_object(answer.body.expose())
        .map_err(|_| unusable("the answer is no JSON object that can be read in one way"))?;
    match claims.get("active") {
        Some(Value::Bool(true)) => Ok(Some(claims)),
        Some(Value::Bool(false)) => Ok(None),
        Some(_) | None => Err(unusable("the answer has no `active` that is true or false")),
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}
