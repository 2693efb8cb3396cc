//! One request to the fake provider, read as far as tests ask about it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::super::http::Request;
use super::assertion::Assertion;

/// Which of its services was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Endpoint {
    /// `POST /token`, or any other path that ends in `/token`.
    Token,
    /// `POST /introspect` (RFC 7662).
    Introspect,
    /// `GET /{authType}/auth?domain=…&path=…`.
    Auth {
        auth_type: String,
        domain: String,
        path: String,
    },
    /// `GET /headers`, with any query.
    Headers,
    /// Anything else; it is answered with 404.
    Nothing,
}

/// One request.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) endpoint: Endpoint,
    pub(crate) request: Request,
    /// The fields of the form, decoded, in order, duplicates included.
    pub(crate) form: Vec<(String, String)>,
    /// The parameters of the query, decoded, in order, duplicates included.
    pub(crate) query: Vec<(String, String)>,
    /// The common name in the client's certificate, where it showed one.
    pub(crate) certificate: Option<String>,
}

impl Call {
    /// Reads a request.
    pub(crate) fn new(request: Request, certificate: Option<String>) -> Self {
        let (path, query) = request
            .target
            .split_once('?')
            .unwrap_or((&request.target, ""));
        let query = pairs(query.as_bytes());
        Self {
            endpoint: endpoint(&request.method, path, &query),
            form: pairs(&request.body),
            query,
            certificate,
            request,
        }
    }

    /// A field of the form.
    ///
    /// # Panics
    /// Where there are several of this name.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        single(&self.form, name)
    }

    /// The names of the form's fields, sorted.
    pub(crate) fn field_names(&self) -> Vec<&str> {
        let mut names: Vec<_> = self.form.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        names
    }

    /// The value of a header.
    ///
    /// # Panics
    /// Where there are several of this name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let values = self.request.values(name);
        assert!(values.len() < 2, "several {name}: {values:?}");
        values.first().copied()
    }

    /// Id and secret of basic authentication, form-decoded as RFC 6749 section 2.3.1 has it.
    pub(crate) fn basic(&self) -> Option<(String, String)> {
        let text = self.header("authorization")?.strip_prefix("Basic ")?;
        let text = String::from_utf8(STANDARD.decode(text).ok()?).ok()?;
        let (id, secret) = text.split_once(':')?;
        Some((form_decoded(id), form_decoded(secret)))
    }

    /// Who asks, however it says so: basic authentication, `client_id`, the assertion's `sub`, or
    /// the certificate's name. Nothing of it is verified.
    pub(crate) fn client(&self) -> Option<String> {
        let assertion = || {
            let claims = Assertion::unverified(self.field("client_assertion")?).claims;
            claims.get("sub")?.as_str().map(str::to_owned)
        };
        self.basic()
            .map(|(id, _)| id)
            .or_else(|| self.field("client_id").map(str::to_owned))
            .or_else(assertion)
            .or_else(|| self.certificate.clone())
    }

    /// The `client_assertion`, verified by the certificate in it.
    ///
    /// # Panics
    /// Where there is none, or it does not hold.
    pub(crate) fn certified_assertion(&self) -> Assertion {
        let assertion = self.field("client_assertion").expect("an assertion");
        Assertion::signed_by_its_certificate(assertion)
    }

    /// What an honest token endpoint answers to the `number`th call: who asked for what stands in
    /// the token, and no two are alike.
    pub(crate) fn token(&self, number: usize) -> String {
        let mut token = format!("token-{number}");
        let client = self.client();
        let asked = ["audience", "resource", "scope"].map(|name| self.field(name));
        for part in [client.as_deref()].into_iter().chain(asked).flatten() {
            token.push('.');
            token.extend(part.chars().map(|character| match character {
                'a'..='z' | 'A'..='Z' | '0'..='9' | '-' | '.' => character,
                _ => '_',
            }));
        }
        token
    }
}

fn endpoint(method: &str, path: &str, query: &[(String, String)]) -> Endpoint {
    let parameter = |name| single(query, name).unwrap_or_default().to_owned();
    match (method, path) {
        ("POST", path) if path.ends_with("/token") => Endpoint::Token,
        ("POST", "/introspect") => Endpoint::Introspect,
        ("GET", "/headers") => Endpoint::Headers,
        ("GET", path) => match path.strip_suffix("/auth") {
            Some(auth_type) => Endpoint::Auth {
                auth_type: auth_type.trim_start_matches('/').to_owned(),
                domain: parameter("domain"),
                path: parameter("path"),
            },
            None => Endpoint::Nothing,
        },
        _ => Endpoint::Nothing,
    }
}

fn pairs(bytes: &[u8]) -> Vec<(String, String)> {
    url::form_urlencoded::parse(bytes).into_owned().collect()
}

fn form_decoded(text: &str) -> String {
    pairs(text.as_bytes())
        .into_iter()
        .next()
        .map(|(name, _)| name)
        .unwrap_or_default()
}

fn single<'a>(pairs: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let mut values = pairs.iter().filter(|(found, _)| found == name);
    let value = values.next().map(|(_, value)| value.as_str());
    assert!(values.next().is_none(), "several {name}: {pairs:?}");
    value
}
