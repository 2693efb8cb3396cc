//! What the chart refuses: values that would not work, or would let somebody in.

use crate::helm::template;
use crate::tools::text;

/// Values, what is set beside them, and what the chart says.
const REFUSED: &[(&str, &[&str], &str)] = &[
    (
        "store",
        &["replicas=2"],
        "SQLite store belongs to one process",
    ),
    (
        "store",
        &["autoscaling.enabled=true"],
        "SQLite store belongs to one process",
    ),
    (
        "plain",
        &["check.peers.any="],
        "say in check.peers.any why that is safe",
    ),
    (
        "plain",
        &["outbound.enabled=true", "outbound.peers.any="],
        "say in outbound.peers.any why that is safe",
    ),
    (
        "sidecar",
        &["check.peers.allow=null"],
        "name the proxies that may ask",
    ),
    (
        "spiffe",
        &["check.peers.allow=null"],
        "name the proxies that may ask",
    ),
    ("ambient", &["mesh.enabled=false"], "say in check.peers.any"),
    ("ambient", &["mesh.peers=null"], "mesh.peers"),
    (
        "plain",
        &["networkPolicy.from=null"],
        "networkPolicy.from: in mode plain",
    ),
    (
        "sidecar",
        &["mesh.peers[0]=cluster.local/ns/*/sa/waypoint"],
        "names no namespace",
    ),
    (
        "sidecar",
        &["catalog.documents=null"],
        "without an Api every request is denied",
    ),
    (
        "sidecar",
        &["catalog.existingConfigMap=mine"],
        "give one of them",
    ),
    (
        "sidecar",
        &["terminationGracePeriodSeconds=15"],
        "or checks are cut off",
    ),
    ("sidecar", &["tls.existingSecret=mine"], "is for mode plain"),
    (
        "sidecar",
        &["redis.enabled=true"],
        "redis.urlSecret.name is needed",
    ),
    (
        "everything",
        &["config.quota.store.type=local"],
        "stands beside redis.enabled",
    ),
    (
        "sidecar",
        &["config.listeners.inbound.type=check"],
        "the chart writes this listener",
    ),
    (
        "sidecar",
        &["config.spiffe.trustDomain=x"],
        "the chart writes this section",
    ),
    (
        "sidecar",
        &["mesh.policies[0].notPaths[0]=/health*"],
        "exceptions are exact paths",
    ),
    (
        "sidecar",
        &["mesh.policies[1].name=x", "mesh.policies[1].namespace=y"],
        "would select every workload",
    ),
    (
        "sidecar",
        &["mesh.policies[0].selector.app\\.kubernetes\\.io/name=portcullis"],
        "ask itself",
    ),
];

#[test]
fn the_chart_refuses_what_would_not_work_or_lets_somebody_in() {
    for (values, set, why) in REFUSED {
        let output = template(values, set);
        let told = text(&output.stderr);
        assert!(!output.status.success(), "{values} {set:?} is taken");
        assert!(told.contains(why), "{values} {set:?}: {told}");
    }
}

#[test]
fn values_that_are_unknown_or_of_another_kind_are_refused() {
    for set in [
        "replica=2",
        "mode=sidcar",
        "check.peers.alow=x",
        "replicas=0",
        "trustDomain=Cluster.Local",
        "image.digest=abc",
        "mesh.policies[0].provider=other",
        "mesh.peers[0]=spiffe://cluster.local/ns/a/sa/b",
        "redis.mode=fast",
        "secrets[0].secretName=x",
    ] {
        let output = template("sidecar", &[set]);
        let told = text(&output.stderr);
        assert!(!output.status.success(), "{set} is taken");
        assert!(
            told.contains("values don't meet the specifications"),
            "{set}: {told}"
        );
    }
}
