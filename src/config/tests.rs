use std::path::Path;

use crate::config::Config;
use crate::config::load::Loaded;
use crate::config::overrides::Override;
use crate::config::quick::Quick;
use crate::problem::Problems;

const MINIMAL: &str = "catalog: { sources: [{ name: main, type: file, path: catalog }] }\n";

fn load(text: &str, overrides: &[(&str, &str)]) -> Result<Loaded, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("portcullis.yaml");
    std::fs::write(&path, text).unwrap();
    let overrides = overrides.iter().map(|(variable, value)| Override {
        variable: (*variable).to_owned(),
        value: (*value).to_owned(),
    });
    Config::load(&path, overrides.collect()).map_err(|problems| {
        let folder = format!("{}/", folder.path().display());
        problems.to_string().replace(&folder, "")
    })
}

#[test]
fn the_defaults_are_those_of_the_vocabulary() {
    let config = load(MINIMAL, &[]).unwrap().config;
    let listeners: Vec<(&str, String)> = config
        .listeners
        .iter()
        .map(|(name, listener)| (name.as_str(), listener.address().to_string()))
        .collect();
    assert_eq!(
        listeners,
        [
            ("admin", "127.0.0.1:9002".to_owned()),
            ("inbound", "127.0.0.1:9001".to_owned()),
            ("observe", "127.0.0.1:9090".to_owned())
        ]
    );
    assert_eq!(config.checks.deadline.to_string(), "400ms");
    assert_eq!(config.checks.max_concurrent, 10_000);
    assert_eq!(
        config.checks.decision_header().unwrap().as_str(),
        "x-decision-id"
    );
    assert!(config.known().authenticators.contains_key("anonymous"));
}

#[test]
fn every_problem_of_meaning_is_found_at_once() {
    let text = "\
listeners:
  a: { type: admin, address: 127.0.0.1:1 }
  b: { type: observe, address: 127.0.0.1:1 }
checks:
  deadline: 0s
  decisionHeader: host
authenticators:
  anonymous: { type: apiKey, credentials: [{ header: x-a }] }
  a_b: { type: apiKey, credentials: [{ header: x-b }] }
catalog:
  sources:
    - { name: x, type: file, path: a }
    - name: x
      type: file
      path: b
";
    let problems = load(text, &[]).unwrap_err();
    let expected = [
        "portcullis.yaml:3: listeners.b.address: is the address of `a` already",
        "portcullis.yaml:1: listeners: no listener of type check",
        "portcullis.yaml:5: checks.deadline: it must lie between 1ms and 60s",
        "portcullis.yaml:6: checks.decisionHeader: this header belongs to Envoy",
        "portcullis.yaml:9: authenticators.a_b: `a_b` is no name",
        "portcullis.yaml:8: authenticators.anonymous: always exists",
        "portcullis.yaml:13: catalog.sources[1].name: `x` stands twice",
    ];
    let lines: Vec<&str> = problems.lines().collect();
    for line in expected {
        assert!(problems.contains(line), "{line}\n{problems}");
    }
    assert!(lines.len() >= expected.len(), "{problems}");
}

#[test]
fn the_first_structural_problem_has_its_place() {
    for (text, expected) in [
        (
            "listeners: {}\nlisters: {}\n",
            "portcullis.yaml:2: listers: unknown field",
        ),
        (
            "checks:\n  deadlin: 3s\n",
            "portcullis.yaml:2: checks.deadlin: unknown field",
        ),
        (
            "checks:\n  deadline: 3\n",
            "portcullis.yaml:2: checks.deadline: it must be a duration",
        ),
        (
            "authenticators:\n  a:\n    type: magic\n",
            "authenticators.a.type: unknown type; known are",
        ),
        (
            "catalog:\n  sources:\n    - name: x\n      type: ftp\n",
            "portcullis.yaml:4: catalog.sources[0].type: ",
        ),
        (
            "listeners:\n  admin:\n    type: admin\n    address: 127.0.0.1:1\n    token: hunter2\n",
            "secrets are never inline: write { file: … } or { env: … }",
        ),
        (
            "a: 1\n---\nb: 2\n",
            "portcullis.yaml: it has several documents",
        ),
        ("", "catalog.sources: name a source at least"),
    ] {
        let problem = load(text, &[]).unwrap_err();
        assert!(problem.contains(expected), "{text:?}: {problem}");
        assert!(!problem.contains("hunter2"), "{problem}");
    }
    assert!(
        Config::load(Path::new("/nowhere/x.yaml"), Vec::new())
            .unwrap_err()
            .to_string()
            .contains("cannot read `/nowhere/x.yaml`")
    );
}

