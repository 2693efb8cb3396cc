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
fn istioctl_validate_takes_every_manifest_without_a_warning() {
    let files = manifests(&repository("deploy/istio"));
    assert!(files.len() > 10, "{files:?}");
    for file in files {
        let output = istioctl(&["validate", "-f"], std::slice::from_ref(&file));
        let said = said(&output);
        assert!(output.status.success(), "{}: {said}", file.display());
        // a field of Envoy that there is not, which would do nothing
        assert!(
            !said.contains("can't unmarshal Any"),
            "{}: {said}",
            file.display()
        );
        assert!(!said.contains("arning"), "{}: {said}", file.display());
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

/// What it says of these files that is no mistake in them.
fn expected(line: &str) -> bool {
    // EnvoyFilters may change with Istio
    line.starts_with("Info")
}
