mod fuzz;

use std::collections::BTreeMap;

use envoy_types::pb::envoy::config::core::v3::address::Address as AddressVariant;
use envoy_types::pb::envoy::config::core::v3::{Address, HeaderMap, HeaderValue, SocketAddress};
use envoy_types::pb::envoy::service::auth::v3::attribute_context::{HttpRequest, Peer, Request};
use envoy_types::pb::envoy::service::auth::v3::{AttributeContext, CheckRequest};
use proptest::prelude::*;
use prost::Message as _;

use super::*;

fn encode(http: HttpRequest, source: Option<Peer>, extensions: &[(String, String)]) -> Vec<u8> {
    let attributes = AttributeContext {
        source,
        request: Some(Request {
            http: Some(http),
            ..Request::default()
        }),
        context_extensions: extensions.iter().cloned().collect(),
        ..AttributeContext::default()
    };
    CheckRequest {
        attributes: Some(attributes),
    }
    .encode_to_vec()
}

fn http(path: &str, headers: &[(&str, &str)]) -> HttpRequest {
    HttpRequest {
        id: "14665760763168702873".into(),
        method: "GET".into(),
        host: "api.example".into(),
        path: path.into(),
        headers: headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        ..HttpRequest::default()
    }
}

fn decoded(http: HttpRequest) -> DownstreamRequest {
    match decode(encode(http, None, &[]).into()).unwrap() {
        Decoded::Http(request) => request,
        Decoded::NoHttp => panic!("no http"),
    }
}

fn request(path: &str, headers: &[(&str, &str)]) -> DownstreamRequest {
    decoded(http(path, headers))
}

#[test]
fn the_raw_form_tells_repeated_headers_apart() {
    let header = |key: &str, raw: &[u8]| HeaderValue {
        key: key.into(),
        raw_value: raw.to_vec(),
        ..HeaderValue::default()
    };
    let headers = vec![
        header(":path", b"/"),
        header("x-api-key", b"a"),
        header("X-Api-Key", b"b"),
        header("x-odd", b"a\xffb"),
        header("x-one", b"1"),
    ];
    let request = decoded(HttpRequest {
        header_map: Some(HeaderMap { headers }),
        ..http("/", &[("x-one", "2")])
    });
    assert_eq!(request.headers().get("x-api-key"), Values::Several);
    assert_eq!(request.headers().get("x-odd"), Values::Several);
    assert_eq!(request.headers().get("x-one"), Values::One("1"));
    assert!(!request.headers().names().any(|name| name == ":path"));
}

#[test]
fn query_parameters_are_found_by_their_decoded_name() {
    let given = request("/a?x=1&access%5ftoken=t&y", &[]);
    assert_eq!(given.query_parameter("access_token"), Values::One("t"));
    assert_eq!(given.query_parameter("y"), Values::One(""));
    assert_eq!(given.query_parameter("z"), Values::Absent);
    assert_eq!(
        request("/a?k=1&%6b=2", &[]).query_parameter("k"),
        Values::Several
    );
}

#[test]
fn cookies_are_told_apart_also_where_envoy_joined_lines() {
    assert_eq!(
        request("/", &[("cookie", "a=1; session=x")]).cookie("session"),
        Values::One("x")
    );
    assert_eq!(
        request("/", &[("cookie", "session=x,session=y")]).cookie("session"),
        Values::Several
    );
    assert_eq!(
        request("/", &[("cookie", "xsession=x")]).cookie("session"),
        Values::Absent
    );
}

#[test]
fn grpc_callers_are_known_by_their_content_type() {
    for (content_type, grpc) in [
        ("application/grpc", true),
        ("application/grpc+proto", true),
        ("application/grpc;x", true),
        ("application/grpc-web", false),
        ("application/json", false),
    ] {
        assert_eq!(
            request("/", &[("content-type", content_type)]).is_grpc(),
            grpc,
            "{content_type}"
        );
    }
}

#[test]
fn a_request_prints_no_header_value_and_no_query() {
    let printed = format!(
        "{:?}",
        request(
            "/?access_token=hunter2",
            &[("authorization", "Bearer hunter2")]
        )
    );
    assert!(
        printed.contains("authorization") && !printed.contains("hunter2"),
        "{printed}"
    );
}

#[test]
fn a_check_without_http_is_told_apart_from_a_broken_one() {
    assert!(matches!(decode(Bytes::new()), Ok(Decoded::NoHttp)));
    assert_eq!(
        decode(Bytes::from_static(&[0xff]))
            .unwrap_err()
            .denial
            .reason(),
        Reason::RequestMalformed
    );
}

#[test]
fn a_field_that_stands_twice_is_refused() {
    let frame = encode(http("/", &[]), None, &[]);
    assert!(decode([frame.clone(), frame].concat().into()).is_err());
}

