//! Where upstream credentials come from: a token endpoint (RFC 6749), an auth-provider of FIWARE
//! and a header service in one fake, which remembers what it was asked and can be told to
//! misbehave.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Map, Value, json};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use super::authority::{Authority, Shown};
use super::background::Background;
use super::eventually;
use super::http::{self, Answer, Request};
use super::script::Stream;

#[path = "providers/assertion.rs"]
pub(crate) mod assertion;
#[path = "providers/call.rs"]
pub(crate) mod call;
#[path = "providers/fault.rs"]
pub(crate) mod fault;
#[path = "providers/gzip.rs"]
pub(crate) mod gzip;

use call::{Call, Endpoint};
use fault::Fault;

/// The fake; dropping it closes its port.
///
/// An honest token endpoint answers every call with another token, in which the number of the
/// call, the client, audience, resource and scope can be read, good for 300 seconds. An honest
/// auth-provider answers one `Authorization` header, in which the number, type, domain and path can
/// be read, with `Cache-Control: max-age=25`. An honest header service answers `Authorization` and
/// `X-AnotherSecretHeader`. Numbers count the calls of one endpoint, from 1.
#[derive(Debug)]
pub(crate) struct Providers {
    background: Background,
    scheme: &'static str,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    held: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct State {
    connections: usize,
    calls: Vec<Call>,
    fault: Option<Fault>,
    faults_once: VecDeque<Fault>,
    /// Members of a token endpoint's answer that are not the honest ones; null leaves one out.
    token_members: Map<String, Value>,
    auth_answer: Option<Value>,
    /// What the introspection endpoint says of which token; of others that they are not active.
    known_tokens: BTreeMap<String, Value>,
    headers_answer: Option<Value>,
    /// Headers of every good answer.
    answer_headers: Vec<(String, String)>,
}

impl Providers {
    /// Starts it on a free port, without TLS.
    pub(crate) fn start() -> Self {
        Self::start_with("http", |stream, shared| async move {
            shared.serve(stream, None).await;
        })
    }

    /// Starts it with TLS and a certificate of `authority`.
    pub(crate) fn start_tls(authority: &Authority, shown: Shown) -> Self {
        Self::start_tls_with(TlsAcceptor::from(authority.server(shown, false)))
    }

    /// Starts it with TLS; clients must show a certificate of `authority` (RFC 8705).
    pub(crate) fn start_mutual_tls(authority: &Authority) -> Self {
        Self::start_tls_with(TlsAcceptor::from(authority.server(Shown::Good, true)))
    }

    /// Starts it with TLS; clients must show an SVID of this trust domain's root (PEM), and are known
    /// by its SPIFFE ID and serial number, with a space between them.
    pub(crate) fn start_for_svids(authority: &Authority, root: &str) -> Self {
        let root = CertificateDer::from_pem_slice(root.as_bytes()).expect("a certificate");
        let settings = authority.server_for(Shown::Good, Some(root));
        Self::start_tls_with(TlsAcceptor::from(settings))
    }

    fn start_tls_with(acceptor: TlsAcceptor) -> Self {
        Self::start_with("https", move |stream, shared| {
            let acceptor = acceptor.clone();
            async move {
                // A handshake that the other side breaks off is none of ours.
                if let Ok(stream) = acceptor.accept(stream).await {
                    let shown = stream.get_ref().1.peer_certificates();
                    let certificate = shown.and_then(|chain| common_name(chain.first()?));
                    shared.serve(stream, certificate).await;
                }
            }
        })
    }

