//! What is revoked in a file: taken whole, or not at all.

use std::fs;
use std::time::Instant;

use serde_json::{Value, json};

use super::{admin, earlier, later};
use crate::gate::{Gate, metadata, refused};
use crate::support::{PATIENCE, eventually};

const EMPTY: &str = "[]\n";

fn start(content: &str) -> Gate {
    Gate::with(|builder, _| {
        builder.file("revoked.yaml", content).set(
            &["revocation"],
            json!({ "sources": [{ "type": "file", "path": "revoked.yaml" }] }),
        )
    })
}

/// In place, as an editor may write.
fn write(gate: &Gate, content: &str) {
    fs::write(gate.server.folder().join("revoked.yaml"), content).unwrap();
}

fn alice(note: &str) -> String {
    let before = jiff::Timestamp::from_second(jiff::Timestamp::now().as_second() + 1).unwrap();
    format!("- {{ kind: subject, value: alice, before: \"{before}\", note: {note} }}\n")
}

/// Asks with a token of alice until the answer has this reason.
async fn until(gate: &Gate, reason: &str) {
    let (start, token) = (Instant::now(), earlier(gate).sign());
    loop {
        let found = metadata(&gate.ask_with(&token).await, "reason").unwrap();
        if found == reason {
            return;
        }
        assert!(
            start.elapsed() < PATIENCE,
            "still {found}\n{}",
            gate.server.stderr()
        );
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

fn source(gate: &Gate) -> Value {
    gate.server.admin("/v1/revocations").json()["sources"][0].clone()
}

#[tokio::test]
async fn a_file_is_read_at_the_start_and_whenever_it_changes() {
    let gate = start(&alice("first"));
    refused(
        &gate.ask_with(&earlier(&gate).sign()).await,
        "token_revoked",
    );
    let listed = gate.server.admin("/v1/revocations").json();
    let entry = &listed["revocations"][0];
    assert_eq!(
        (&entry["by"], &entry["note"]),
        (&json!("file"), &json!("first"))
    );
    let target = format!("/v1/revocations/{}", entry["id"].as_str().unwrap());
    assert_eq!(admin(&gate.server, "DELETE", &target, "").status, 409);
    write(&gate, EMPTY);
    until(&gate, "permitted").await;
    write(&gate, &alice("again"));
    until(&gate, "token_revoked").await;
    assert!(
        gate.server
            .metrics()
            .contains("portcullis_revocation_age_seconds{source=\"revoked.yaml\"}")
    );
}

#[tokio::test]
async fn a_file_that_is_bad_emptied_or_gone_leaves_what_it_said_in_force() {
    let gate = start(&alice("first"));
    let good = alice("second");
    for bad in [
        "",
        "# nothing\n",
        "~\n",
        &good[..good.len() - 10],
        "- { kind: subject, value: bob }\n",
    ] {
        write(&gate, bad);
        let problem = eventually("the file to be refused", || {
            source(&gate)["problem"].as_str().map(ToOwned::to_owned)
        });
        assert!(problem.contains("revoked.yaml"), "{problem}");
        refused(
            &gate.ask_with(&earlier(&gate).sign()).await,
            "token_revoked",
        );
        write(&gate, &good);
        eventually("the file to be taken", || {
            source(&gate)["problem"].is_null().then_some(())
        });
    }
    fs::remove_file(gate.server.folder().join("revoked.yaml")).unwrap();
    eventually("the file to be missed", || {
        source(&gate)["problem"].as_str().map(drop)
    });
    refused(
        &gate.ask_with(&earlier(&gate).sign()).await,
        "token_revoked",
    );
    let good_again = gate.token().claim("iat", later()).sign();
    crate::gate::allowed(&gate.ask_with(&good_again).await);
    assert!(
        gate.server
            .stderr()
            .contains("refused; what it said last stays revoked")
    );
}
