//! How a request to a token endpoint says who we are (RFC 6749 section 2.3).

use std::borrow::Cow;

use http::HeaderMap;
use http::header::AUTHORIZATION;

use super::client::{AssertionType, Client, SecretMethod};
use super::own_token::OwnToken;
use super::{ASSERTION_SECONDS, Assertion, Form, TokenEndpoint, basic, push_assertion};
use crate::fetch::FetchError;
use crate::signing::SigningKey;

impl TokenEndpoint {
    /// Adds to `form` what says who we are, as the client `other` where there is one; the headers
    /// say it where the form does not.
    pub(super) async fn sign_in<'f>(
        &'f self,
        other: Option<&'f str>,
        mut form: Form<'f>,
    ) -> Result<(HeaderMap, Form<'f>), FetchError> {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.parameters {
            form.push((name, Cow::Borrowed(&**value)));
        }
        match &self.client {
            Client::Secret { id, secret, method } => {
                let id = other.unwrap_or(id);
                match method {
                    SecretMethod::Basic => {
                        headers.insert(AUTHORIZATION, basic(id, secret.expose())?);
                    }
                    SecretMethod::Post => {
                        form.push(("client_id", Cow::Borrowed(id)));
                        form.push(("client_secret", Cow::Borrowed(secret.expose())));
                    }
                }
            }
            Client::Key {
                id,
                key,
                key_id,
                audience,
            } => {
                let id = other.unwrap_or(id);
                let audience = audience.as_deref().unwrap_or(self.url.as_str());
                let signed = self.assertion((id, audience), key, key_id.as_deref())?;
                push_assertion(&mut form, id, signed);
            }
            Client::Certificate { id } => {
                form.push(("client_id", Cow::Borrowed(other.unwrap_or(id))));
            }
            Client::Token { id, token, kind } => {
                let id = other.or(id.as_deref());
                push_token(&mut form, id, token, *kind).await?;
            }
            Client::Svid { id } => {
                let shown = self.server.shown_id()?;
                let id = other.or(id.as_deref()).map(Cow::Borrowed);
                form.push(("client_id", id.unwrap_or(Cow::Owned(shown))));
            }
        }
        Ok((headers, form))
    }

    fn assertion(
        &self,
        (client_id, audience): (&str, &str),
        key: &SigningKey,
        key_id: Option<&str>,
    ) -> Result<String, FetchError> {
        let assertion = Assertion {
            client_id,
            audience,
            seconds: ASSERTION_SECONDS,
        };
        let now = self.server.clock.unix_seconds();
        assertion.sign(key, now, |header| {
            header.kid = key_id.map(str::to_owned);
        })
    }
}

/// Says who we are by a token of ours.
async fn push_token<'f>(
    form: &mut Form<'f>,
    id: Option<&'f str>,
    token: &OwnToken,
    kind: AssertionType,
) -> Result<(), FetchError> {
    let (token, spiffe_id) = token.get_with_id().await?;
    let id = match (id, kind) {
        (Some(id), _) => Some(Cow::Borrowed(id)),
        // draft-ietf-oauth-spiffe-client-auth: the client is known by its SPIFFE ID
        (None, AssertionType::JwtSpiffe) => spiffe_id.map(|id| Cow::Owned(id.to_string())),
        // RFC 7521 section 4.2: the assertion says it
        (None, AssertionType::JwtBearer) => None,
    };
    if let Some(id) = id {
        form.push(("client_id", id));
    }
    form.push(("client_assertion_type", Cow::Borrowed(kind.name())));
    let token = token.expose().clone();
    form.push(("client_assertion", Cow::Owned(token)));
    Ok(())
}
