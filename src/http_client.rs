//! The one way to get a client for HTTP: short time-outs, no redirects, a cap on bodies, nothing
//! decompressed.
//!
//! Not for the request path: what fetches is a task. An error names neither address nor query, as
//! both may hold a secret; whoever logs it knows what it asked for.

pub mod config;
mod tls;

use std::error::Error as _;
use std::fmt;
use std::time::Duration;

use http::{HeaderMap, Method, StatusCode};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Identity, Proxy};
use serde_json::Value;
use url::Url;

use crate::json;
use crate::secret::Secret;
use crate::workload_api::SvidReceiver;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
const TOTAL_TIMEOUT: Duration = Duration::from_secs(3);

/// A client for HTTP.
#[derive(Debug, Clone)]
pub struct HttpClient(reqwest::Client);

/// Which addresses a client may be sent to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Schemes {
    /// `https` only.
    Https,
    /// `http` too, where the configuration says so.
    HttpsAndHttp,
}

/// How a client reaches servers.
#[derive(Debug)]
pub struct Reach {
    /// To which addresses.
    pub schemes: Schemes,
    /// How long a request may take with its answer.
    pub timeout: Duration,
    /// The certificates (PEM) that servers are verified with, instead of the system's.
    pub roots: Option<Vec<u8>>,
    /// The certificate chain and private key (PEM) that we show.
    pub identity: Option<Secret<Vec<u8>>>,
    /// Our X509-SVID, which we show instead, as it is at each handshake.
    pub svid: Option<SvidReceiver>,
    /// The proxy that is asked instead of the server.
    pub proxy: Option<Url>,
}

/// A request.
pub struct HttpRequest {
    /// Its method.
    pub method: Method,
    /// Where to.
    pub url: Url,
    /// Its headers; values may be secret.
    pub headers: HeaderMap,
    /// Its body, which may be secret; none where it is empty.
    pub body: Secret<Vec<u8>>,
}

/// The answer to a request, whatever its status.
pub struct HttpAnswer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, which may be secret.
    pub body: Secret<Vec<u8>>,
}

impl fmt::Debug for HttpRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpRequest")
            .field("method", &self.method)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for HttpAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpAnswer")
            .field("status", &self.status)
            .finish_non_exhaustive()
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// No client could be made.
    #[error("no http client: {0}")]
    Client(String),
    /// The server could not be asked, or did not answer in full.
    #[error("{0}")]
    Transport(String),
    /// The server answered with something other than 200.
    #[error("the server answered with status {0}")]
    Status(u16),
    /// The body is too large.
    #[error("the answer has more than {0} bytes")]
    TooLarge(usize),
    /// The body is no JSON that can be read in one way only.
    #[error("the answer is no JSON: {0}")]
    NotJson(String),
}

impl HttpClient {
    /// A client for addresses of these schemes, with the system's certificates and short time-outs.
    ///
    /// # Errors
    /// Where the system's certificates cannot be read.
    pub fn new(schemes: Schemes) -> Result<Self, HttpError> {
        Self::with(&Reach {
            schemes,
            timeout: TOTAL_TIMEOUT,
            roots: None,
            identity: None,
            svid: None,
            proxy: None,
        })
    }

    /// A client that reaches servers in this way.
    ///
    /// # Errors
    /// Where certificates or the key cannot be read.
    pub fn with(reach: &Reach) -> Result<Self, HttpError> {
        let client = |error| HttpError::Client(causes(error));
        #[expect(
            clippy::disallowed_methods,
            reason = "this is the place that makes clients"
        )]
        let builder = reqwest::Client::builder();
        let mut builder = builder
            .connect_timeout(CONNECT_TIMEOUT.min(reach.timeout))
            .timeout(reach.timeout)
            .redirect(Policy::none())
            .no_proxy()
            .referer(false)
            .https_only(reach.schemes == Schemes::Https)
            .user_agent(concat!("portcullis/", env!("CARGO_PKG_VERSION")));
        if let Some(svid) = &reach.svid {
            // a connection that is kept would go on with what was shown before
            builder = builder
                .tls_backend_preconfigured(tls::showing(svid, reach.roots.as_deref())?)
                .pool_max_idle_per_host(0);
        } else if let Some(roots) = &reach.roots {
            let roots = Certificate::from_pem_bundle(roots).map_err(client)?;
            if roots.is_empty() {
                // every server would be refused, one by one
                let why = "there is no CERTIFICATE block in `ca`";
                return Err(HttpError::Client(why.to_owned()));
            }
            builder = builder.tls_certs_only(roots);
        }
        if let Some(identity) = &reach.identity {
            builder = builder.identity(Identity::from_pem(identity.expose()).map_err(client)?);
        }
        if let Some(proxy) = &reach.proxy {
            builder = builder.proxy(Proxy::all(proxy.clone()).map_err(client)?);
        }
        builder.build().map(Self).map_err(client)
    }

    /// Gets the JSON document at `url`, which has `limit` bytes at most.
    ///
    /// # Errors
    /// Where there is no such document, or none in time.
    pub async fn get_json(&self, url: &Url, limit: usize) -> Result<Value, HttpError> {
        let request = self.0.get(url.clone()).header("accept", "application/json");
        let response = request.send().await.map_err(transport)?;
        if response.status() != StatusCode::OK {
            return Err(HttpError::Status(response.status().as_u16()));
        }
        let body = read(response, limit).await?;
        json::parse(body.expose()).map_err(|error| HttpError::NotJson(error.to_string()))
    }

    /// Sends `request` and reads the answer, whose body has `limit` bytes at most. Where the
    /// connection is cut before an answer came, the request is sent once more.
    ///
    /// # Errors
    /// Where there is no whole answer in time.
    pub async fn send(&self, request: &HttpRequest, limit: usize) -> Result<HttpAnswer, HttpError> {
        let response = match self.send_once(request).await {
            Err(error) if is_cut(&error) => self.send_once(request).await,
            sent => sent,
        };
        let response = response.map_err(transport)?;
        Ok(HttpAnswer {
            status: response.status(),
            headers: response.headers().clone(),
            body: read(response, limit).await?,
        })
    }

    async fn send_once(&self, request: &HttpRequest) -> Result<reqwest::Response, reqwest::Error> {
        self.0
            .request(request.method.clone(), request.url.clone())
            .headers(request.headers.clone())
            .body(request.body.expose().clone())
            .send()
            .await
    }
}

