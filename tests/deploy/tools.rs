//! The programs that these tests run, at the versions that scripts/ pins.

use std::io::Write as _;
use std::process::{Command, Output};

use tempfile::NamedTempFile;

use crate::objects::at;

/// Runs a program of `.tools/bin`.
pub(crate) fn run(program: &str, arguments: impl IntoIterator<Item = String>) -> Output {
    let path = at(".tools/bin").join(program);
    let output = Command::new(&path).args(arguments).output();
    output.unwrap_or_else(|error| {
        panic!("{program} cannot be run, {error}; this installs it: scripts/install-{program}.sh")
    })
}

/// Its standard output, where it ends well.
pub(crate) fn output(program: &str, arguments: impl IntoIterator<Item = String>) -> String {
    let output = run(program, arguments);
    assert!(
        output.status.success(),
        "{program}: {}",
        text(&output.stderr)
    );
    text(&output.stdout)
}

/// Bytes of a program, as text.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What kubeconform finds wrong with objects, in words.
pub(crate) fn kubeconform(objects: &str) -> Result<(), String> {
    let mut file = NamedTempFile::with_suffix(".yaml").expect("a temporary file");
    file.write_all(objects.as_bytes()).expect("a file to write");
    let schemas = |folder: &str| {
        let name = "{{.ResourceKind}}{{.KindSuffix}}.json";
        format!("{}/{name}", at(folder).display())
    };
    let output = run(
        "kubeconform",
        [
            "-strict".to_owned(),
            "-summary".to_owned(),
            "-schema-location".to_owned(),
            schemas("tests/data/schemas"),
            "-schema-location".to_owned(),
            schemas("tests/data/schemas/own"),
            file.path().display().to_string(),
        ],
    );
    let told = text(&output.stdout);
    if output.status.success() && !told.contains(" 0 resource found") {
        Ok(())
    } else {
        Err(format!("{told}{}", text(&output.stderr)))
    }
}
