//! Which workloads a policy is for.

use crate::cli::doctor::manifests::{Manifests, Object};
use crate::cli::doctor::workloads::{Labels, OwnPlace};

/// Which workloads a policy is for.
#[derive(Debug)]
pub(super) struct Scope<'a> {
    /// The namespace; none for all of them.
    namespace: Option<&'a str>,
    to: To<'a>,
}

#[derive(Debug)]
enum To<'a> {
    /// Every workload.
    All,
    /// Those with these labels.
    Labels(Labels<'a>),
    /// What these objects stand for.
    Targets(Vec<Target<'a>>),
}

/// What a policy is attached to.
#[derive(Debug, PartialEq, Eq)]
struct Target<'a> {
    kind: &'a str,
    name: &'a str,
}

impl<'a> Scope<'a> {
    /// That of `policy`.
    pub(super) fn of(policy: &Object<'a>, manifests: &Manifests<'a>) -> Self {
        let mut targets = policy.node.items_at("spec.targetRefs");
        targets.extend(policy.node.at("spec.targetRef"));
        let labels = policy.node.labels_at("spec.selector.matchLabels");
        let to = if !targets.is_empty() {
            To::Targets(
                targets
                    .iter()
                    .map(|target| Target {
                        kind: target.text_at("kind").unwrap_or_default(),
                        name: target.text_at("name").unwrap_or_default(),
                    })
                    .collect(),
            )
        } else if labels.is_empty() {
            To::All
        } else {
            To::Labels(labels)
        };
        let is_everywhere =
            policy.namespace == manifests.root_namespace() && !matches!(to, To::Targets(_));
        Self {
            namespace: (!is_everywhere).then_some(policy.namespace),
            to,
        }
    }

    /// Whether both are for one workload, as far as the files tell.
    pub(super) fn overlaps(&self, other: &Self, manifests: &Manifests<'_>) -> bool {
        let common = match (self.namespace, other.namespace) {
            (Some(one), Some(two)) if one != two => return false,
            (one, two) => one.or(two),
        };
        match (&self.to, &other.to) {
            (To::All, To::All | To::Labels(_)) | (To::Labels(_), To::All) => true,
            // what has no target is not for waypoints
            (To::All, To::Targets(targets)) | (To::Targets(targets), To::All) => {
                targets.iter().any(|target| target.kind == "Gateway")
            }
            (To::Labels(one), To::Labels(two)) => {
                let holds = |all: &Labels<'_>, some: &Labels<'_>| {
                    some.iter().all(|label| all.contains(label))
                };
                let mut pods = manifests.workloads.iter();
                holds(one, two)
                    || holds(two, one)
                    || pods.any(|pod| {
                        common.is_none_or(|namespace| pod.namespace == namespace)
                            && pod.has(one)
                            && pod.has(two)
                    })
            }
            (To::Labels(labels), To::Targets(targets))
            | (To::Targets(targets), To::Labels(labels)) => targets.iter().any(|target| {
                target.kind == "Gateway"
                    && labels.contains(&("gateway.networking.k8s.io/gateway-name", target.name))
            }),
            (To::Targets(one), To::Targets(two)) => one.iter().any(|target| two.contains(target)),
        }
    }

    /// Whether it takes in a server that checks.
    pub(super) fn takes_in(&self, place: &OwnPlace<'_>) -> bool {
        if self
            .namespace
            .is_some_and(|namespace| namespace != place.namespace)
        {
            return false;
        }
        match &self.to {
            To::All => true,
            To::Labels(labels) => place
                .labels
                .as_ref()
                .is_some_and(|own| labels.iter().all(|label| own.contains(label))),
            To::Targets(targets) => targets
                .iter()
                .any(|target| target.kind == "Service" && Some(target.name) == place.service),
        }
    }

    /// Whether it is bound to workloads, and not to targets.
    pub(super) const fn is_by_workload(&self) -> bool {
        !matches!(self.to, To::Targets(_))
    }
}
