//! Certificates of istiod's own authority, by tokens that a real API server has signed: for
//! Portcullis, which shows its own at the check port, and for the gateway that asks there.

use std::fs;
use std::process::Command;

use serde_json::json;
use tempfile::TempDir;

use crate::bed::{filled, free_port, get, program, text};
use crate::certificates::Sds;
use crate::cluster::{Cluster, Istiod};
use crate::ingress::{ENVOY, assert_nothing_rejected};
use crate::proxy::INGRESS;
use crate::support::envoy::Envoy;
use crate::support::eventually;
use crate::support::portcullis::Portcullis;
use crate::support::shop::{Around, HOST, SHOP_KEY};
use crate::support::upstream::Upstream;

const KEY: (&str, &str) = ("x-api-key", SHOP_KEY);

/// Asks istiod for the certificate of a service account: the files of a folder.
fn certificate(cluster: &Cluster, istiod: &Istiod, namespace: &str, account: &str) -> TempDir {
    let folder = TempDir::new().expect("a temporary folder");
    let path = |name: &str| folder.path().join(name);
    let root = eventually("istiod to publish its root", || {
        let map = cluster.kubectl(&[
            "get",
            "secret",
            "istio-ca-secret",
            "-n",
            "istio-system",
            "-o",
            r#"go-template={{index .data "ca-cert.pem" | base64decode}}"#,
        ]);
        (map.status.success() && !map.stdout.is_empty()).then_some(map.stdout)
    });
    fs::write(path("root.pem"), root).expect("a file");
    let token = cluster.must(&[
        "create",
        "token",
        account,
        "-n",
        namespace,
        "--audience",
        "istio-ca",
    ]);
    fs::write(path("token"), token).expect("a file");
    let output = Command::new(program("svid"))
        .args(["-ca", &istiod.authority.to_string()])
        .arg("-root")
        .arg(path("root.pem"))
        .arg("-token")
        .arg(path("token"))
        .arg("-out")
        .arg(folder.path())
        .output()
        .expect("svid starts");
    let id = format!("spiffe://cluster.local/ns/{namespace}/sa/{account}\n");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(String::from_utf8_lossy(&output.stdout), id, "{said}");
    fs::write(path("system.crt"), "").expect("a file");
    folder
}

/// The server with this certificate, which the ingress gateway alone may ask.
fn server(around: &Around, own: &TempDir) -> Portcullis {
    let file = |name: &str| json!({ "file": own.path().join(name) });
    around
        .server()
        .set(
            &["listeners", "inbound", "tls"],
            json!({ "certificate": file("tls.crt"), "key": file("tls.key"), "clientCa": file("ca.crt") }),
        )
        .set(&["listeners", "inbound", "peers"], json!({ "allow": [INGRESS.spiffe_id()] }))
        .set(&["spiffe"], json!({ "trustDomain": "cluster.local" }))
        .start()
}

/// The gateway with the certificate of this service account.
fn gateway(istiod: &Istiod, agent: &Sds, port: u16) -> Envoy {
    let envoy = INGRESS.start(ENVOY, istiod.xds, Some(&agent.socket()));
    eventually("the gateway to be open", || {
        let open = std::net::TcpStream::connect(("127.0.0.1", port)).is_ok();
        (open && get(port, HOST, "/healthz", &[]).status == 200).then_some(())
    });
    envoy
}

#[test]
fn the_check_port_by_mtls_of_the_mesh_answers_the_gateway_and_nobody_else() {
    let (around, upstream) = (Around::start(), Upstream::start());
    let (cluster, port) = (Cluster::start(), free_port());
    cluster.apply_file("deploy/kustomize/base/service-account.yaml");
    cluster.apply_file("deploy/istio/hardening.yaml");
    cluster.apply_file("deploy/istio/gateway.yaml");
    cluster.apply_file("deploy/istio/destination-rule.yaml");
    let account = INGRESS.service_account;
    cluster.must(&["create", "serviceaccount", account, "-n", INGRESS.namespace]);
    let orders = text("deploy/istio/orders.yaml");
    let to_entry = orders.replace(
        "host: orders.shop.svc.cluster.local",
        "host: upstream.shop.internal",
    );
    cluster.apply(&to_entry).expect("the API server takes it");
    let istiod = Istiod::start(&cluster, true);
    let own = certificate(&cluster, &istiod, "portcullis", "portcullis");
    let portcullis = server(&around, &own);
    let entries = filled(
        "cluster",
        &[
            ("ingress", &port),
            ("check", &portcullis.check_address().port()),
            ("outbound", &portcullis.address("outbound").port()),
            ("upstream", &upstream.address().port()),
        ],
    );
    cluster.apply(&entries).expect("the API server takes it");
    cluster.run_pod("ingress", INGRESS.ip);

    let of_gateway = Sds::of_folder(certificate(&cluster, &istiod, INGRESS.namespace, account));
    let envoy = gateway(&istiod, &of_gateway, port);
    let allowed = get(port, HOST, "/orders/1", &[KEY]);
    assert_eq!(allowed.status, 200, "{allowed:?}\n{}", portcullis.stdout());
    let denied = get(port, HOST, "/orders/1", &[]);
    assert_eq!(
        denied.denial_code().as_deref(),
        Some("unauthenticated"),
        "{denied:?}"
    );
    assert_nothing_rejected(&envoy);
    drop(envoy);

    // the same gateway with the certificate of somebody else of the mesh
    let of_other = Sds::of_folder(certificate(&cluster, &istiod, "shop", "orders"));
    let _envoy = gateway(&istiod, &of_other, port);
    let refused = get(port, HOST, "/orders/1", &[KEY]);
    assert_eq!(refused.status, 403, "{refused:?}");
    assert_eq!(
        refused.denial_code().as_deref(),
        Some("access_denied"),
        "{refused:?}"
    );
    assert!(
        portcullis.stdout().contains("peer_not_allowed"),
        "{}",
        portcullis.stdout()
    );
}
