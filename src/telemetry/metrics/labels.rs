//! The label sets of the metrics.

use std::sync::Arc;

use prometheus_client::encoding::EncodeLabelSet;

macro_rules! label_sets {
    ($($(#[$doc:meta])* $name:ident { $($label:ident: $kind:ty),* })*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
        pub(super) struct $name {
            $(pub(super) $label: $kind,)*
        }
    )*};
}

label_sets! {
    /// Of a decision.
    CheckLabels { api: Arc<str>, decision: &'static str, reason: &'static str }
    /// Of a duration.
    DecisionLabels { decision: &'static str }
    /// Of a listener.
    ListenerLabels { listener: Arc<str> }
    /// Of a connection that was not served.
    RefusalLabels { listener: Arc<str>, reason: &'static str }
    /// Of a TLS handshake.
    HandshakeLabels { listener: Arc<str>, outcome: &'static str }
    /// Of a source of the catalog.
    SourceLabels { source: Arc<str> }
    /// Of an attempt to load.
    ReloadLabels { source: Arc<str>, result: &'static str }
    /// Of the current revision.
    RevisionLabels { revision: Arc<str> }
    /// Of an issuer's keys.
    IssuerLabels { issuer: Arc<str> }
    /// Of what is revoked.
    KindLabels { kind: &'static str }
    /// Of a need for a provider's token.
    OutcomeLabels { provider: Arc<str>, outcome: &'static str }
    /// Of a request for a token.
    FetchLabels { provider: Arc<str>, result: &'static str }
    /// Of an error of a token endpoint.
    ErrorLabels { provider: Arc<str>, error: &'static str }
    /// Of a provider.
    ProviderLabels { provider: Arc<str> }
    /// Of a limit that was exceeded.
    LimitLabels { plan: Arc<str>, limit: Arc<str>, enforced: &'static str }
    /// Of what Redis is asked for.
    RedisLabels { redis: &'static str }
    /// Of a request to Redis.
    RedisRequestLabels { redis: &'static str, outcome: &'static str }
    /// Of a task.
    TaskLabels { task: Arc<str> }
    /// Of the program.
    BuildLabels { version: &'static str }
}

/// Why a connection was not served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// There are as many as the listener may have.
    MaxConnections,
    /// It said too little in time.
    HandshakeTimeout,
    /// The system did not hand it over.
    AcceptFailed,
}

impl Refusal {
    /// Every reason.
    pub(super) const ALL: [Self; 3] = [
        Self::MaxConnections,
        Self::HandshakeTimeout,
        Self::AcceptFailed,
    ];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::MaxConnections => "max_connections",
            Self::HandshakeTimeout => "handshake_timeout",
            Self::AcceptFailed => "accept_failed",
        }
    }
}

/// How a TLS handshake ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handshake {
    /// The connection is open.
    Completed,
    /// We have no certificate that holds.
    NoCertificate,
    /// The client showed none.
    ClientCertificateMissing,
    /// The client's is not taken.
    ClientCertificateRefused,
    /// The two could not agree.
    Failed,
    /// It took too long, or the client went away.
    Unfinished,
}

impl Handshake {
    /// Every outcome.
    pub(super) const ALL: [Self; 6] = [
        Self::Completed,
        Self::NoCertificate,
        Self::ClientCertificateMissing,
        Self::ClientCertificateRefused,
        Self::Failed,
        Self::Unfinished,
    ];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::NoCertificate => "no_certificate",
            Self::ClientCertificateMissing => "client_certificate_missing",
            Self::ClientCertificateRefused => "client_certificate_refused",
            Self::Failed => "failed",
            Self::Unfinished => "unfinished",
        }
    }
}

/// How an attempt to load from a source ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReloadResult {
    /// It is current now.
    Published,
    /// It is what was current already.
    Unchanged,
    /// It is invalid or cannot be read; the one before stays.
    Refused,
}

impl ReloadResult {
    /// Every result.
    pub(super) const ALL: [Self; 3] = [Self::Published, Self::Unchanged, Self::Refused];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Published => "published",
            Self::Unchanged => "unchanged",
            Self::Refused => "refused",
        }
    }
}
