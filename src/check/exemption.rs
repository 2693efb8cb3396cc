//! The three grants without a permit. Each is named, counted and recorded as what it is.

/// Why a request passes without being judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Exemption {
    /// A CORS preflight request to an Api that lets those pass.
    Preflight,
    /// A request to a host that no Api claims, on an outbound listener that says so.
    Unmatched,
    /// A check without HTTP attributes, on a listener that says so.
    NoHttp,
}

impl Exemption {
    /// Every exemption.
    pub const ALL: [Self; 3] = [Self::Preflight, Self::Unmatched, Self::NoHttp];

    /// The name in logs and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Preflight => "preflight",
            Self::Unmatched => "unmatched",
            Self::NoHttp => "no_http",
        }
    }
}
