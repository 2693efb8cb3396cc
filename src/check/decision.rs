//! The three ways a check can end, and the one table of reasons.
//!
//! Everything that is derived from a reason (HTTP status, gRPC status, public code and sentence,
//! RFC 6750 error) stands in [`Reason::row`] and [`FaultReason::row`] and nowhere else;
//! `docs/DENIALS.md` is generated from them. This module makes no answers: that is
//! [`crate::check::response`].
//
// INVARIANT: no type here implements `Default`, and there is no `bool` that means "allowed".

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::upstream::Grant;
use crate::upstream::provider::service::TokenOutcome;
use crate::usage::CallerRecord;

/// The result of a check.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "most decisions are grants, and none is kept: a box would be an allocation for each"
)]
pub enum Decision<'s> {
    /// The request may pass, with these changes.
    Allow(Grant<'s>),
    /// The caller may not.
    Deny(Denial),
    /// We could not find out. Never an allow.
    Fail(Fault),
}

/// What ends the line early: a denial or a fault.
#[derive(Debug)]
pub enum Stop {
    /// The caller may not.
    Deny(Denial),
    /// We could not find out.
    Fail(Fault),
}

impl From<Stop> for Decision<'_> {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Deny(denial) => Self::Deny(denial),
            Stop::Fail(fault) => Self::Fail(fault),
        }
    }
}

impl From<Denial> for Stop {
    fn from(denial: Denial) -> Self {
        Self::Deny(denial)
    }
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Self::Fail(fault)
    }
}

/// A refusal: the caller may not.
#[derive(Debug, Clone)]
pub struct Denial {
    reason: Reason,
    detail: Cow<'static, str>,
    required_scopes: Option<Arc<str>>,
    about_proof: bool,
    caller: Option<Box<CallerRecord<Box<str>>>>,
    quota: Option<Box<QuotaRefusal>>,
}

/// What is told of the limit that refused a request.
#[derive(Debug, Clone)]
pub struct QuotaRefusal {
    /// The limit's id; not for the caller.
    pub limit: Arc<str>,
    /// What is left of it, which was not enough.
    pub remaining: u64,
    /// In which time it would be enough; none: never.
    pub retry_after: Option<Duration>,
    /// The headers that tell the caller of its limits.
    pub headers: Vec<(&'static str, String)>,
}

impl Denial {
    /// A refusal for `reason`. `detail` is for our log and decision log only; it never reaches
    /// the caller and never holds a credential.
    #[must_use]
    pub fn new(reason: Reason, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            reason,
            detail: detail.into(),
            required_scopes: None,
            about_proof: false,
            caller: None,
            quota: None,
        }
    }

    /// The scopes to name in the challenge (RFC 6750 section 3, `scope`), separated by spaces.
    #[must_use]
    pub fn with_required_scopes(mut self, scopes: Arc<str>) -> Self {
        self.required_scopes = Some(scopes);
        self
    }

    /// The limit that refused.
    #[must_use]
    pub fn with_quota(mut self, quota: QuotaRefusal) -> Self {
        self.quota = Some(Box::new(quota));
        self
    }

    /// It is a DPoP proof that does not hold, not the token beside it (RFC 9449 section 7.1).
    #[must_use]
    pub fn about_proof(mut self) -> Self {
        self.about_proof = true;
        self
    }

    /// Whether it is a DPoP proof that does not hold.
    #[must_use]
    pub fn is_about_proof(&self) -> bool {
        self.about_proof
    }

    /// Who was refused, once that has been verified.
    #[must_use]
    pub fn with_caller(mut self, caller: &CallerRecord<&str>) -> Self {
        self.caller = Some(Box::new(caller.to_owned()));
        self
    }

    /// Why.
    #[must_use]
    pub fn reason(&self) -> Reason {
        self.reason
    }

    /// The private explanation.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// The scopes that the operation needs, for the challenge.
    #[must_use]
    pub fn required_scopes(&self) -> Option<&str> {
        self.required_scopes.as_deref()
    }

