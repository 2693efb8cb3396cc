use super::*;
use crate::catalog::build::build;
use crate::catalog::source::file::SourceFiles;
use crate::config::load::Loaded;
use crate::config::{Config, SECTIONS};

#[test]
fn the_generated_documents_are_up_to_date() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    for (name, text) in references() {
        let there = std::fs::read_to_string(folder.join(name)).unwrap_or_default();
        assert!(
            there == text,
            "docs/{name} is stale: run `make schema` and commit it"
        );
    }
}

#[test]
fn the_examples_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("portcullis.yaml");
    std::fs::write(&path, CONFIG_EXAMPLE).unwrap();
    let loaded: Loaded = Config::load(&path, Vec::new()).unwrap();
    let source = SourceFiles::of_text("catalog.yaml", CATALOG_EXAMPLE)
        .parse(&"main".into())
        .unwrap();
    build(&[&source], &loaded.config.known()).unwrap();
}

#[test]
fn every_section_is_in_the_schema() {
    let schema = config_schema();
    let properties = schema["properties"].as_object().unwrap();
    let mut names: Vec<&str> = properties.keys().map(String::as_str).collect();
    let mut sections = SECTIONS.to_vec();
    names.sort_unstable();
    sections.sort_unstable();
    assert_eq!(names, sections);
    assert_eq!(
        schema["$schema"],
        "https://json-schema.org/draft/2020-12/schema"
    );
}

#[test]
fn the_reference_tells_keys_defaults_and_words() {
    let text = reference();
    for expected in [
        "| `deadline` | duration | `400ms` |",
        "`authenticators.<name>` with `type: jwt`:",
        "| `enforcement` | `enforce`, `shadow` |",
        "### Subscription",
        "| `sources` | list of",
    ] {
        assert!(text.contains(expected), "{expected}");
    }
    assert!(
        denials_reference().contains("| `api_not_found` | 404 | NOT_FOUND | – | `not_found` |")
    );
}
