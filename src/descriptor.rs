//! The descriptors of the protocol that we speak: for gRPC reflection, and to read a check that is
//! written as JSON. Checks on the wire are not read by them ([`crate::check::request`]).

use anyhow::Context as _;
use prost::Message as _;
use prost_reflect::{DescriptorPool, DeserializeOptions, DynamicMessage};

/// The encoded `FileDescriptorSet` of `proto/`.
pub const FILE_DESCRIPTOR_SET: &[u8] =
    include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.binpb"));

const CHECK_REQUEST: &str = "envoy.service.auth.v3.CheckRequest";
const CHECK_RESPONSE: &str = "envoy.service.auth.v3.CheckResponse";

/// The bytes of a `CheckRequest` that is given in the JSON form of protobuf; names of fields may be
/// `snake_case` or `camelCase`.
///
/// # Errors
/// Where it is no JSON, or names a field that a `CheckRequest` does not have.
pub fn check_request_from_json(json: &str) -> anyhow::Result<Vec<u8>> {
    let pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET).context("the descriptors are broken")?;
    let message = pool
        .get_message_by_name(CHECK_REQUEST)
        .context("the descriptors have no CheckRequest")?;
    let mut deserializer = serde_json::Deserializer::from_str(json);
    let options = DeserializeOptions::new().deny_unknown_fields(true);
    let message = DynamicMessage::deserialize_with_options(message, &mut deserializer, &options)
        .context("this is no CheckRequest")?;
    deserializer
        .end()
        .context("something follows the CheckRequest")?;
    Ok(message.encode_to_vec())
}

