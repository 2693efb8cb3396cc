//! Removes the client's credentials: those that were used, and those that nobody verified.
//!
//! An upstream takes what reaches it for what the gateway let pass. So every place where an
//! authenticator of the Api looks is emptied, also where another credential decided.

use crate::authentication::credential::CredentialPlace;
use crate::check::request::DownstreamRequest;
use crate::header::{HeaderName, HeaderValue, is_token_byte};
use crate::upstream::mutations::Mutations;

/// Removes what stands in `places` of `request`.
pub(super) fn remove(
    places: &[CredentialPlace],
    request: &DownstreamRequest,
    mutations: &mut Mutations,
) {
    for place in places {
        match place {
            CredentialPlace::Header { name, scheme } => {
                remove_header(name.as_str(), scheme.as_deref(), request, mutations);
            }
            CredentialPlace::Basic => {
                remove_header("authorization", Some("Basic"), request, mutations)
            }
            CredentialPlace::Query(name) => {
                for raw in request.query_names(name) {
                    mutations.remove_query(raw);
                }
            }
            CredentialPlace::Cookie(_) => {}
        }
    }
    remove_cookies(places, request, mutations);
}

/// Removes the header in its `-` and `_` spellings. With a scheme, a header stays that plainly holds
/// something of another scheme, which is not ours to take.
fn remove_header(
    name: &str,
    scheme: Option<&str>,
    request: &DownstreamRequest,
    mutations: &mut Mutations,
) {
    let sent = request
        .headers()
        .names()
        .filter(|sent| is_spelling(sent, name));
    for sent in sent {
        let mut values = request.headers().all(sent);
        let anothers = scheme.is_some_and(|scheme| {
            values.all(|value| value.is_some_and(|value| is_anothers(value, scheme)))
        });
        if !anothers && let Ok(sent) = HeaderName::parse(sent) {
            mutations.remove(sent);
        }
    }
}

/// Whether `sent` is `name` for an upstream that does not tell `_` from `-`.
fn is_spelling(sent: &str, name: &str) -> bool {
    let plain = |byte: u8| {
        if byte == b'_' {
            b'-'
        } else {
            byte.to_ascii_lowercase()
        }
    };
    sent.len() == name.len() && sent.bytes().map(plain).eq(name.bytes().map(plain))
}

/// Whether `value` is a scheme other than `scheme`, one space, and one credential.
fn is_anothers(value: &str, scheme: &str) -> bool {
    let Some((other, rest)) = value.split_once(' ') else {
        return false;
    };
    let is_scheme = !other.is_empty() && other.bytes().all(is_token_byte);
    is_scheme && !other.eq_ignore_ascii_case(scheme) && !rest.contains(',')
}

/// Writes the cookies again without those in `places`; where none is left, or what is left cannot be
/// written again, or the whole header is removed anyway, it goes.
fn remove_cookies(
    places: &[CredentialPlace],
    request: &DownstreamRequest,
    mutations: &mut Mutations,
) {
    let is_ours = |name: &str| {
        places
            .iter()
            .any(|place| matches!(place, CredentialPlace::Cookie(ours) if **ours == *name))
    };
    let mut left = Vec::new();
    let mut found = false;
    for pair in request.cookies() {
        let name = pair.split_once('=').map_or(pair, |(name, _)| name.trim());
        if is_ours(name) {
            found = true;
        } else {
            left.push(pair);
        }
    }
    let Ok(cookie) = HeaderName::parse("cookie") else {
        return;
    };
    // a line that we cannot read may hold one of ours
    let may_be_ours = places
        .iter()
        .any(|place| matches!(place, CredentialPlace::Cookie(_)));
    if may_be_ours && request.headers().all("cookie").any(|line| line.is_none()) {
        mutations.remove(cookie);
        return;
    }
    if !found || mutations.removed_headers().contains(&cookie) {
        return;
    }
    match HeaderValue::parse(left.join("; ")) {
        Ok(value) if !left.is_empty() => mutations.set(cookie, value),
        Ok(_) | Err(_) => mutations.remove(cookie),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_plain_credential_of_another_scheme_is_anothers() {
        for value in ["Basic eDp5", "DPoP x", "JWT x"] {
            assert!(is_anothers(value, "Bearer"), "{value}");
        }
        for value in [
            "Bearer x",
            "bearer x",
            "Bearer:x",
            "Bearer\tx",
            "eyJhbGciOi",
            " Bearer x",
            "Basic x, Bearer y",
            "",
        ] {
            assert!(!is_anothers(value, "Bearer"), "{value:?}");
        }
    }

    #[test]
    fn spellings_differ_by_underscores_and_case_alone() {
        assert!(is_spelling("x_api-key", "x-api-key") && is_spelling("X-Api_Key", "x-api-key"));
        assert!(!is_spelling("x-api-keys", "x-api-key") && !is_spelling("xapi-key", "x-api-key"));
    }
}
