//! The Workload API's client, with an agent that speaks go-spiffe's messages: where it is found, what
//! is done when it refuses, goes away or takes away, and which SVIDs are taken.

use serde_json::{Value, json};

use crate::providers::{Scene, Stage};
use crate::support::eventually;
use crate::support::workload_api::{ID, WorkloadApi};

const EXPIRY: &str = "portcullis_svid_expiry_timestamp_seconds";
const UPDATES: &str = "portcullis_svid_updates_total";
const CONNECTED: &str = r#"portcullis_workload_api_connected{task="workload_api_x509"}"#;
const BUNDLES: &str = r#"portcullis_trust_bundles{task="workload_api_x509"}"#;

/// A server that shows its X509-SVID to a token endpoint, so that it follows one.
fn stage() -> Stage {
    let provider = json!({
        "type": "clientCredentials", "tokenUrl": "https://idp.invalid/token",
        "client": { "svid": { "type": "x509" } },
    });
    Stage::new().provider("erp", provider)
}

fn asking(agent: &WorkloadApi) -> Stage {
    stage().set(&["spiffe", "endpoint"], json!(agent.endpoint()))
}

#[track_caller]
fn wait_for(scene: &Scene, series: &str, is_so: impl Fn(f64) -> bool) -> f64 {
    eventually(series, || {
        scene.metric(series).filter(|value| is_so(*value))
    })
}

#[tokio::test]
async fn s1_the_agent_is_asked_with_the_header_that_keeps_forged_requests_out() {
    let agent = WorkloadApi::start();
    let scene = asking(&agent).start();
    assert!(scene.metric(EXPIRY) > Some(0.0), "ready with an SVID");
    assert_eq!(agent.count("x509"), 1);
    assert_eq!(agent.count("withoutHeader"), 0);
    assert_eq!(scene.metric(CONNECTED), Some(1.0));
    assert_eq!(scene.metric(BUNDLES), Some(1.0));
}

#[tokio::test]
async fn s1_the_endpoint_of_the_configuration_counts_before_that_of_the_environment() {
    let (named, other) = (WorkloadApi::start(), WorkloadApi::start_tcp());
    let in_environment = |stage: Stage| {
        let builder = stage
            .0
            .environment("SPIFFE_ENDPOINT_SOCKET", other.endpoint());
        Stage(builder).start()
    };
    let _first = in_environment(asking(&named));
    assert_eq!((named.count("x509"), other.count("x509")), (1, 0));
    let _second = in_environment(stage());
    assert_eq!((named.count("x509"), other.count("x509")), (1, 1));
}

#[tokio::test]
async fn s1_an_endpoint_that_is_none_is_refused_at_the_start() {
    let told = stage().set(&["spiffe", "endpoint"], json!("tcp://agent:8081"));
    let told = told.refused();
    assert!(
        told.contains("spiffe.endpoint") && told.contains("no name"),
        "{told}"
    );
    for bad in [
        "/run/agent.sock",
        "unix://run/agent.sock",
        "tcp://localhost:1",
        "http://127.0.0.1:1",
    ] {
        let builder = stage().0.environment("SPIFFE_ENDPOINT_SOCKET", bad);
        let told = Stage(builder).refused();
        assert!(told.contains("SPIFFE_ENDPOINT_SOCKET"), "{bad}: {told}");
    }
}

#[tokio::test]
async fn s2_without_registration_it_is_not_ready_says_what_to_do_once_and_recovers() {
    let agent = WorkloadApi::start_empty();
    let mut scene = asking(&agent)
        .set(&["checks", "startupGrace"], json!("60s"))
        .start_unready();
    agent.wait_for("x509", 4);
    let ready = scene.server.observe("/readyz");
    assert_eq!(ready.status, 503);
    assert!(ready.text().contains("no SVID"), "{}", ready.text());
    let told = scene.server.stderr();
    assert_eq!(
        told.matches("this pod is not registered").count(),
        1,
        "{told}"
    );
    assert!(
        told.contains("ClusterSPIFFEID") && told.contains("CSI volume"),
        "{told}"
    );
    assert_eq!(scene.metric(CONNECTED), Some(0.0));
    agent.set(json!({ "svids": [{ "id": ID }] }));
    scene.server.wait_until_ready();
    assert_eq!(scene.metric(UPDATES), Some(1.0));
}