/// What prost and envoy-types make of the same bytes, in the words of [`DownstreamRequest`].
fn reference(frame: &[u8]) -> Option<(BTreeMap<String, String>, Vec<String>)> {
    let attributes = CheckRequest::decode(frame).ok()?.attributes?;
    let api = attributes.context_extensions.get(API_EXTENSION).cloned();
    let source = attributes.source.unwrap_or_default();
    let ip = match source.address.and_then(|address| address.address) {
        Some(AddressVariant::SocketAddress(socket)) => socket.address.parse::<IpAddr>().ok(),
        _ => None,
    };
    let http = attributes.request?.http?;
    let headers = http
        .headers
        .into_iter()
        .filter(|(name, _)| !name.starts_with(':'))
        .collect();
    let (path, query) = http.path.split_once('?').unwrap_or((&http.path, ""));
    if query.contains('#') {
        return None;
    }
    let host = Host::parse(&http.host).ok()?.as_str().to_owned();
    let path = NormalPath::parse(path).ok()?.as_str().to_owned();
    let told = vec![
        http.id,
        http.method,
        host,
        path,
        query.to_owned(),
        source.principal,
        format!("{ip:?}"),
        format!("{api:?}"),
    ];
    Some((headers, told))
}

fn ours(frame: &[u8]) -> Option<(BTreeMap<String, String>, Vec<String>)> {
    let Ok(Decoded::Http(request)) = decode(Bytes::copy_from_slice(frame)) else {
        return None;
    };
    let value = |name: &str| match request.headers().get(name) {
        Values::One(value) => value.to_owned(),
        other @ (Values::Absent | Values::Several) => panic!("{other:?}"),
    };
    let headers = request
        .headers()
        .names()
        .map(|name| (name.to_owned(), value(name)))
        .collect();
    let ip = match request.source() {
        PeerAddress::Ip(ip) => Some(ip),
        PeerAddress::Other => None,
    };
    let texts = [
        request.id(),
        request.method(),
        request.host(),
        request.path(),
        request.query.text(&request.frame),
        request.source_principal(),
    ];
    let told = texts
        .into_iter()
        .map(str::to_owned)
        .chain([format!("{ip:?}"), format!("{:?}", request.api_extension())]);
    Some((headers, told.collect()))
}

proptest! {
    #[test]
    fn a_check_reads_as_envoy_types_reads_it(
        method in "[A-Z]{1,7}", host in "[a-zA-Z0-9.:-]{0,20}", path in "/[ -~]{0,40}", id in "\\PC{0,20}", principal in "\\PC{0,20}",
        headers in proptest::collection::btree_map("[a-z:][a-z0-9-]{0,12}", "\\PC{0,40}", 0..20), ip in "127\\.0\\.0\\.1|::1|\\PC{0,8}",
        extensions in proptest::collection::btree_map("portcullis\\.api|[a-z]{0,4}", "[a-z/]{0,8}", 0..3), body in proptest::collection::vec(any::<u8>(), 0..50),
    ) {
        let http = HttpRequest {
            id, method, host, path, raw_body: body, size: -1, headers: headers.into_iter().collect(), ..HttpRequest::default()
        };
        let socket = SocketAddress { address: ip, ..SocketAddress::default() };
        let address = Address { address: Some(AddressVariant::SocketAddress(socket)) };
        let source = Peer { address: Some(address), principal, ..Peer::default() };
        let extensions: Vec<(String, String)> = extensions.into_iter().collect();
        let frame = encode(http, Some(source), &extensions);
        prop_assert_eq!(ours(&frame), reference(&frame));
    }

    #[test]
    fn what_we_can_read_envoy_types_reads_alike_or_refuses(flips in proptest::collection::vec((0..400_usize, any::<u8>()), 1..6)) {
        let headers = [("authorization", "Bearer x"), ("accept", "*/*"), ("x-request-id", "7")];
        let mut frame = encode(http("/orders/7?x=1", &headers), None, &[("portcullis.api".into(), "orders".into())]);
        for (at, byte) in flips {
            let at = at % frame.len();
            frame[at] = byte;
        }
        if let (Ok(Decoded::Http(_)), Some(reference)) = (decode(Bytes::copy_from_slice(&frame)), reference(&frame)) {
            let names: Vec<String> = match decode(Bytes::copy_from_slice(&frame)) {
                Ok(Decoded::Http(request)) => request.headers().names().map(str::to_owned).collect(),
                _ => Vec::new(),
            };
            let unique: std::collections::BTreeSet<&String> = names.iter().collect();
            // a map keeps the last of two entries with one name, where we keep both and tell them apart
            if unique.len() == names.len() && names.iter().all(|name| *name == name.to_ascii_lowercase()) {
                prop_assert_eq!(ours(&frame), Some(reference));
            }
        }
    }
}
