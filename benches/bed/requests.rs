//! The requests that are asked about, as Envoy encodes them.

use bytes::Bytes;
use envoy_types::pb::envoy::service::auth::v3::CheckRequest;
use prost::Message as _;

use super::gate::PATH;
use super::support::check::CheckBuilder;

/// What a browser sends beside its credential; the four pseudo headers are added by the builder.
pub(crate) const BROWSER: [(&str, &str); 7] = [
    ("accept", "application/json, text/plain, */*"),
    ("accept-encoding", "gzip, deflate, br"),
    ("accept-language", "en-US,en;q=0.9"),
    (
        "user-agent",
        "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36",
    ),
    ("x-forwarded-proto", "https"),
    ("x-request-id", "d450d4c6-3f0b-4f5e-9d0f-7f3c1d2e4b5a"),
    ("referer", "https://shop.example.com/cart"),
];

/// A browser's GET request to `host`, of 12 headers with its credential.
pub(crate) fn browser(host: &str, credential: Option<(&str, &str)>) -> CheckBuilder {
    let mut request = CheckBuilder::new("GET", host, PATH).http(|http| {
        http.id = "14665760763168702873".to_owned();
        http.protocol = "HTTP/2".to_owned();
        http.size = -1;
    });
    for (name, value) in BROWSER {
        request = request.header(name, value);
    }
    if let Some((name, value)) = credential {
        request = request.header(name, value);
    }
    request
}

/// The same with small headers to make it a hundred.
pub(crate) fn of_100_headers(host: &str, credential: (&str, &str)) -> CheckBuilder {
    let mut request = browser(host, Some(credential));
    for number in 12..100 {
        request = request.header(&format!("x-small-header-{number}"), "some value");
    }
    request
}

/// The encoded message.
pub(crate) fn encode(request: CheckBuilder) -> Bytes {
    CheckRequest::from(request).encode_to_vec().into()
}
