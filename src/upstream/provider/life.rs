//! How long what a provider gave is used: the least of what its answer, the token itself and the
//! operator say, less a margin.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::answer::Life;
use crate::config::findings::Findings;
use crate::config::value::HumanDuration;
use crate::json;

/// How long tokens are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct CacheConfig {
    /// How long before its end a token is used no more: 10s, but never more than a fifth of its life.
    pub margin: Option<HumanDuration>,
    /// The longest that a token is used, whatever it says: 1h.
    pub max_lifetime: Option<HumanDuration>,
    /// How long a token is used that does not say how long: 25s; for `authProvider` 0s, which
    /// keeps nothing.
    pub default_lifetime: Option<HumanDuration>,
    /// How long beyond its life a token may still be used where it cannot be renewed, by uses with
    /// `onFailure: stale`: 0s. For `headerService`, how old its headers may become: three times
    /// `interval`.
    pub max_stale: Option<HumanDuration>,
}

/// How long tokens of one provider are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CachePolicy {
    margin: Duration,
    max_lifetime: Duration,
    default_lifetime: Duration,
    max_stale: Duration,
}

/// Until when something is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// When it was given.
    pub given: Instant,
    /// From when on it is asked for again.
    pub renew: Instant,
    /// Until when it is used.
    pub fresh: Instant,
    /// Until when it may be used where it cannot be renewed.
    pub stale: Instant,
}

impl CacheConfig {
    /// Whether nothing is said.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Finds what is wrong.
    pub fn check(&self, findings: &mut Findings) {
        const DAY: Duration = Duration::from_secs(24 * 60 * 60);
        if self.max_lifetime.is_some_and(|most| most.0.is_zero()) {
            findings.wrong("maxLifetime", "must be longer than nothing");
        }
        for (path, duration) in [
            ("margin", self.margin),
            ("maxLifetime", self.max_lifetime),
            ("defaultLifetime", self.default_lifetime),
            ("maxStale", self.max_stale),
        ] {
            if duration.is_some_and(|duration| duration.0 > DAY) {
                findings.wrong(path, "must be 24h at most");
            }
        }
    }

    /// The policy, with these where it says nothing.
    #[must_use]
    pub fn policy(&self, default_lifetime: Duration, max_stale: Duration) -> CachePolicy {
        let or = |said: Option<HumanDuration>, usual| said.map_or(usual, |said| said.0);
        CachePolicy {
            margin: or(self.margin, Duration::from_secs(10)),
            max_lifetime: or(self.max_lifetime, Duration::from_secs(60 * 60)),
            default_lifetime: or(self.default_lifetime, default_lifetime),
            max_stale: or(self.max_stale, max_stale),
        }
    }
}

impl CachePolicy {
    /// Until when something is used that was given at `now`; none where it is not kept at all.
    #[must_use]
    pub fn times(&self, life: &Life, now: Instant) -> Option<Times> {
        let lasts = life.lasts.unwrap_or(self.default_lifetime);
        let lasts = lasts.min(self.max_lifetime);
        if lasts.is_zero() {
            return None;
        }
        let fresh = lasts - self.margin.min(lasts / 5);
        // replicas and tokens that began together are not renewed together
        let ahead = fresh.mul_f64(fastrand::f64().mul_add(0.15, 0.7));
        let renew = life.poll.map_or(ahead, |poll| poll.min(ahead));
        let stale = if life.must_revalidate {
            Duration::ZERO
        } else {
            self.max_stale
        };
        Some(Times {
            given: now,
            renew: now + renew,
            fresh: now + fresh,
            stale: now + lasts + stale,
        })
    }

    /// How long beyond its life something may be used.
    #[must_use]
    pub fn max_stale(&self) -> Duration {
        self.max_stale
    }

    /// How long something is used that does not say how long.
    #[must_use]
    pub fn default_lifetime(&self) -> Duration {
        self.default_lifetime
    }
}

/// How long `token` says that it lasts from `now` (seconds since 1970), where it is a JSON Web
/// Token. It was not made for us and is not verified: it can only shorten what its provider says.
#[must_use]
pub fn unverified_life(token: &str, now: i64) -> Option<Duration> {
    let mut parts = token.split('.');
    let (Some(_), Some(claims), Some(_), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return None;
    };
    let claims = URL_SAFE_NO_PAD.decode(claims).ok()?;
    let claims = json::parse_object(&claims).ok()?;
    let expires = claims.get("exp")?;
    let expires = expires.as_i64().or_else(|| whole(expires.as_f64()?))?;
    Some(Duration::from_secs(
        u64::try_from(expires.saturating_sub(now)).unwrap_or(0),
    ))
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "it saturates, as it should"
)]
fn whole(number: f64) -> Option<i64> {
    number.is_finite().then_some(number as i64)
}

