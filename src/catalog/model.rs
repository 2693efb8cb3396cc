//! The catalog's things: Apis, operations, applications, subscriptions and plans.
//!
//! No serde here: documents of any source are turned into these by [`crate::catalog::build`],
//! which has already checked every reference. Nothing here changes after it was published.

pub mod limit;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;

use crate::authentication::api_key::KeyDigest;
use crate::authorization::source::SourceRule;
use crate::catalog::model::limit::Limit;
use crate::check::request::Host;
use crate::header::HeaderName;
use crate::spiffe::{SpiffeId, SpiffeIdPattern};
use crate::upstream::provider::Target;
use crate::upstream::template::HeaderTemplate;

/// The namespace of a document that names none.
pub const DEFAULT_NAMESPACE: &str = "default";

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The id of the thing called `name` in `namespace`: `namespace/name`.
            #[must_use]
            pub fn new(namespace: &str, name: &str) -> Self {
                Self(format!("{namespace}/{name}").into())
            }

            /// Reads `namespace/name`, or a name in the namespace `default`.
            #[must_use]
            pub fn parse(text: &str) -> Self {
                match text.split_once('/') {
                    Some((namespace, name)) => Self::new(namespace, name),
                    None => Self::new(DEFAULT_NAMESPACE, text),
                }
            }

            /// `namespace/name`.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The same text, shared.
            #[must_use]
            pub fn as_arc(&self) -> &Arc<str> {
                &self.0
            }

            /// The part before the slash.
            #[must_use]
            pub fn namespace(&self) -> &str {
                self.0.split_once('/').map_or(DEFAULT_NAMESPACE, |(namespace, _)| namespace)
            }

            /// The part after the slash.
            #[must_use]
            pub fn name(&self) -> &str {
                self.0.split_once('/').map_or(&*self.0, |(_, name)| name)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    };
}

id!(
    /// The id of an [`Api`].
    ApiId
);
id!(
    /// The id of an [`Application`].
    ApplicationId
);
id!(
    /// The id of a [`limit::Plan`].
    PlanId
);

/// The place of an [`Api`] in [`crate::catalog::Catalog`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ApiIndex(pub(crate) u32);

/// The place of an [`Operation`] in [`Api::operations`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OperationIndex(pub(crate) u32);

/// The place of an [`Application`] in [`crate::catalog::Catalog`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ApplicationIndex(pub(crate) u32);

/// The place of a [`limit::Plan`] in [`crate::catalog::Catalog`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PlanIndex(pub(crate) u32);

/// A published API version: its hosts, base path, operations and authenticators.
#[derive(Debug)]
pub struct Api {
    /// `namespace/name`.
    pub id: ApiId,
    /// What subscriptions name, together with the version; case does not count.
    pub title: Arc<str>,
    /// The version, compared exactly.
    pub version: Arc<str>,
    /// WSO2's context: reported, never matched.
    pub context: Option<Arc<str>>,
    /// Which listeners serve it.
    pub direction: Direction,
    /// The proxies that may ask about it; empty: whoever may ask.
    pub peers: Box<[SpiffeIdPattern]>,
    /// The hosts that it claims; never empty.
    pub hosts: Vec<HostPattern>,
    /// The path below which it lies.
    pub base_path: BasePath,
    /// Orders Apis with the same host and base path; the greatest is asked first.
    pub precedence: Option<i32>,
    /// Whether a denial is enforced or only recorded.
    pub enforcement: Enforcement,
    /// The names of its authenticators, in order; never empty.
    pub authenticators: Vec<Arc<str>>,
    /// Whether the caller's application must be subscribed.
    pub subscription: SubscriptionRule,
    /// Its operations.
    pub operations: Vec<Operation>,
    /// What becomes of a request that no operation matches.
    pub unmatched_operation: UnmatchedOperation,
    /// What becomes of a CORS preflight request.
    pub preflight: PreflightRule,
    /// The workloads that it is for; none: every workload, and who is none.
    pub from: Option<SourceRule>,
    /// Limits that protect it from everybody together.
    pub limits: Vec<Limit>,
    /// What the upstream and the client see.
    pub upstream: UpstreamRules,
    /// Where it was declared.
    pub origin: Origin,
}

