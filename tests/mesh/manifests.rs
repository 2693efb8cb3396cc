//! Every manifest of `deploy/istio` through Istio's own tools.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::bed::{program, repository};

/// The files of a folder of the repository that hold objects; others hold values of charts.
fn manifests(folder: &Path) -> Vec<PathBuf> {
    let entries =
        fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut found = Vec::new();
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.is_dir() {
            found.extend(manifests(&path));
        } else if fs::read_to_string(&path)
            .is_ok_and(|text| text.lines().any(|line| line.starts_with("kind:")))
        {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn istioctl(arguments: &[&str], files: &[PathBuf]) -> Output {
    let mut command = Command::new(program("istioctl"));
    command.args(arguments).args(files);
    command.output().expect("istioctl starts")
}

fn said(output: &Output) -> String {
    let both = [output.stdout.as_slice(), &output.stderr].concat();
    String::from_utf8_lossy(&both).into_owned()
}

#[test]
fn istioctl_validate_takes_every_manifest() {
    let files = manifests(&repository("deploy/istio"));
    assert!(files.len() > 10, "{files:?}");
    for file in files {
        let output = istioctl(&["validate", "-f"], std::slice::from_ref(&file));
        let said = said(&output);
        assert!(output.status.success(), "{}: {said}", file.display());
        for line in said.lines().filter(|line| line.starts_with("\t*")) {
            assert!(expected(line), "{}: {line}", file.display());
        }
    }
}

#[test]
fn istioctl_analyze_finds_nothing_in_what_is_applied_together() {
    let mesh = repository("deploy/istio/mesh-config.yaml");
    let mesh = mesh.to_string_lossy();
    let together = |names: &[&str]| -> Vec<PathBuf> {
        names
            .iter()
            .map(|name| repository(&format!("{name}.yaml")))
            .collect()
    };
    let (base, istio) = ("deploy/kustomize/base", "deploy/istio");
    for names in [
        vec![
            "orders",
            "gateway",
            "hardening",
            "protect-check-port",
            "peer-authentication",
            "sidecar-scope",
        ],
        vec!["orders", "sidecar", "hardening-sidecar", "destination-rule"],
        vec![
            "orders",
            "gateway-api",
            "protect-check-port",
            "destination-rule",
        ],
        vec!["orders", "waypoint", "protect-check-port"],
        vec!["orders", "egress-gateway"],
        vec!["orders", "egress-sidecar"],
    ] {
        let mut paths = vec![
            format!("{base}/namespace"),
            format!("{base}/service"),
            format!("{base}/service-account"),
            format!("{base}/deployment"),
        ];
        paths.extend(names.iter().map(|name| format!("{istio}/{name}")));
        let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
        // without -A it looks at the namespace `default` alone
        let output = istioctl(
            &[
                "analyze",
                "--use-kube=false",
                "-A",
                "--meshConfigFile",
                &mesh,
            ],
            &together(&paths),
        );
        let said = said(&output);
        assert!(output.status.success(), "{names:?}: {said}");
        for line in said.lines().filter(|line| line.contains("[IST")) {
            assert!(expected(line), "{names:?}: {line}");
        }
    }
}

/// What it says of these files that is no mistake in them. What it says of a field that Envoy does not
/// have, `can't unmarshal Any`, which would do nothing, is one.
fn expected(line: &str) -> bool {
    let meant = [
        "EnvoyFilter exposes internal implementation details",
        // Istio takes the machine's own authorities; tests/mesh/egress.rs shows that it verifies
        "TLS mode set to SIMPLE but no caCertificates are set",
        // it stands before the router, which is always there
        "does not have a priority and has a relative patch operation set",
        // the way out is taken by HTTP alone
        "will deny all traffic to TCP ports under its scope due to the use of only HTTP attributes in a DENY rule",
    ];
    line.starts_with("Info") || meant.iter().any(|text| line.contains(text))
}
