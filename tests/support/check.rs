//! A client of `envoy.service.auth.v3.Authorization/Check`, requests as Envoy makes them, and
//! assertions about answers.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes};
use envoy_types::pb::envoy::config::core::v3::{
    Address, HeaderMap, HeaderValue, HeaderValueOption, SocketAddress, address,
    socket_address::PortSpecifier,
};
use envoy_types::pb::envoy::service::auth::v3::attribute_context::{
    HttpRequest, Peer, Request as AttributesRequest,
};
use envoy_types::pb::envoy::service::auth::v3::check_response::HttpResponse;
use envoy_types::pb::envoy::service::auth::v3::{
    AttributeContext, CheckRequest, CheckResponse, DeniedHttpResponse, OkHttpResponse,
};
use prost::Message as _;
use serde_json::Value;
use tonic::codec::{BufferSettings, Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status};

use hyper_util::rt::TokioIo;

use super::PATIENCE;
use super::tls::TlsClient;

const CHECK: &str = "/envoy.service.auth.v3.Authorization/Check";

/// A client of the Check port, on one connection.
#[derive(Debug, Clone)]
pub(crate) struct CheckClient {
    channel: Channel,
}

/// A check, as Envoy would ask for it.
#[derive(Debug, Clone)]
pub(crate) struct CheckBuilder {
    http: Option<HttpRequest>,
    headers: Vec<(String, Vec<u8>)>,
    raw_headers: bool,
    context_extensions: HashMap<String, String>,
    source: Option<Address>,
    certificate: String,
    principal: String,
    destination_principal: String,
}

