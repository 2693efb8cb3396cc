//! `portcullis doctor`: each kind of finding has a folder in `tests/data/doctor` with a bad and a good manifest.

use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::Value;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn data(name: &str) -> PathBuf {
    root().join("tests/data/doctor").join(name)
}

fn doctor(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_portcullis"))
        .arg("doctor")
        .args(arguments)
        .current_dir(data(""))
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The findings in `paths`, and the exit code.
fn findings(arguments: &[&str]) -> (Vec<Value>, Option<i32>) {
    let output = doctor(&[arguments, &["--output", "json"]].concat());
    let told: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{arguments:?}: {}", text(&output.stderr)));
    let findings = told["findings"].as_array().unwrap().clone();
    (findings, output.status.code())
}

fn kinds() -> Vec<Value> {
    let output = doctor(&["--list", "--output", "json"]);
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn every_kind_of_finding_is_found_in_the_bad_and_nothing_in_the_good() {
    let kinds = kinds();
    assert!(kinds.len() > 30, "{}", kinds.len());
    for kind in &kinds {
        let (code, level) = (kind["code"].as_str().unwrap(), kind["level"].as_str());
        let (found, exit) = findings(&[&format!("{code}/bad.yaml")]);
        let own: Vec<_> = found.iter().filter(|one| one["code"] == code).collect();
        assert!(!own.is_empty(), "{code} is not found: {found:#?}");
        assert!(own.iter().all(|one| one["level"].as_str() == level));
        assert!(own.iter().all(|one| one["line"].as_u64().unwrap() > 0));
        let errors = found.iter().any(|one| one["level"] == "error");
        assert_eq!(exit, Some(i32::from(errors)), "{code}: {found:#?}");
        let (found, exit) = findings(&[&format!("{code}/good.yaml")]);
        assert_eq!(found, [Value::Null; 0], "{code}/good.yaml: {found:#?}");
        assert_eq!(exit, Some(0), "{code}");
    }
    let folders = std::fs::read_dir(data("")).unwrap().count();
    assert_eq!(folders, kinds.len() + 1, "a folder of no kind of finding");
}

#[test]
fn a_finding_tells_file_line_why_and_what_to_do() {
    let output = doctor(&["provider-unknown/bad.yaml"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        text(&output.stdout),
        "provider-unknown/bad.yaml:26: error: provider-unknown: spec.provider.name: the mesh config has no provider `portculis`\n    \
         why: istiod takes the policy and denies every request that it matches, with 403; no status says so\n    \
         do: add it to `extensionProviders` of the mesh config, or correct the name\n\
         1 error and 0 warnings in 2 objects of 1 file\n"
    );
    assert_eq!(text(&output.stderr), "error: 1 finding is an error\n");
}

#[test]
fn the_mesh_config_is_found_wherever_it_stands_and_lines_are_those_of_the_file() {
    for (file, line) in [
        ("helm-values", 6),
        ("umbrella-values", 7),
        ("operator", 10),
        ("sail", 11),
        ("config-map", 10),
        ("list", 13),
        ("bare", 5),
    ] {
        let file = format!("places/{file}.yaml");
        for arguments in [
            [file.as_str(), "provider-unknown/good.yaml"].as_slice(),
            &["mesh-config-missing/bad.yaml", "--mesh", &file],
        ] {
            let (found, exit) = findings(arguments);
            let missing: Vec<_> = found
                .iter()
                .filter(|one| one["code"] == "timeout-missing")
                .collect();
            assert_eq!(missing.len(), 1, "{arguments:?}: {found:#?}");
            assert_eq!(missing[0]["line"], line, "{file}");
            assert_eq!(missing[0]["file"], file.as_str());
            assert_eq!(exit, Some(1));
            assert!(found.iter().all(|one| one["code"] != "mesh-config-missing"));
        }
    }
}

#[test]
fn every_match_that_leaves_requests_unchecked_is_told_by_its_place() {
    let (found, _) = findings(&["rules-in-part/bad.yaml"]);
    let told: Vec<&str> = found
        .iter()
        .filter(|one| one["code"] == "rules-in-part")
        .map(|one| one["path"].as_str().unwrap())
        .collect();
    for place in [
        "from[0].source.ipBlocks",
        "to[0].operation.methods",
        "from[0].source.notIpBlocks",
        "to[0].operation.notMethods",
        "from[0].source.remoteIpBlocks",
        "from[0].source.notRemoteIpBlocks",
        "to[0].operation.ports",
        "to[0].operation.notPorts",
        "to[0].operation.notHosts",
        "to[0].operation.notPaths[0]",
        "when[0].key",
    ] {
        assert!(
            told.iter().any(|one| one.ends_with(place)),
            "{place}: {told:#?}"
        );
    }
    assert_eq!(told.len(), 11, "{told:#?}");
}

#[test]
fn a_listener_is_open_where_it_says_in_no_way_who_may_ask() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("portcullis.yaml");
    let own = "certificate: { file: a }, key: { file: b }";
    for (keys, is_open) in [
        ("peers: { requestXfcc: true }".to_owned(), true),
        ("peers: {}".to_owned(), true),
        ("peers: { allow: null }".to_owned(), true),
        (format!("tls: {{ {own} }}"), true),
        (format!("tls: {{ {own}, clientCa: {{ file: c }} }}"), false),
        ("tls: { spiffe: {} }".to_owned(), false),
        ("peers: { any: 'a network policy' }".to_owned(), false),
        (
            "peers: { allow: ['spiffe://a/b'], requestXfcc: true }".to_owned(),
            false,
        ),
    ] {
        let content = format!(
            "listeners: {{ inbound: {{ type: check, address: 0.0.0.0:9001, {keys} }} }}\n\
             catalog: {{ sources: [{{ name: main, type: file, path: catalog }}] }}\n"
        );
        std::fs::write(&file, content).unwrap();
        let (found, _) = findings(&[file.to_str().unwrap()]);
        let told = found.iter().any(|one| one["code"] == "listener-open");
        assert_eq!(told, is_open, "{keys}: {found:#?}");
    }
}

#[test]
fn a_mesh_wide_policy_that_takes_in_a_narrow_one_of_another_provider_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let policy = |name: &str, namespace: &str, selector: &str, provider: &str| {
        format!(
            "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\n\
             metadata: {{ name: {name}, namespace: {namespace} }}\n\
             spec: {{ {selector} action: CUSTOM, provider: {{ name: {provider} }}, rules: [{{}}] }}\n---\n"
        )
    };
    let labels = |labels: &str| format!("selector: {{ matchLabels: {{ {labels} }} }},");
    let pods = |labels: &str| {
        format!(
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{ name: a, namespace: shop }}\n\
             spec: {{ template: {{ metadata: {{ labels: {{ {labels} }} }}, spec: {{ containers: [] }} }} }}\n---\n"
        )
    };
    let narrow = policy("narrow", "shop", &labels("app: orders"), "b");
    for (other, overlap) in [
        (policy("wide", "istio-system", "", "a"), true),
        (policy("wide", "shop", "", "a"), true),
        (policy("wide", "bank", "", "a"), false),
        (
            policy("more", "shop", &labels("app: orders, tier: x"), "a"),
            true,
        ),
        (policy("else", "shop", &labels("app: bills"), "a"), false),
        (policy("else", "shop", &labels("tier: x"), "a"), false),
        (
            policy("same", "shop", &labels("tier: x"), "a") + &pods("app: orders, tier: x"),
            true,
        ),
        (policy("same", "shop", &labels("app: orders"), "b"), false),
        // the same object: it takes the other's place
        (policy("narrow", "shop", &labels("app: orders"), "a"), false),
    ] {
        let file = folder.path().join("policies.yaml");
        std::fs::write(&file, format!("{narrow}{other}")).unwrap();
        let (found, _) = findings(&[file.to_str().unwrap()]);
        let several = found.iter().any(|one| one["code"] == "providers-several");
        assert_eq!(several, overlap, "{other}\n{found:#?}");
    }
}

