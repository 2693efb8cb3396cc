//! Limits and counters for the tests of every store.

use std::borrow::Cow;

use jiff::Timestamp;

use crate::authorization::quota::Counter;
use crate::catalog::model::limit::{Limit, LimitKey, Rule, Window, WindowAlignment};

/// The time this many nanoseconds after the start of 1970.
pub(crate) fn time(nanoseconds: u64) -> Timestamp {
    Timestamp::from_nanosecond(nanoseconds.into()).unwrap_or(Timestamp::MAX)
}

/// A limit on the calendar that refuses.
pub(crate) fn limit(amount: u64, window: Window) -> Limit {
    limit_of(Rule {
        amount,
        window,
        alignment: WindowAlignment::Calendar,
        burst: None,
        enforced: true,
    })
}

/// A limit that counts by `rule`.
pub(crate) fn limit_of(rule: Rule) -> Limit {
    Limit {
        id: format!("plan/default/{rule:?}").into(),
        name: rule.window.name().into(),
        plan: None,
        rule,
        keys: vec![LimitKey::Application],
        metric: None,
    }
}

/// The counter of `limit` for `value`.
pub(crate) fn counter<'c>(limit: &'c Limit, value: &'c str, cost: u64) -> Counter<'c> {
    Counter {
        limit,
        values: [Cow::Borrowed(value)].into_iter().collect(),
        cost,
        is_open: false,
    }
}