/// A method and path template in an Api, with the scopes that it needs.
#[derive(Debug)]
pub struct Operation {
    /// The methods, exactly as sent; empty means every method.
    pub methods: Vec<Box<str>>,
    /// The path below the base path.
    pub path: PathTemplate,
    /// The scopes that it needs.
    pub scopes: ScopeRule,
    /// Replaces the Api's authenticators.
    pub authenticators: Option<Vec<Arc<str>>>,
    /// The workloads that it is for, of those that the Api is for.
    pub from: Option<SourceRule>,
    /// What it is called where it is counted: its methods and template.
    pub id: Arc<str>,
    /// What a request takes of limits that name no metric.
    pub cost: u64,
    /// What a request takes of limits that name a metric.
    pub metrics: Vec<(Arc<str>, u64)>,
    /// Limits of its own.
    pub limits: Vec<Limit>,
}

/// A path template as written, and its segments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathTemplate {
    /// As written: `/orders/{id}`.
    pub text: Arc<str>,
    /// The segments between the slashes.
    pub segments: Vec<TemplateSegment>,
}

/// One segment of a [`PathTemplate`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TemplateSegment {
    /// Exactly this text, in normal form.
    Literal(Box<str>),
    /// `{name}`: any one segment that is not empty.
    Parameter,
    /// `{*name}`, only at the end: one segment or more.
    Rest,
}

/// The path below which an Api lies: whole segments, without a trailing slash; `/` is the empty text.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BasePath(pub(crate) Box<str>);

impl BasePath {
    /// The text, without a trailing slash: empty for `/`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A host that an Api claims.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HostPattern {
    /// This host, in normal form.
    Exact(Box<str>),
    /// `*.suffix`: every host that ends in `.suffix`; the text is `suffix`.
    Suffix(Box<str>),
    /// `*`: every host.
    Any,
}

impl HostPattern {
    /// Reads `name`, `*.suffix` or `*`.
    ///
    /// # Errors
    /// Why it is none.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text == "*" {
            return Ok(Self::Any);
        }
        let (name, is_suffix) = match text.strip_prefix("*.") {
            Some(name) => (name, true),
            None => (text, false),
        };
        if name.contains('*') {
            return Err(format!(
                "`{text}`: a `*` stands alone or as the whole first label, as in *.example.com"
            ));
        }
        let after_address = name
            .rfind(']')
            .map_or(name, |end| name.get(end..).unwrap_or(name));
        if after_address.contains(':') {
            return Err(format!(
                "`{text}`: a host has no port, and an IPv6 address stands in brackets"
            ));
        }
        let host = Host::parse(name).map_err(|reason| format!("`{text}`: {reason}"))?;
        match (is_suffix, host.as_str().starts_with('[')) {
            (true, true) => Err(format!("`{text}`: an address has no subdomains")),
            (true, false) => Ok(Self::Suffix(host.as_str().into())),
            (false, _) => Ok(Self::Exact(host.as_str().into())),
        }
    }

    /// Whether `host`, in normal form, is one of these.
    #[must_use]
    pub fn matches(&self, host: &str) -> bool {
        match self {
            Self::Exact(name) => **name == *host,
            Self::Suffix(suffix) => host
                .strip_suffix(&**suffix)
                .is_some_and(|rest| rest.len() > 1 && rest.ends_with('.')),
            Self::Any => true,
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(host) => f.write_str(host),
            Self::Suffix(suffix) => write!(f, "*.{suffix}"),
            Self::Any => f.write_str("*"),
        }
    }
}

/// Which listeners serve an Api.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Requests that come to us.
    Inbound,
    /// Requests of our workloads to others.
    Outbound,
}

/// Whether a denial is enforced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Enforcement {
    /// The decision is the answer.
    Enforce,
    /// The decision is logged and counted, the answer is an allow.
    Shadow,
}

/// Whether the caller's application must be subscribed to the Api.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SubscriptionRule {
    /// It must.
    Required,
    /// It need not, but a subscription that is blocked, on hold or over refuses.
    Optional,
    /// Subscriptions are not looked at.
    NotNeeded,
}

/// What becomes of a request that no operation of its Api matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnmatchedOperation {
    /// It is denied.
    Deny,
    /// It is judged by the Api's own rules; no scope is needed.
    Allow,
}

/// What becomes of a CORS preflight request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PreflightRule {
    /// It is judged as every request.
    Deny,
    /// It passes without a credential.
    Pass,
}

