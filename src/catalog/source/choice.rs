//! The closed choices of catalog documents, each with its default.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

macro_rules! choice {
    ($(#[$doc:meta])* $name:ident { $(#[$first_doc:meta])* $first:ident, $($(#[$other_doc:meta])* $other:ident),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
        #[serde(rename_all = "camelCase")]
        pub enum $name {
            $(#[$first_doc])*
            #[default]
            $first,
            $($(#[$other_doc])* $other),+
        }
    };
}

choice!(
    /// Which listeners serve an Api; `inbound` where it is left out.
    DirectionDocument {
        /// Requests that come to us.
        Inbound,
        /// Requests of our workloads to others.
        Outbound,
    }
);
choice!(
    /// Whether a denial is enforced; `enforce` where it is left out.
    EnforcementDocument {
        /// The decision is the answer.
        Enforce,
        /// The decision is logged and counted, the answer is an allow.
        Shadow,
    }
);
choice!(
    /// Whether the caller's application must be subscribed; `required` where it is left out.
    SubscriptionRuleDocument {
        /// It must.
        Required,
        /// It need not, but a subscription that is blocked, on hold or over refuses.
        Optional,
        /// Subscriptions are not looked at.
        None,
    }
);
choice!(
    /// What becomes of a request that no operation matches; `deny` where it is left out.
    UnmatchedOperationDocument {
        /// It is denied.
        Deny,
        /// It is judged by the Api's own rules; no scope is needed.
        Allow,
    }
);
choice!(
    /// What becomes of a CORS preflight request; `deny` where it is left out.
    PreflightDocument {
        /// It is judged as every request.
        Deny,
        /// It passes without a credential.
        Pass,
    }
);
choice!(
    /// Whether an application may call; `active` where it is left out.
    ApplicationStateDocument {
        /// It may.
        Active,
        /// It may not.
        Suspended,
    }
);
choice!(
    /// Whether a subscription counts; `active` where it is left out.
    SubscriptionStateDocument {
        /// It does.
        Active,
        /// The portal put it on hold.
        OnHold,
        /// The portal blocked it.
        Blocked,
        /// The portal refused it.
        Rejected,
    }
);
choice!(
    /// How windows lie on the time line.
    WindowAlignmentDocument {
        /// On calendar boundaries, in UTC.
        Calendar,
        /// Sliding with each request.
        Sliding,
    }
);
choice!(
    /// What becomes of a request over a limit; `deny` where it is left out.
    OnExceedDocument {
        /// It is denied.
        Deny,
        /// It is counted and passes.
        Report,
    }
);
choice!(
    /// What becomes of a request where the provider of its credential cannot be asked; `deny` where
    /// it is left out. Whatever is chosen, the client's own value of the header is removed.
    OnFailureDocument {
        /// It is refused.
        Deny,
        /// It goes on with the last good token, as long as the provider's `cache.maxStale` allows.
        Stale,
        /// It goes on without a credential.
        Allow,
    }
);
choice!(
    /// What becomes of a request where the provider has nothing for its upstream; `deny` where it
    /// is left out.
    OnAbsentDocument {
        /// It is refused.
        Deny,
        /// It goes on without a credential.
        Allow,
    }
);

/// The length of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum WindowDocument {
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
    /// One month of the calendar.
    Month,
    /// One year of the calendar.
    Year,
    /// Without end.
    Ever,
}
