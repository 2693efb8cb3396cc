//! Plans, their limits, and the conditions that block.

use std::sync::Arc;

use ipnet::IpNet;
use jiff::Timestamp;

use crate::catalog::model::{ApiIndex, ApplicationIndex, Origin, PlanId};

/// A named set of limits.
#[derive(Debug, Clone)]
pub struct Plan {
    /// `namespace/name`.
    pub id: PlanId,
    /// The limits; all of them hold.
    pub limits: Vec<Limit>,
    /// What becomes of a request over a limit.
    pub on_exceed: OnExceed,
    /// Where it was declared.
    pub origin: Origin,
}

/// An amount per window, per key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    /// What its counters are kept under, the same on every replica: `plan/default/gold/daily/day`.
    pub id: Arc<str>,
    /// What it is called among the limits beside it, and in `RateLimit` headers.
    pub name: Arc<str>,
    /// The plan that it is of; none where it protects an Api or operation.
    pub plan: Option<PlanId>,
    /// How it counts.
    pub rule: Rule,
    /// What it counts apart; never empty.
    pub keys: Vec<LimitKey>,
    /// The metric that it counts; none: what operations cost.
    pub metric: Option<Arc<str>>,
}

/// How a limit counts.
///
/// On the calendar, a counter counts what was used in the window that holds now, and admits a
/// request while the amount is not exceeded. Sliding, it is a bucket that holds the capacity and
/// drains the amount in each window, at an even rate; it admits a request that still fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// How many in a window. 2^50 at most; one at least where it slides.
    pub amount: u64,
    /// In which window.
    pub window: Window,
    /// Whether windows follow the calendar.
    pub alignment: WindowAlignment,
    /// How many at once, where that is not the amount; only where it slides.
    pub burst: Option<u64>,
    /// Whether a request over it is refused. One that is not only counts.
    pub enforced: bool,
}

/// The largest amount of a limit: sums of such amounts are exact in the numbers of every store.
pub const MAX_AMOUNT: u64 = 1 << 50;

impl Rule {
    /// How many at once.
    #[must_use]
    pub fn capacity(&self) -> u64 {
        self.burst.unwrap_or(self.amount)
    }
}

/// The length of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Window {
    /// One second.
    Second,
    /// One minute.
    Minute,
    /// One hour.
    Hour,
    /// One day.
    Day,
    /// One week, from Monday.
    Week,
    /// One month of the calendar; sliding, 30 days.
    Month,
    /// One year of the calendar; sliding, 365 days.
    Year,
    /// Without end.
    Ever,
}

impl Window {
    /// As written in documents.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Second => "second",
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
            Self::Year => "year",
            Self::Ever => "ever",
        }
    }

    /// How long it is where it slides, in seconds; none where it never ends.
    #[must_use]
    pub const fn seconds(self) -> Option<u64> {
        match self {
            Self::Second => Some(1),
            Self::Minute => Some(60),
            Self::Hour => Some(3600),
            Self::Day => Some(86_400),
            Self::Week => Some(7 * 86_400),
            Self::Month => Some(30 * 86_400),
            Self::Year => Some(365 * 86_400),
            Self::Ever => None,
        }
    }
}

/// What a limit counts apart. A request without the thing is counted with all others without it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LimitKey {
    /// Each application.
    Application,
    /// Each subscription.
    Subscription,
    /// Each owner of applications; an application without one is its own.
    Owner,
    /// Each Api.
    Api,
    /// Each operation.
    Operation,
    /// Each subject of an issuer.
    Subject,
    /// Each client address, as Envoy sees it (IPv6: each /64).
    Address,
    /// Each value of this claim.
    Claim(Arc<str>),
}

impl LimitKey {
    /// Whether callers, and not the catalog, say how many values there are.
    #[must_use]
    pub fn is_open(&self) -> bool {
        match self {
            Self::Subject | Self::Address | Self::Claim(_) => true,
            Self::Application | Self::Subscription | Self::Owner | Self::Api | Self::Operation => {
                false
            }
        }
    }
}

/// How windows lie on the time line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WindowAlignment {
    /// On calendar boundaries, in UTC.
    Calendar,
    /// Sliding with each request.
    Sliding,
}

/// What becomes of a request over a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnExceed {
    /// It is denied.
    Deny,
    /// It is counted and passes.
    Report,
}

/// A condition that refuses requests which nothing else refuses. All that it names must hold.
#[derive(Debug, Clone)]
pub struct Block {
    /// `namespace/name`.
    pub id: Arc<str>,
    /// The application that calls.
    pub application: Option<ApplicationIndex>,
    /// The subject that calls.
    pub subject: Option<Arc<str>>,
    /// Where the client is: in one of these.
    pub addresses: Vec<IpNet>,
    /// Where the client is not: in none of these.
    pub not_addresses: Vec<IpNet>,
    /// The Api that is called.
    pub api: Option<ApiIndex>,
    /// When it ends.
    pub until: Option<Timestamp>,
    /// Why, for people.
    pub note: Option<Arc<str>>,
    /// Where it was declared.
    pub origin: Origin,
}
