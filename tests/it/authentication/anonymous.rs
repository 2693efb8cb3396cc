//! `anonymous` lets everybody in, and nobody who showed a credential.

use crate::gate::{Gate, allowed, metadata, refused};
use crate::support::check::{CheckBuilder, headers};

fn get() -> CheckBuilder {
    CheckBuilder::new("GET", "open.example", "/")
}

#[tokio::test]
async fn a_request_without_credential_is_anonymous_where_the_api_says_so() {
    let gate = Gate::start();
    let response = gate.ask(get()).await;
    assert!(!headers(&allowed(&response).headers).contains_key("x-open-user"));
    assert_eq!(metadata(&response, "application"), None);
}

#[tokio::test]
async fn a_bad_credential_is_never_anonymous() {
    let gate = Gate::start();
    refused(
        &gate.ask(get().bearer("not-a-token")).await,
        "credential_invalid",
    );
    let foreign = crate::support::issuer::Issuer::start();
    let token = foreign.token().audience("orders").sign();
    refused(&gate.ask(get().bearer(&token)).await, "issuer_untrusted");
    let expired = gate
        .token()
        .expired_since(std::time::Duration::from_secs(60))
        .sign();
    refused(&gate.ask(get().bearer(&expired)).await, "token_expired");
}

#[tokio::test]
async fn a_good_credential_is_used_before_anonymous() {
    let gate = Gate::start();
    let response = gate.ask(get().bearer(&gate.token().sign())).await;
    assert_eq!(headers(&allowed(&response).headers)["x-open-user"], "alice");
}
