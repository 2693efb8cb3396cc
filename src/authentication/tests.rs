use super::*;

#[test]
fn the_denial_closest_to_an_owner_is_said() {
    let denial = |reason| Denial::new(reason, "x");
    let mut unclaimed = None;
    for (next, said) in [
        (Reason::CredentialInvalid, Reason::CredentialInvalid),
        (Reason::IssuerUntrusted, Reason::IssuerUntrusted),
        (Reason::AudienceMismatch, Reason::AudienceMismatch),
        (Reason::IssuerUntrusted, Reason::AudienceMismatch),
        (Reason::CredentialInvalid, Reason::AudienceMismatch),
    ] {
        unclaimed = Some(closest(unclaimed, denial(next)));
        assert_eq!(unclaimed.as_ref().unwrap().reason(), said);
    }
}