impl CheckClient {
    /// Connects on the first use.
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self {
            channel: endpoint(address).connect_lazy(),
        }
    }

    /// Connects on the first use, and names `host` as the authority of its calls.
    pub(crate) fn for_host(address: SocketAddr, host: &str) -> Self {
        let origin = format!("http://{host}").parse().expect("a host");
        Self {
            channel: endpoint(address).origin(origin).connect_lazy(),
        }
    }

    /// Connects over TLS on the first use.
    pub(crate) fn secured(address: SocketAddr, tls: &TlsClient) -> Self {
        let tls = tls.clone();
        let connect = tower::service_fn(move |_| {
            let tls = tls.clone();
            async move { tls.connect(address).await.map(TokioIo::new) }
        });
        Self {
            channel: endpoint(address).connect_with_connector_lazy(connect),
        }
    }

    /// Asks for a decision.
    ///
    /// # Panics
    /// Where the RPC does not succeed: every decision is an answer.
    pub(crate) async fn check(&self, request: impl Into<CheckRequest>) -> CheckResponse {
        self.try_check(request)
            .await
            .expect("every decision is an answer in a successful RPC")
    }

    /// Asks for a decision within a time of the caller's own (`grpc-timeout`).
    ///
    /// # Panics
    /// Where the RPC does not succeed.
    pub(crate) async fn check_within(
        &self,
        request: impl Into<CheckRequest>,
        timeout: Duration,
    ) -> CheckResponse {
        let mut message = Request::new(Bytes::from(request.into().encode_to_vec()));
        message.set_timeout(timeout);
        let answer = self.unary(CHECK, message).await.expect("an answer in time");
        CheckResponse::decode(answer.into_inner()).expect("a CheckResponse")
    }

    /// Asks for a decision.
    pub(crate) async fn try_check(
        &self,
        request: impl Into<CheckRequest>,
    ) -> Result<CheckResponse, Status> {
        let answer = self.check_bytes(request.into().encode_to_vec()).await?;
        CheckResponse::decode(answer).map_err(|error| Status::internal(error.to_string()))
    }

    /// Sends any bytes as the message.
    pub(crate) async fn check_bytes(&self, message: impl Into<Bytes>) -> Result<Bytes, Status> {
        self.call(CHECK, message).await.map(Response::into_inner)
    }

    /// Calls any unary method with any bytes.
    pub(crate) async fn call(
        &self,
        method: &'static str,
        message: impl Into<Bytes>,
    ) -> Result<Response<Bytes>, Status> {
        self.unary(method, Request::new(message.into())).await
    }

    /// Asks for a decision with this metadata.
    ///
    /// # Panics
    /// Where the RPC does not succeed.
    pub(crate) async fn check_with(
        &self,
        request: impl Into<CheckRequest>,
        metadata: &[(&'static str, &str)],
    ) -> CheckResponse {
        let mut message = Request::new(Bytes::from(request.into().encode_to_vec()));
        for (name, value) in metadata {
            let value = value.parse().expect("metadata in ASCII");
            message.metadata_mut().append(*name, value);
        }
        let answer = self.unary(CHECK, message).await.expect("an answer");
        CheckResponse::decode(answer.into_inner()).expect("a CheckResponse")
    }

    async fn unary(
        &self,
        method: &'static str,
        message: Request<Bytes>,
    ) -> Result<Response<Bytes>, Status> {
        let mut client = tonic::client::Grpc::new(self.channel.clone());
        client
            .ready()
            .await
            .map_err(|error| Status::unavailable(error.to_string()))?;
        client
            .unary(message, PathAndQuery::from_static(method), BytesCodec)
            .await
    }
}

impl CheckBuilder {
    /// A request over HTTP/1.1 from 192.0.2.1, with its headers in the map.
    pub(crate) fn new(method: &str, host: &str, path: &str) -> Self {
        let http = HttpRequest {
            id: "4711".to_owned(),
            method: method.to_owned(),
            host: host.to_owned(),
            path: path.to_owned(),
            scheme: "http".to_owned(),
            protocol: "HTTP/1.1".to_owned(),
            ..HttpRequest::default()
        };
        let pseudo = [
            (":authority", host),
            (":path", path),
            (":method", method),
            (":scheme", "http"),
        ];
        let headers = pseudo.map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec()));
        Self {
            http: Some(http),
            headers: headers.to_vec(),
            raw_headers: false,
            context_extensions: HashMap::new(),
            source: Some(socket_address("192.0.2.1", 40_000)),
            certificate: String::new(),
            principal: String::new(),
            destination_principal: String::new(),
        }
    }

    /// Adds a header; its name is sent in lower case, as Envoy does.
    pub(crate) fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers
            .push((name.to_ascii_lowercase(), value.as_ref().to_vec()));
        self
    }

    /// Adds `authorization: Bearer …`.
    pub(crate) fn bearer(self, token: &str) -> Self {
        self.header("authorization", format!("Bearer {token}"))
    }

    /// Sends the headers as a list (`header_map`, Envoy's `encode_raw_headers`), not as a map.
    pub(crate) fn raw_headers(mut self) -> Self {
        self.raw_headers = true;
        self
    }

    /// Adds an entry to `context_extensions`.
    pub(crate) fn context_extension(mut self, name: &str, value: &str) -> Self {
        self.context_extensions
            .insert(name.to_owned(), value.to_owned());
        self
    }

    /// Sets the address of the downstream.
    pub(crate) fn source(mut self, source: Option<Address>) -> Self {
        self.source = source;
        self
    }

    /// Sets the client's certificate, as Envoy sends it.
    pub(crate) fn certificate(mut self, certificate: &str) -> Self {
        certificate.clone_into(&mut self.certificate);
        self
    }

    /// Sets whom the client's certificate names, as Envoy says it.
    pub(crate) fn principal(mut self, principal: &str) -> Self {
        principal.clone_into(&mut self.principal);
        self
    }

    /// Sets whom the certificate of Envoy's listener names.
    pub(crate) fn destination_principal(mut self, principal: &str) -> Self {
        principal.clone_into(&mut self.destination_principal);
        self
    }

    /// Changes any field of the HTTP part.
    pub(crate) fn http(mut self, change: impl FnOnce(&mut HttpRequest)) -> Self {
        if let Some(http) = &mut self.http {
            change(http);
        }
        self
    }

    /// Leaves the HTTP part out, as Envoy's TCP filter does.
    pub(crate) fn without_http(mut self) -> Self {
        self.http = None;
        self
    }

    /// The request.
    pub(crate) fn build(self) -> CheckRequest {
        let headers = self.headers;
        let http = self.http.map(|mut http| {
            if self.raw_headers {
                let entry = |(key, raw_value)| HeaderValue {
                    key,
                    raw_value,
                    ..HeaderValue::default()
                };
                http.header_map = Some(HeaderMap {
                    headers: headers.into_iter().map(entry).collect(),
                });
            } else {
                http.headers = joined(headers);
            }
            http
        });
        let attributes = AttributeContext {
            source: Some(Peer {
                address: self.source,
                certificate: self.certificate,
                principal: self.principal,
                ..Peer::default()
            }),
            destination: Some(Peer {
                address: Some(socket_address("192.0.2.2", 443)),
                principal: self.destination_principal,
                ..Peer::default()
            }),
            request: Some(AttributesRequest { time: None, http }),
            context_extensions: self.context_extensions,
            ..AttributeContext::default()
        };
        CheckRequest {
            attributes: Some(attributes),
        }
    }
}

