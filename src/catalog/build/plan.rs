//! One plan of its document. Its limits are loaded and shown; nothing enforces them yet.

use crate::catalog::build::origin;
use crate::catalog::build::report::{Report, Site};
use crate::catalog::model::{Limit, LimitKey, OnExceed, Plan, PlanId, Window, WindowAlignment};
use crate::catalog::source::choice::{OnExceedDocument, WindowAlignmentDocument, WindowDocument};
use crate::catalog::source::document::{LimitDocument, PlanDocument};
use crate::catalog::source::reference::{FixedLimitKey, LimitKeyDocument};
use crate::config::findings::Findings;

/// The plan of `document`; reports what is wrong with it.
pub(super) fn build(site: Site<'_>, document: &PlanDocument, report: &mut Report) -> Option<Plan> {
    let mut findings = Findings::new();
    for (at, limit) in document.spec.limits.iter().enumerate() {
        findings.within(&format!("spec.limits[{at}]"), |findings| {
            check(limit, findings)
        });
    }
    report.add(site, &findings);
    (findings.count() == 0).then(|| Plan {
        id: PlanId::new(&document.metadata.namespace, &document.metadata.name),
        limits: document.spec.limits.iter().map(limit).collect(),
        on_exceed: match document.spec.on_exceed {
            OnExceedDocument::Deny => OnExceed::Deny,
            OnExceedDocument::Report => OnExceed::Report,
        },
        origin: origin(site),
    })
}

fn check(limit: &LimitDocument, findings: &mut Findings) {
    if limit.amount == 0 {
        findings.wrong("amount", "it must be one at least");
    }
    if limit.burst.is_some_and(|burst| burst < limit.amount) {
        findings.wrong("burst", "it must be the amount at least, or be left out");
    }
    if let LimitKeyDocument::Claim(key) = &limit.key
        && key.claim.split('.').any(str::is_empty)
    {
        findings.wrong("key.claim", "it must be the dotted path of a claim");
    }
}

fn limit(document: &LimitDocument) -> Limit {
    Limit {
        amount: document.amount,
        per: match document.per {
            WindowDocument::Second => Window::Second,
            WindowDocument::Minute => Window::Minute,
            WindowDocument::Hour => Window::Hour,
            WindowDocument::Day => Window::Day,
            WindowDocument::Week => Window::Week,
            WindowDocument::Month => Window::Month,
            WindowDocument::Year => Window::Year,
            WindowDocument::Ever => Window::Ever,
        },
        burst: document.burst,
        key: match &document.key {
            LimitKeyDocument::Claim(key) => LimitKey::Claim(key.claim.as_str().into()),
            LimitKeyDocument::Fixed(FixedLimitKey::Application) => LimitKey::Application,
            LimitKeyDocument::Fixed(FixedLimitKey::Subscription) => LimitKey::Subscription,
            LimitKeyDocument::Fixed(FixedLimitKey::Api) => LimitKey::Api,
            LimitKeyDocument::Fixed(FixedLimitKey::Operation) => LimitKey::Operation,
            LimitKeyDocument::Fixed(FixedLimitKey::Subject) => LimitKey::Subject,
            LimitKeyDocument::Fixed(FixedLimitKey::Address) => LimitKey::Address,
        },
        alignment: match document.window {
            WindowAlignmentDocument::Calendar => WindowAlignment::Calendar,
            WindowAlignmentDocument::Sliding => WindowAlignment::Sliding,
        },
    }
}
