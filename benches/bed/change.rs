//! A change of one file of the catalog, and what a parse of it costs by itself.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::support::portcullis::Portcullis;
use super::support::within;

/// The file that changes: the first thousand Apis.
const FILE: &str = "part-0.yaml";

/// Changes a title in one file, and waits until that is published.
pub(crate) fn change(server: &Portcullis, round: usize) {
    let before = revision(server);
    let documents = fs::read_to_string(server.folder().join("catalog").join(FILE));
    let documents = documents.expect("a file can be read");
    let changed: Vec<String> = documents
        .lines()
        .enumerate()
        .map(|(number, line)| match line.strip_prefix("  title: ") {
            Some(_) if number < 10 => format!("  title: change {round}"),
            _ => line.to_owned(),
        })
        .collect();
    server.write_catalog(FILE, &(changed.join("\n") + "\n"));
    within(
        Duration::from_secs(60),
        "the change to be published",
        || {
            thread::sleep(Duration::from_millis(50));
            (revision(server) != before).then_some(())
        },
    );
}

fn revision(server: &Portcullis) -> String {
    let metrics = server.metrics();
    let line = metrics
        .lines()
        .find(|line| line.starts_with("portcullis_catalog_info{"));
    line.expect("a revision").to_owned()
}

/// How long the YAML library needs for all files, and for the one that changes.
pub(crate) fn parse_time(server: &Portcullis) -> (Duration, Duration) {
    let files = fs::read_dir(server.folder().join("catalog")).expect("a folder");
    let files = files.map(|file| file.expect("a file").path());
    let mut changed = Duration::ZERO;
    let mut all = Duration::ZERO;
    for file in files {
        let text = fs::read_to_string(&file).expect("a file can be read");
        let started = Instant::now();
        let documents = text.split("---\n").filter(|document| !document.is_empty());
        for document in documents {
            let value: Value = serde_saphyr::from_str(document).expect("good YAML");
            assert!(value.is_object(), "no document: {value}");
        }
        let took = started.elapsed();
        all += took;
        if file.ends_with(FILE) {
            changed = took;
        }
    }
    (all, changed)
}
