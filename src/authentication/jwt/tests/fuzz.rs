//! Arbitrary headers and claims of tokens whose signature holds, so that everything behind it is
//! reached too.

use std::panic::AssertUnwindSafe;

use super::*;
use crate::fuzz::{Edits, edited, seeds};

/// Presents a token of this header and these claims, signed by the issuer's P-256 key.
async fn present_signed<'a>(
    authenticator: &'a Authenticator,
    header: &[u8],
    claims: &[u8],
) -> Outcome<'a> {
    let input = format!("{}.{}", b64(header), b64(claims));
    let signature = P256.sign(Algorithm::Es256, input.as_bytes());
    present(authenticator, &format!("{input}.{}", b64(&signature))).await
}

#[test]
fn fuzz_edited_headers_and_claims_are_judged_without_a_panic() {
    let (headers, claims) = (seeds("headers"), seeds("claims"));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let authenticators = AssertUnwindSafe([
        authenticator(""),
        authenticator("subscriptions: token"),
        authenticator("maxLifetime: 1h\n  requiredClaims: [deep]"),
    ]);
    let usual = present_signed(&authenticators[0], &headers[0], &claims[0]);
    assert_eq!(ended(&runtime.block_on(usual)), Ended::Verified);
    bolero::check!()
        .with_type::<(Edits, Edits)>()
        .with_iterations(1000)
        .for_each(|(header_edits, claim_edits)| {
            let header = edited(&headers, header_edits);
            let claims = edited(&claims, claim_edits);
            for authenticator in authenticators.iter() {
                let outcome = runtime.block_on(present_signed(authenticator, &header, &claims));
                // whatever is verified says who and for whom
                if let Outcome::Verified(principal) = outcome {
                    let json: Value = serde_json::from_slice(&claims).unwrap();
                    assert_eq!(json["iss"], ISSUER);
                    assert_eq!(
                        json["sub"].as_str(),
                        principal.identity().subject.as_deref()
                    );
                }
            }
        });
}

#[test]
fn fuzz_arbitrary_text_is_no_token() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let authenticator = AssertUnwindSafe(authenticator(""));
    bolero::check!()
        .with_type::<String>()
        .with_iterations(1000)
        .for_each(|text| {
            let outcome = runtime.block_on(present(&authenticator, text));
            assert!(!matches!(outcome, Outcome::Verified(_)));
        });
}
