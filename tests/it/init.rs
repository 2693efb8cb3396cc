//! `portcullis init istio`: what it makes, compared with what a person wrote, and looked through by our own commands.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

fn portcullis(arguments: &[&str], folder: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_portcullis"))
        .args(arguments)
        .current_dir(folder)
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

const SIDECAR: &[&str] = &[
    "--host",
    "api.example",
    "--issuer",
    "https://idp.example/realms/partners",
];
const SPIFFE: &[&str] = &[
    "--host",
    "*.example",
    "--issuer",
    "https://idp.example",
    "--audience",
    "orders: all",
    "--client-id",
    "007",
    "--namespace",
    "gate",
    "--gateway-label",
    "istio=edge",
    "--gateway-namespace",
    "edge",
    "--gateway-service-account",
    "edge",
    "--trust-domain",
    "edge.example",
    "--mode",
    "spiffe",
];

fn init(arguments: &[&str], folder: &Path) -> Output {
    portcullis(&[&["init", "istio"], arguments].concat(), folder)
}

#[test]
fn init_istio_prints_what_a_person_would_write_and_always_the_same() {
    let data = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/init");
    for (name, arguments) in [("sidecar", SIDECAR), ("spiffe", SPIFFE)] {
        let file = data.join(format!("{name}.yaml"));
        let expected = std::fs::read_to_string(&file).unwrap_or_default();
        for _ in 0..2 {
            let output = init(arguments, Path::new("."));
            assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
            let told = text(&output.stdout);
            assert_eq!(told, expected, "{} has something else", file.display());
        }
    }
}

#[test]
fn what_init_istio_writes_is_good_and_nothing_is_written_over() {
    for arguments in [SIDECAR, SPIFFE] {
        let folder = tempfile::tempdir().unwrap();
        let into = folder.path().join("made");
        let arguments = [arguments, &["--output", into.to_str().unwrap()]].concat();
        let made = init(&arguments, folder.path());
        assert_eq!(made.status.code(), Some(0), "{}", text(&made.stderr));
        assert!(made.stdout.is_empty());
        let checked = portcullis(&["check-config", "--config", "portcullis.yaml"], &into);
        assert_eq!(checked.status.code(), Some(0), "{}", text(&checked.stderr));
        assert!(
            text(&checked.stdout).contains("1 api, 1 application"),
            "{}",
            text(&checked.stdout)
        );
        let looked = portcullis(&["doctor", ".", "--output", "json"], &into);
        assert_eq!(looked.status.code(), Some(0), "{}", text(&looked.stdout));
        let found: Value = serde_json::from_slice(&looked.stdout).unwrap();
        // the chart makes the Service
        let codes: Vec<_> = found["findings"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| &one["code"])
            .collect();
        assert_eq!(codes, ["provider-service-unseen"]);
        let policy = into.join("4-policy.yaml");
        std::fs::remove_file(into.join("portcullis.yaml")).unwrap();
        std::fs::write(&policy, "mine").unwrap();
        assert_eq!(init(&arguments, folder.path()).status.code(), Some(1));
        assert_eq!(std::fs::read_to_string(&policy).unwrap(), "mine");
        assert!(!into.join("portcullis.yaml").exists(), "all or nothing");
    }
}

#[test]
fn init_istio_refuses_what_cannot_be() {
    for arguments in [
        ["--host", "a b", "--issuer", "https://idp.example"].as_slice(),
        &["--host", "a.example", "--issuer", "http://idp.example"],
        &["--host", "a.example", "--issuer", "idp"],
        &["--host", "a.example"],
        &[
            "--host",
            "a.example",
            "--issuer",
            "https://idp.example",
            "--trust-domain",
            "edge example",
        ],
        &[
            "--host",
            "a.example",
            "--issuer",
            "https://idp.example",
            "--namespace",
            "A",
        ],
        &[
            "--host",
            "a.example",
            "--issuer",
            "https://idp.example",
            "--gateway-label",
            "istio",
        ],
    ] {
        let output = init(arguments, Path::new("."));
        assert_eq!(output.status.code(), Some(64), "{arguments:?}");
        assert!(output.stdout.is_empty());
    }
}
