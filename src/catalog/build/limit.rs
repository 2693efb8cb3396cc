//! Limits, of plans, Apis and operations.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::catalog::model::PlanId;
use crate::catalog::model::limit::{
    Limit, LimitKey, MAX_AMOUNT, OnExceed, Rule, Window, WindowAlignment,
};
use crate::catalog::source::choice::{WindowAlignmentDocument, WindowDocument};
use crate::catalog::source::document::LimitDocument;
use crate::catalog::source::reference::{FixedLimitKey, LimitKeyDocument};
use crate::config::findings::Findings;

/// How many limits may stand beside each other.
const MAX_LIMITS: usize = 16;
/// How many keys a limit may have.
const MAX_KEYS: usize = 4;
/// The longest name of a limit or metric, in bytes.
const MAX_NAME: usize = 63;

/// Whose limits they are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Holder<'a> {
    /// What their ids begin with: `plan/default/gold`.
    pub(super) id: &'a str,
    /// The plan that holds them, if it is one.
    pub(super) plan: Option<&'a PlanId>,
    /// The key of those that name none.
    pub(super) key: &'a LimitKey,
    /// What becomes of a request over one.
    pub(super) on_exceed: OnExceed,
}

/// The limits of these documents, which stand in the field `limits`.
pub(super) fn limits(
    documents: &[LimitDocument],
    holder: Holder<'_>,
    findings: &mut Findings,
) -> Vec<Limit> {
    if documents.len() > MAX_LIMITS {
        let message = format!("at most {MAX_LIMITS} limits can stand beside each other");
        findings.wrong("limits", message);
    }
    let mut names = BTreeSet::new();
    let limits = documents.iter().enumerate().map(|(at, document)| {
        findings.within(&format!("limits[{at}]"), |findings| {
            let limit = limit(document, holder, findings);
            if !names.insert(Arc::clone(&limit.name)) {
                let message = format!(
                    "another limit here is called `{}` too: give each a `name`",
                    limit.name
                );
                findings.wrong("name", message);
            }
            limit
        })
    });
    limits.collect()
}

/// What a request takes of the limits that name a metric.
pub(super) fn metrics(
    metrics: &BTreeMap<String, u64>,
    findings: &mut Findings,
) -> Vec<(Arc<str>, u64)> {
    let metrics = metrics.iter().map(|(name, amount)| {
        let path = format!("metrics.{name}");
        check_name(&path, name, findings);
        check_amount(&path, *amount, findings);
        (name.as_str().into(), *amount)
    });
    metrics.collect()
}

/// Finds out whether an amount can be counted.
pub(super) fn check_amount(path: &str, amount: u64, findings: &mut Findings) {
    if amount > MAX_AMOUNT {
        findings.wrong(path, format!("it must be {MAX_AMOUNT} at most"));
    }
}

fn limit(document: &LimitDocument, holder: Holder<'_>, findings: &mut Findings) -> Limit {
    let window = window(document.per);
    let name = document.name.clone().unwrap_or_else(|| {
        let metric = document.metric.as_deref();
        let metric = metric.map_or_else(String::new, |metric| format!("{metric}-"));
        metric + window.name()
    });
    check_name("name", &name, findings);
    if let Some(metric) = &document.metric {
        check_name("metric", metric, findings);
    }
    let rule = rule(document, window, holder.on_exceed, findings);
    let keys = keys(document, holder.key, findings);
    if window == Window::Ever && keys.iter().any(LimitKey::is_open) {
        findings.wrong("per", "a limit by subject, address or claim has an end: counters of values that callers choose could not be dropped");
    }
    // a limit that begins to count in another way begins anew
    let slides = match rule.alignment {
        WindowAlignment::Calendar => "",
        WindowAlignment::Sliding => "~",
    };
    Limit {
        id: format!("{}/{name}/{slides}{}", holder.id, window.name()).into(),
        name: name.into(),
        plan: holder.plan.cloned(),
        rule,
        keys,
        metric: document.metric.as_deref().map(Into::into),
    }
}

fn rule(
    document: &LimitDocument,
    window: Window,
    on_exceed: OnExceed,
    findings: &mut Findings,
) -> Rule {
    check_amount("amount", document.amount, findings);
    let alignment = match (document.window, document.burst) {
        (Some(WindowAlignmentDocument::Calendar), Some(_)) => {
            findings.wrong("burst", "a limit on the calendar has no burst: write `window: sliding`, or leave one of them out");
            WindowAlignment::Calendar
        }
        (Some(WindowAlignmentDocument::Calendar), None) | (None, None) => WindowAlignment::Calendar,
        (Some(WindowAlignmentDocument::Sliding), _) | (None, Some(_)) => WindowAlignment::Sliding,
    };
    if alignment == WindowAlignment::Sliding {
        if window == Window::Ever {
            findings.wrong("per", "what has no end cannot slide");
        }
        if document.amount == 0 {
            findings.wrong(
                "amount",
                "a limit that slides has an amount of one at least",
            );
        }
    }
    if let Some(burst) = document.burst {
        check_amount("burst", burst, findings);
        if burst == 0 {
            findings.wrong("burst", "it must be one at least, or be left out");
        }
    }
    Rule {
        amount: document.amount,
        window,
        alignment,
        burst: document.burst,
        enforced: on_exceed == OnExceed::Deny,
    }
}

fn keys(document: &LimitDocument, usual: &LimitKey, findings: &mut Findings) -> Vec<LimitKey> {
    let Some(documents) = &document.key else {
        return vec![usual.clone()];
    };
    if documents.0.is_empty() || documents.0.len() > MAX_KEYS {
        findings.wrong(
            "key",
            format!("name one key at least, and {MAX_KEYS} at most"),
        );
    }
    let mut keys = Vec::with_capacity(documents.0.len());
    for document in &documents.0 {
        let key = key(document, findings);
        if keys.contains(&key) {
            findings.wrong("key", "the same key stands twice");
        }
        keys.push(key);
    }
    keys
}

fn key(document: &LimitKeyDocument, findings: &mut Findings) -> LimitKey {
    match document {
        LimitKeyDocument::Claim(key) => {
            if key.claim.split('.').any(str::is_empty) {
                findings.wrong("key.claim", "it must be the dotted path of a claim");
            }
            LimitKey::Claim(key.claim.as_str().into())
        }
        LimitKeyDocument::Fixed(key) => match key {
            FixedLimitKey::Application => LimitKey::Application,
            FixedLimitKey::Subscription => LimitKey::Subscription,
            FixedLimitKey::Owner => LimitKey::Owner,
            FixedLimitKey::Api => LimitKey::Api,
            FixedLimitKey::Operation => LimitKey::Operation,
            FixedLimitKey::Subject => LimitKey::Subject,
            FixedLimitKey::Address => LimitKey::Address,
        },
    }
}

/// Names stand in headers and metrics.
fn check_name(path: &str, name: &str, findings: &mut Findings) {
    let is_name = !name.is_empty()
        && name.len() <= MAX_NAME
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
    if !is_name {
        let message =
            format!("`{name}` is no name: letters, digits, `-`, `_` and `.`, {MAX_NAME} at most");
        findings.wrong(path, message);
    }
}

fn window(document: WindowDocument) -> Window {
    match document {
        WindowDocument::Second => Window::Second,
        WindowDocument::Minute => Window::Minute,
        WindowDocument::Hour => Window::Hour,
        WindowDocument::Day => Window::Day,
        WindowDocument::Week => Window::Week,
        WindowDocument::Month => Window::Month,
        WindowDocument::Year => Window::Year,
        WindowDocument::Ever => Window::Ever,
    }
}
