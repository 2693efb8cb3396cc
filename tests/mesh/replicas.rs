//! Replicas of Portcullis come and go.

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;

use crate::bed::{Mesh, filled, free_port};
use crate::ingress::{ENVOY, applied, assert_nothing_rejected, pods};
use crate::proxy::INGRESS;
use crate::support::envoy::Envoy;
use crate::support::eventually;
use crate::support::http::{Connection, Response, request_bytes};
use crate::support::portcullis::Portcullis;
use crate::support::shop::{Around, HOST, SHOP_KEY};
use crate::support::upstream::Upstream;

/// Two slots, as the two pods of a Deployment.
struct Rolling<'a> {
    around: &'a Around,
    mesh: &'a Mesh,
    envoy: &'a Envoy,
    ports: [u16; 2],
}

/// Ends the clients when it is dropped.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Rolling<'_> {
    fn slices(ports: [u16; 2], ready: [bool; 2]) -> String {
        filled(
            "replicas",
            &[
                ("first", &ports[0]),
                ("second", &ports[1]),
                ("first-ready", &ready[0]),
                ("second-ready", &ready[1]),
            ],
        )
    }

    /// Where the replica in `slot` is asked.
    fn address(slot: usize, port: u16) -> String {
        format!("127.0.0.{}:{port}", slot + 1)
    }

    fn server(around: &Around, slot: usize, port: u16) -> Portcullis {
        let address = json!(Self::address(slot, port));
        around
            .server()
            .set(&["listeners", "inbound", "address"], address)
            .set(&["checks", "drainDelay"], json!("500ms"))
            .start()
    }

    /// What a rolling update does with one pod: it is taken out of the Service and told to stop at
    /// the same moment, and a new one is put in when it is ready.
    fn replace(&self, slot: usize, server: &mut Portcullis) {
        let mut ready = [true, true];
        ready[slot] = false;
        self.mesh
            .set("replicas", Some(&Self::slices(self.ports, ready)));
        assert_eq!(server.terminate(), Some(0), "{}", server.stderr());
        *server = Self::server(self.around, slot, self.ports[slot]);
        self.mesh
            .set("replicas", Some(&Self::slices(self.ports, [true, true])));
        let what = format!("the gateway to send checks to both: {}", self.mesh.log());
        eventually(&what, || {
            let clusters = self.envoy.admin("/clusters").text();
            let counter = format!("{}::rq_total::", Self::address(slot, self.ports[slot]));
            let mut lines = clusters.lines().filter(|line| line.contains(&counter));
            let total: u64 = lines.next()?.rsplit("::").next()?.parse().ok()?;
            (total > 0).then_some(())
        });
    }
}

#[test]
fn a_rolling_restart_of_two_replicas_fails_no_request() {
    let (around, upstream) = (Around::start(), Upstream::start());
    let (port, ports) = (free_port(), [free_port(), free_port()]);
    let mut servers = [0, 1].map(|slot| Rolling::server(&around, slot, ports[slot]));
    let objects = pods(&upstream, &[("ingress", port)]);
    let mesh =
        Mesh::start(applied(objects).text("replicas", &Rolling::slices(ports, [true, true])));
    let envoy = INGRESS.start(ENVOY, mesh.xds(), None);
    let rolling = Rolling {
        around: &around,
        mesh: &mesh,
        envoy: &envoy,
        ports,
    };
    let stop = AtomicBool::new(false);
    let request = request_bytes("GET", HOST, "/orders/1", &[("x-api-key", SHOP_KEY)]);
    let ask = || {
        let mut connection = Connection::open(([127, 0, 0, 1], port).into()).expect("a connection");
        let (mut passed, mut failed) = (0_usize, Vec::<Response>::new());
        while !stop.load(Ordering::Relaxed) {
            let response = connection.send(&request).expect("a response");
            if response.status == 200 {
                passed += 1;
            } else {
                failed.push(response);
            }
        }
        (passed, failed)
    };
    std::thread::scope(|threads| {
        // also where something fails below
        let stopping = Stop(&stop);
        let clients: Vec<_> = (0..3).map(|_| threads.spawn(ask)).collect();
        for (slot, server) in servers.iter_mut().enumerate() {
            rolling.replace(slot, server);
        }
        drop(stopping);
        for client in clients {
            let (passed, failed) = client.join().expect("a client");
            assert!(
                failed.is_empty(),
                "{} of {}: {:?}",
                failed.len(),
                passed + failed.len(),
                failed.first()
            );
            assert!(passed > 20, "a client made {passed} requests only");
        }
    });
    assert_nothing_rejected(&envoy);
}