impl From<CheckBuilder> for CheckRequest {
    fn from(builder: CheckBuilder) -> Self {
        builder.build()
    }
}

/// A TCP address.
pub(crate) fn socket_address(address: &str, port: u32) -> Address {
    let port_specifier = Some(PortSpecifier::PortValue(port));
    let address = SocketAddress {
        address: address.to_owned(),
        port_specifier,
        ..SocketAddress::default()
    };
    Address {
        address: Some(address::Address::SocketAddress(address)),
    }
}

/// Asserts that the answer is an allow, and gives what it changes.
#[track_caller]
pub(crate) fn assert_allowed(response: &CheckResponse) -> &OkHttpResponse {
    assert_eq!(grpc_code(response), 0, "not allowed: {response:?}");
    match &response.http_response {
        Some(HttpResponse::OkResponse(ok)) => {
            let decision = header(&ok.response_headers_to_add, "x-decision-id");
            assert!(
                decision.is_some(),
                "an allow without decision id: {response:?}"
            );
            ok
        }
        other => panic!("status OK and {other:?}"),
    }
}

/// Asserts that the answer is a denial or a fault with this HTTP status and public code, in the
/// form that every one has, and gives it.
#[track_caller]
pub(crate) fn assert_denied<'a>(
    response: &'a CheckResponse,
    http_status: u16,
    code: &str,
) -> &'a DeniedHttpResponse {
    assert_ne!(grpc_code(response), 0, "status OK: {response:?}");
    let Some(HttpResponse::DeniedResponse(denied)) = &response.http_response else {
        panic!("no denied response: {response:?}");
    };
    let body: Value = serde_json::from_str(&denied.body).unwrap_or_default();
    let found = denied.status.as_ref().map(|status| status.code);
    assert_eq!(
        (found, &body["type"]),
        (
            Some(http_status.into()),
            &Value::from(format!("urn:portcullis:denial:{code}"))
        )
    );
    assert_eq!(body["status"], http_status);
    assert!(body["title"].is_string(), "no title: {body}");
    let value = |name| header(&denied.headers, name);
    assert_eq!(
        value("content-type").as_deref(),
        Some("application/problem+json")
    );
    assert_eq!(value("cache-control").as_deref(), Some("no-store"));
    assert_eq!(
        value("x-decision-id").as_deref(),
        body["decisionId"].as_str()
    );
    assert!(body["decisionId"].is_string(), "no decision id: {body}");
    let challenged = http_status == 401 || code == "insufficient_scope";
    assert_eq!(
        value("www-authenticate").is_some(),
        challenged,
        "a challenge belongs to 401 and missing scopes"
    );
    denied
}

/// The value of a header among mutations.
pub(crate) fn header(mutations: &[HeaderValueOption], name: &str) -> Option<String> {
    let mut headers = mutations
        .iter()
        .filter_map(|mutation| mutation.header.as_ref());
    headers
        .find(|header| header.key == name)
        .map(|header| header.value.clone())
}

/// All headers among mutations.
pub(crate) fn headers(mutations: &[HeaderValueOption]) -> BTreeMap<String, String> {
    let headers = mutations
        .iter()
        .filter_map(|mutation| mutation.header.as_ref());
    headers
        .map(|header| (header.key.clone(), header.value.clone()))
        .collect()
}

/// The code of `status`; Envoy takes an absent status for 0, which is OK.
pub(crate) fn grpc_code(response: &CheckResponse) -> i32 {
    response.status.as_ref().map_or(0, |status| status.code)
}

fn endpoint(address: SocketAddr) -> Endpoint {
    Endpoint::from_shared(format!("http://{address}"))
        .expect("an address")
        .timeout(PATIENCE)
}

/// Headers as Envoy puts them into the map: duplicates joined, bytes that are no UTF-8 replaced.
fn joined(headers: Vec<(String, Vec<u8>)>) -> HashMap<String, String> {
    let mut map = HashMap::new();
    for (name, value) in headers {
        let value = String::from_utf8_lossy(&value).replace(char::REPLACEMENT_CHARACTER, "!");
        map.entry(name)
            .and_modify(|all: &mut String| all.extend([",", &value]))
            .or_insert(value);
    }
    map
}

/// Messages as the bytes that they are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BytesCodec;

impl Codec for BytesCodec {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for BytesCodec {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, target: &mut EncodeBuf<'_>) -> Result<(), Status> {
        target.put(item);
        Ok(())
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::default()
    }
}

impl Decoder for BytesCodec {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, source: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(source.copy_to_bytes(source.remaining())))
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::default()
    }
}
