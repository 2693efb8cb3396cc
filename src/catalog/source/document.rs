//! The documents of the catalog as they are written: kinds Api, Application, Subscription, Plan, Block.
//!
//! Wire types only; what they mean is checked by [`crate::catalog::build`].

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::catalog::model::DEFAULT_NAMESPACE;
use crate::catalog::source::choice::{
    ApplicationStateDocument, DirectionDocument, EnforcementDocument, OnAbsentDocument,
    OnExceedDocument, OnFailureDocument, PreflightDocument, SubscriptionRuleDocument,
    SubscriptionStateDocument, UnmatchedOperationDocument, WindowAlignmentDocument, WindowDocument,
};
use crate::catalog::source::reference::{ApiReference, LimitKeyDocuments};

/// The version of these documents.
pub const API_VERSION: &str = "portcullis.dev/v1alpha1";

/// One document of the catalog.
#[derive(Debug, Clone, JsonSchema)]
#[schemars(untagged)]
pub enum DocumentBody {
    /// A published version of an API.
    Api(Box<ApiDocument>),
    /// A consumer.
    Application(Box<ApplicationDocument>),
    /// A consumer's right to call an Api.
    Subscription(Box<SubscriptionDocument>),
    /// A named set of limits.
    Plan(Box<PlanDocument>),
    /// A condition that refuses requests.
    Block(Box<BlockDocument>),
}

macro_rules! document {
    ($(#[$doc:meta])* $name:ident, $kind:ident, $kind_name:literal, $spec:ident, $metadata:ty) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Deserialize, JsonSchema)]
        #[serde(rename_all = "camelCase", deny_unknown_fields)]
        pub struct $name {
            /// `portcullis.dev/v1alpha1`, which is also meant where it is left out.
            #[serde(default)]
            pub api_version: ApiVersion,
            /// The kind of the document.
            pub kind: $kind,
            /// What it is called.
            pub metadata: $metadata,
            /// What it says.
            pub spec: $spec,
        }

        /// The kind of the document.
        #[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
        pub enum $kind {
            #[doc = concat!("`", $kind_name, "`")]
            #[serde(rename = $kind_name)]
            Only,
        }
    };
}

document!(
    /// A published version of an API: its hosts, base path, operations and authenticators.
    ApiDocument, ApiKind, "Api", ApiSpec, Metadata
);
document!(
    /// A consumer registered in a portal.
    ApplicationDocument, ApplicationKind, "Application", ApplicationSpec, Metadata
);
document!(
    /// A named set of limits.
    PlanDocument, PlanKind, "Plan", PlanSpec, Metadata
);
document!(
    /// A condition that refuses requests which nothing else refuses.
    BlockDocument, BlockKind, "Block", BlockSpec, Metadata
);

/// A consumer's right to call an Api, as a document of its own.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SubscriptionDocument {
    /// `portcullis.dev/v1alpha1`, which is also meant where it is left out.
    #[serde(default)]
    pub api_version: ApiVersion,
    /// The kind of the document.
    pub kind: SubscriptionKind,
    /// The namespace that its references stay in; a name is for people.
    #[serde(default)]
    pub metadata: SubscriptionMetadata,
    /// What it says.
    pub spec: SubscriptionSpec,
}

/// The kind of the document.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
pub enum SubscriptionKind {
    /// `Subscription`
    #[serde(rename = "Subscription")]
    Only,
}

/// The version of these documents.
#[derive(Debug, Clone, Copy, Default, Deserialize, JsonSchema)]
pub enum ApiVersion {
    /// The only one so far.
    #[default]
    #[serde(rename = "portcullis.dev/v1alpha1")]
    V1Alpha1,
}

/// What a document is called: its id is `namespace/name`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Metadata {
    /// Lower-case letters, digits, hyphens and dots.
    pub name: String,
    /// The namespace; references stay in it unless they say another (`namespace/name`).
    #[serde(default = "default_namespace")]
    pub namespace: String,
}

/// What a subscription is called.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SubscriptionMetadata {
    /// For people.
    #[serde(default)]
    pub name: Option<String>,
    /// The namespace that its references stay in.
    #[serde(default = "default_namespace")]
    pub namespace: String,
}

impl Default for SubscriptionMetadata {
    fn default() -> Self {
        Self {
            name: None,
            namespace: default_namespace(),
        }
    }
}

fn default_namespace() -> String {
    DEFAULT_NAMESPACE.to_owned()
}

/// Reads a time where there is one.
fn time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
    let time = Option::<Time>::deserialize(deserializer)?;
    Ok(time.map(|Time(time)| time))
}