/// Reads a body of `limit` bytes at most.
async fn read(mut response: reqwest::Response, limit: usize) -> Result<Secret<Vec<u8>>, HttpError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(transport)? {
        if body.len() + chunk.len() > limit {
            return Err(HttpError::TooLarge(limit));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Secret::new(body))
}

/// Whether the connection ended before an answer began, as one does that the server closed while
/// it was idle.
fn is_cut(error: &reqwest::Error) -> bool {
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(error) = cause.downcast_ref::<hyper::Error>()
            && error.is_incomplete_message()
        {
            return true;
        }
        // a reset is an error of the system below that of hyper
        if let Some(error) = cause.downcast_ref::<std::io::Error>() {
            return matches!(
                error.kind(),
                std::io::ErrorKind::ConnectionReset | std::io::ErrorKind::BrokenPipe
            );
        }
        source = cause.source();
    }
    false
}

fn transport(error: reqwest::Error) -> HttpError {
    if error.is_timeout() {
        return HttpError::Transport("no answer in time".to_owned());
    }
    HttpError::Transport(causes(error))
}

/// The innermost cause without the address.
fn causes(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = cause.to_string();
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::http::StatusCode;
    use axum::response::IntoResponse as _;
    use axum::routing::get;

    use super::*;
    use crate::task::Tasks;

    async fn serve(tasks: &Tasks) -> Url {
        let app = Router::new()
            .route("/good", get(|| async { r#"{"a":1}"# }))
            .route("/text", get(|| async { "no" }))
            .route("/twice", get(|| async { r#"{"a":1,"a":2}"# }))
            .route(
                "/large",
                get(|| async { format!("\"{}\"", "x".repeat(1024)) }),
            )
            .route(
                "/moved",
                get(|| async { (StatusCode::FOUND, [("location", "/good")]).into_response() }),
            );
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        tasks.detached(async move { axum::serve(listener, app).await.unwrap() });
        Url::parse(&address).unwrap()
    }

    #[tokio::test]
    async fn documents_are_bounded_and_no_redirect_is_followed() {
        let tasks = Tasks::new();
        let base = serve(&tasks).await;
        let client = HttpClient::new(Schemes::HttpsAndHttp).unwrap();
        let get = async |path: &str, limit| client.get_json(&base.join(path).unwrap(), limit).await;
        assert_eq!(get("/good", 7).await.unwrap()["a"], 1);
        assert!(matches!(get("/good", 6).await, Err(HttpError::TooLarge(6))));
        assert!(matches!(
            get("/large", 512).await,
            Err(HttpError::TooLarge(512))
        ));
        assert!(matches!(
            get("/text", 512).await,
            Err(HttpError::NotJson(_))
        ));
        assert!(matches!(
            get("/twice", 512).await,
            Err(HttpError::NotJson(_))
        ));
        assert!(matches!(
            get("/moved", 512).await,
            Err(HttpError::Status(302))
        ));
        assert!(matches!(
            get("/none", 512).await,
            Err(HttpError::Status(404))
        ));
    }

    #[tokio::test]
    async fn plain_http_is_refused_unless_told_and_no_error_names_the_address() {
        let tasks = Tasks::new();
        let mut address = serve(&tasks).await;
        address.set_path("/good");
        address.set_query(Some("key=hunter2"));
        let error = HttpClient::new(Schemes::Https).unwrap();
        let error = error.get_json(&address, 512).await.unwrap_err().to_string();
        assert!(
            !error.contains("hunter2") && !error.contains("127.0.0.1"),
            "{error}"
        );
        let closed = Url::parse("http://127.0.0.1:1/?key=hunter2").unwrap();
        let client = HttpClient::new(Schemes::HttpsAndHttp).unwrap();
        let error = client.get_json(&closed, 512).await.unwrap_err().to_string();
        assert!(!error.contains("hunter2") && !error.is_empty(), "{error}");
    }
}