#[tokio::test]
async fn s2_an_agent_that_cannot_is_not_asked_again_and_again() {
    let agent = WorkloadApi::start_empty();
    for error in ["InvalidArgument", "Unimplemented"] {
        let before = agent.count("x509");
        agent.set(json!({ "errors": { "x509": error } }));
        let scene = asking(&agent).start_unready();
        eventually("the log to tell", || {
            let told = scene.server.stderr();
            told.contains("does not take what we ask").then_some(())
        });
        // another server, which is told to come back soon, asks five times meanwhile
        let other = WorkloadApi::start_empty();
        let _patient = asking(&other).start_unready();
        other.wait_for("x509", 5);
        assert_eq!(agent.count("x509"), before + 1, "{error}");
    }
}

#[tokio::test]
async fn an_agent_that_goes_away_leaves_what_it_last_said_and_is_found_again() {
    let agent = WorkloadApi::start();
    let scene = asking(&agent).start();
    let expiry = scene.metric(EXPIRY);
    agent.stop();
    wait_for(&scene, CONNECTED, |connected| connected == 0.0);
    assert_eq!(scene.metric(EXPIRY), expiry, "it holds until its end");
    assert_eq!(scene.server.observe("/readyz").status, 200);
    agent.start_again();
    agent.rotate();
    wait_for(&scene, CONNECTED, |connected| connected == 1.0);
    wait_for(&scene, UPDATES, |updates| updates >= 2.0);
}

#[tokio::test]
async fn a_stream_that_ends_well_is_begun_again_at_once() {
    let agent = WorkloadApi::start();
    let scene = asking(&agent).start();
    for count in 2..5 {
        agent.end_streams();
        agent.wait_for("x509", count);
        wait_for(&scene, CONNECTED, |connected| connected == 1.0);
    }
    assert!(!scene.server.stderr().contains("cannot be asked"));
}

#[tokio::test]
async fn every_message_is_the_complete_state() {
    let agent = WorkloadApi::start_empty();
    let both = json!({ "svids": [{ "id": ID }], "federated": ["partner.example", "old.example"] });
    agent.set(both);
    let scene = asking(&agent).start();
    assert_eq!(scene.metric(BUNDLES), Some(3.0));
    agent.set(json!({ "svids": [{ "id": ID }], "federated": ["partner.example"] }));
    wait_for(&scene, BUNDLES, |bundles| bundles == 2.0);
    agent.set(json!({ "errors": { "x509": "PermissionDenied" } }));
    wait_for(&scene, EXPIRY, |expiry| expiry == 0.0);
    assert_eq!(scene.metric(BUNDLES), Some(0.0));
    agent.set(json!({ "svids": [{ "id": ID }] }));
    wait_for(&scene, EXPIRY, |expiry| expiry > 0.0);
}

