//! What a token says before its signature was checked: read strictly, bounded, and believed by
//! nobody. Only used to see whose token it is and by which key it can be verified.
//
// INVARIANT: what leaves here is called `unverified_`; the word goes where the signature held.

use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, URL_SAFE_NO_PAD};
use serde_json::{Map, Value};

use crate::authentication::algorithm::Algorithm;
use crate::authentication::key_set::MAX_KEY_ID_BYTES;
use crate::json;

/// The longest JOSE header, in bytes, decoded.
const MAX_HEADER_BYTES: usize = 2 * 1024;
/// The `typ` that a token may have where the configuration does not say.
const DEFAULT_TYPES: [&str; 2] = ["jwt", "at+jwt"];
/// The `typ` that a logout token may have.
const LOGOUT_TYPES: [&str; 2] = ["jwt", "logout+jwt"];
/// The `typ` that a JWT-SVID may have (JWT-SVID section 2.3).
const SVID_TYPES: [&str; 2] = ["jwt", "jose"];

/// A token in compact form, decoded and not verified.
pub(super) struct UnverifiedToken<'t> {
    pub text: &'t str,
    /// What the signature is over (RFC 7515 section 5.2).
    pub signing_input: &'t str,
    pub unverified_header: Map<String, Value>,
    pub unverified_claims: Map<String, Value>,
    pub signature: Vec<u8>,
}

/// What the header says that matters.
#[derive(Debug)]
pub(super) struct UnverifiedHeader<'t> {
    pub unverified_algorithm: Algorithm,
    pub unverified_key_id: Option<&'t str>,
}

/// Which `typ` a token may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum TokenTypes {
    /// Absent, `JWT` or `at+jwt`.
    Default,
    /// Absent, `JWT` or `logout+jwt`.
    Logout,
    /// Absent, `JWT` or `JOSE`.
    Svid,
    /// One of these, in lower case and without `application/`.
    Listed(Vec<Box<str>>),
}

impl<'t> UnverifiedToken<'t> {
    /// Reads `token`, whose length has been found to be allowed.
    pub(super) fn parse(token: &'t str) -> Result<Self, &'static str> {
        // RFC 7515 section 3.1: three parts, none of them empty
        let (signing_input, signature) = token.rsplit_once('.').ok_or("it has no parts")?;
        let (header, claims) = signing_input.split_once('.').ok_or("it has two parts")?;
        if claims.contains('.') {
            return Err("it has more than three parts");
        }
        if header.is_empty() || claims.is_empty() || signature.is_empty() {
            return Err("one of its parts is empty");
        }
        if header.len() > MAX_HEADER_BYTES.div_ceil(3) * 4 {
            return Err("its header is too long");
        }
        let header = decode(header)?;
        if header.len() > MAX_HEADER_BYTES {
            return Err("its header is too long");
        }
        let object = |bytes: &[u8], why| json::parse_object(bytes).map_err(|_| why);
        Ok(Self {
            text: token,
            signing_input,
            unverified_header: object(&header, "its header is no JSON object of one meaning")?,
            unverified_claims: object(
                &decode(claims)?,
                "its claims are no JSON object of one meaning",
            )?,
            signature: decode(signature)?,
        })
    }

    /// Who the token says issued it, where that is one text.
    pub(super) fn unverified_issuer(&self) -> Option<&str> {
        self.unverified_claims.get("iss").and_then(Value::as_str)
    }

    /// Applies the rules for headers.
    pub(super) fn header(&self, types: &TokenTypes) -> Result<UnverifiedHeader<'_>, &'static str> {
        let header = &self.unverified_header;
        // RFC 7515 section 4.1.11: what is critical must be understood, and we understand nothing.
        // RFC 7797 section 3 (`b64`), RFC 7516 section 4.1 (`enc`, `zip`): no form of ours.
        let refused = ["crit", "b64", "enc", "zip"];
        if refused.iter().any(|name| header.contains_key(*name)) {
            return Err("its header has `crit`, `b64`, `enc` or `zip`");
        }
        // RFC 7519 section 5.2: a token in a token
        match header
            .get("cty")
            .map(|value| value.as_str().map(media_type))
        {
            None => {}
            Some(Some(cty)) if cty != "jwt" => {}
            Some(_) => return Err("its `cty` says that it holds another token"),
        }
        match header
            .get("typ")
            .map(|value| value.as_str().map(media_type))
        {
            Some(None) => return Err("its `typ` is no text"),
            Some(Some(typ)) if types.allow(Some(&typ)) => {}
            None if types.allow(None) => {}
            Some(Some(_)) | None => return Err("its `typ` is not allowed"),
        }
        let unverified_algorithm = header
            .get("alg")
            .and_then(Value::as_str)
            .and_then(Algorithm::parse)
            .ok_or("its `alg` is none that we verify")?;
        // `jku`, `jwk`, `x5u`, `x5c` and what else there is are ignored (RFC 7515 section 4.2):
        // the key comes from the configuration
        let unverified_key_id = match header.get("kid") {
            None => None,
            Some(Value::String(id)) if id.len() <= MAX_KEY_ID_BYTES => Some(id.as_str()),
            Some(_) => return Err("its `kid` is no text, or too long"),
        };
        Ok(UnverifiedHeader {
            unverified_algorithm,
            unverified_key_id,
        })
    }
}

impl TokenTypes {
    /// The types named in a configuration.
    pub(super) fn listed(types: &[String]) -> Self {
        Self::Listed(types.iter().map(|typ| media_type(typ).into()).collect())
    }

