//! What clients are told of their limits.

use std::fmt::Write as _;
use std::time::Duration;

use crate::authorization::quota::Level;
use crate::authorization::quota::config::HeaderNames;
use crate::catalog::model::limit::Limit;

/// The headers that tell of these limits.
///
/// `RateLimit-Policy` and `RateLimit` name each limit with its quota `q`, window `w`, what remains
/// `r` and the seconds `t` until all of it is there again (draft-ietf-httpapi-ratelimit-headers-10,
/// sections 3 and 4). `X-RateLimit-*` tell of the one that `refused`, else of the one of which least
/// is left.
#[must_use]
pub fn headers<'l>(
    names: HeaderNames,
    refused: Option<(&Limit, Level)>,
    told: impl Iterator<Item = (&'l Limit, Level)> + Clone,
) -> Vec<(&'static str, String)> {
    let mut headers = Vec::new();
    if matches!(names, HeaderNames::Standard | HeaderNames::Both) {
        let (mut policy, mut left) = (String::new(), String::new());
        for (limit, level) in told.clone() {
            let separator = if policy.is_empty() { "" } else { ", " };
            // writing to a String cannot fail
            let _ = write!(
                policy,
                "{separator}\"{}\";q={}",
                limit.name, limit.rule.amount
            );
            if let Some(seconds) = limit.rule.window.seconds() {
                let _ = write!(policy, ";w={seconds}");
            }
            let _ = write!(left, "{separator}\"{}\";r={}", limit.name, level.remaining);
            if let Some(reset) = level.reset {
                let _ = write!(left, ";t={}", whole_seconds(reset));
            }
        }
        headers.push(("ratelimit-policy", policy));
        headers.push(("ratelimit", left));
    }
    if matches!(names, HeaderNames::Legacy | HeaderNames::Both)
        && let Some((limit, level)) =
            refused.or_else(|| told.min_by_key(|(_, level)| level.remaining))
    {
        headers.push(("x-ratelimit-limit", limit.rule.amount.to_string()));
        headers.push(("x-ratelimit-remaining", level.remaining.to_string()));
        let reset = level.reset.map(|reset| whole_seconds(reset).to_string());
        headers.extend(reset.map(|reset| ("x-ratelimit-reset", reset)));
    }
    headers
}

/// `wait` in seconds, rounded up: who comes back then does not come too early.
#[must_use]
pub fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}
