//! Changes of the catalog while requests run.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::scene::{BAKERY_KEY, HOST, SHOP_FILE, SHOP_KEY, Scene, UNKNOWN_KEY, shop};
use crate::support::eventually;
use crate::support::http::{Connection, request_bytes};

/// How long requests run.
const LOAD: Duration = Duration::from_secs(3);

/// Sends requests with `key` one after the other until `stop`; gives every status that it saw.
fn statuses(scene: &Scene, key: &str, stop: &AtomicBool) -> BTreeSet<u16> {
    let request = request_bytes("GET", HOST, "/orders/1", &[("x-api-key", key)]);
    let mut connection = Connection::open(scene.envoy.address()).expect("a connection");
    let mut statuses = BTreeSet::new();
    while !stop.load(Ordering::Relaxed) {
        statuses.insert(connection.send(&request).expect("a response").status);
    }
    statuses
}

fn status_of_shop(scene: &Scene) -> u16 {
    scene.get_order(&[("x-api-key", SHOP_KEY)]).status
}

#[test]
fn changes_under_load_give_no_wrong_verdict() {
    let scene = Scene::start();
    let stop = AtomicBool::new(false);
    let changes_seen = Mutex::new(0);
    std::thread::scope(|threads| {
        let (scene, stop) = (&scene, &stop);
        let load = |key| threads.spawn(move || statuses(scene, key, stop));
        let [changing, steady, unknown] = [SHOP_KEY, BAKERY_KEY, UNKNOWN_KEY].map(load);
        let start = Instant::now();
        let mut states = [("suspended", 403), ("active", 200)].into_iter().cycle();
        while start.elapsed() < LOAD {
            let (state, status) = states.next().expect("a cycle has no end");
            scene
                .portcullis
                .write_catalog(SHOP_FILE, &shop(&scene.issuer, state));
            eventually("the change to take effect", || {
                (status_of_shop(scene) == status).then_some(())
            });
            *changes_seen.lock().unwrap() += 1;
        }
        stop.store(true, Ordering::Relaxed);
        assert_eq!(
            changing.join().unwrap(),
            BTreeSet::from([200, 403]),
            "the application that changes"
        );
        assert_eq!(
            steady.join().unwrap(),
            BTreeSet::from([200]),
            "the application that stays as it is"
        );
        assert_eq!(
            unknown.join().unwrap(),
            BTreeSet::from([401]),
            "a key of nobody"
        );
    });
    assert!(
        changes_seen.into_inner().unwrap() >= 2,
        "too few changes within {LOAD:?}"
    );
}

#[test]
fn a_broken_catalog_changes_nothing() {
    let scene = Scene::start();
    let counter = || {
        let metrics = scene.portcullis.metrics();
        metrics
            .lines()
            .filter(|line| line.starts_with("portcullis_catalog_") && line.contains("refused"))
            .map(ToOwned::to_owned)
            .collect::<Vec<_>>()
    };
    let before = counter();
    let broken = [
        "kind: Application\nspec: [",
        "{}",
        "apiVersion: portcullis.dev/v1alpha1\nkind: Nothing\nmetadata: { name: a }\n",
    ];
    for document in broken {
        scene.portcullis.write_catalog("broken.yaml", document);
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(700) {
            assert_eq!(status_of_shop(&scene), 200, "{document}");
            assert_eq!(
                scene.get_order(&[("x-api-key", UNKNOWN_KEY)]).status,
                401,
                "{document}"
            );
        }
    }
    assert_ne!(before, counter(), "a refused catalog is counted");
    // What comes after the mistake was corrected is taken.
    scene.portcullis.remove_catalog("broken.yaml");
    scene
        .portcullis
        .write_catalog(SHOP_FILE, &shop(&scene.issuer, "suspended"));
    eventually("the correction to take effect", || {
        (status_of_shop(&scene) == 403).then_some(())
    });
}

#[test]
fn an_empty_catalog_is_not_taken_for_no_rules() {
    let scene = Scene::start();
    for file in ["apis.yaml", "applications.yaml", SHOP_FILE] {
        scene.portcullis.remove_catalog(file);
    }
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(2) {
        assert_eq!(scene.get_order(&[]).status, 401);
        assert_eq!(scene.get_order(&[("x-api-key", UNKNOWN_KEY)]).status, 401);
    }
    assert_eq!(scene.upstream.count(), 0);
}