    /// The limit that refused, where one did.
    #[must_use]
    pub fn quota(&self) -> Option<&QuotaRefusal> {
        self.quota.as_deref()
    }

    /// How long the caller is asked to wait before it tries again (`Retry-After`).
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match &self.quota {
            Some(quota) => quota.retry_after,
            None => self.reason.retry_after(),
        }
    }

    /// Who was refused, where known.
    #[must_use]
    pub fn caller(&self) -> Option<&CallerRecord<Box<str>>> {
        self.caller.as_deref()
    }
}

/// A failure of ours: we could not find out.
#[derive(Debug)]
pub struct Fault {
    reason: FaultReason,
    detail: Cow<'static, str>,
    token: Option<TokenOutcome>,
}

impl Fault {
    /// A fault for `reason`; `detail` is for our log only.
    #[must_use]
    pub fn new(reason: FaultReason, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            reason,
            detail: detail.into(),
            token: None,
        }
    }

    /// The fault of a request whose need for a provider's token was met like this.
    #[must_use]
    pub fn with_token(mut self, outcome: TokenOutcome) -> Self {
        self.token = Some(outcome);
        self
    }

    /// How its need for a provider's token was met, where that is why it failed.
    #[must_use]
    pub fn token(&self) -> Option<TokenOutcome> {
        self.token
    }

    /// Why.
    #[must_use]
    pub fn reason(&self) -> FaultReason {
        self.reason
    }

    /// The private explanation.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.detail
    }
}

/// Why a caller was refused. Closed and exhaustive: a new variant must be given its row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// The check or the request cannot be read, or could be read in two ways.
    RequestMalformed,
    /// Who asks may not: neither a proxy that is listed, nor one that the Api or provider is for.
    PeerNotAllowed,
    /// No Api claims the host and path.
    ApiNotFound,
    /// The Api has no operation for the method and path.
    OperationNotFound,
    /// The request carries no credential that the Api knows.
    CredentialMissing,
    /// A credential is malformed, unknown, or stands twice.
    CredentialInvalid,
    /// The token's signature does not hold.
    SignatureInvalid,
    /// No authenticator of the Api trusts the token's issuer.
    IssuerUntrusted,
    /// The token is meant for another audience.
    AudienceMismatch,
    /// The issuer has no such key.
    KeyUnknown,
    /// The token's `nbf` lies in the future.
    TokenNotYetValid,
    /// The token's `exp` has passed; said only after the signature held.
    TokenExpired,
    /// The credential holds, and is revoked.
    TokenRevoked,
    /// The issuer says that the token is not active: it has ended, was revoked, or never was.
    TokenInactive,
    /// The token is bound to a key or certificate, and what the caller shows beside it does not hold.
    ProofInvalid,
    /// The caller's certificate names a workload of a trust domain that is not taken, or what is said
    /// about it in two places differs.
    CertificateUntrusted,
    /// No verified certificate names the workload that calls, and one must.
    SourceUnauthenticated,
    /// The workload that calls is none that the Api or operation is for.
    SourceNotAllowed,
    /// The verified caller belongs to no application of the catalog.
    ApplicationUnknown,
    /// The application is suspended.
    ApplicationSuspended,
    /// The application has no subscription to the Api.
    SubscriptionMissing,
    /// The application's subscription is on hold, blocked, rejected or over.
    SubscriptionInactive,
    /// The caller lacks a scope that the operation needs.
    ScopeInsufficient,
    /// A block of the catalog refuses it.
    Blocked,
    /// A limit of the caller's plan is exceeded.
    QuotaExceeded,
    /// A limit of the Api or operation is exceeded; or too many tokens from the caller's address
    /// did not hold, and a new one is not looked at.
    RateLimited,
}

/// Why we could not decide. Closed and exhaustive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FaultReason {
    /// Something that the decision needs (a key set) cannot be had.
    DependencyUnavailable,
    /// More checks are under way than the configuration allows.
    Overloaded,
    /// The time allowed for the check ran out.
    Timeout,
    /// A defect of ours.
    Internal,
}

