//! The scene of most tests here: an ingress gateway that asks Portcullis about what comes to the
//! workload `orders`.

use crate::bed::{Mesh, Objects, free_port, get};
use crate::proxy::INGRESS;
use crate::support::envoy::Envoy;
use crate::support::eventually;
use crate::support::http::Response;
use crate::support::portcullis::{Portcullis, PortcullisBuilder};
use crate::support::shop::{Around, HOST};
use crate::support::upstream::Upstream;

/// Every supported version of Envoy.
pub(crate) const ENVOYS: [&str; 5] = ["1.36.3", "1.37.0", "1.38.3", "1.39.3", "1.40.0"];
/// The version of tests that need one.
pub(crate) const ENVOY: &str = "1.40.0";

/// Everything that runs.
#[derive(Debug)]
pub(crate) struct Ingress {
    pub(crate) envoy: Envoy,
    pub(crate) mesh: Mesh,
    pub(crate) portcullis: Portcullis,
    pub(crate) around: Around,
    pub(crate) upstream: Upstream,
    /// Where the gateway takes HTTP.
    pub(crate) port: u16,
    /// Where it takes plain TCP, if it does.
    pub(crate) tcp: u16,
}

/// The files of `deploy/` that a user of an ingress gateway applies, and the workload.
pub(crate) const APPLIED: [&str; 4] = [
    "deploy/kustomize/base/service.yaml",
    "deploy/istio/orders.yaml",
    "deploy/istio/gateway.yaml",
    "deploy/istio/hardening.yaml",
];

impl Ingress {
    /// Starts it on this version of Envoy with the files of `deploy/`.
    pub(crate) fn start(version: &str) -> Self {
        Self::start_with(version, |server| server, applied)
    }

    /// Starts it with another server and other objects.
    pub(crate) fn start_with(
        version: &str,
        server: impl FnOnce(PortcullisBuilder) -> PortcullisBuilder,
        objects: impl FnOnce(Objects) -> Objects,
    ) -> Self {
        let (around, upstream) = (Around::start(), Upstream::start());
        let portcullis = server(around.server()).start();
        let (port, tcp) = (free_port(), free_port());
        let mesh = Mesh::start(objects(
            pods(&upstream, &[("ingress", port), ("tcp", tcp)]).bed(
                "portcullis",
                &[
                    ("check", &portcullis.check_address().port()),
                    ("outbound", &portcullis.address("outbound").port()),
                ],
            ),
        ));
        let envoy = INGRESS.start(version, mesh.xds(), None);
        Self {
            envoy,
            mesh,
            portcullis,
            around,
            upstream,
            port,
            tcp,
        }
    }

    /// GET through the gateway.
    pub(crate) fn get(&self, target: &str, headers: &[(&str, &str)]) -> Response {
        get(self.port, HOST, target, headers)
    }

    /// Waits until a request is answered with this status, as after a change of the objects.
    pub(crate) fn wait_for(&self, status: u16, target: &str, headers: &[(&str, &str)]) {
        eventually("the gateway to follow", || {
            (self.get(target, headers).status == status).then_some(())
        });
    }

    /// Asserts that Envoy took whatever it was sent.
    pub(crate) fn assert_nothing_rejected(&self) {
        assert_nothing_rejected(&self.envoy);
    }
}

/// The pods of the bed, and what a user applies.
pub(crate) fn pods(upstream: &Upstream, ports: &[(&str, u16)]) -> Objects {
    let at = |name: &str| {
        let port = ports.iter().find(|(of, _)| *of == name);
        port.map_or_else(free_port, |(_, port)| *port)
    };
    Objects::new().bed(
        "pods",
        &[
            ("ingress", &at("ingress")),
            ("tcp", &at("tcp")),
            ("egress", &at("egress")),
            ("upstream", &upstream.address().port()),
        ],
    )
}

/// [`APPLIED`].
pub(crate) fn applied(objects: Objects) -> Objects {
    APPLIED.into_iter().fold(objects, Objects::file)
}

/// Asserts that this Envoy took whatever it was sent by xDS, and was sent something.
#[track_caller]
pub(crate) fn assert_nothing_rejected(envoy: &Envoy) {
    let stats = envoy.admin("/stats").text();
    let sum = |name: &str| -> Option<u64> {
        let lines = stats.lines().filter(|line| line.contains(name));
        let values = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
        values.reduce(|sum, value| sum + value)
    };
    assert_eq!(sum("update_rejected"), Some(0), "{}", envoy.log());
    assert!(sum("update_success") > Some(0), "{stats}");
}
