//! The way out of the mesh to a partner, who is given a token of its own.

use std::sync::{Arc, Mutex, PoisonError};

use rcgen::{ExtendedKeyUsagePurpose, SanType};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::default_provider;
use tokio_rustls::TlsAcceptor;

use crate::bed::{Mesh, Objects, free_port, text};
use crate::certificates::Sds;
use crate::ingress::{ENVOY, assert_nothing_rejected};
use crate::proxy::{CHECKOUT, EGRESS, Node};
use crate::support::authority::Authority;
use crate::support::background::Background;
use crate::support::envoy::Envoy;
use crate::support::http::{self, Answer, Request, Response};
use crate::support::portcullis::Portcullis;
use crate::support::shop::{Around, PARTNER};
use crate::support::upstream::Upstream;

/// A file of `deploy/istio` with the partner on this port of this machine, in place of its name's
/// address: the one thing that no test can know of a name on the internet.
pub(crate) fn at_partner(path: &str, port: u16) -> String {
    let content = text(path);
    let resolution = "  resolution: DNS\n";
    if !content.contains("host: partner.example") {
        return content;
    }
    assert!(content.contains(resolution), "{path}");
    let name = if path.contains("gateway") {
        "https"
    } else {
        "http"
    };
    let here = format!(
        "  resolution: STATIC\n  endpoints: [{{ address: 127.0.0.1, ports: {{ {name}: {port} }} }}]\n"
    );
    content.replace(resolution, &here)
}

/// The partner: a server that speaks TLS alone, with a certificate of its name.
struct Partner {
    background: Background,
    seen: Arc<Mutex<Vec<Request>>>,
}

impl Partner {
    fn start(authority: &Authority, name: &str) -> Self {
        let identity = authority.certify(|params| {
            params.subject_alt_names = vec![SanType::DnsName(name.try_into().expect("ASCII"))];
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        });
        let settings = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions of TLS")
            .with_no_client_auth()
            .with_single_cert(identity.chain().to_vec(), identity.key_der())
            .expect("a certificate and its key");
        let acceptor = TlsAcceptor::from(Arc::new(settings));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::clone(&seen);
        let background = Background::serve("partner", move |stream| {
            let (acceptor, seen) = (acceptor.clone(), Arc::clone(&shared));
            async move {
                // who breaks off the handshake is not served
                let Ok(stream) = acceptor.accept(stream).await else {
                    return;
                };
                http::serve(stream, |request| {
                    seen.lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push(request);
                    std::future::ready(Answer::json(200, "{}"))
                })
                .await;
            }
        });
        Self { background, seen }
    }

    fn seen(&self) -> Vec<Request> {
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// The workload `checkout`, what stands on its way to the partner, and the partner.
struct Scene {
    portcullis: Portcullis,
    upstream: Upstream,
    partner: Partner,
    envoys: Vec<Envoy>,
    _running: (Mesh, Around, Vec<Sds>),
    /// Where the sidecar of `checkout` takes what goes to port 80.
    address: &'static str,
}

impl Scene {
    /// Starts it with one of the two forms and these proxies; the partner shows a certificate of
    /// this name.
    fn start(form: &str, nodes: &[Node], address: &'static str, name: &str) -> Self {
        let (around, upstream) = (Around::start(), Upstream::start());
        let portcullis = around.server().start();
        let (internet, mesh_authority) = (Authority::new(), Authority::new());
        let partner = Partner::start(&internet, name);
        let port = partner.background.address().port();
        let objects = Objects::new()
            .bed(
                "pods",
                &[
                    ("ingress", &free_port()),
                    ("tcp", &free_port()),
                    ("egress", &free_port()),
                    ("upstream", &upstream.address().port()),
                ],
            )
            .bed(
                "portcullis",
                &[
                    ("check", &portcullis.check_address().port()),
                    ("outbound", &portcullis.address("outbound").port()),
                ],
            )
            .file("deploy/kustomize/base/service.yaml")
            .file("deploy/istio/orders.yaml")
            .text(
                form,
                &at_partner(&format!("deploy/istio/{form}.yaml"), port),
            )
            .bed("checkout", &[("address", &address)]);
        let mesh = Mesh::start(objects);
        let agents: Vec<Sds> = nodes
            .iter()
            .map(|node| {
                let own = mesh_authority.svid(&node.spiffe_id());
                Sds::start(&own, &mesh_authority.pem(), &internet.pem())
            })
            .collect();
        let envoys = nodes
            .iter()
            .zip(&agents)
            .map(|(node, agent)| node.start(ENVOY, mesh.xds(), Some(&agent.socket())))
            .collect();
        Self {
            portcullis,
            upstream,
            partner,
            envoys,
            _running: (mesh, around, agents),
            address,
        }
    }

    /// What the workload calls.
    fn get(&self, host: &str, headers: &[(&str, &str)]) -> Response {
        let address = format!("{}:80", self.address).parse().expect("an address");
        http::get(address, host, "/any", headers)
    }

    fn assert_the_partners_token_leaves(&self) {
        let own = [
            ("authorization", "Bearer mine"),
            ("Authorization", "Basic bWluZQ=="),
        ];
        for host in [PARTNER, "PARTNER.example", "partner.example:80"] {
            let response = self.get(host, &own);
            assert_eq!(response.status, 200, "{host}: {response:?}");
            let seen = self.partner.seen();
            let last = seen.last().expect("a request");
            assert_eq!(
                last.values("authorization"),
                ["Bearer token-1.us.partner"],
                "{host}"
            );
        }
        let count = self.partner.seen().len();
        // another host is judged, if at all, by nobody's rules, and keeps what it was sent with
        let other = self.get("orders.shop.svc.cluster.local", &own[..1]);
        assert_eq!(other.status, 200, "{other:?}");
        let seen = self.upstream.last().expect("a request");
        assert_eq!(seen.values("authorization"), ["Bearer mine"]);
        assert_eq!(self.partner.seen().len(), count);
        self.envoys.iter().for_each(assert_nothing_rejected);
    }
}

#[test]
fn by_an_egress_gateway_the_partner_gets_its_token_over_tls() {
    let mut scene = Scene::start("egress-gateway", &[EGRESS, CHECKOUT], "127.0.10.1", PARTNER);
    scene.assert_the_partners_token_leaves();
    scene.portcullis.kill();
    let count = scene.partner.seen().len();
    assert_eq!(scene.get(PARTNER, &[]).status, 503);
    assert_eq!(scene.partner.seen().len(), count);
}

#[test]
fn by_the_sidecar_of_the_caller_the_partner_gets_its_token_over_tls() {
    let mut scene = Scene::start("egress-sidecar", &[CHECKOUT], "127.0.11.1", PARTNER);
    scene.assert_the_partners_token_leaves();
    scene.portcullis.kill();
    let count = scene.partner.seen().len();
    assert_eq!(scene.get(PARTNER, &[]).status, 503);
    assert_eq!(scene.partner.seen().len(), count);
}

#[test]
fn whoever_is_not_the_partner_by_its_certificate_is_sent_no_token() {
    for (form, nodes, address) in [
        (
            "egress-gateway",
            [EGRESS, CHECKOUT].as_slice(),
            "127.0.12.1",
        ),
        ("egress-sidecar", &[CHECKOUT], "127.0.13.1"),
    ] {
        let scene = Scene::start(form, nodes, address, "elsewhere.example");
        assert_eq!(scene.get(PARTNER, &[]).status, 503, "{form}");
        assert!(scene.partner.seen().is_empty(), "{form}");
    }
}