/// What is told about a reason, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// The private name: metric label, decision log, `docs/DENIALS.md`.
    pub name: &'static str,
    /// The HTTP status of the answer.
    pub http: u16,
    /// The gRPC status code of the answer to a gRPC caller (and of the check's own status).
    pub grpc: GrpcCode,
    /// The `error` of the challenge (RFC 6750 section 3.1), where one is due.
    pub challenge_error: Option<&'static str>,
    /// The public code.
    pub code: &'static str,
    /// The one fixed sentence that the caller reads.
    pub title: &'static str,
}

/// The gRPC status codes that an answer can carry. There is no zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum GrpcCode {
    /// `INVALID_ARGUMENT`
    InvalidArgument = 3,
    /// `DEADLINE_EXCEEDED`
    DeadlineExceeded = 4,
    /// `NOT_FOUND`
    NotFound = 5,
    /// `PERMISSION_DENIED`
    PermissionDenied = 7,
    /// `RESOURCE_EXHAUSTED`
    ResourceExhausted = 8,
    /// `INTERNAL`
    Internal = 13,
    /// `UNAVAILABLE`
    Unavailable = 14,
    /// `UNAUTHENTICATED`
    Unauthenticated = 16,
}

impl Reason {
    /// Every reason, in the order of the table.
    pub const ALL: [Self; 26] = [
        Self::RequestMalformed,
        Self::PeerNotAllowed,
        Self::ApiNotFound,
        Self::OperationNotFound,
        Self::CredentialMissing,
        Self::CredentialInvalid,
        Self::SignatureInvalid,
        Self::IssuerUntrusted,
        Self::AudienceMismatch,
        Self::KeyUnknown,
        Self::TokenNotYetValid,
        Self::TokenExpired,
        Self::TokenRevoked,
        Self::TokenInactive,
        Self::ProofInvalid,
        Self::CertificateUntrusted,
        Self::SourceUnauthenticated,
        Self::SourceNotAllowed,
        Self::ApplicationUnknown,
        Self::ApplicationSuspended,
        Self::SubscriptionMissing,
        Self::SubscriptionInactive,
        Self::ScopeInsufficient,
        Self::Blocked,
        Self::QuotaExceeded,
        Self::RateLimited,
    ];

    /// The private name.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// The row of the table.
    #[must_use]
    pub const fn row(self) -> Row {
        match self {
            Self::RequestMalformed => Row {
                name: "request_malformed",
                http: 400,
                grpc: GrpcCode::InvalidArgument,
                challenge_error: None,
                code: "bad_request",
                title: "The request cannot be understood",
            },
            Self::PeerNotAllowed => access_denied("peer_not_allowed"),
            Self::ApiNotFound => not_found("api_not_found"),
            Self::OperationNotFound => not_found("operation_not_found"),
            Self::CredentialMissing => Row {
                challenge_error: None,
                title: "A credential is needed",
                ..unauthenticated("credential_missing")
            },
            Self::CredentialInvalid => unauthenticated("credential_invalid"),
            Self::SignatureInvalid => unauthenticated("signature_invalid"),
            Self::IssuerUntrusted => unauthenticated("issuer_untrusted"),
            Self::AudienceMismatch => unauthenticated("audience_mismatch"),
            Self::KeyUnknown => unauthenticated("key_unknown"),
            Self::TokenNotYetValid => unauthenticated("token_not_yet_valid"),
            Self::TokenExpired => Row {
                code: "token_expired",
                title: "The token has expired",
                ..unauthenticated("token_expired")
            },
            Self::TokenRevoked => unauthenticated("token_revoked"),
            Self::TokenInactive => unauthenticated("token_inactive"),
            Self::ProofInvalid => unauthenticated("proof_invalid"),
            Self::CertificateUntrusted => Row {
                challenge_error: None,
                title: "The client certificate is not accepted",
                ..unauthenticated("certificate_untrusted")
            },
            Self::SourceUnauthenticated => Row {
                challenge_error: None,
                title: "A client certificate is needed",
                ..unauthenticated("source_unauthenticated")
            },
            Self::SourceNotAllowed => access_denied("source_not_allowed"),
            Self::ApplicationUnknown => access_denied("application_unknown"),
            Self::ApplicationSuspended => access_denied("application_suspended"),
            Self::SubscriptionMissing => not_subscribed("subscription_missing"),
            Self::SubscriptionInactive => not_subscribed("subscription_inactive"),
            Self::ScopeInsufficient => Row {
                challenge_error: Some("insufficient_scope"),
                code: "insufficient_scope",
                title: "The credential lacks a scope that this operation needs",
                ..access_denied("scope_insufficient")
            },
            Self::Blocked => access_denied("blocked"),
            Self::QuotaExceeded => too_many("quota_exceeded"),
            Self::RateLimited => too_many("rate_limited"),
        }
    }

