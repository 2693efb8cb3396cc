//! What a token endpoint answers (RFC 6749 section 5), and what it must be to be used.

use std::time::Duration;

use http::header::RETRY_AFTER;
use http::{HeaderMap, StatusCode};
use jiff::fmt::rfc2822;
use serde_json::{Map, Value};

use super::token_header;
use crate::fetch::{FailureKind, FetchError};
use crate::http_client::HttpAnswer;
use crate::json;
use crate::secret::Secret;
use crate::upstream::provider::Want;
use crate::upstream::provider::answer::{Given, Life};
use crate::upstream::provider::life::unverified_life;

/// The longest pause that `Retry-After` is believed.
pub(super) const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(5 * 60);

/// A token, and how long it lasts.
pub(in crate::upstream::provider) struct Token {
    pub(super) value: Secret<String>,
    pub(super) lasts: Option<Duration>,
}

/// What an answer says that is no success.
pub(crate) fn failure(answer: &HttpAnswer, now: i64) -> FetchError {
    let status = answer.status;
    let is_ours = status.is_server_error()
        || status == StatusCode::TOO_MANY_REQUESTS
        || status == StatusCode::REQUEST_TIMEOUT;
    let kind = if is_ours {
        FailureKind::Unavailable
    } else {
        FailureKind::Refused
    };
    let code = json::parse_object(answer.body.expose()).ok();
    let code = code.as_ref().and_then(error_code);
    let message = match code {
        Some(code) => format!("the server answered with status {status}: {code}"),
        None => format!("the server answered with status {status}"),
    };
    let mut error = FetchError::new(kind, message);
    error.code = code.map(known_code);
    error.retry_after = is_ours.then(|| retry_after(&answer.headers, now)).flatten();
    error
}

/// The `error` of an answer (RFC 6749 section 5.2), where it is a code and no text of its own.
fn error_code(answer: &Map<String, Value>) -> Option<&str> {
    let code = answer.get("error")?.as_str()?;
    let is_code = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
    (code.len() <= 64 && code.bytes().all(is_code)).then_some(code)
}

/// The code as a metric tells it: of a closed set.
fn known_code(code: &str) -> &'static str {
    const KNOWN: [&str; 10] = [
        "invalid_request",
        "invalid_client",
        "invalid_grant",
        "unauthorized_client",
        "unsupported_grant_type",
        "invalid_scope",
        "invalid_target",
        "access_denied",
        "server_error",
        "temporarily_unavailable",
    ];
    let known = KNOWN.into_iter().find(|known| *known == code);
    known.unwrap_or("other")
}

/// How long the server asks to be left alone (RFC 9110 section 10.2.3): seconds, or a date.
fn retry_after(headers: &HeaderMap, now: i64) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let seconds = match text.parse::<u64>() {
        Ok(seconds) => seconds,
        Err(_) => {
            let date = rfc2822::parse(text).ok()?.timestamp().as_second();
            u64::try_from(date.saturating_sub(now)).ok()?
        }
    };
    Some(Duration::from_secs(seconds).min(LONGEST_RETRY_AFTER))
}

impl Token {
    /// Reads a token response (RFC 6749 section 5.1). Its `Cache-Control` always forbids caches to
    /// keep it; how long a token may be used is said by `expires_in` and by the token itself.
    pub(super) fn read(answer: &HttpAnswer, now: i64) -> Result<Self, FetchError> {
        let unusable = |why: &str| FetchError::new(FailureKind::Unusable, why);
        let object = json::parse_object(answer.body.expose())
            .map_err(|_| unusable("the answer is no JSON object that can be read in one way"))?;
        if object.contains_key("error") {
            let code = error_code(&object).unwrap_or("an error");
            let why = format!("the server answered with {code}");
            let mut error = FetchError::new(FailureKind::Refused, why);
            error.code = Some(known_code(code));
            return Err(error);
        }
        let Some(Value::String(token)) = object.get("access_token") else {
            return Err(unusable("the answer has no `access_token` that is a text"));
        };
        // RFC 6749 appendix A.12: visible characters
        if token.is_empty() || !token.bytes().all(|byte| matches!(byte, 0x21..=0x7e)) {
            return Err(unusable(
                "the token is empty or has characters that no token has",
            ));
        }
        let is_bearer = |kind: &Value| {
            kind.as_str()
                .is_some_and(|kind| kind.eq_ignore_ascii_case("bearer") || kind == "N_A")
        };
        if object
            .get("token_type")
            .is_some_and(|kind| !is_bearer(kind))
        {
            return Err(unusable("the token is of a type other than Bearer"));
        }
        let said = match object.get("expires_in") {
            None | Some(Value::Null) => None,
            Some(seconds) => Some(
                seconds_of(seconds)
                    .ok_or_else(|| unusable("`expires_in` is no number of seconds above zero"))?,
            ),
        };
        let own = unverified_life(token, now);
        if own.is_some_and(|own| own.is_zero()) {
            return Err(unusable("the token has expired already"));
        }
        let lasts = match (said, own) {
            (Some(said), Some(own)) => Some(said.min(own)),
            (said, own) => said.or(own),
        };
        Ok(Self {
            value: Secret::new(token.clone()),
            lasts,
        })
    }

    /// The headers that bring it to the upstream, as `want` says.
    pub(in crate::upstream::provider) fn into_given(
        self,
        want: &Want,
    ) -> Result<Given, FetchError> {
        let header = token_header(&want.target, self.value.expose())?;
        Ok(Given {
            headers: vec![header],
            life: Life {
                lasts: self.lasts,
                ..Life::default()
            },
        })
    }
}

/// Some servers write numbers as texts.
fn seconds_of(value: &Value) -> Option<Duration> {
    let seconds = match value {
        Value::String(text) => text.trim().parse::<f64>().ok()?,
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return None,
        Value::Number(number) => number.as_f64()?,
    };
    // a year is more than anybody keeps a token
    let seconds = seconds.min(31_536_000.0);
    (seconds > 0.0).then(|| Duration::try_from_secs_f64(seconds).ok())?
}

#[cfg(test)]
mod tests;