struct Time(Timestamp);

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(TimeVisitor)
    }
}

struct TimeVisitor;

impl Visitor<'_> for TimeVisitor {
    type Value = Time;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a time, such as 2027-01-01T00:00:00Z")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Time, E> {
        text.parse()
            .map(Time)
            .map_err(|_| E::custom("write it as 2027-01-01T00:00:00Z"))
    }
}

fn root() -> String {
    "/".to_owned()
}

/// What an Api is.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ApiSpec {
    /// What subscriptions and a token's `subscribedAPIs` name, with the version; case does not count.
    pub title: String,
    /// The version, compared exactly.
    pub version: String,
    /// WSO2's word: reported, never matched.
    #[serde(default)]
    pub context: Option<String>,
    /// Which listeners serve it.
    #[serde(default)]
    pub direction: DirectionDocument,
    /// The proxies that may ask about it, as patterns of SPIFFE IDs: whole segments of the path may be
    /// `*`, the last one `**`. Left out, whoever may ask at all.
    #[serde(default)]
    pub peers: Vec<String>,
    /// The hosts that it claims, without a port: a name, `*.suffix`, or `*` for every host.
    pub hosts: Vec<String>,
    /// The path below which it lies, by whole segments; it stays in the path.
    #[serde(default = "root")]
    pub base_path: String,
    /// Orders Apis with the same host and base path; the greatest is asked first.
    #[serde(default)]
    pub precedence: Option<i32>,
    /// Whether a denial is enforced.
    #[serde(default)]
    pub enforcement: EnforcementDocument,
    /// The names of its authenticators, in order.
    pub authenticators: Vec<String>,
    /// Whether the caller's application must be subscribed.
    #[serde(default)]
    pub subscription: SubscriptionRuleDocument,
    /// Its operations.
    #[serde(default)]
    pub operations: Vec<OperationDocument>,
    /// What becomes of a request that no operation matches.
    #[serde(default)]
    pub unmatched_operation: UnmatchedOperationDocument,
    /// What becomes of a CORS preflight request.
    #[serde(default)]
    pub preflight: PreflightDocument,
    /// The workloads that it is for, by the certificates of their connections; every workload where
    /// it is left out.
    #[serde(default)]
    pub from: Option<SourceDocument>,
    /// Limits that protect it from everybody together; their key is `api` where it is left out.
    #[serde(default)]
    pub limits: Vec<LimitDocument>,
    /// What the upstream and the client see.
    #[serde(default)]
    pub upstream: UpstreamDocument,
}

/// A method and path template, with the scopes that it needs.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OperationDocument {
    /// The methods; every method where they are left out.
    #[serde(default)]
    pub methods: Option<Vec<String>>,
    /// The path below the base path: `{name}` stands for one segment, `{*name}` at the end for one or more.
    pub path: String,
    /// The scopes that it needs.
    #[serde(default)]
    pub scopes: Option<ScopesDocument>,
    /// Replaces the Api's list.
    #[serde(default)]
    pub authenticators: Option<Vec<String>>,
    /// The workloads that it is for, of those that the Api's own `from` allows.
    #[serde(default)]
    pub from: Option<SourceDocument>,
    /// What a request takes of every limit that names no metric: 1 where it is left out, 0 for nothing.
    #[serde(default)]
    pub cost: Option<u64>,
    /// What a request takes of the limits that name these metrics. A metric that is part of another
    /// is written with both.
    #[serde(default)]
    pub metrics: BTreeMap<String, u64>,
    /// Limits of its own; their key is `operation` where it is left out.
    #[serde(default)]
    pub limits: Vec<LimitDocument>,
}

/// Workloads, as the source of Istio's `AuthorizationPolicy` names them. Every field that is there must
/// hold, by one of its values; `not…` excludes. A `*` stands at the begin or end of a value, or alone.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct SourceDocument {
    /// SPIFFE IDs, with or without `spiffe://`: `cluster.local/ns/shop/sa/checkout`; `*` is everybody
    /// whose certificate was verified.
    pub principals: Option<Vec<String>>,
    /// SPIFFE IDs that it is not for.
    pub not_principals: Option<Vec<String>>,
    /// Namespaces of workloads.
    pub namespaces: Option<Vec<String>>,
    /// Namespaces that it is not for.
    pub not_namespaces: Option<Vec<String>>,
    /// Service accounts of workloads: `account` of the document's own namespace, or
    /// `namespace/account`; without a `*`.
    pub service_accounts: Option<Vec<String>>,
    /// Service accounts that it is not for.
    pub not_service_accounts: Option<Vec<String>>,
    /// Trust domains of workloads.
    pub trust_domains: Option<Vec<String>>,
    /// Trust domains that it is not for.
    pub not_trust_domains: Option<Vec<String>>,
    /// `true`: the certificate of the connection names the workload, and no token in its place.
    /// `false`, where all else is `not…`: who shows no certificate may call too, as in Istio.
    pub require_mtls: Option<bool>,
}

