//! A replica that is stopped takes no request down with it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::json;

use crate::scene::{self, HOST, SHOP_KEY};
use crate::support::envoy::EnvoyBuilder;
use crate::support::http::{Connection, Response, request_bytes};
use crate::support::issuer::Issuer;
use crate::support::upstream::Upstream;

#[test]
fn stopping_one_of_two_replicas_fails_no_request() {
    let issuer = Issuer::start();
    let upstream = Upstream::start();
    // longer than Envoy takes to see that the health is gone
    let delay = json!("1s");
    let mut leaving = scene::portcullis(&issuer)
        .set(&["checks", "drainDelay"], delay)
        .start();
    let staying = scene::portcullis(&issuer).start();
    let envoy = EnvoyBuilder::new(leaving.check_address(), upstream.address())
        .replica(staying.check_address())
        .start();
    let request = request_bytes("GET", HOST, "/orders/1", &[("x-api-key", SHOP_KEY)]);
    let stop = AtomicBool::new(false);
    let count = || {
        let mut connection = Connection::open(envoy.address()).expect("a connection");
        let mut failed: Vec<Response> = Vec::new();
        let mut passed = 0_usize;
        while !stop.load(Ordering::Relaxed) {
            let response = connection.send(&request).expect("a response");
            if response.status == 200 {
                passed += 1
            } else {
                failed.push(response)
            }
        }
        (passed, failed)
    };
    std::thread::scope(|threads| {
        let clients: Vec<_> = (0..4).map(|_| threads.spawn(count)).collect();
        std::thread::sleep(Duration::from_millis(700));
        assert_eq!(leaving.terminate(), Some(0));
        std::thread::sleep(Duration::from_millis(700));
        stop.store(true, Ordering::Relaxed);
        for client in clients {
            let (passed, failed) = client.join().unwrap();
            assert!(
                failed.is_empty(),
                "{} of {} failed, first {:?}",
                failed.len(),
                passed + failed.len(),
                failed.first()
            );
            assert!(passed > 50, "a client made {passed} requests only");
        }
    });
    let checks = |server: &crate::support::portcullis::Portcullis| {
        server.metrics().contains("portcullis_checks_total")
    };
    assert!(checks(&staying), "the other replica took over");
}

#[test]
fn a_stopped_server_ends_with_code_zero() {
    let issuer = Issuer::start();
    let mut server = scene::portcullis(&issuer).start();
    assert_eq!(server.terminate(), Some(0), "{}", server.stderr());
}
