//! Properties: whatever bytes arrive, there is an answer, and nobody passes without a credential.

use envoy_types::pb::envoy::service::auth::v3::CheckResponse;
use envoy_types::pb::envoy::service::auth::v3::check_response::HttpResponse;
use portcullis::check::request::{Decoded, NormalPath, decode};
use proptest::prelude::*;
use prost::Message as _;

use crate::gate::Gate;
use crate::support::check::CheckBuilder;

/// One server for all cases, and a runtime to ask it; it ends with the test program.
fn ask(message: Vec<u8>) -> CheckResponse {
    thread_local! {
        static GATE: (tokio::runtime::Runtime, Gate) = {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            let gate = {
                let _entered = runtime.enter();
                Gate::start()
            };
            (runtime, gate)
        };
    }
    GATE.with(|(runtime, gate)| {
        let answer = runtime
            .block_on(gate.client.check_bytes(message))
            .expect("an answer in a successful RPC");
        CheckResponse::decode(answer).unwrap()
    })
}

/// Status OK exactly where there is an `ok_response`; and never OK here.
fn assert_refused(response: &CheckResponse) {
    let code = response.status.as_ref().map_or(0, |status| status.code);
    let ok = matches!(response.http_response, Some(HttpResponse::OkResponse(_)));
    assert!(code != 0 && !ok, "allowed: {response:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_are_never_allowed(message in proptest::collection::vec(any::<u8>(), 0..400)) {
        assert_refused(&ask(message));
    }

    #[test]
    fn arbitrary_fields_are_never_allowed(
        method in "\\PC{0,8}", host in "[a-z.:@,\\[\\]_-]{0,20}|api\\.example", path in "/[ -~]{0,30}|\\PC{0,20}",
        name in "authorization|x-api-key|app-id|cookie|\\PC{1,10}", value in "(Bearer |Basic )?\\PC{0,40}", raw in any::<bool>(),
    ) {
        let check = CheckBuilder::new(&method, &host, &path).header(&name, value.as_bytes());
        let check = if raw { check.raw_headers() } else { check };
        // the one Api without credentials has a host that is not made here
        assert_refused(&ask(check.build().encode_to_vec()));
    }
}

proptest! {
    #[test]
    fn decoding_never_panics(message in proptest::collection::vec(any::<u8>(), 0..600)) {
        let _ = decode(message.into());
    }

    #[test]
    fn a_path_in_normal_form_is_its_own_normal_form(path in "/[ -~]{0,60}") {
        if let Ok(normal) = NormalPath::parse(&path) {
            prop_assert_eq!(NormalPath::parse(normal.as_str()), Ok(normal.clone()));
            let segments: Vec<&str> = normal.as_str().split('/').collect();
            prop_assert!(!segments.contains(&".") && !segments.contains(&".."));
            prop_assert!(!normal.as_str().contains("//"));
        }
    }

    #[test]
    fn a_decoded_request_prints_no_header_value(value in "[a-zA-Z0-9]{20,40}") {
        let check = CheckBuilder::new("GET", "api.example", &format!("/?token={value}")).header("authorization", &value).build();
        match decode(check.encode_to_vec().into()) {
            Ok(Decoded::Http(request)) => {
                let printed = format!("{request:?}");
                prop_assert!(!printed.contains(&value), "{}", printed);
            }
            other => prop_assert!(false, "{:?}", other),
        }
    }
}

#[test]
fn an_empty_message_is_refused() {
    assert_refused(&ask(Vec::new()));
}
