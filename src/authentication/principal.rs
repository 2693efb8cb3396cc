//! Who calls, once verified: the [`Principal`], and the [`Caller`] that it is or may become.
//
// INVARIANT: a `Principal` is made in `authentication` alone, after its credential was verified.

use std::sync::Arc;

use serde_json::Value;

use crate::authentication::proof::Confirmation;
use crate::catalog::model::ApplicationIndex;
use crate::spiffe::SpiffeId;

/// The caller, as authentication leaves it to authorization.
#[derive(Debug)]
pub enum Caller<'s> {
    /// Verified here.
    Verified(Principal<'s>),
}

/// A verified identity: subject, application, scopes and claims.
#[derive(Debug)]
pub struct Principal<'s> {
    pub(super) authenticator: &'s str,
    pub(super) method: Method,
    pub(super) client: ClientIdentity,
    /// None where the credential says nothing about its bearer.
    pub(super) identity: Option<Arc<Identity>>,
    pub(super) subscriptions: SubscriptionSource,
}

/// What a credential says about its bearer; shared by all requests that carry the same one.
#[derive(Debug, Default)]
pub struct Identity {
    /// The token's issuer.
    pub issuer: Option<Arc<str>>,
    /// Who it is about; unique within the issuer only.
    pub subject: Option<Arc<str>>,
    /// The OAuth client that it was issued to.
    pub client_id: Option<Arc<str>>,
    /// The scopes that it grants.
    pub scopes: Vec<Box<str>>,
    /// The Apis that the token itself says its application is subscribed to.
    pub subscribed_apis: Option<Vec<ClaimedSubscription>>,
    /// The application, as the token itself describes it.
    pub claimed_application: Option<ClaimedApplication>,
    /// What it is bound to, where it is.
    pub confirmation: Option<Box<Confirmation>>,
    /// The workload that it names, where it is one's.
    pub workload: Option<SpiffeId>,
    /// All claims; `Null` where the credential has none.
    pub claims: Value,
}

/// A subscription that a token claims (WSO2's `subscribedAPIs`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimedSubscription {
    /// The Api's title; case does not count.
    pub name: Box<str>,
    /// The Api's version, compared exactly.
    pub version: Box<str>,
    /// The plan (`subscriptionTier`).
    pub plan: Option<Arc<str>>,
}

/// An application that a token describes (WSO2's `application` claim).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClaimedApplication {
    /// Its id (`uuid`, else `id`).
    pub id: Option<Arc<str>>,
    /// Its name.
    pub name: Option<Arc<str>>,
    /// Its owner.
    pub owner: Option<Arc<str>>,
}

/// How a caller was verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Method {
    /// A JSON Web Token.
    Jwt,
    /// A token that its issuer was asked about.
    Introspection,
    /// An API key.
    ApiKey,
    /// An app id, with a key where it has one.
    AppId,
    /// The certificate of the connection.
    Mtls,
    /// A JWT-SVID.
    JwtSvid,
    /// Nobody in particular, by an authenticator that says so.
    Anonymous,
}

impl Method {
    /// The name in logs and templates.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Jwt => "jwt",
            Self::Introspection => "introspection",
            Self::ApiKey => "apiKey",
            Self::AppId => "appId",
            Self::Mtls => "mtls",
            Self::JwtSvid => "jwtSvid",
            Self::Anonymous => "anonymous",
        }
    }
}

/// What ties a principal to an application.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientIdentity {
    /// The credential is one of this application's.
    Application(ApplicationIndex),
    /// The credential names its issuer and client ([`Identity::issuer`], [`Identity::client_id`]).
    Client,
    /// Nothing does.
    None,
}

/// Where the subscriptions of a principal are looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SubscriptionSource {
    /// In the catalog.
    #[default]
    Catalog,
    /// In the token's own claim.
    Token,
    /// In the token where it has the claim, else in the catalog.
    TokenThenCatalog,
}

/// Of a credential that says nothing.
static NO_IDENTITY: Identity = Identity {
    issuer: None,
    subject: None,
    client_id: None,
    scopes: Vec::new(),
    subscribed_apis: None,
    claimed_application: None,
    confirmation: None,
    workload: None,
    claims: Value::Null,
};

impl<'s> Principal<'s> {
    /// Who shows a credential of the application at `at`, which says nothing else.
    pub(super) fn of_application(
        authenticator: &'s str,
        method: Method,
        at: ApplicationIndex,
    ) -> Self {
        Self {
            authenticator,
            method,
            client: ClientIdentity::Application(at),
            identity: None,
            subscriptions: SubscriptionSource::Catalog,
        }
    }

    /// The name of the authenticator that verified it.
    #[must_use]
    pub fn authenticator(&self) -> &'s str {
        self.authenticator
    }

    /// How it was verified.
    #[must_use]
    pub fn method(&self) -> Method {
        self.method
    }

    /// What ties it to an application.
    #[must_use]
    pub fn client(&self) -> ClientIdentity {
        self.client
    }

    /// What its credential says.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        self.identity.as_deref().unwrap_or(&NO_IDENTITY)
    }

    /// The workload that its credential names, where it is one's.
    #[must_use]
    pub fn workload(&self) -> Option<&SpiffeId> {
        self.identity.as_ref()?.workload.as_ref()
    }

    /// Where its subscriptions are looked up.
    #[must_use]
    pub fn subscriptions(&self) -> SubscriptionSource {
        self.subscriptions
    }

    /// Whether it was granted `scope`, compared exactly.
    #[must_use]
    pub fn has_scope(&self, scope: &str) -> bool {
        self.identity()
            .scopes
            .iter()
            .any(|granted| **granted == *scope)
    }
}
