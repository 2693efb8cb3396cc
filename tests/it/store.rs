//! The store of a process: who may open it, and what is said where it cannot be had.

use std::process::Command;

use serde_json::json;

use crate::fiware_api::{Scene, builder};
use crate::support::portcullis::PortcullisBuilder;
use crate::support::providers::Providers;

/// Why the server does not start.
#[track_caller]
fn refused(builder: PortcullisBuilder) -> String {
    let (status, told) = builder.start_refused();
    assert_eq!(status.code(), Some(78), "{told}");
    told
}

#[tokio::test]
async fn f34_a_second_process_cannot_have_the_store() {
    let (idp, state) = (Providers::start(), tempfile::tempdir().unwrap());
    let first = builder(&idp, state.path());
    let scene = Scene::of(idp, first);
    let told = refused(builder(&scene.idp, state.path()));
    assert!(
        told.contains("store.path") && told.contains("one replica"),
        "{told}"
    );
}

#[tokio::test]
async fn a_store_that_cannot_be_had_is_told_with_its_place() {
    let (idp, state) = (Providers::start(), tempfile::tempdir().unwrap());
    let own = || builder(&idp, state.path());
    drop(own().start());
    let other_key = "another store key that is long enough, too";
    let told = refused(own().file("store-key", other_key));
    assert!(
        told.contains("not the one that it was written with"),
        "{told}"
    );
    assert!(!told.contains(other_key), "{told}");
    let told = refused(own().file("store-key", "short"));
    assert!(told.contains("32 bytes"), "{told}");
    let nowhere = json!({ "path": state.path().join("nowhere/state.db") });
    let told = refused(own().set(&["store"], nowhere));
    assert!(told.contains("cannot be opened"), "{told}");
    std::fs::write(
        state.path().join("state.db"),
        "no database at all, as anybody sees",
    )
    .unwrap();
    let told = refused(own());
    assert!(told.contains("damaged"), "{told}");
}

#[tokio::test]
async fn what_belongs_together_is_checked_together() {
    let idp = Providers::start();
    let state = tempfile::tempdir().unwrap();
    let own = || builder(&idp, state.path());
    let told = refused(own().set(&["store"], json!(null)));
    assert!(told.contains("needs the section `store"), "{told}");
    let told = refused(own().set(&["listeners", "admin", "token"], json!(null)));
    assert!(
        told.contains("listeners.admin.token") && told.contains("fiware"),
        "{told}"
    );
    let told = refused(own().set(
        &["listeners", "admin", "fiware", "provider"],
        json!("nobody"),
    ));
    assert!(told.contains("no provider of type ishare"), "{told}");
    let told = refused(own().set(&["listeners", "admin", "fiware", "source"], json!("main")));
    assert!(told.contains("no source of type store"), "{told}");
    let told = refused(own().set(
        &["catalog", "sources"],
        json!([{ "name": "admin", "type": "store", "path": "x" }]),
    ));
    assert!(told.contains("sources[0].path"), "{told}");
}

#[test]
fn the_configuration_of_the_guide_is_good() {
    let guide = include_str!("../../docs/guides/fiware.md");
    let block = guide.split("```yaml\n").nth(1).unwrap();
    let block = block.split("```").next().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("portcullis.yaml");
    std::fs::write(&path, block).unwrap();
    let loaded = portcullis::config::Config::load(&path, Vec::new());
    assert!(loaded.is_ok(), "{loaded:?}");
}

#[tokio::test]
async fn commands_look_into_the_store_beside_the_server() {
    let (idp, state) = (Providers::start(), tempfile::tempdir().unwrap());
    let first = builder(&idp, state.path());
    let scene = Scene::of(idp, first);
    scene.register("receiver.example", "/in");
    let output = Command::new(env!("CARGO_BIN_EXE_portcullis"))
        .args(["check-config", "--config", "portcullis.yaml"])
        .current_dir(scene.server.folder())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(told.contains("2 apis"), "{told}{output:?}");
    // the server still writes
    scene.register("receiver.example", "/other");
}
