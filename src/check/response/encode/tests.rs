//! What is written, read back by envoy-types.

use envoy_types::pb::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use envoy_types::pb::envoy::config::core::v3::{HeaderValue as EnvoyHeader, HeaderValueOption};
use envoy_types::pb::envoy::service::auth::v3::check_response::HttpResponse;
use envoy_types::pb::envoy::service::auth::v3::{
    CheckResponse, DeniedHttpResponse, OkHttpResponse,
};
use envoy_types::pb::envoy::r#type::v3::HttpStatus;
use envoy_types::pb::google::protobuf::value::Kind;
use envoy_types::pb::google::protobuf::{Struct, Value};
use envoy_types::pb::google::rpc::Status;
use proptest::prelude::*;
use prost::Message as _;

use super::*;
use crate::header::{HeaderError, HeaderName};

/// Texts whose length takes one, two and three bytes.
fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[ -~]{0,40}", "[a-zé]{100,300}", "x{16300,16500}"]
}

fn name() -> impl Strategy<Value = HeaderName> {
    "x-[a-z]{1,20}".prop_map(|name| HeaderName::parse(&name).unwrap())
}

/// What Envoy reads as "overwrite": `append` unset, `append_action` set.
fn overwrites((name, value): (&str, &str)) -> HeaderValueOption {
    HeaderValueOption {
        header: Some(EnvoyHeader {
            key: name.to_owned(),
            value: value.to_owned(),
            ..EnvoyHeader::default()
        }),
        append_action: HeaderAppendAction::OverwriteIfExistsOrAdd.into(),
        ..HeaderValueOption::default()
    }
}

fn as_struct(entries: &[(&'static str, &str)]) -> Struct {
    let value = |text: &str| Value {
        kind: Some(Kind::StringValue(text.to_owned())),
    };
    Struct {
        fields: entries
            .iter()
            .map(|(name, text)| ((*name).to_owned(), value(text)))
            .collect(),
    }
}

/// The message, whose announced length must be its length.
fn read(outgoing: &Outgoing) -> CheckResponse {
    CheckResponse::decode(outgoing.message()).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn an_allow_is_read_as_it_was_meant(
        names in proptest::collection::btree_set(name(), 0..6),
        value in "[!-~]{1,300}",
        removed in proptest::collection::btree_set("y-[a-z]{1,100}", 0..6),
        query in proptest::collection::vec(text(), 0..3),
        decision in proptest::option::of(text()),
        detail in text(),
    ) {
        let names: Vec<HeaderName> = names.into_iter().collect();
        let mut mutations = Mutations::default();
        let write = |text: &mut String| -> Result<bool, HeaderError> {
            text.push_str(&value);
            Ok(true)
        };
        for name in &names {
            mutations.set(name, write).unwrap();
        }
        if let Some(first) = names.first() {
            mutations.set_response(first, write).unwrap();
        }
        removed.iter().for_each(|name| mutations.remove_sent(name.as_bytes()));
        query.iter().for_each(|name| mutations.remove_query(name));
        let decision = decision.as_deref().map(|id| ("x-decision-id", id));
        let metadata = [("decision", "allow"), ("detail", &*detail)];
        let quota = [("ratelimit", value.clone())];
        let allow_fields = Allow { mutations: &mutations, decision, quota: &quota };
        let outgoing = allow(&allow_fields, metadata.into_iter());
        let set = names.iter().map(|name| (name.as_str(), &*value));
        let meant = CheckResponse {
            status: Some(Status::default()),
            http_response: Some(HttpResponse::OkResponse(OkHttpResponse {
                headers: set.clone().map(overwrites).collect(),
                headers_to_remove: removed.iter().cloned().collect(),
                response_headers_to_add: set.take(1).chain(decision).chain([("ratelimit", &*value)]).map(overwrites).collect(),
                query_parameters_to_remove: query.clone(),
                ..OkHttpResponse::default()
            })),
            dynamic_metadata: Some(as_struct(&metadata)),
        };
        prop_assert_eq!(read(&outgoing), meant);
        prop_assert_eq!(announced(outgoing), None);
    }

    #[test]
    fn a_refusal_is_read_as_it_was_meant(
        grpc_code in 1..17_i32,
        http_status in 400..600_u16,
        reason in "[a-z_]{1,40}",
        headers in proptest::collection::vec((text(), text()), 0..5),
        body in text(),
        detail in text(),
    ) {
        let headers: Vec<(&str, &str)> =
            headers.iter().map(|(name, value)| (&**name, &**value)).collect();
        let fields = Refusal { grpc_code, reason: &reason, http_status, headers: &headers, body: &body };
        let metadata = [("reason", &*reason), ("detail", &*detail)];
        let outgoing = refuse(&fields, metadata.into_iter());
        let meant = CheckResponse {
            status: Some(Status { code: grpc_code, message: reason.clone(), details: Vec::new() }),
            http_response: Some(HttpResponse::DeniedResponse(DeniedHttpResponse {
                status: Some(HttpStatus { code: http_status.into() }),
                headers: headers.iter().copied().map(overwrites).collect(),
                body: body.clone(),
            })),
            dynamic_metadata: Some(as_struct(&metadata)),
        };
        prop_assert_eq!(read(&outgoing), meant);
        prop_assert_eq!(announced(outgoing), None);
    }
}

/// How many bytes are written, where other than announced.
fn announced(mut outgoing: Outgoing) -> Option<usize> {
    let written = outgoing.message().len();
    let framed = outgoing.end();
    let announced = u32::from_be_bytes([framed[1], framed[2], framed[3], framed[4]]);
    let exact = usize::try_from(announced) == Ok(written) && framed.len() == framed.capacity();
    (!exact).then_some(written)
}
