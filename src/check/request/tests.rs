use envoy_types::pb::envoy::config::core::v3::HeaderValue;

use super::*;

fn request(path: &str, headers: &[(&str, &str)]) -> DownstreamRequest {
    let http = HttpRequest {
        method: "GET".into(),
        host: "api.example".into(),
        path: path.into(),
        headers: headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        ..HttpRequest::default()
    };
    DownstreamRequest::from_attributes(AttributeContext::default(), http).unwrap()
}

#[test]
fn the_raw_form_tells_repeated_headers_apart() {
    let header = |key: &str, raw: &[u8]| HeaderValue {
        key: key.into(),
        raw_value: raw.to_vec(),
        ..HeaderValue::default()
    };
    let headers = Headers::from_raw(HeaderMap {
        headers: vec![
            header(":path", b"/"),
            header("x-api-key", b"a"),
            header("X-Api-Key", b"b"),
            header("x-odd", b"a\xffb"),
        ],
    });
    assert_eq!(headers.get("x-api-key"), Values::Several);
    assert_eq!(headers.get(":path"), Values::Absent);
    assert_eq!(headers.get("x-odd"), Values::One("a\u{fffd}b"));
}

#[test]
fn query_parameters_are_found_by_their_decoded_name() {
    let request = request("/a?x=1&access%5ftoken=t&y", &[]);
    assert_eq!(request.query_parameter("access_token"), Values::One("t"));
    assert_eq!(request.query_parameter("y"), Values::One(""));
    assert_eq!(request.query_parameter("z"), Values::Absent);
    assert_eq!(
        super::tests::request("/a?k=1&%6b=2", &[]).query_parameter("k"),
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
fn a_request_prints_no_header_value() {
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
    assert!(matches!(decode(&[]), Ok(Decoded::NoHttp)));
    assert_eq!(
        decode(&[0xff]).unwrap_err().denial.reason(),
        Reason::RequestMalformed
    );
}