    fn start_with<F, S>(scheme: &'static str, serve: S) -> Self
    where
        S: Fn(tokio::net::TcpStream, Arc<Shared>) -> F + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            held: watch::Sender::new(false),
        });
        let of_connections = Arc::clone(&shared);
        let background = Background::serve("providers", move |stream| {
            of_connections.state().connections += 1;
            serve(stream, Arc::clone(&of_connections))
        });
        Self {
            background,
            scheme,
            shared,
        }
    }

    // --- where it is ---

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.background.address()
    }

    /// Its address without a path: the `url` of an `authProvider`.
    pub(crate) fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.address())
    }

    /// Its token endpoint.
    pub(crate) fn token_url(&self) -> String {
        format!("{}/token", self.url())
    }

    /// Its introspection endpoint.
    pub(crate) fn introspection_url(&self) -> String {
        format!("{}/introspect", self.url())
    }

    /// Its header service.
    pub(crate) fn headers_url(&self) -> String {
        format!("{}/headers", self.url())
    }

    // --- what it was asked ---

    /// Every request so far, in order.
    pub(crate) fn calls(&self) -> Vec<Call> {
        self.shared.state().calls.clone()
    }

    /// How many requests there were.
    pub(crate) fn count(&self) -> usize {
        self.shared.state().calls.len()
    }

    /// How many requests there were of which this is true: of one client, audience, domain.
    pub(crate) fn count_of(&self, is_so: impl Fn(&Call) -> bool) -> usize {
        let state = self.shared.state();
        state.calls.iter().filter(|call| is_so(call)).count()
    }

    /// The last request.
    ///
    /// # Panics
    /// Where there was none.
    pub(crate) fn last(&self) -> Call {
        let state = self.shared.state();
        state.calls.last().cloned().expect("a request so far")
    }

    /// How many connections were made to it, whether or not a request followed.
    pub(crate) fn connections(&self) -> usize {
        self.shared.state().connections
    }

    /// Waits until it was asked so many times.
    pub(crate) fn wait_for_calls(&self, count: usize) {
        eventually(&format!("{count} calls to the provider"), || {
            (self.count() >= count).then_some(())
        });
    }

    // --- what it answers ---

    /// Sets a member of the token endpoint's answers: `expires_in` of 0, -1 or "300", an
    /// `access_token` that is always the same; null leaves the member out.
    pub(crate) fn answer_member(&self, name: &str, value: impl Into<Value>) {
        let mut state = self.shared.state();
        state.token_members.insert(name.to_owned(), value.into());
    }

    /// From here on tokens hold a line break and, after it, a header.
    pub(crate) fn answer_token_with_line_break(&self) {
        self.answer_member("access_token", "token\r\nx-evil: 1");
    }

    /// Sets what the introspection endpoint answers about `token`.
    pub(crate) fn knows(&self, token: &str, answer: Value) {
        let mut state = self.shared.state();
        state.known_tokens.insert(token.to_owned(), answer);
    }

    /// Sets what the auth-provider answers, whatever is asked for.
    pub(crate) fn answer_auth(&self, body: impl Into<Value>) {
        self.shared.state().auth_answer = Some(body.into());
    }

    /// Sets what the header service answers.
    pub(crate) fn answer_headers(&self, body: impl Into<Value>) {
        self.shared.state().headers_answer = Some(body.into());
    }

    /// From here on auth-provider and header service answer this one header: of a pseudo name such
    /// as `:path`, of a hop-by-hop one such as `connection`, or with any value.
    pub(crate) fn answer_one_header(&self, name: &str, value: &str) {
        self.answer_auth(json!([{ "name": name, "value": value }]));
        self.answer_headers(json!({ name: value }));
    }

    /// Sets a header of every good answer: `cache-control`, `age`.
    pub(crate) fn with_header(&self, name: &str, value: &str) {
        let mut state = self.shared.state();
        state.answer_headers.retain(|(known, _)| known != name);
        let header = (name.to_owned(), value.to_owned());
        state.answer_headers.push(header);
    }

    // --- how it misbehaves ---

    /// From here on it misbehaves in this way.
    pub(crate) fn break_by(&self, fault: Fault) {
        self.shared.state().fault = Some(fault);
    }

    /// It misbehaves in this way at the next request, after those that wait for theirs already.
    pub(crate) fn break_once(&self, fault: Fault) {
        self.shared.state().faults_once.push_back(fault);
    }

    /// Closes its connections and refuses new ones.
    pub(crate) fn refuse_connections(&self) {
        self.background.refuse();
    }

    /// Takes requests, counts them and withholds every answer until [`Providers::release`].
    pub(crate) fn hold(&self) {
        self.shared.held.send_replace(true);
    }

    /// Gives the answers that were withheld.
    pub(crate) fn release(&self) {
        self.shared.held.send_replace(false);
    }

    /// From here on it behaves again: connections, answers and all. What was asked of it stays
    /// known.
    pub(crate) fn recover(&self) {
        {
            let mut state = self.shared.state();
            let calls = std::mem::take(&mut state.calls);
            let connections = state.connections;
            *state = State {
                calls,
                connections,
                ..State::default()
            };
        }
        self.release();
        self.background.accept();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn serve(&self, stream: impl Stream, certificate: Option<String>) {
        http::serve(stream, |request| self.answer(request, certificate.clone())).await;
    }

    async fn answer(&self, request: Request, certificate: Option<String>) -> Answer {
        let call = Call::new(request, certificate);
        let number = self.state().record(&call);
        let mut held = self.held.subscribe();
        let released = held.wait_for(|held| !held).await.is_ok();
        assert!(released, "the sender lives as long as this does");
        self.state().answer(&call, number)
    }
}