#[test]
fn what_cannot_be_read_ends_with_78_and_a_missing_path_with_64() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(path("broken.yaml"), "kind: [\n").unwrap();
    std::fs::create_dir(path("chart")).unwrap();
    std::fs::write(path("chart/Chart.yaml"), "name: a\n").unwrap();
    std::fs::create_dir(path("empty")).unwrap();
    for (name, told) in [
        ("broken.yaml", "broken.yaml:"),
        ("nowhere.yaml", "cannot be read"),
        ("chart", "it is a Helm chart"),
        ("empty", "there are no files of manifests"),
    ] {
        let output = doctor(&[&path(name)]);
        assert_eq!(output.status.code(), Some(78), "{name}");
        assert!(
            text(&output.stderr).contains(told),
            "{}",
            text(&output.stderr)
        );
        assert!(output.stdout.is_empty());
    }
    assert_eq!(doctor(&[]).status.code(), Some(64));
}

#[test]
fn the_guide_has_the_table_of_every_kind_of_finding() {
    let guide = std::fs::read_to_string(root().join("docs/guides/doctor.md")).unwrap();
    let table = text(&doctor(&["--list"]).stdout);
    assert!(
        guide.contains(&table),
        "docs/guides/doctor.md has not what `portcullis doctor --list` prints"
    );
}

/// The manifests in a folder of `deploy`, without its folders.
fn deployed(folder: &str) -> Vec<String> {
    let entries = std::fs::read_dir(root().join("deploy").join(folder)).unwrap();
    let files = entries.map(|entry| entry.unwrap().path());
    files
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "yaml")
        })
        .map(|path| path.display().to_string())
        .collect()
}

#[test]
fn the_manifests_under_deploy_have_no_findings() {
    for folders in [
        ["istio", "kustomize/base"].as_slice(),
        &["istio/spire"],
        &["istio/node-local"],
        &["istio", "istio/node-local", "kustomize/base"],
        &["kustomize/base", "kustomize/sidecar"],
        &["kustomize/base", "kustomize/spiffe"],
        &["kustomize/base", "kustomize/ambient"],
        &["openshift", "kustomize/base"],
    ] {
        let paths: Vec<String> = folders.iter().flat_map(|folder| deployed(folder)).collect();
        let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
        let (found, exit) = findings(&paths);
        assert_eq!(found, [Value::Null; 0], "{folders:?}: {found:#?}");
        assert_eq!(exit, Some(0));
    }
}
