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
