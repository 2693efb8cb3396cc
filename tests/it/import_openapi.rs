//! `portcullis import openapi`: the Api that it makes of a description.

use std::path::Path;
use std::process::Command;

use crate::import::{assert_golden, import, text};

const OPENAPI: &[&str] = &["openapi", "openapi.yaml"];
const SWAGGER: &[&str] = &[
    "openapi",
    "swagger.json",
    "--name",
    "pets",
    "--allow-anonymous",
];

#[test]
fn a_description_becomes_what_a_person_would_write() {
    assert_golden("openapi", OPENAPI);
    assert_golden("swagger", SWAGGER);
}

/// The answer of `check-config` where the authenticators are those that the report names.
#[track_caller]
fn check(arguments: &[&str], authenticators: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let output = import(&[arguments, &["--write", folder.path().to_str().unwrap()]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let kinds: String = authenticators
        .iter()
        .map(|name| {
            format!("  {name}: {{ type: apiKey, credentials: [{{ header: x-{name} }}] }}\n")
        })
        .collect();
    let configuration = format!(
        "authenticators:\n{kinds}catalog: {{ sources: [{{ name: main, type: file, path: catalog }}] }}\n"
    );
    let file = folder.path().join("portcullis.yaml");
    std::fs::write(&file, configuration).unwrap();
    let checked = Command::new(env!("CARGO_BIN_EXE_portcullis"))
        .args(["check-config", "--config"])
        .arg(file)
        .output()
        .unwrap();
    let told = text(&checked.stdout) + &text(&checked.stderr);
    assert_eq!(checked.status.code(), Some(0), "{told}");
    told
}

#[test]
fn what_was_imported_of_a_description_is_a_good_catalog() {
    assert!(check(OPENAPI, &["idp", "key"]).contains("good: 1 api,"));
    assert!(check(SWAGGER, &["petstore-auth", "api-key", "app"]).contains("good: 2 apis,"));
    let one = [
        OPENAPI,
        &["--authenticator", "partners", "--host", "a.example"],
    ]
    .concat();
    assert!(check(&one, &["partners"]).contains("good: 1 api,"));
}

#[test]
fn operations_for_everybody_are_refused_unless_they_are_allowed() {
    let output = import(&["openapi", "swagger.json"]);
    assert_eq!(output.status.code(), Some(78));
    assert!(output.stdout.is_empty());
    let told = text(&output.stderr);
    assert!(
        told.contains("paths./health.get: everybody may call it"),
        "{told}"
    );
    assert!(
        told.contains("paths./login.get: everybody may call it"),
        "{told}"
    );
    assert!(!told.contains("/pet"), "{told}");
}

#[test]
fn what_is_no_description_of_an_api_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("input.yaml");
    let path: &Path = &file;
    let head = "info: { title: a, version: '1' }\npaths: { /a: { get: {} } }\n";
    for (content, told) in [
        ("{}".to_owned(), "this is no description of an API"),
        (format!("swagger: 1.2\n{head}"), "this version is not known"),
        (format!("openapi: 2.0.0\n{head}"), "this version is not known"),
        (format!("openapi: 3.0.3\n{head}"), "no server of it names a host"),
        (
            format!("openapi: 3.0.3\nservers: [{{ url: 'https://{{a}}.example' }}]\n{head}"),
            "the variable `a` has no default",
        ),
        (
            format!("openapi: 3.0.3\nservers: [{{ url: 'nowhere' }}]\n{head}"),
            "`nowhere` is no address",
        ),
        (
            "openapi: 3.0.3\ninfo: { title: a, version: 1.10 }\n".to_owned(),
            "info.version: it must be a text: write it in quotes",
        ),
        ("openapi: 3.0.3\ninfo: { title: a }\n".to_owned(), "info.version"),
        (
            "openapi: 3.0.3\ninfo: { title: a, version: '1' }\nservers: [{ url: 'https://a.example' }]\n".to_owned(),
            "paths: it is missing",
        ),
        (
            "openapi: 3.0.3\ninfo: { title: a, version: '1' }\nservers: [{ url: 'https://a.example' }]\npaths: { /a: { $ref: './b.yaml' } }\n".to_owned(),
            "no operation of it can be carried over",
        ),
    ] {
        std::fs::write(path, &content).unwrap();
        let output = import(&["openapi", path.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(78), "{content}");
        assert!(text(&output.stderr).contains(told), "{content}: {}", text(&output.stderr));
        assert!(output.stdout.is_empty());
    }
    let named = import(&["openapi", "openapi.yaml", "--name", "../a"]);
    assert_eq!(named.status.code(), Some(64));
}

#[test]
fn what_cannot_be_carried_over_is_never_judged_as_something_wider() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("input.yaml");
    let head = "openapi: 3.0.3\ninfo: { title: a, version: '1' }\nservers: [{ url: 'https://a.example' }]\n\
                components: { securitySchemes: { a: { type: http, scheme: bearer }, b: { type: http, scheme: bearer } } }\n";
    let both = "get: { security: [{ a: [], b: [] }] }";
    let open = "get: { security: [{ a: [] }] }";
    for (paths, code) in [
        (
            format!("{{ '/x/admin': {{ {both} }}, '/x/{{id}}': {{ {open} }} }}"),
            78,
        ),
        (
            format!("{{ '/x/{{id}}': {{ {both} }}, '/{{all}}/y': {{ {open} }} }}"),
            78,
        ),
        (
            format!("{{ '/x/admin': {{ {both} }}, '/x/{{id}}/z': {{ {open} }} }}"),
            0,
        ),
        (
            format!("{{ '/x/admin': {{ {both}, put: {{}} }}, '/x/{{id}}': {{ {open} }} }}"),
            0,
        ),
    ] {
        std::fs::write(&file, format!("{head}paths: {paths}\n")).unwrap();
        let output = import(&["openapi", file.to_str().unwrap()]);
        let told = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{paths}: {told}");
        assert_eq!(
            told.contains("would be judged as those of"),
            code == 78,
            "{told}"
        );
    }
}
