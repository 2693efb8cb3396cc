//! What the documents promise: every reason is tested, and what only one file may do, only it does.

use std::collections::BTreeSet;
use std::path::Path;

use portcullis::check::decision::{FaultReason, Reason};

/// Every Rust file below `folder`: its path from there, and its text.
fn files(folder: &str) -> Vec<(String, String)> {
    fn collect(folder: &Path, from: &Path, files: &mut Vec<(String, String)>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                collect(&path, from, files);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(from).unwrap().display().to_string();
                files.push((name, std::fs::read_to_string(path).unwrap()));
            }
        }
    }
    let mut found = Vec::new();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    collect(&folder, &folder, &mut found);
    found
}

/// The files of the program whose own code, tests aside, contains one of `texts`.
fn sources_with(texts: &[&str]) -> Vec<String> {
    let own = |(name, text): (String, String)| {
        let is_test =
            name.ends_with("tests.rs") || name.contains("/tests/") || name.ends_with("testing.rs");
        let code = text
            .split("#[cfg(test)]")
            .next()
            .unwrap_or_default()
            .to_owned();
        (!is_test).then_some((name, code))
    };
    let found = files("src").into_iter().filter_map(own);
    found
        .filter(|(_, code)| texts.iter().any(|text| code.contains(text)))
        .map(|(name, _)| name)
        .collect()
}

#[test]
fn only_one_file_writes_a_check_response() {
    let made = sources_with(&[
        "Outgoing::of_length",
        "CheckResponse {",
        "CheckResponse::default",
        "CheckResponse::new",
    ]);
    assert_eq!(made, ["check/response/encode.rs"]);
    let used = sources_with(&["encode::allow", "encode::refuse"]);
    assert_eq!(used, ["check/response.rs"]);
}

#[test]
fn no_message_tree_of_envoys_is_built() {
    assert_eq!(sources_with(&["envoy_types"]), [""; 0]);
}

#[test]
fn only_the_module_of_tasks_spawns() {
    let spawn = [
        "tokio::spawn",
        "task::spawn",
        "thread::spawn",
        "spawn_blocking(",
    ];
    assert_eq!(sources_with(&spawn), ["task.rs"]);
}

#[test]
fn every_reason_has_a_test_that_is_named_for_it() {
    let tests: String = files("tests/it")
        .into_iter()
        .map(|(_, text)| text)
        .collect();
    // a panic cannot be brought about from outside: the service's unit tests hold it
    let faults = FaultReason::ALL
        .into_iter()
        .filter(|reason| *reason != FaultReason::Internal)
        .map(FaultReason::name);
    for reason in Reason::ALL.into_iter().map(Reason::name).chain(faults) {
        let named = tests
            .lines()
            .any(|line| line.contains("fn ") && line.contains(reason));
        let asserted = tests.contains(&format!("\"{reason}\""));
        assert!(
            named && asserted,
            "no integration test is named for `{reason}`, or none asserts it"
        );
    }
}

/// The words of `text` that begin with a number of the table of acceptance, as names of tests do.
fn numbered(text: &str) -> BTreeSet<&str> {
    let words = text.split(|char: char| !char.is_ascii_alphanumeric() && char != '_');
    let is_numbered = |word: &&str| {
        let number = word.trim_start_matches(['f', 'h', 's']);
        let digits = number.bytes().take_while(u8::is_ascii_digit).count();
        word.len() == number.len() + 1 && digits > 0 && number[digits..].starts_with('_')
    };
    words.filter(is_numbered).collect()
}

#[test]
fn every_test_of_acceptance_is_in_its_table_and_every_row_has_its_test() {
    let sources: String = ["src", "tests"]
        .into_iter()
        .flat_map(files)
        .map(|(_, text)| text)
        .collect();
    let functions = sources.lines().filter_map(|line| {
        let line = line.trim_start().trim_start_matches("async ");
        line.strip_prefix("fn ")?.split('(').next()
    });
    let functions: String = functions.flat_map(|name| [name, "\n"]).collect();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/ACCEPTANCE.md");
    let table = std::fs::read_to_string(path).unwrap();
    let (written, listed) = (numbered(&functions), numbered(&table));
    let has_row = |name: &str| {
        let id = name.split('_').next().unwrap_or_default();
        table.contains(&format!("| {} |", id.to_ascii_uppercase()))
    };
    let missing: Vec<_> = written.difference(&listed).collect();
    let missing: Vec<_> = missing.into_iter().filter(|name| has_row(name)).collect();
    assert!(missing.is_empty(), "not in docs/ACCEPTANCE.md: {missing:?}");
    let unknown: Vec<_> = listed.difference(&written).collect();
    assert!(unknown.is_empty(), "no such tests: {unknown:?}");
    let ids = (1..=36)
        .map(|id| format!("F{id}"))
        .chain((1..=15).map(|id| format!("H{id}")))
        .chain((17..=26).map(|id| format!("S{id}")))
        .chain([33, 34].map(|id| format!("S{id}")));
    for id in ids {
        let row = table
            .lines()
            .find(|line| line.starts_with(&format!("| {id} |")));
        let row = row.unwrap_or_else(|| panic!("no row for {id}"));
        let own = format!("{}_", id.to_ascii_lowercase());
        let held = numbered(row)
            .iter()
            .any(|name| name.starts_with(&own) || name.contains(&format!("_{own}")));
        assert!(
            held || row.contains("| None: "),
            "{id} is held by nothing: {row}"
        );
    }
}
