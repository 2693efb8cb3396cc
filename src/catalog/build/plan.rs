//! One plan of its document.

use crate::catalog::build::limit::{Holder, limits};
use crate::catalog::build::origin;
use crate::catalog::build::report::{Report, Site};
use crate::catalog::model::PlanId;
use crate::catalog::model::limit::{LimitKey, OnExceed, Plan};
use crate::catalog::source::choice::OnExceedDocument;
use crate::catalog::source::document::PlanDocument;
use crate::config::findings::Findings;

/// The plan of `document`; reports what is wrong with it.
pub(super) fn build(site: Site<'_>, document: &PlanDocument, report: &mut Report) -> Option<Plan> {
    let mut findings = Findings::new();
    let id = PlanId::new(&document.metadata.namespace, &document.metadata.name);
    let on_exceed = match document.spec.on_exceed {
        OnExceedDocument::Deny => OnExceed::Deny,
        OnExceedDocument::Report => OnExceed::Report,
    };
    let holder = Holder {
        id: &format!("plan/{id}"),
        plan: Some(&id),
        key: &LimitKey::Application,
        on_exceed,
    };
    let limits = findings.within("spec", |findings| {
        limits(&document.spec.limits, holder, findings)
    });
    report.add(site, &findings);
    (findings.count() == 0).then(|| Plan {
        id,
        limits,
        on_exceed,
        origin: origin(site),
    })
}
