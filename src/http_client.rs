//! The one way to get a client for HTTP: short time-outs, no redirects, no proxy, a cap on bodies.
//!
//! Not for the request path: what fetches is a task. An error names neither address nor query, as
//! both may hold a secret; whoever logs it knows what it asked for.

use std::error::Error as _;
use std::time::Duration;

use reqwest::redirect::Policy;
use serde_json::Value;
use url::Url;

use crate::json;

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
    /// A client for addresses of these schemes.
    ///
    /// # Errors
    /// Where the system's certificates cannot be read.
    pub fn new(schemes: Schemes) -> Result<Self, HttpError> {
        #[expect(
            clippy::disallowed_methods,
            reason = "this is the place that makes clients"
        )]
        let builder = reqwest::Client::builder();
        builder
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(TOTAL_TIMEOUT)
            .redirect(Policy::none())
            .no_proxy()
            .referer(false)
            .https_only(schemes == Schemes::Https)
            .user_agent(concat!("portcullis/", env!("CARGO_PKG_VERSION")))
            .build()
            .map(Self)
            .map_err(|error| HttpError::Client(causes(error)))
    }

    /// Gets the JSON document at `url`, which has `limit` bytes at most.
    ///
    /// # Errors
    /// Where there is no such document, or none in time.
    pub async fn get_json(&self, url: &Url, limit: usize) -> Result<Value, HttpError> {
        let request = self.0.get(url.clone()).header("accept", "application/json");
        let mut response = request.send().await.map_err(transport)?;
        if response.status() != http::StatusCode::OK {
            return Err(HttpError::Status(response.status().as_u16()));
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(transport)? {
            if body.len() + chunk.len() > limit {
                return Err(HttpError::TooLarge(limit));
            }
            body.extend_from_slice(&chunk);
        }
        json::parse(&body).map_err(|error| HttpError::NotJson(error.to_string()))
    }
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
