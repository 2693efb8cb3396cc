//! The sidecar of a protected workload.

use crate::bed::{Mesh, free_port, get};
use crate::ingress::{ENVOYS, assert_nothing_rejected, pods};
use crate::proxy::ORDERS;
use crate::support::shop::{Around, SHOP_KEY};
use crate::support::upstream::Upstream;

/// How the workload is called in the mesh.
const HOST: &str = "orders.shop.svc.cluster.local";

#[test]
fn a_sidecar_asks_about_what_comes_to_its_workload() {
    for version in ENVOYS {
        let (around, upstream) = (Around::start(), Upstream::start());
        let mut portcullis = around.server().start();
        let port = free_port();
        let objects = pods(&upstream, &[])
            .file("deploy/kustomize/base/service.yaml")
            .file("deploy/istio/orders.yaml")
            .file("deploy/istio/sidecar.yaml")
            .file("deploy/istio/hardening-sidecar.yaml")
            .bed(
                "sidecar",
                &[
                    ("address", &"127.0.14.1"),
                    ("sidecar", &port),
                    ("upstream", &upstream.address().port()),
                ],
            )
            .bed(
                "portcullis",
                &[
                    ("check", &portcullis.check_address().port()),
                    ("outbound", &portcullis.address("outbound").port()),
                ],
            );
        let mesh = Mesh::start(objects);
        let envoy = ORDERS.start(version, mesh.xds(), None);
        let ask = |headers: &[(&str, &str)]| get(port, HOST, "/orders/1", headers);
        let key = ("x-api-key", SHOP_KEY);
        assert_eq!(ask(&[key, ("x-user", "root")]).status, 200, "{version}");
        let seen = upstream.last().expect("a request");
        assert_eq!(seen.values("x-api"), ["orders"], "{version}");
        assert!(!seen.values("x-user").contains(&"root"), "{version}");
        let denied = ask(&[]);
        assert_eq!(
            denied.denial_code().as_deref(),
            Some("unauthenticated"),
            "{version}: {denied:?}"
        );
        assert_eq!(ask(&[key, ("x_user", "root")]).status, 400, "{version}");
        portcullis.kill();
        assert_eq!(ask(&[key]).status, 503, "{version}");
        assert_nothing_rejected(&envoy);
    }
}