    /// How long the caller is asked to wait before it tries again (`Retry-After`).
    #[must_use]
    pub const fn retry_after(self) -> Option<Duration> {
        if matches!(self, Self::RateLimited) {
            Some(Duration::from_secs(1))
        } else {
            None
        }
    }
}

impl FaultReason {
    /// Every reason, in the order of the table.
    pub const ALL: [Self; 4] = [
        Self::DependencyUnavailable,
        Self::Overloaded,
        Self::Timeout,
        Self::Internal,
    ];

    /// The private name.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// The row of the table.
    #[must_use]
    pub const fn row(self) -> Row {
        match self {
            Self::DependencyUnavailable => {
                unavailable("dependency_unavailable", 503, GrpcCode::Unavailable)
            }
            Self::Overloaded => unavailable("overloaded", 503, GrpcCode::Unavailable),
            Self::Timeout => unavailable("timeout", 504, GrpcCode::DeadlineExceeded),
            Self::Internal => Row {
                name: "internal",
                http: 500,
                grpc: GrpcCode::Internal,
                challenge_error: None,
                code: "internal",
                title: "The request could not be judged",
            },
        }
    }

    /// How long the caller is asked to wait before it tries again (`Retry-After`).
    #[must_use]
    pub const fn retry_after(self) -> Option<Duration> {
        match self {
            Self::DependencyUnavailable | Self::Overloaded => Some(Duration::from_secs(1)),
            Self::Timeout | Self::Internal => None,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for FaultReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

const fn not_found(name: &'static str) -> Row {
    Row {
        name,
        http: 404,
        grpc: GrpcCode::NotFound,
        challenge_error: None,
        code: "not_found",
        title: "There is nothing here",
    }
}

const fn unauthenticated(name: &'static str) -> Row {
    Row {
        name,
        http: 401,
        grpc: GrpcCode::Unauthenticated,
        challenge_error: Some("invalid_token"),
        code: "unauthenticated",
        title: "The credential is not valid",
    }
}

const fn access_denied(name: &'static str) -> Row {
    Row {
        name,
        http: 403,
        grpc: GrpcCode::PermissionDenied,
        challenge_error: None,
        code: "access_denied",
        title: "The caller may not use this",
    }
}

const fn too_many(name: &'static str) -> Row {
    Row {
        name,
        http: 429,
        grpc: GrpcCode::ResourceExhausted,
        challenge_error: None,
        code: "quota_exceeded",
        title: "There are too many requests",
    }
}

const fn not_subscribed(name: &'static str) -> Row {
    Row {
        code: "not_subscribed",
        title: "The application has no active subscription to this API",
        ..access_denied(name)
    }
}

const fn unavailable(name: &'static str, http: u16, grpc: GrpcCode) -> Row {
    Row {
        name,
        http,
        grpc,
        challenge_error: None,
        code: "unavailable",
        title: "The request cannot be judged at the moment",
    }
}