impl State {
    /// Which call of its endpoint it is.
    fn record(&mut self, call: &Call) -> usize {
        self.calls.push(call.clone());
        let kind = std::mem::discriminant(&call.endpoint);
        let same = self.calls.iter();
        same.filter(|call| std::mem::discriminant(&call.endpoint) == kind)
            .count()
    }

    fn answer(&mut self, call: &Call, number: usize) -> Answer {
        let honest = match &call.endpoint {
            Endpoint::Token => self.token_answer(call, number),
            Endpoint::Auth {
                auth_type,
                domain,
                path,
            } => self.auth_answer.clone().unwrap_or_else(|| {
                let value = format!("Bearer auth-{number}.{auth_type}.{domain}{path}");
                json!([{ "name": "Authorization", "value": value }])
            }),
            Endpoint::Introspect => {
                let known = call
                    .field("token")
                    .and_then(|token| self.known_tokens.get(token));
                known.cloned().unwrap_or_else(|| json!({ "active": false }))
            }
            Endpoint::Headers => self.headers_answer.clone().unwrap_or_else(|| {
                let value = format!("Bearer headers-{number}");
                json!({ "Authorization": value, "X-AnotherSecretHeader": "Hiya Pal" })
            }),
            Endpoint::Nothing => return Answer::json(404, "{}"),
        };
        let fault = self.faults_once.pop_front().or_else(|| self.fault.clone());
        match fault {
            Some(fault) => fault.answer(&call.endpoint, &honest.to_string()),
            None => self.respond(&call.endpoint, &honest),
        }
    }

    fn token_answer(&self, call: &Call, number: usize) -> Value {
        let mut answer = Map::new();
        answer.insert("access_token".to_owned(), call.token(number).into());
        answer.insert("token_type".to_owned(), "Bearer".into());
        answer.insert("expires_in".to_owned(), 300.into());
        if call.field("grant_type") == Some("urn:ietf:params:oauth:grant-type:token-exchange") {
            // RFC 8693 section 2.2.1
            let issued = "urn:ietf:params:oauth:token-type:access_token";
            answer.insert("issued_token_type".to_owned(), issued.into());
        }
        answer.extend(self.token_members.clone());
        answer.retain(|_, value| !value.is_null());
        answer.into()
    }

    fn respond(&self, endpoint: &Endpoint, body: &Value) -> Answer {
        let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let mut headers = vec![header("content-type", "application/json")];
        headers.extend(self.answer_headers.iter().cloned());
        let told = headers.iter().any(|(name, _)| name == "cache-control");
        match endpoint {
            Endpoint::Auth { .. } if !told => headers.push(header("cache-control", "max-age=25")),
            // RFC 6749 section 5.1
            Endpoint::Token if !told => headers.push(header("cache-control", "no-store")),
            Endpoint::Auth { .. }
            | Endpoint::Token
            | Endpoint::Introspect
            | Endpoint::Headers
            | Endpoint::Nothing => {}
        }
        Answer::Respond {
            status: 200,
            headers,
            body: body.to_string(),
        }
    }
}

fn common_name(certificate: &[u8]) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    if let Some(name) = certificate.subject().iter_common_name().next() {
        return name.as_str().ok().map(str::to_owned);
    }
    let names = certificate.subject_alternative_name().ok()??;
    let uri = names.value.general_names.iter().find_map(|name| {
        if let GeneralName::URI(uri) = name {
            return Some(*uri);
        }
        None
    });
    Some(format!("{} {}", uri?, certificate.raw_serial_as_string()))
}