/// The JSON form of an encoded `CheckResponse`.
///
/// # Errors
/// Where it is none.
pub fn check_response_to_json(message: &[u8]) -> anyhow::Result<serde_json::Value> {
    let pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET).context("the descriptors are broken")?;
    let response = pool
        .get_message_by_name(CHECK_RESPONSE)
        .context("the descriptors have no CheckResponse")?;
    let response = DynamicMessage::decode(response, message).context("this is no CheckResponse")?;
    Ok(serde_json::to_value(response)?)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use envoy_types::pb::envoy::config::core::v3::address::Address as Variant;
    use envoy_types::pb::envoy::config::core::v3::socket_address::PortSpecifier;
    use envoy_types::pb::envoy::config::core::v3::{
        Address, HeaderMap, HeaderValue, Metadata, Pipe, SocketAddress,
    };
    use envoy_types::pb::envoy::service::auth::v3::attribute_context::{
        HttpRequest, Peer, Request, TlsSession,
    };
    use envoy_types::pb::envoy::service::auth::v3::{AttributeContext, CheckRequest};
    use envoy_types::pb::google::protobuf::value::Kind;
    use envoy_types::pb::google::protobuf::{Struct, Timestamp, Value};

    use super::*;

    const GOLDEN: &str = r#"{"attributes":{
     "source":{"address":{"socket_address":{"address":"127.0.0.1","port_value":37472}}},
     "destination":{"address":{"socket_address":{"address":"127.0.0.1","port_value":42549}}},
     "request":{"time":"2026-11-21T12:02:34.275802Z","http":{
       "id":"14665760763168702873","method":"GET","path":"/petstore/v1/pets?x=1","host":"api.example.com",
       "scheme":"http","protocol":"HTTP/1.1",
       "headers":{":authority":"api.example.com",":path":"/petstore/v1/pets?x=1",":method":"GET",":scheme":"http",
         "authorization":"Bearer aaa","x-api-key":"k","x-forwarded-proto":"http","x-request-id":"d450d4c6"}}},
     "metadata_context":{},"route_metadata_context":{},"tls_session":{}}}"#;

    #[test]
    fn a_captured_check_in_json_is_read() {
        let bytes = check_request_from_json(GOLDEN).unwrap();
        let attributes = CheckRequest::decode(&*bytes).unwrap().attributes.unwrap();
        let request = attributes.request.unwrap();
        assert_eq!(request.time.unwrap().nanos, 275_802_000);
        let http = request.http.unwrap();
        assert_eq!(
            (&*http.method, &*http.host, &*http.path),
            ("GET", "api.example.com", "/petstore/v1/pets?x=1")
        );
        assert_eq!(http.headers["authorization"], "Bearer aaa");
        let source = attributes.source.unwrap().address.unwrap().address.unwrap();
        assert!(matches!(source, Variant::SocketAddress(socket)
            if socket.address == "127.0.0.1"
                && socket.port_specifier == Some(PortSpecifier::PortValue(37472))));
    }

    #[test]
    fn what_is_no_check_is_refused() {
        for text in [
            "",
            "[]",
            "{} {}",
            r#"{"attributes":{"sauce":{}}}"#,
            r#"{"attributes":{"request":{"http":{"method":7}}}}"#,
        ] {
            assert!(check_request_from_json(text).is_err(), "{text}");
        }
    }

    fn text(text: &str) -> String {
        text.to_owned()
    }

    fn pairs(name: &str) -> HashMap<String, String> {
        HashMap::from([(text(name), text("value"))])
    }

    fn full_http() -> HttpRequest {
        HttpRequest {
            id: text("1"),
            method: text("GET"),
            headers: pairs("accept"),
            path: text("/a?b=c"),
            host: text("h"),
            scheme: text("https"),
            query: text("q"),
            fragment: text("f"),
            size: -1,
            protocol: text("HTTP/2"),
            body: text("body"),
            raw_body: vec![0, 255],
            header_map: Some(HeaderMap {
                headers: vec![HeaderValue {
                    key: text("k"),
                    value: text("v"),
                    raw_value: vec![1, 254],
                }],
            }),
        }
    }

    /// A check with a value in every field, as envoy-types encodes it.
    fn full() -> CheckRequest {
        let peer = |address: Variant| Peer {
            address: Some(Address {
                address: Some(address),
            }),
            service: text("service"),
            labels: pairs("label"),
            principal: text("spiffe://td/ns/a"),
            certificate: text("certificate"),
        };
        let metadata = |key: &str| Metadata {
            filter_metadata: HashMap::from([(
                text("namespace"),
                Struct {
                    fields: HashMap::from([(
                        text(key),
                        Value {
                            kind: Some(Kind::NumberValue(1.5)),
                        },
                    )]),
                },
            )]),
            ..Metadata::default()
        };
        CheckRequest {
            attributes: Some(AttributeContext {
                source: Some(peer(Variant::SocketAddress(SocketAddress {
                    protocol: 1,
                    address: text("::1"),
                    port_specifier: Some(PortSpecifier::PortValue(9)),
                    ..SocketAddress::default()
                }))),
                destination: Some(peer(Variant::Pipe(Pipe {
                    path: text("/run/s"),
                    mode: 0o600,
                }))),
                request: Some(Request {
                    time: Some(Timestamp {
                        seconds: 5,
                        nanos: 6,
                    }),
                    http: Some(full_http()),
                }),
                context_extensions: pairs("portcullis.api"),
                metadata_context: Some(metadata("m")),
                route_metadata_context: Some(metadata("r")),
                tls_session: Some(TlsSession {
                    sni: text("sni.example"),
                }),
            }),
        }
    }

    #[test]
    fn a_check_of_envoys_schema_is_the_same_in_ours() {
        let check = full();
        let pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET).unwrap();
        let ours = pool.get_message_by_name(CHECK_REQUEST).unwrap();
        let message = DynamicMessage::decode(ours, &*check.encode_to_vec()).unwrap();
        let json = serde_json::to_string(&message).unwrap();
        for value in [
            "sni.example",
            "spiffe://td/ns/a",
            "portcullis.api",
            "/run/s",
            "\"1.5\"",
            "-1",
        ] {
            let value = value.trim_matches('"');
            assert!(json.contains(value), "{value} is lost: {json}");
        }
        // through JSON, where nothing that the schema does not know survives
        let back = check_request_from_json(&json).unwrap();
        assert_eq!(CheckRequest::decode(&*back).unwrap(), check);
    }
}
