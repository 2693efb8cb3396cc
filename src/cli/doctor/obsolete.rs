//! Objects of Mixer's days, which nothing reads any more.

use crate::cli::doctor::kind::Kind;
use crate::cli::doctor::manifests::Manifests;
use crate::cli::doctor::report::Findings;

/// Groups of which Istio reads nothing any more.
const GROUPS: [&str; 3] = [
    "config.istio.io",
    "authentication.istio.io",
    "rbac.istio.io",
];

/// Names what nothing reads.
pub(super) fn examine(manifests: &Manifests<'_>, findings: &mut Findings) {
    for object in &manifests.objects {
        if GROUPS.contains(&object.group) {
            let what = format!(
                "the {} `{}` of {} is of Istio before 1.8 (Mixer)",
                object.kind, object.name, object.group
            );
            findings.add(Kind::Obsolete, &object.node.at_or_self("kind"), what);
        }
    }
}