#[tokio::test]
async fn s5_a_bad_bundle_of_one_trust_domain_keeps_no_update_of_others_away() {
    let agent = WorkloadApi::start();
    let scene = asking(&agent).start();
    let told_of = |what: &str| {
        let told = scene.server.stderr();
        let lines = told.lines().filter(|line| line.contains("left out"));
        lines.filter(|line| line.contains(what)).count()
    };
    let given = |spoiled: Value| {
        let names = ["partner.example", "old.example"];
        json!({ "svids": [{ "id": ID }], "federated": names, "spoiled": spoiled })
    };
    for (at, wrong) in ["unreadable", "large"].into_iter().enumerate() {
        let updates = scene.metric(UPDATES).unwrap_or_default();
        agent.set(given(json!({ "partner.example": wrong })));
        wait_for(&scene, UPDATES, |now| now > updates);
        wait_for(&scene, BUNDLES, |bundles| bundles == 2.0);
        assert_eq!(told_of("partner.example"), at + 1, "{wrong}");
    }
    // our own is judged in the same way, and our SVID is another matter
    let updates = scene.metric(UPDATES).unwrap_or_default();
    agent.set(given(json!({ "cluster.local": "unreadable" })));
    wait_for(&scene, UPDATES, |now| now > updates);
    wait_for(&scene, BUNDLES, |bundles| bundles == 2.0);
    assert_eq!((told_of("cluster.local"), told_of("old.example")), (1, 0));
    agent.set(given(json!({})));
    wait_for(&scene, BUNDLES, |bundles| bundles == 3.0);
    let told = scene.server.stderr();
    assert!(!told.contains("a message cannot be used"), "{told}");
}

#[tokio::test]
async fn s5_a_bad_svid_keeps_no_bundle_away_and_one_of_others_is_nothing_to_us() {
    let agent = WorkloadApi::start();
    let scene = asking(&agent).start();
    let expiry = scene.metric(EXPIRY);
    let bad = json!({ "id": ID, "defect": "twoURIs" });
    agent.set(json!({ "svids": [bad], "federated": ["partner.example"] }));
    wait_for(&scene, BUNDLES, |bundles| bundles == 2.0);
    assert_eq!(
        (scene.metric(EXPIRY), scene.metric(UPDATES)),
        (expiry, Some(1.0)),
        "what we had before"
    );
    let other = json!({ "id": "spiffe://cluster.local/other", "defect": "twoURIs" });
    agent.set(json!({ "svids": [{ "id": ID }, other] }));
    wait_for(&scene, UPDATES, |updates| updates == 2.0);
    assert_eq!(scene.metric(BUNDLES), Some(1.0));
}

#[tokio::test]
async fn an_svid_that_may_be_none_changes_nothing() {
    let agent = WorkloadApi::start();
    let scene = asking(&agent)
        .set(&["spiffe", "trustDomain"], json!("cluster.local"))
        .start();
    let expiry = scene.metric(EXPIRY);
    let refusals = || {
        let told = scene.server.stderr();
        told.matches("a message cannot be used").count()
    };
    let defects = [
        "expired",
        "isCA",
        "certSign",
        "crlSign",
        "noDigitalSignature",
        "serverOnly",
        "usageNotCritical",
        "twoURIs",
        "noURI",
        "otherKey",
    ];
    let svids = defects.map(|defect| json!({ "id": ID, "defect": defect }));
    let strange = [
        json!({ "id": "spiffe://partner.example/ns/portcullis/sa/portcullis" }),
        json!({ "id": "spiffe://cluster.local" }),
    ];
    for (at, svid) in svids.into_iter().chain(strange).enumerate() {
        agent.set(json!({ "svids": [svid] }));
        let what = format!("{svid} to be refused");
        eventually(&what, || (refusals() > at).then_some(()));
        assert_eq!(
            (scene.metric(EXPIRY), scene.metric(UPDATES)),
            (expiry, Some(1.0)),
            "{svid}"
        );
    }
}

#[tokio::test]
async fn an_svid_that_ends_while_the_agent_is_away_is_used_no_more() {
    let agent = WorkloadApi::start_empty();
    agent.set(json!({ "svids": [{ "id": ID, "ttl": "4s" }] }));
    let scene = asking(&agent).start();
    assert!(scene.metric(EXPIRY) > Some(0.0));
    agent.stop();
    wait_for(&scene, EXPIRY, |expiry| expiry == 0.0);
    assert!(scene.server.stderr().contains("our SVID is over"));
    agent.start_again();
    agent.set(json!({ "svids": [{ "id": ID }] }));
    wait_for(&scene, EXPIRY, |expiry| expiry > 0.0);
}
