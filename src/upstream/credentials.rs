//! Removes the client's credentials: those that were used, and those that nobody verified.
//!
//! An upstream takes what reaches it for what the gateway let pass. So every place where an
//! authenticator of the Api looks is emptied, also where another credential decided.

use std::sync::LazyLock;

use crate::authentication::credential::CredentialPlace;
use crate::check::request::DownstreamRequest;
use crate::header::{HeaderName, is_token_byte};
use crate::upstream::mutations::Mutations;

static AUTHORIZATION: LazyLock<Option<HeaderName>> =
    LazyLock::new(|| HeaderName::parse("authorization").ok());

/// Removes what stands in `places` of `request`.
pub(super) fn remove<'s>(
    places: &'s [CredentialPlace],
    request: &DownstreamRequest,
    mutations: &mut Mutations<'s>,
) {
    let mut cookies = false;
    for place in places {
        match place {
            CredentialPlace::Header { name, scheme } => {
                remove_header(name, scheme.as_deref(), request, mutations);
            }
            CredentialPlace::Basic => {
                if let Some(name) = &*AUTHORIZATION {
                    remove_header(name, Some("Basic"), request, mutations);
                }
            }
            CredentialPlace::Query(name) => {
                for raw in request.query_names(name) {
                    mutations.remove_query(raw);
                }
            }
            CredentialPlace::Cookie(_) => cookies = true,
        }
    }
    if cookies {
        remove_cookies(places, request, mutations);
    }
}

/// Removes the header in its `-` and `_` spellings. With a scheme, a header stays that plainly holds
/// something of another scheme, which is not ours to take.
fn remove_header<'s>(
    name: &'s HeaderName,
    scheme: Option<&str>,
    request: &DownstreamRequest,
    mutations: &mut Mutations<'s>,
) {
    let spelled = name.as_str().as_bytes();
    for sent in request.headers().raw_names() {
        if !is_spelling(sent, spelled) {
            continue;
        }
        let mut values = request.headers().all_of(sent);
        let anothers = scheme.is_some_and(|scheme| {
            values.all(|value| value.is_some_and(|value| is_anothers(value, scheme)))
        });
        match (anothers, sent == spelled) {
            (true, _) => {}
            (false, true) => mutations.remove(name),
            (false, false) => mutations.remove_sent(sent),
        }
    }
}

/// Whether `sent` is `name` for an upstream that does not tell `_` from `-`.
pub(super) fn is_spelling(sent: &[u8], name: &[u8]) -> bool {
    let plain = |byte: u8| {
        if byte == b'_' {
            b'-'
        } else {
            byte.to_ascii_lowercase()
        }
    };
    let same = |(sent, name): (&u8, &u8)| plain(*sent) == plain(*name);
    sent.len() == name.len() && sent.iter().zip(name).all(same)
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
    mutations: &mut Mutations<'_>,
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
    // a line that we cannot read may hold one of ours
    if request.headers().all("cookie").any(|line| line.is_none()) {
        mutations.remove_sent(COOKIE);
    } else if found && !mutations.removes(COOKIE) {
        let left = left.join("; ");
        if left.is_empty() || mutations.set_sent(COOKIE, &left).is_err() {
            mutations.remove_sent(COOKIE);
        }
    }
}

const COOKIE: &[u8] = b"cookie";

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
        assert!(is_spelling(b"x_api-key", b"x-api-key") && is_spelling(b"X-Api_Key", b"x-api-key"));
        assert!(
            !is_spelling(b"x-api-keys", b"x-api-key") && !is_spelling(b"xapi-key", b"x-api-key")
        );
    }
}