/// The scopes that an operation needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ScopeRule {
    /// None.
    None,
    /// At least one of these.
    AnyOf(Vec<Box<str>>),
    /// Every one of these.
    AllOf(Vec<Box<str>>),
}

/// What the upstream and the client see of an allowed request.
#[derive(Debug, Default)]
pub struct UpstreamRules {
    /// Headers for the upstream; each overwrites what the client sent.
    pub headers: Vec<(HeaderName, HeaderTemplate)>,
    /// Client headers that the upstream never sees.
    pub remove_headers: Vec<HeaderName>,
    /// Whether the client's credential stays in the request.
    pub keep_credential: bool,
    /// Headers for the client.
    pub response_headers: Vec<(HeaderName, HeaderTemplate)>,
    /// The credentials that take the place of the client's.
    pub credentials: Vec<CredentialRule>,
}

/// A credential of the upstream's own provider, in the place of the client's.
#[derive(Debug, Clone)]
pub struct CredentialRule {
    /// The name of the provider.
    pub provider: Arc<str>,
    /// What it is asked for.
    pub target: Arc<Target>,
    /// The client's headers that are removed, whatever the provider gives.
    pub removed: Vec<HeaderName>,
    /// What becomes of a request where the provider cannot be asked.
    pub on_failure: OnFailure,
    /// What becomes of a request where the provider has nothing for its upstream.
    pub on_absent: OnAbsent,
}

/// What becomes of a request where a provider cannot be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFailure {
    /// It is refused.
    Deny,
    /// It goes on with the last good token, as long as the provider's configuration allows.
    Stale,
    /// It goes on without a credential.
    Allow,
}

/// What becomes of a request where a provider has nothing for its upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnAbsent {
    /// It is refused.
    Deny,
    /// It goes on without a credential.
    Allow,
}

/// A consumer registered in a portal.
#[derive(Debug)]
pub struct Application {
    /// `namespace/name`.
    pub id: ApplicationId,
    /// Who answers for it.
    pub owner: Option<Arc<str>>,
    /// Whether it may call at all.
    pub state: ApplicationState,
    /// The plan whose limits hold for all its requests together, beside its subscriptions' plans.
    pub plan: Option<PlanIndex>,
    /// The OAuth clients that act for it.
    pub clients: Vec<Client>,
    /// Its API keys.
    pub api_keys: Vec<ApiKey>,
    /// Its app id.
    pub app_id: Option<Arc<str>>,
    /// The keys that go with its app id; empty means that the app id is enough.
    pub app_keys: Vec<KeyDigest>,
    /// The workloads that act for it, each under the first name of its trust domain.
    pub workloads: Vec<SpiffeId>,
    /// Its subscriptions, by Api.
    pub subscriptions: BTreeMap<ApiIndex, Subscription>,
    /// Where it was declared.
    pub origin: Origin,
}

/// Whether an application may call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApplicationState {
    /// It may.
    Active,
    /// It may not.
    Suspended,
}

/// An OAuth client of an application.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Client {
    /// The issuer whose client it is.
    pub issuer: Arc<str>,
    /// Its id at that issuer.
    pub client_id: Arc<str>,
}

/// An API key of an application, by its digest.
#[derive(Debug, Clone)]
pub struct ApiKey {
    /// What it is called, for people.
    pub name: Option<Arc<str>>,
    /// The digest of the key.
    pub digest: KeyDigest,
    /// When it ends.
    pub expires: Option<Timestamp>,
}

/// An application's right to call an Api, on a plan.
#[derive(Debug, Clone)]
pub struct Subscription {
    /// The plan; none means no limits.
    pub plan: Option<PlanIndex>,
    /// Whether it counts.
    pub state: SubscriptionState,
    /// When it ends.
    pub valid_until: Option<Timestamp>,
}

/// Whether a subscription counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SubscriptionState {
    /// It does.
    Active,
    /// The portal put it on hold.
    OnHold,
    /// The portal blocked it.
    Blocked,
    /// The portal refused it.
    Rejected,
}

impl SubscriptionState {
    /// As written in documents.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::OnHold => "onHold",
            Self::Blocked => "blocked",
            Self::Rejected => "rejected",
        }
    }
}

/// Where a thing was declared: the source, and the file and line in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The name of the source.
    pub source: Arc<str>,
    /// The file.
    pub file: Arc<str>,
    /// The line of the document's start, from 1.
    pub line: u32,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}