/// The scopes that an operation needs: one of the two lists.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ScopesDocument {
    /// At least one of these.
    #[serde(default)]
    pub any_of: Option<Vec<String>>,
    /// Every one of these.
    #[serde(default)]
    pub all_of: Option<Vec<String>>,
}

/// What the upstream and the client see of an allowed request.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UpstreamDocument {
    /// Headers for the upstream, by templates such as `{principal.subject}`; each overwrites what the client sent.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Client headers that the upstream never sees.
    #[serde(default)]
    pub remove_headers: Vec<String>,
    /// Whether the client's credential stays in the request.
    #[serde(default)]
    pub keep_credential: bool,
    /// Headers for the client, by templates.
    #[serde(default)]
    pub response_headers: BTreeMap<String, String>,
    /// The credential that the upstream sees in place of the client's: one, or a list.
    #[serde(default)]
    pub credential: CredentialDocuments,
}

/// One credential, or a list of them.
#[derive(Debug, Clone, Default)]
pub struct CredentialDocuments(pub Vec<CredentialDocument>);

/// A credential of the upstream's own provider.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CredentialDocument {
    /// The name of the provider in the configuration.
    pub provider: String,
    /// For whom the token is; left out, what the provider's configuration says.
    #[serde(default)]
    pub audience: Option<String>,
    /// The scopes of the token, separated by spaces; left out, what the provider's configuration says.
    #[serde(default)]
    pub scope: Option<String>,
    /// Where the token is for (RFC 8707); left out, what the provider's configuration says.
    #[serde(default)]
    pub resource: Option<String>,
    /// Where the token is asked for, among what the provider's `tokenUrls` allows.
    #[serde(default)]
    pub token_url: Option<String>,
    /// The party that the token is for, where the provider names none.
    #[serde(default)]
    pub party: Option<String>,
    /// The grant that it is asked by, for providers of type `ishare`.
    #[serde(default)]
    pub grant_type: Option<String>,
    /// The header that a token is put into: `authorization`. Not for providers that give whole headers.
    #[serde(default)]
    pub header: Option<String>,
    /// What stands before a token: `Bearer`; empty for nothing.
    #[serde(default)]
    pub scheme: Option<String>,
    /// What becomes of a request where the provider cannot be asked.
    #[serde(default)]
    pub on_failure: OnFailureDocument,
    /// What becomes of a request where the provider has nothing for its upstream.
    #[serde(default)]
    pub on_absent: OnAbsentDocument,
}

impl<'de> Deserialize<'de> for CredentialDocuments {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(CredentialsVisitor)
    }
}

/// Chooses by form, so that a mistake in the body is told where it stands.
struct CredentialsVisitor;

impl<'de> Visitor<'de> for CredentialsVisitor {
    type Value = CredentialDocuments;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a credential, such as { provider: erp }, or a list of them")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<CredentialDocuments, A::Error> {
        let one = CredentialDocument::deserialize(MapAccessDeserializer::new(map))?;
        Ok(CredentialDocuments(vec![one]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<CredentialDocuments, A::Error> {
        Vec::deserialize(SeqAccessDeserializer::new(seq)).map(CredentialDocuments)
    }
}

impl JsonSchema for CredentialDocuments {
    fn schema_name() -> Cow<'static, str> {
        "CredentialDocuments".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let one = generator.subschema_for::<CredentialDocument>();
        json_schema!({ "anyOf": [one, { "type": "array", "items": one }] })
    }
}

/// What an application is.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ApplicationSpec {
    /// Who answers for it.
    #[serde(default)]
    pub owner: Option<String>,
    /// Whether it may call at all.
    #[serde(default)]
    pub state: ApplicationStateDocument,
    /// A plan whose limits hold for all its requests together, beside its subscriptions' plans.
    #[serde(default)]
    pub plan: Option<String>,
    /// The OAuth clients that act for it.
    #[serde(default)]
    pub clients: Vec<ClientDocument>,
    /// Its API keys.
    #[serde(default)]
    pub api_keys: Vec<ApiKeyDocument>,
    /// Its app id.
    #[serde(default)]
    pub app_id: Option<String>,
    /// The keys that go with its app id; without any the app id is enough.
    #[serde(default)]
    pub app_keys: Vec<AppKeyDocument>,
    /// The workloads that act for it, by their exact SPIFFE IDs: `spiffe://cluster.local/ns/shop/sa/checkout`.
    #[serde(default)]
    pub workloads: Vec<String>,
    /// Its subscriptions.
    #[serde(default)]
    pub subscriptions: Vec<ApplicationSubscription>,
}

