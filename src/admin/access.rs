//! Who may use the admin API: whoever has the token; on loopback without one, programs of this host.
//!
//! A web page can make a browser on this host send requests to loopback. It cannot hide whom it
//! asked (`Host`, which DNS rebinding leaves at the page's own name) nor, where it would change
//! something, that it was a page (`Origin`): both are refused.

use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use crate::admin::answer::AdminProblem;
use crate::listener::address::{ListenAddress, is_loopback};
use crate::secret::{Secret, equal, sha256};

/// Who may use the admin API.
#[derive(Debug, Clone)]
pub struct Access(Rule);

#[derive(Debug, Clone)]
enum Rule {
    /// Whoever has the token.
    Token(AdminToken),
    /// Programs of this host, by a loopback address.
    Loopback,
    /// Whoever may open the Unix socket.
    Socket,
}

/// The token, kept as its digest; it can be replaced while requests are answered.
#[derive(Debug, Clone)]
pub struct AdminToken(Arc<ArcSwap<[u8; 32]>>);

impl AdminToken {
    /// The token.
    #[must_use]
    pub fn new(token: &Secret<Vec<u8>>) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(sha256(token.expose()))))
    }

    /// Takes this token from now on, and the former one no longer.
    pub fn replace(&self, token: &Secret<Vec<u8>>) {
        self.0.store(Arc::new(sha256(token.expose())));
    }

    fn is(&self, presented: &[u8]) -> bool {
        equal(&**self.0.load(), &sha256(presented))
    }
}

impl Access {
    /// Who may use a listener at `address`.
    ///
    /// # Errors
    /// Where others than this host can reach it and there is no token.
    pub fn new(address: &ListenAddress, token: Option<AdminToken>) -> anyhow::Result<Self> {
        let rule = match (token, address) {
            (Some(token), _) => Rule::Token(token),
            (None, ListenAddress::Unix(_)) => Rule::Socket,
            (None, ListenAddress::Tcp { host, .. }) if is_loopback(host) => Rule::Loopback,
            (None, ListenAddress::Tcp { .. }) => {
                anyhow::bail!("an admin listener at `{address}` needs a token")
            }
        };
        Ok(Self(rule))
    }

    fn check(&self, headers: &HeaderMap) -> Result<(), AdminProblem> {
        match &self.0 {
            Rule::Socket => Ok(()),
            Rule::Token(token) if bearer(headers).is_some_and(|presented| token.is(presented)) => {
                Ok(())
            }
            Rule::Token(_) => Err(AdminProblem::new(
                StatusCode::UNAUTHORIZED,
                "the admin token is needed",
            )),
            Rule::Loopback if !names_loopback(headers) => Err(AdminProblem::new(
                StatusCode::FORBIDDEN,
                "ask for a loopback address, or configure a token",
            )),
            Rule::Loopback if headers.contains_key(header::ORIGIN) => Err(AdminProblem::new(
                StatusCode::FORBIDDEN,
                "web pages may not ask; configure a token",
            )),
            Rule::Loopback => Ok(()),
        }
    }
}

/// Lets a request pass only to those who may.
pub(super) async fn guard(State(access): State<Access>, request: Request, next: Next) -> Response {
    match access.check(request.headers()) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

/// The token of the one `Authorization` header (RFC 6750 section 2.1).
fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (value, None) = (values.next()?, values.next()) else {
        return None;
    };
    let (scheme, token) = value.as_bytes().split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then_some(token)
}

fn names_loopback(headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else {
        return false;
    };
    let Ok(host) = host.to_str() else {
        return false;
    };
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split_once(']').map_or("", |(address, _)| address),
        None => host.split_once(':').map_or(host, |(name, _)| name),
    };
    is_loopback(name)
}
