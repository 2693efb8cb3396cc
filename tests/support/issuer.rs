//! An OpenID Connect issuer: discovery and key set over plain HTTP on a free port. It can rotate
//! its keys, stall, fail and lie.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};

use super::background::Background;
use super::http::{self, Answer, Request};
use super::signing::{self, Algorithm, SigningKeys};
use super::token::Token;

/// The issuer; dropping it closes its port.
#[derive(Debug)]
pub(crate) struct Issuer {
    background: Background,
    url: String,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    url: String,
    behavior: Behavior,
    keys: SigningKeys,
    /// Published beside the keys.
    extra_keys: Vec<Value>,
    /// Served in place of the key set.
    key_set: Option<String>,
    discovery_fetches: usize,
    key_set_fetches: usize,
}

#[derive(Debug, Clone, Copy)]
enum Behavior {
    Honest,
    Stalling,
    Failing(u16),
    Lying,
}

impl Issuer {
    /// Starts an issuer with keys of its own.
    pub(crate) fn start() -> Self {
        let state = Arc::new(Mutex::new(State {
            url: String::new(),
            behavior: Behavior::Honest,
            keys: SigningKeys::generate(1),
            extra_keys: Vec::new(),
            key_set: None,
            discovery_fetches: 0,
            key_set_fetches: 0,
        }));
        let shared = Arc::clone(&state);
        let background = Background::serve("issuer", move |stream| {
            let state = Arc::clone(&shared);
            async move {
                http::serve(stream, |request| {
                    std::future::ready(lock(&state).answer(&request))
                })
                .await
            }
        });
        let url = format!("http://{}", background.address());
        lock(&state).url.clone_from(&url);
        Self {
            background,
            url,
            state,
        }
    }

    /// Its identifier, the `iss` of its tokens.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// The address of its key set.
    pub(crate) fn key_set_url(&self) -> String {
        format!("{}/jwks", self.url)
    }

    /// The configuration of a `jwt` authenticator that trusts it for `audience`.
    pub(crate) fn authenticator(&self, audience: &str) -> Value {
        json!({
            "type": "jwt", "issuer": self.url, "keys": "discovery", "audiences": [audience],
            "allowHttpIssuer": true,
        })
    }

    /// A token of it, to be completed and signed.
    pub(crate) fn token(&self) -> Token {
        Token::new(self)
    }

    /// Its current private keys.
    pub(crate) fn keys(&self) -> SigningKeys {
        lock(&self.state).keys.clone()
    }

    /// A token of any header and payload text, signed with the current key for `algorithm`.
    pub(crate) fn sign_raw(&self, algorithm: Algorithm, header: &str, payload: &str) -> String {
        let keys = self.keys();
        signing::compact(header, payload, |message| keys.sign(algorithm, message))
    }

    /// Replaces all its keys by new ones with new ids.
    pub(crate) fn rotate(&self) {
        let mut state = lock(&self.state);
        let generation = state.keys.generation() + 1;
        state.keys = SigningKeys::generate(generation);
    }

    /// From here on it accepts requests and never answers them.
    pub(crate) fn stall(&self) {
        lock(&self.state).behavior = Behavior::Stalling;
    }

    /// From here on it answers every request with `status`.
    pub(crate) fn fail(&self, status: u16) {
        lock(&self.state).behavior = Behavior::Failing(status);
    }

    /// From here on its discovery document names another issuer (OpenID Connect Discovery 1.0
    /// section 4.3 forbids to accept that).
    pub(crate) fn lie(&self) {
        lock(&self.state).behavior = Behavior::Lying;
    }

    /// From here on it behaves again.
    pub(crate) fn recover(&self) {
        let mut state = lock(&self.state);
        state.behavior = Behavior::Honest;
        state.key_set = None;
    }

    /// Serves `body` in place of its key set.
    pub(crate) fn serve_key_set(&self, body: impl Into<String>) {
        lock(&self.state).key_set = Some(body.into());
    }

    /// Publishes, ahead of the others, keys that nobody can use: of an unknown type, without its
    /// members, and for encryption only.
    pub(crate) fn add_unusable_key(&self) {
        lock(&self.state).extra_keys.extend([
            json!({ "kty": "QUANTUM", "kid": "unknown-type", "q": "AQAB" }),
            json!({ "kty": "EC", "crv": "P-256", "kid": "not-on-the-curve", "alg": "ES256", "x": "AQ", "y": "AQ" }),
            json!({ "kty": "RSA", "kid": "without-members" }),
            json!({ "kty": "RSA", "kid": "for-encryption", "use": "enc", "n": "AQAB", "e": "AQAB" }),
        ]);
    }

    /// How often its discovery document was asked for.
    pub(crate) fn discovery_fetches(&self) -> usize {
        lock(&self.state).discovery_fetches
    }

    /// How often its key set was asked for.
    pub(crate) fn key_set_fetches(&self) -> usize {
        lock(&self.state).key_set_fetches
    }
}

impl State {
    fn answer(&mut self, request: &Request) -> Answer {
        let discovery = request.target == "/.well-known/openid-configuration";
        let key_set = request.target == "/jwks";
        self.discovery_fetches += usize::from(discovery);
        self.key_set_fetches += usize::from(key_set);
        match self.behavior {
            Behavior::Stalling => Answer::Silence,
            Behavior::Failing(status) => {
                Answer::json(status, r#"{"error":"temporarily_unavailable"}"#)
            }
            Behavior::Honest | Behavior::Lying if key_set => Answer::json(200, self.key_set_text()),
            Behavior::Honest if discovery => Answer::json(200, self.discovery_text(&self.url)),
            Behavior::Lying if discovery => {
                Answer::json(200, self.discovery_text("http://another.example"))
            }
            Behavior::Honest | Behavior::Lying => Answer::json(404, "{}"),
        }
    }

    fn discovery_text(&self, issuer: &str) -> String {
        json!({
            "issuer": issuer,
            "jwks_uri": format!("{}/jwks", self.url),
            "authorization_endpoint": format!("{}/authorize", self.url),
            "token_endpoint": format!("{}/token", self.url),
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
        })
        .to_string()
    }

    fn key_set_text(&self) -> String {
        self.key_set.clone().unwrap_or_else(|| {
            let mut keys = self.extra_keys.clone();
            keys.extend(self.keys.public_jwks());
            json!({ "keys": keys }).to_string()
        })
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