    fn allow(&self, typ: Option<&str>) -> bool {
        match (self, typ) {
            (Self::Default | Self::Logout | Self::Svid, None) => true,
            (Self::Logout, Some(typ)) => LOGOUT_TYPES.contains(&typ),
            (Self::Svid, Some(typ)) => SVID_TYPES.contains(&typ),
            (Self::Default, Some(typ)) => DEFAULT_TYPES.contains(&typ),
            (Self::Listed(_), None) => false,
            (Self::Listed(types), Some(typ)) => types.iter().any(|listed| **listed == *typ),
        }
    }
}

/// RFC 7515 section 4.1.9: no regard to case, and `application/` may be left out.
fn media_type(text: &str) -> String {
    let lower = text.to_ascii_lowercase();
    lower
        .strip_prefix("application/")
        .map_or(lower.clone(), str::to_owned)
}

/// Whether `token` looks like something of JOSE, readable or not: signed or encrypted, in three parts
/// or more, of which the first begins as a JSON object does. Somebody may read it who is less strict.
pub(super) fn looks_like_jose(token: &str) -> bool {
    const LENIENT: GeneralPurpose = GeneralPurpose::new(
        &URL_SAFE,
        GeneralPurposeConfig::new()
            .with_decode_padding_mode(DecodePaddingMode::Indifferent)
            .with_decode_allow_trailing_bits(true),
    );
    let mut parts = token.split('.');
    let first = parts.next().unwrap_or_default().trim_end_matches('=');
    let begin: Vec<u8> = first
        .bytes()
        .take(16)
        .map(|byte| match byte {
            b'+' => b'-',
            b'/' => b'_',
            other => other,
        })
        .collect();
    let begin = LENIENT.decode(begin).unwrap_or_default();
    parts.count() >= 2 && begin.trim_ascii_start().starts_with(b"{")
}

/// RFC 7515 section 2: base64url without padding; bits that encode nothing must be zero.
fn decode(part: &str) -> Result<Vec<u8>, &'static str> {
    URL_SAFE_NO_PAD
        .decode(part)
        .map_err(|_| "a part of it is no base64url")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_jose_is_known_whether_or_not_it_can_be_read() {
        let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
        let claims = part(r#"{"iss":"b"}"#);
        let long = format!(r#"{{"alg":"RS256","x5c":["{}"]}}"#, "A".repeat(4096));
        let encrypted = part(r#"{"alg":"dir","enc":"A256GCM"}"#);
        for token in [
            format!("{}.{claims}.AA", part(&long)),
            format!("{encrypted}..AA.AA.AA"),
            format!("{}.{claims}.AA", part(r#"{"alg":"RS256","alg":"none"}"#)),
            format!("{}==.{claims}.AA", part(r#"{"alg":"RS256"}"#)),
            format!("{}.{claims}.", part("\n {\"alg\":\"none\"}")),
            format!(
                "{}.{claims}.AA~AA~",
                part(r#"{"alg":"ES256","typ":"dc+sd-jwt"}"#)
            ),
            format!("e30.{claims}.AA"),
        ] {
            assert!(UnverifiedToken::parse(&token).is_err() || token.starts_with("e30"));
            assert!(looks_like_jose(&token), "{token}");
        }
        for token in [
            "",
            "opaque",
            "a.b.c",
            "..",
            "eyJhIjoxfQ",
            "eyJhIjoxfQ.AA",
            "W10.e30.AA",
        ] {
            assert!(!looks_like_jose(token), "{token}");
        }
    }
}
