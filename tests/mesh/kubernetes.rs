//! Istiod on a real Kubernetes API server: what a user applies goes through both.

use crate::bed::{filled, free_port, get, text};
use crate::cluster::{Cluster, Istiod};
use crate::ingress::{ENVOY, assert_nothing_rejected};
use crate::proxy::{GATEWAY_API, INGRESS, Node};
use crate::support::envoy::Envoy;
use crate::support::eventually;
use crate::support::portcullis::Portcullis;
use crate::support::shop::{Around, HOST, SHOP_KEY};
use crate::support::upstream::Upstream;

const KEY: (&str, &str) = ("x-api-key", SHOP_KEY);

/// A workload, Portcullis, and the entries by which a cluster without nodes reaches them.
struct Scene {
    cluster: Cluster,
    portcullis: Portcullis,
    upstream: Upstream,
    /// Keeps the identity providers.
    _around: Around,
    port: u16,
}

impl Scene {
    fn start() -> Self {
        let (around, upstream) = (Around::start(), Upstream::start());
        let portcullis = around.server().start();
        let (cluster, port) = (Cluster::start(), free_port());
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
        Self {
            cluster,
            portcullis,
            upstream,
            _around: around,
            port,
        }
    }

    /// The manifests of an ingress gateway, with the route to the upstream on loopback.
    fn apply_ingress(&self) {
        self.cluster
            .apply_file("deploy/kustomize/base/service-account.yaml");
        self.cluster.apply_file("deploy/istio/hardening.yaml");
        self.cluster.apply_file("deploy/istio/gateway.yaml");
        let orders = text("deploy/istio/orders.yaml");
        let to_entry = orders.replace(
            "host: orders.shop.svc.cluster.local",
            "host: upstream.shop.internal",
        );
        assert_ne!(orders, to_entry);
        self.cluster
            .apply(&to_entry)
            .expect("the API server takes it");
    }
}

fn start(node: Node, istiod: &Istiod, port: u16) -> Envoy {
    let envoy = node.start(ENVOY, istiod.xds, None);
    wait_for(port, 200, &[KEY]);
    envoy
}

fn wait_for(port: u16, status: u16, headers: &[(&str, &str)]) {
    eventually("the gateway to follow", || {
        let open = std::net::TcpStream::connect(("127.0.0.1", port)).is_ok();
        (open && get(port, HOST, "/orders/1", headers).status == status).then_some(())
    });
}

#[test]
fn policies_that_go_through_the_api_server_are_followed() {
    let mut scene = Scene::start();
    scene.apply_ingress();
    let istiod = Istiod::start(&scene.cluster, false);
    let envoy = start(INGRESS, &istiod, scene.port);
    let denied = get(scene.port, HOST, "/orders/1", &[]);
    assert_eq!(
        denied.denial_code().as_deref(),
        Some("unauthenticated"),
        "{denied:?}"
    );
    let seen = scene.upstream.last().expect("a request");
    assert_eq!(seen.values("x-api"), ["orders"]);
    scene.cluster.must(&[
        "delete",
        "authorizationpolicy",
        "portcullis",
        "-n",
        "istio-system",
    ]);
    wait_for(scene.port, 200, &[]);
    scene.cluster.apply_file("deploy/istio/gateway.yaml");
    wait_for(scene.port, 401, &[]);
    // the schema of the kind refuses what is misspelled
    let misspelled = text("deploy/istio/gateway.yaml").replace("action: CUSTOM", "acton: CUSTOM");
    let said = scene.cluster.apply(&misspelled).expect_err("it is refused");
    assert!(said.contains("acton"), "{said}");
    scene.portcullis.kill();
    wait_for(scene.port, 503, &[KEY]);
    assert_nothing_rejected(&envoy);
}

#[test]
fn a_gateway_of_the_gateway_api_asks_by_target_refs() {
    let scene = Scene::start();
    let port = free_port();
    // the policy is the shipped one; a gateway of the test stands for the Deployment that Istio makes
    let shipped = text("deploy/istio/gateway-api.yaml");
    let start_of_policy = shipped
        .find("apiVersion: security.istio.io")
        .expect("a policy");
    scene
        .cluster
        .apply(&shipped)
        .expect("the API server takes it");
    let gateway = filled("gateway-api", &[("gateway", &port)]);
    scene
        .cluster
        .apply(&gateway)
        .expect("the API server takes it");
    scene
        .cluster
        .apply(&shipped[start_of_policy..])
        .expect("the API server takes it");
    scene.cluster.run_pod("gw-1", GATEWAY_API.ip);
    let istiod = Istiod::start(&scene.cluster, false);
    let envoy = start(GATEWAY_API, &istiod, port);
    let denied = get(port, HOST, "/orders/1", &[]);
    assert_eq!(
        denied.denial_code().as_deref(),
        Some("unauthenticated"),
        "{denied:?}"
    );
    assert_eq!(get(port, HOST, "/healthz", &[]).status, 200);
    assert_nothing_rejected(&envoy);
}

#[test]
fn istios_webhook_takes_what_is_shipped_and_refuses_principals_in_a_policy_that_asks() {
    let cluster = Cluster::start();
    let istiod = Istiod::start(&cluster, true);
    let ca = eventually("istiod to have its root", || {
        let secret = cluster.kubectl(&[
            "get",
            "secret",
            "istio-ca-secret",
            "-n",
            "istio-system",
            "-o",
            r"jsonpath={.data.ca-cert\.pem}",
        ]);
        (secret.status.success() && !secret.stdout.is_empty())
            .then(|| String::from_utf8_lossy(&secret.stdout).into_owned())
    });
    let webhook = filled("webhook", &[("port", &istiod.webhook), ("ca", &ca)]);
    cluster.apply(&webhook).expect("the API server takes it");
    let shipped = text("deploy/istio/gateway.yaml");
    let rules = shipped.find("  rules:").expect("rules");
    let principals = format!(
        "{}  rules: [{{ from: [{{ source: {{ principals: [\"*\"] }} }}] }}]\n",
        &shipped[..rules]
    );
    let said = eventually("the webhook to be asked", || {
        let said = cluster.apply(&principals).err();
        if said.is_none() {
            cluster.must(&[
                "delete",
                "authorizationpolicy",
                "portcullis",
                "-n",
                "istio-system",
            ]);
        }
        said
    });
    assert!(said.contains("admission webhook"), "{said}");
    assert!(said.contains("not supported with CUSTOM action"), "{said}");
    for path in [
        "gateway",
        "sidecar",
        "hardening",
        "hardening-sidecar",
        "egress-gateway",
        "egress-sidecar",
        "peer-authentication",
        "protect-check-port",
        "sidecar-scope",
        "destination-rule",
        "orders",
        "gateway-api",
        "waypoint",
    ] {
        cluster.apply_file(&format!("deploy/istio/{path}.yaml"));
    }
}
