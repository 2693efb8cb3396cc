//! What a listener of type `logout` answers: the back channel by which issuers tell that a session is
//! over (OpenID Connect Back-Channel Logout 1.0), and nothing else.
//
// INVARIANT: every answer says that it is not to be stored (section 2.8).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::rejection::BytesRejection;
use axum::extract::{ConnectInfo, DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use bytes::Bytes;
use serde_json::json;

use crate::authentication::Authenticator;
use crate::authentication::failures::FailureBudget;
use crate::authentication::jwt::logout::{Logout, MAX_AGE_SECONDS, Over, unverified_issuer};
use crate::authentication::revocation::config::LogoutConfig;
use crate::authentication::revocation::entry::{About, Entered, LEEWAY_SECONDS};
use crate::authentication::revocation::keeper::Keeper;
use crate::check::request::PeerAddress;
use crate::listener::web::Peer;
use crate::secret::KeyedDigest;
use crate::snapshot::SnapshotReader;

/// The largest body: the longest token, encoded.
const MAX_BODY: usize = 20 * 1024;
/// How many messages are remembered, so that none counts twice.
const MAX_SEEN: usize = 100_000;

/// What logouts are judged by, and where they go.
#[derive(Debug, Clone)]
pub struct LogoutState {
    /// The current authenticators.
    pub snapshots: SnapshotReader,
    /// Which of them, and for which clients.
    pub config: Arc<LogoutConfig>,
    /// What keeps that something is revoked.
    pub keeper: Keeper,
    /// The messages of the last minutes.
    pub seen: SeenLogouts,
    /// What senders of tokens whose signature does not hold have left: not that of clients.
    pub failures: FailureBudget,
}

/// The logout tokens that were taken, by issuer and `jti`; clones share them.
#[derive(Debug, Clone, Default)]
pub struct SeenLogouts(Arc<Mutex<HashMap<KeyedDigest, i64>>>);

/// The routes.
pub fn router(state: LogoutState) -> Router {
    let not_found = async || answer(StatusCode::NOT_FOUND, None);
    let not_allowed = async || answer(StatusCode::METHOD_NOT_ALLOWED, None);
    Router::new()
        .route("/backchannel-logout", post(logout))
        .fallback(not_found)
        .method_not_allowed_fallback(not_allowed)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(state)
}

async fn logout(
    State(state): State<LogoutState>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let taken = match body {
        Ok(body) => state.take(&headers, &body, peer.0).await,
        Err(_) => Err("the body is too large".to_owned()),
    };
    match taken {
        Ok(()) => answer(StatusCode::OK, None),
        Err(why) => {
            tracing::warn!(why, "a logout was refused");
            // section 2.8: also where it failed for a reason of ours
            answer(StatusCode::BAD_REQUEST, Some("the logout was refused"))
        }
    }
}

impl LogoutState {
    /// Revokes what the logout token in `body` says.
    async fn take(
        &self,
        headers: &HeaderMap,
        body: &[u8],
        source: PeerAddress,
    ) -> Result<(), String> {
        let token = token(headers, body)?;
        let logout = self.verify(&token, source).await?;
        let now = self.keeper.reading(Entered::Logout).now;
        if self.seen.has(&logout, now) {
            return Err("its `jti` was seen before".to_owned());
        }
        let issuer = Arc::clone(&logout.issuer);
        let about = match &logout.over {
            Over::Session(session) => About::session(issuer, session),
            Over::Subject(subject) => About::subject(issuer, subject),
        };
        let entry = self.keeper.logged_out(about, logout.issued);
        let entered = self.keeper.enter(entry).await;
        entered.map_err(|error| error.to_string())?;
        // remembered once it is in force: one that failed may be sent again
        self.seen.remember(&logout, now);
        Ok(())
    }

    async fn verify(&self, token: &str, source: PeerAddress) -> Result<Logout, String> {
        let issuer = unverified_issuer(token).ok_or("it is no token, or has no `iss`")?;
        let snapshot = self.snapshots.current();
        let names = self.config.authenticators.iter();
        let authenticators = names.filter_map(|name| snapshot.authenticator(name));
        let mut own = authenticators.filter_map(|authenticator| match &**authenticator {
            Authenticator::Jwt(jwt) if **jwt.issuer() == *issuer => Some(jwt),
            Authenticator::Jwt(_)
            | Authenticator::Introspection(_)
            | Authenticator::ApiKey(_)
            | Authenticator::AppId(_)
            | Authenticator::Mtls(_)
            | Authenticator::JwtSvid(_)
            | Authenticator::Anonymous => None,
        });
        let jwt = own
            .next()
            .ok_or("none of `revocation.logout.authenticators` has its issuer")?;
        let counted = (source, &self.failures);
        let verified = jwt
            .verify_logout(token, &self.config.clients, counted)
            .await;
        verified.map_err(|error| error.to_string())
    }
}

impl SeenLogouts {
    fn has(&self, logout: &Logout, now: i64) -> bool {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.get(&key(logout)).is_some_and(|until| *until >= now)
    }

    /// Where there is no room, it is not remembered: to be told twice revokes nothing else.
    fn remember(&self, logout: &Logout, now: i64) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= MAX_SEEN {
            seen.retain(|_, until| *until >= now);
        }
        if seen.len() < MAX_SEEN {
            let until = logout
                .issued
                .saturating_add(MAX_AGE_SECONDS + LEEWAY_SECONDS);
            seen.insert(key(logout), until);
        }
    }
}

fn key(logout: &Logout) -> KeyedDigest {
    KeyedDigest::of(&[logout.issuer.as_bytes(), logout.id.as_bytes()])
}

/// The one logout token of a form (section 2.5).
fn token(headers: &HeaderMap, body: &[u8]) -> Result<String, &'static str> {
    let kind = headers
        .get(header::CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok());
    let kind = kind
        .and_then(|kind| kind.split(';').next())
        .unwrap_or_default();
    if !kind
        .trim()
        .eq_ignore_ascii_case("application/x-www-form-urlencoded")
    {
        return Err("it is no form");
    }
    let fields = url::form_urlencoded::parse(body);
    let mut tokens = fields.filter(|(name, _)| name == "logout_token");
    match (tokens.next(), tokens.next()) {
        (Some((_, token)), None) => Ok(token.into_owned()),
        (None, _) => Err("the form has no `logout_token`"),
        (Some(_), Some(_)) => Err("the form has two of `logout_token`"),
    }
}

fn answer(status: StatusCode, refused: Option<&str>) -> Response {
    let headers = [(header::CACHE_CONTROL, "no-store")];
    match refused {
        None => (status, headers).into_response(),
        Some(why) => {
            let body = json!({ "error": "invalid_request", "error_description": why });
            let kind = [(header::CONTENT_TYPE, "application/json")];
            (status, headers, kind, body.to_string()).into_response()
        }
    }
}
