//! What the documents promise: every reason is tested, every example loads.

use portcullis::check::decision::{FaultReason, Reason};

/// The text of every integration test.
fn tests() -> String {
    fn collect(folder: &std::path::Path, text: &mut String) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                collect(&path, text);
            } else {
                text.push_str(&std::fs::read_to_string(path).unwrap());
            }
        }
    }
    let mut text = String::new();
    collect(
        &std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it"),
        &mut text,
    );
    text
}

#[test]
fn every_reason_has_a_test_that_is_named_for_it() {
    let tests = tests();
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
