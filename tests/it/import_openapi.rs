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

/// Asserts that descriptions with these paths are refused for a reason, or taken where there is none.
#[track_caller]
fn assert_refused(cases: &[(&str, &str)], flags: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("input.yaml");
    let head = "openapi: 3.0.3\ninfo: { title: a, version: '1' }\nservers: [{ url: 'https://a.example' }]\n\
                components: { securitySchemes: { a: { type: http, scheme: bearer }, b: { type: http, scheme: bearer } } }\n";
    for (paths, reason) in cases {
        std::fs::write(&file, format!("{head}paths:\n{paths}\n")).unwrap();
        let output = import(&[&["openapi", file.to_str().unwrap()], flags].concat());
        let told = text(&output.stderr);
        let code = if reason.is_empty() { 0 } else { 78 };
        assert_eq!(output.status.code(), Some(code), "{paths}: {told}");
        assert!(told.contains(reason), "{paths}: {told}");
    }
}

#[test]
fn a_path_that_cannot_be_read_is_never_judged_as_a_wider_one() {
    let judged = "its requests would be judged as those of `/users/{id}`";
    let admin = "  { get: { security: [{ a: [admin] }] } }";
    let user = "  /users/{id}: { get: { security: [{ a: [user] }] } }\n";
    let cases: Vec<(String, &str)> = [
        (format!("  /users/{{id}}:promote: {admin}"), judged),
        (format!("  /users/{{name}}.json: {admin}"), judged),
        (format!("  /users//me: {admin}"), judged),
        (format!("  /users/me?all=true: {admin}"), judged),
        ("  /users/me: { $ref: './me.yaml' }".to_owned(), judged),
        (
            "  /users/me: { $ref: '#/paths/~1users~1{id}', get: { security: [{ a: [admin] }] } }"
                .to_owned(),
            judged,
        ),
        ("  /users/me:".to_owned(), judged),
        ("  /users/me: { get: }".to_owned(), judged),
        (
            "  /users/me: { GET: { security: [{ a: [admin] }] } }".to_owned(),
            judged,
        ),
        (
            "  /users/me: { security: [{ a: [admin] }], get: {} }".to_owned(),
            judged,
        ),
        (
            "  /users/me: { get: { security: [{ a: admin }] } }".to_owned(),
            judged,
        ),
        (
            "  /users/me: { get: { security: [{ a: [2024] }] } }".to_owned(),
            judged,
        ),
        (
            "  /users/me: { post: { security: [{ a: admin }] } }".to_owned(),
            "",
        ),
        (format!("  /users/{{id}}.json/all: {admin}"), ""),
        (format!("  /people/{{id}}:promote: {admin}"), ""),
    ]
    .map(|(paths, reason)| (format!("{user}{paths}"), reason))
    .into();
    let cases: Vec<(&str, &str)> = cases.iter().map(|(a, b)| (a.as_str(), *b)).collect();
    assert_refused(&cases, &[]);
}

#[test]
fn an_open_template_never_opens_what_is_closed() {
    let open = "it would take requests to `/users/me`, which not everybody may call";
    let judged = "its requests would be judged as those of `/{x}`";
    assert_refused(
        &[
            (
                "  /users/{id}: { get: { security: [] } }\n  /users/me: { get: { security: [{ a: [admin] }] } }",
                open,
            ),
            (
                "  /users/{id}: { post: { security: [] } }\n  /users/me: { get: { security: [{ a: [admin] }] } }",
                open,
            ),
            (
                "  /admin: { get: { security: [{ a: [] }] }, post: { security: [{ a: [], b: [] }] } }\n  /{x}: { post: { security: [] } }",
                judged,
            ),
            (
                "  /admin: { get: { security: [] }, post: { security: [{ a: [], b: [] }] } }\n  /{x}: { post: { security: [{ a: [] }] } }",
                judged,
            ),
            (
                "  /admin: { get: { security: [] }, post: { security: [{ a: [], b: [] }] } }\n  /{x}: { post: { security: [] } }",
                "",
            ),
            (
                "  /users/{id}: { get: { security: [] }, put: { security: [{ a: [] }] } }",
                "",
            ),
        ],
        &["--allow-anonymous"],
    );
}

#[test]
fn what_is_closed_is_asked_before_what_is_open() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("input.yaml");
    std::fs::write(
        &file,
        "openapi: 3.0.3\ninfo: { title: a, version: '1' }\nservers: [{ url: 'https://a.example' }]\n\
         components: { securitySchemes: { idp: { type: http, scheme: bearer } } }\n\
         paths: { '/users/{id}': { get: { security: [{ idp: [] }] } }, /users/me: { get: { security: [] }, put: { security: [] } } }\n",
    )
    .unwrap();
    let into = folder.path().to_str().unwrap();
    let output = import(&[
        "openapi",
        file.to_str().unwrap(),
        "--allow-anonymous",
        "--write",
        into,
    ]);
    let told = text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{told}");
    assert!(
        told.contains("paths./users/me.get: its requests are judged as those of `/users/{id}`"),
        "{told}"
    );
    assert!(
        !told.contains("paths./users/me.put: its requests"),
        "{told}"
    );
    std::fs::write(
        folder.path().join("portcullis.yaml"),
        "authenticators: { idp: { type: apiKey, credentials: [{ header: x-key }] } }\n\
         catalog: { sources: [{ name: main, type: file, path: catalog }] }\n",
    )
    .unwrap();
    for (method, decided) in [("GET", "credential_missing"), ("PUT", "allow")] {
        let explained = Command::new(env!("CARGO_BIN_EXE_portcullis"))
            .args(["explain", "--config", "portcullis.yaml"])
            .args([
                "--host",
                "a.example",
                "--path",
                "/users/me",
                "--method",
                method,
            ])
            .current_dir(folder.path())
            .output()
            .unwrap();
        let told = text(&explained.stdout) + &text(&explained.stderr);
        assert!(told.contains(decided), "{method}: {told}");
    }
}