#[test]
fn no_value_is_repeated() {
    let jwt = |line: &str| {
        format!("authenticators:\n  a:\n    type: jwt\n    issuer: https://i.example\n    {line}\n")
    };
    for text in [
        jwt("keys: hunter2hunter2"),
        jwt("keys: \"hunter2`, expected `x\""),
        jwt("subscriptions: hunter2hunter2"),
        jwt("subscriptions: \"hunter2\\nhunter2\""),
        jwt("audience: hunter2hunter2"),
        jwt("leeway: hunter2hunter2"),
        jwt("claims: hunter2hunter2"),
        jwt("claims: [hunter2]"),
        "authenticators:\n  a:\n    type: hunter2\n".to_owned(),
        "checks:\n  maxConcurrent: hunter2\n".to_owned(),
        "checks: hunter2\n".to_owned(),
        "catalog:\n  sources: [hunter2]\n".to_owned(),
        "telemetry: hunter2\n".to_owned(),
        "hunter2\n".to_owned(),
    ] {
        let problem = load(&text, &[]).unwrap_err();
        assert!(!problem.contains("hunter2"), "{text}: {problem}");
    }
    let problem = load(&jwt("subscriptions: hunter2"), &[]).unwrap_err();
    assert!(
        problem.contains("unknown variant, expected one of catalog, "),
        "{problem}"
    );
}

#[test]
fn overrides_reach_scalars_that_the_file_has() {
    let text = format!(
        "{MINIMAL}listeners:\n  my-in: {{ type: check, address: \"127.0.0.1:5\" }}\nchecks:\n  maxConcurrent: 5\n"
    );
    let config = load(
        &text,
        &[
            ("PORTCULLIS__LISTENERS__MY_IN__ADDRESS", "0.0.0.0:7"),
            ("PORTCULLIS__CHECKS__MAX_CONCURRENT", "9"),
            ("PORTCULLIS__CATALOG__SOURCES__0__PATH", "a b: c\n, }"),
        ],
    )
    .unwrap()
    .config;
    assert_eq!(config.listeners["my-in"].address().to_string(), "0.0.0.0:7");
    assert_eq!(config.checks.max_concurrent, 9);
    assert_eq!(config.catalog.sources[0].path, Path::new("a b: c\n, }"));
    for (variable, expected) in [
        ("PORTCULLIS__CHECKS__DEADLINE", "names nothing in the file"),
        ("PORTCULLIS__CHECKS", "names something that is no scalar"),
        ("PORTCULLIS__", "names nothing in the file"),
        (
            "PORTCULLIS__CHECKS__MAX_CONCURRENT",
            "checks.maxConcurrent: it must be one at least; the environment variable",
        ),
        (
            "PORTCULLIS__LISTENERS__MY_IN__ADDRESS",
            "listeners.my-in.address: ",
        ),
    ] {
        let problem = load(&text, &[(variable, "0")]).unwrap_err();
        assert!(
            problem.contains(expected) && problem.contains(variable),
            "{problem}"
        );
    }
}

#[test]
fn sections_are_compared_by_what_they_say() {
    let text = format!("{MINIMAL}checks: {{ deadline: 1s }}\n");
    let same = format!("# c\nchecks:\n  deadline: \"1s\"\n{MINIMAL}");
    let other = format!("{MINIMAL}checks: {{ deadline: 2s }}\nauthenticators: {{}}\n");
    let loaded = load(&text, &[]).unwrap();
    assert!(
        loaded
            .changed_sections(&load(&same, &[]).unwrap())
            .is_empty()
    );
    assert_eq!(
        loaded.changed_sections(&load(&other, &[]).unwrap()),
        ["checks", "authenticators"]
    );
}

#[test]
fn the_short_form_is_a_configuration() {
    let quick = |headers: &[&str]| {
        let headers: Vec<String> = headers.iter().map(|&header| header.to_owned()).collect();
        quick_of(headers)
    };
    let loaded = quick(&["x-user={principal.subject}"]).unwrap();
    assert!(loaded.config.authenticators.contains_key("token"));
    assert!(quick(&["x-user"]).is_err());
}

fn quick_of(headers: Vec<String>) -> Result<Loaded, Problems> {
    let quick = Quick {
        issuer: "https://idp.example".to_owned(),
        audiences: vec!["orders".to_owned()],
        headers,
        allow_http_issuer: false,
        listen: None,
    };
    quick.into_loaded()
}