/// How long an answer with these headers may be kept (RFC 9111 sections 4.2.1 and 5.2.2), by a
/// cache of its own: `s-maxage` is not for it. None where they do not say.
#[must_use]
pub fn cached_life(headers: &HeaderMap) -> Option<Life> {
    let mut max_age = None;
    let mut forbidden = false;
    let mut must_revalidate = false;
    for directive in headers
        .get_all(http::header::CACHE_CONTROL)
        .iter()
        .flat_map(|line| split(line.to_str().unwrap_or("no-store")))
    {
        let (name, argument) = directive.split_once('=').unwrap_or((directive, ""));
        let argument = argument.trim().trim_matches('"');
        match name.trim().to_ascii_lowercase().as_str() {
            "no-store" | "no-cache" => forbidden = true,
            "must-revalidate" => must_revalidate = true,
            "max-age" => {
                // of several, the least; one that cannot be read counts as none at all
                let age = argument.parse::<u64>().unwrap_or(0);
                max_age = Some(max_age.map_or(age, |before: u64| before.min(age)));
            }
            _ => {}
        }
    }
    if forbidden {
        return Some(Life {
            lasts: Some(Duration::ZERO),
            ..Life::default()
        });
    }
    let age = headers.get(http::header::AGE);
    let age = age.and_then(|age| age.to_str().ok()?.trim().parse::<u64>().ok());
    let lasts = max_age.map(|most| Duration::from_secs(most.saturating_sub(age.unwrap_or(0))));
    (lasts.is_some() || must_revalidate).then_some(Life {
        lasts,
        poll: None,
        must_revalidate,
    })
}

/// The directives of one line; a comma in a quoted argument does not end one.
fn split(line: &str) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    line.split(move |char| {
        quoted ^= char == '"';
        char == ',' && !quoted
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lasts(lines: &[&str], age: Option<&str>) -> Option<u64> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append("cache-control", line.parse().unwrap());
        }
        if let Some(age) = age {
            headers.insert("age", age.parse().unwrap());
        }
        cached_life(&headers)?.lasts.map(|lasts| lasts.as_secs())
    }

    #[test]
    fn f14_cache_control_is_read_as_rfc_9111_has_it() {
        assert_eq!(lasts(&["max-age=60"], None), Some(60));
        assert_eq!(lasts(&["private, max-age=60"], None), Some(60));
        assert_eq!(lasts(&["private", "Max-Age=\"60\""], None), Some(60));
        assert_eq!(lasts(&["max-age=60, no-store"], None), Some(0));
        assert_eq!(
            lasts(&["no-cache=\"set-cookie, x\", max-age=60"], None),
            Some(0)
        );
        assert_eq!(lasts(&["ext=\"a, max-age=9\", max-age=60"], None), Some(60));
        assert_eq!(lasts(&["max-age=0"], None), Some(0));
        assert_eq!(lasts(&["max-age=invalid"], None), Some(0));
        assert_eq!(lasts(&["max-age"], None), Some(0));
        assert_eq!(lasts(&["max-age=60, max-age=30"], None), Some(30));
        assert_eq!(lasts(&["s-maxage=60"], None), None);
        assert_eq!(lasts(&["no-valid-directive"], None), None);
        assert_eq!(lasts(&[], None), None);
        let mut headers = HeaderMap::new();
        headers.insert("cache-control", "must-revalidate".parse().unwrap());
        let life = cached_life(&headers).unwrap();
        assert!(life.must_revalidate && life.lasts.is_none());
    }

    #[test]
    fn f15_age_is_subtracted() {
        assert_eq!(lasts(&["max-age=60"], Some("20")), Some(40));
        assert_eq!(lasts(&["max-age=60"], Some("90")), Some(0));
        assert_eq!(lasts(&["max-age=60"], Some("no")), Some(60));
    }

    #[test]
    fn a_life_is_the_least_of_what_is_said_less_a_margin() {
        let now = Instant::now();
        let policy = CacheConfig::default().policy(Duration::from_secs(25), Duration::ZERO);
        let of = |seconds| {
            let life = Life {
                lasts: Some(Duration::from_secs(seconds)),
                ..Life::default()
            };
            policy.times(&life, now).unwrap()
        };
        assert_eq!(of(300).fresh, now + Duration::from_secs(290));
        assert_eq!(of(1_000_000_000).fresh, now + Duration::from_secs(3590));
        assert_eq!(
            of(30).fresh,
            now + Duration::from_secs(24),
            "a fifth at most"
        );
        for _ in 0..100 {
            let times = of(300);
            let ahead = (times.renew - now).as_secs_f64();
            assert!((290.0 * 0.7..290.0 * 0.85).contains(&ahead), "{ahead}");
        }
        let unsaid = policy.times(&Life::default(), now).unwrap();
        assert_eq!(unsaid.fresh, now + Duration::from_secs(20));
        let none = Life {
            lasts: Some(Duration::ZERO),
            ..Life::default()
        };
        assert_eq!(policy.times(&none, now), None);
    }

    #[test]
    fn a_token_can_only_say_when_it_ends() {
        let token = |claims: &str| format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims));
        let life = |claims: &str| unverified_life(&token(claims), 100);
        assert_eq!(life(r#"{"exp":160}"#), Some(Duration::from_secs(60)));
        assert_eq!(life(r#"{"exp":160.5}"#), Some(Duration::from_secs(60)));
        assert_eq!(life(r#"{"exp":40}"#), Some(Duration::ZERO));
        assert_eq!(life(r#"{"exp":"160"}"#), None);
        assert_eq!(life("{}"), None);
        assert_eq!(unverified_life("opaque", 100), None);
        assert_eq!(unverified_life("a.b.c", 100), None);
    }
}