/// An OAuth client.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClientDocument {
    /// The issuer whose client it is.
    pub issuer: String,
    /// Its id at that issuer.
    pub client_id: String,
}

/// An API key, by its digest.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ApiKeyDocument {
    /// What it is called, for people.
    #[serde(default)]
    pub name: Option<String>,
    /// `sha256:` and 64 hexadecimal digits, as `portcullis key hash` prints it.
    pub digest: String,
    /// When it ends.
    #[serde(default, deserialize_with = "time")]
    #[schemars(with = "Option<String>")]
    pub expires: Option<Timestamp>,
}

/// A key that goes with an app id, by its digest.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AppKeyDocument {
    /// `sha256:` and 64 hexadecimal digits, as `portcullis key hash` prints it.
    pub digest: String,
}

/// A subscription in the document of its application.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ApplicationSubscription {
    /// The Api.
    pub api: ApiReference,
    /// The plan; none means no limits.
    #[serde(default)]
    pub plan: Option<String>,
    /// Whether it counts.
    #[serde(default)]
    pub state: SubscriptionStateDocument,
    /// When it ends.
    #[serde(default, deserialize_with = "time")]
    #[schemars(with = "Option<String>")]
    pub valid_until: Option<Timestamp>,
}

/// What a subscription is.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SubscriptionSpec {
    /// The application: `name` or `namespace/name`.
    pub application: String,
    /// The Api.
    pub api: ApiReference,
    /// The plan; none means no limits.
    #[serde(default)]
    pub plan: Option<String>,
    /// Whether it counts.
    #[serde(default)]
    pub state: SubscriptionStateDocument,
    /// When it ends.
    #[serde(default, deserialize_with = "time")]
    #[schemars(with = "Option<String>")]
    pub valid_until: Option<Timestamp>,
}

/// What a plan is.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PlanSpec {
    /// The limits; all of them hold.
    #[serde(default)]
    pub limits: Vec<LimitDocument>,
    /// What becomes of a request over a limit.
    #[serde(default)]
    pub on_exceed: OnExceedDocument,
}

/// An amount per window, per key.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LimitDocument {
    /// What it is called, once among the limits beside it; its window, and the metric that it counts, where it is left out.
    #[serde(default)]
    pub name: Option<String>,
    /// How many; 0 for none at all.
    pub amount: u64,
    /// In which window.
    pub per: WindowDocument,
    /// How many at once, where that is not the amount. Such a limit slides.
    #[serde(default)]
    pub burst: Option<u64>,
    /// What is counted apart: one key, or a list of keys whose values count together. In a plan, `application` where it is left out.
    #[serde(default)]
    pub key: Option<LimitKeyDocuments>,
    /// The metric that is counted; what operations cost where it is left out.
    #[serde(default)]
    pub metric: Option<String>,
    /// How windows lie on the time line; `sliding` where there is a burst, else `calendar`.
    #[serde(default)]
    pub window: Option<WindowAlignmentDocument>,
}

/// Whom a block refuses: who meets all that it names, of which there is one thing at least.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BlockSpec {
    /// The application that calls: `name` or `namespace/name`. With `api`, its subscription is blocked.
    #[serde(default)]
    pub application: Option<String>,
    /// The subject that calls, compared exactly.
    #[serde(default)]
    pub subject: Option<String>,
    /// Addresses and ranges (`10.0.0.0/8`) of clients, as Envoy sees them.
    #[serde(default)]
    pub addresses: Vec<String>,
    /// Addresses and ranges of clients that it does not mean.
    #[serde(default)]
    pub not_addresses: Vec<String>,
    /// The Api that is called: `name` or `namespace/name`.
    #[serde(default)]
    pub api: Option<String>,
    /// When it ends.
    #[serde(default, deserialize_with = "time")]
    #[schemars(with = "Option<String>")]
    pub until: Option<Timestamp>,
    /// Why, for people.
    #[serde(default)]
    pub note: Option<String>,
}
