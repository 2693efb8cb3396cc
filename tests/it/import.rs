//! `portcullis import`: what it makes of other gateways' files, compared with what a person wrote.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::support::authority::Authority;

pub(crate) fn data(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/import");
    folder.join(name)
}

/// Runs the command in the folder of the test data, where files have their own names alone.
pub(crate) fn import(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_portcullis"))
        .arg("import")
        .args(arguments)
        .current_dir(data(""))
        .output()
        .unwrap()
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Asserts that the import gives what stands in `name.expected.yaml` and `name.report.txt`.
#[track_caller]
pub(crate) fn assert_golden(name: &str, arguments: &[&str]) {
    let output = import(arguments);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    for (kind, told) in [
        ("expected.yaml", output.stdout),
        ("report.txt", output.stderr),
    ] {
        let file = data(&format!("{name}.{kind}"));
        let expected = std::fs::read_to_string(&file).unwrap_or_default();
        let told = text(&told);
        assert_eq!(told, expected, "{} has something else", file.display());
    }
}

/// Asserts that `check-config` takes what the import writes.
#[track_caller]
fn assert_good(arguments: &[&str], apis: &str) {
    let folder = tempfile::tempdir().unwrap();
    let into = folder.path().join("made");
    let arguments = [arguments, &["--write", into.to_str().unwrap()]].concat();
    let output = import(&arguments);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(output.stdout.is_empty());
    let party = Authority::new().party("EU.EORI.NL000000001");
    for client in ["EU.EORI.NL000000001", "EU.EORI.NL000000002"] {
        let certs = into.join("certs").join(client);
        std::fs::create_dir_all(&certs).unwrap();
        std::fs::write(certs.join("key.pem"), party.key_pem()).unwrap();
        std::fs::write(certs.join("cert.cer"), party.chain_pem()).unwrap();
    }
    let checked = Command::new(env!("CARGO_BIN_EXE_portcullis"))
        .args(["check-config", "--config"])
        .arg(into.join("portcullis.yaml"))
        .output()
        .unwrap();
    let told = text(&checked.stdout) + &text(&checked.stderr);
    assert_eq!(checked.status.code(), Some(0), "{told}");
    assert!(told.contains(apis), "{told}");
    // what is there is not written over
    assert_eq!(import(&arguments).status.code(), Some(1));
}

const FIWARE: [(&str, &[&str], &str); 6] = [
    ("fiware-plugin", &["fiware", "fiware-plugin.json"], "5 apis"),
    (
        "fiware-extension",
        &["fiware", "fiware-extension.yaml"],
        "2 apis",
    ),
    (
        "fiware-extension-top-level",
        &["fiware", "fiware-extension-top-level.yaml"],
        "2 apis",
    ),
    (
        "fiware-everything",
        &["fiware", "fiware-everything.json"],
        "1 api",
    ),
    (
        "fiware-endpoints",
        &["fiware", "fiware-endpoints.json"],
        "3 apis",
    ),
    (
        "fiware-endpoints-alone",
        &[
            "fiware",
            "fiware-endpoints-alone.json",
            "--credentials",
            "fiware-credentials.json",
        ],
        "1 api",
    ),
];

const HEADER_FILTER: [(&str, &[&str], &str); 2] = [
    (
        "header-filter",
        &["header-filter", "header-filter.json", "--host", "a.example"],
        "1 api",
    ),
    (
        "header-filter-envoyfilter",
        &["header-filter", "header-filter-envoyfilter.yaml"],
        "1 api",
    ),
];

#[test]
fn f8_fiwares_configurations_become_what_a_person_would_write() {
    for (name, arguments, _) in FIWARE {
        assert_golden(name, arguments);
    }
}

#[test]
fn f8_what_was_imported_is_a_good_configuration() {
    for (_, arguments, apis) in FIWARE {
        assert_good(arguments, apis);
    }
}

#[test]
fn f8_the_nested_and_the_top_level_form_mean_the_same() {
    let apis = |name: &str| {
        let output = text(&import(&["fiware", name]).stdout);
        output.split_once("# catalog").unwrap().1.to_owned()
    };
    assert_eq!(
        apis("fiware-extension.yaml"),
        apis("fiware-extension-top-level.yaml")
    );
}

#[test]
fn f31_credentials_are_named_and_never_exported() {
    let output = import(&["fiware", "fiware-endpoints.json"]);
    let (made, report) = (text(&output.stdout), text(&output.stderr));
    assert!(
        made.contains("file: certs/EU.EORI.NL000000001/key.pem"),
        "{made}"
    );
    assert!(!made.contains("PRIVATE KEY"));
    assert!(
        report.contains("certs/EU.EORI.NL000000001: copy key.pem"),
        "{report}"
    );
}

#[test]
fn h2_the_header_filters_configuration_becomes_what_a_person_would_write() {
    for (name, arguments, apis) in HEADER_FILTER {
        assert_golden(name, arguments);
        assert_good(arguments, apis);
    }
}

#[test]
fn h2_a_bare_number_is_refused_with_its_field() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bare.json");
    for (content, told) in [
        (
            r#"{ "header_cache_expiry": 360 }"#,
            "header_cache_expiry: a duration has a unit",
        ),
        (
            r#"{ "header_cache_expiry": "360" }"#,
            "header_cache_expiry: it is no duration",
        ),
        (
            r#"{ "header_providing_service_path": [] }"#,
            "header_providing_service_path: it must be a text",
        ),
    ] {
        std::fs::write(&file, content).unwrap();
        let output = import(&["header-filter", file.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(78));
        assert!(
            text(&output.stderr).contains(told),
            "{}",
            text(&output.stderr)
        );
    }
}

#[test]
fn a_configuration_of_something_else_is_refused_and_nothing_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let (file, made) = (folder.path().join("input.json"), folder.path().join("made"));
    let (fiware, filter) = ("FIWARE's filter", "the header-augmenting filter");
    for (from, content, of) in [
        ("fiware", "{}", fiware),
        (
            "fiware",
            r#"{ "header_providing_service_path": "/" }"#,
            fiware,
        ),
        (
            "fiware",
            r#"{ "kind": "WasmPlugin", "spec": { "pluginConfig": { "a": 1 } } }"#,
            fiware,
        ),
        (
            "header-filter",
            r#"{ "general": {}, "endpoints": {} }"#,
            filter,
        ),
        ("header-filter", r#"{ "authType": "ISHARE" }"#, filter),
    ] {
        std::fs::write(&file, content).unwrap();
        let paths = [file.to_str().unwrap(), "--write", made.to_str().unwrap()];
        let output = import(&[&[from], paths.as_slice()].concat());
        let told = text(&output.stderr);
        assert_eq!(output.status.code(), Some(78), "{content}: {told}");
        let expected = format!("this is no configuration of {of}; expected one of `");
        assert!(told.contains(&expected), "{content}: {told}");
        assert!(output.stdout.is_empty() && !made.exists());
    }
}

#[test]
fn a_header_filter_without_keys_has_its_defaults_and_the_report_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("empty.json");
    std::fs::write(&file, "{}").unwrap();
    let output = import(&["header-filter", file.to_str().unwrap()]);
    let told = text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{told}");
    assert!(told.contains("the filter's defaults count"), "{told}");
}

#[test]
fn what_cannot_be_imported_ends_with_78_and_a_wrong_flag_with_64() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("input");
    for content in [
        "",
        "{",
        "[]",
        "[1]",
        "{ a: [",
        "kind: Service\nspec: {}\n",
        "1",
    ] {
        std::fs::write(&file, content).unwrap();
        let output = import(&["fiware", file.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(78), "{content:?} {output:?}");
        assert!(output.stdout.is_empty());
    }
    assert_eq!(import(&["fiware", "nowhere.json"]).status.code(), Some(78));
    assert_eq!(import(&["fiware"]).status.code(), Some(64));
    assert_eq!(import(&["wso3"]).status.code(), Some(64));
}
