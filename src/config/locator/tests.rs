use proptest::prelude::*;

use super::*;
use crate::config::yaml::YamlDocument;

const DOCUMENT: &str = "\
# a comment
authenticators:
  partners:
    type: jwt
    credentials:
      - { header: authorization, scheme: Bearer }
      - header: \"x-token\"
        scheme: Bearer

checks: { deadline: 400ms,
  maxConcurrent: 5 }
text: |
  one
  two
";

#[test]
fn paths_have_lines() {
    let locator = Locator::new(DOCUMENT);
    for (path, line) in [
        ("authenticators", 2),
        ("authenticators.partners", 3),
        ("authenticators.partners.type", 4),
        ("authenticators.partners.credentials", 5),
        ("authenticators.partners.credentials[0].header", 6),
        ("authenticators.partners.credentials[1]", 7),
        ("authenticators.partners.credentials[1].scheme", 8),
        ("checks.maxConcurrent", 11),
        ("authenticators.partners.issuer", 3),
        ("authenticators.partners.credentials[7].header", 5),
        ("nothing.of.this", 2),
        ("", 2),
    ] {
        assert_eq!(locator.line(path), line, "{path}");
    }
}

#[test]
fn places_have_paths() {
    let locator = Locator::new(DOCUMENT);
    let path_at = |line, column| {
        locator
            .place_at(line, column)
            .map_or("", |place| &*place.path)
    };
    assert_eq!(path_at(4, 5), "authenticators.partners.type");
    assert_eq!(path_at(6, 9), "authenticators.partners.credentials[0]");
    assert_eq!(
        path_at(9, 1),
        "authenticators.partners.credentials[1].scheme"
    );
    assert_eq!(path_at(1, 1), "");
    for (column, path) in [
        (11, "header"),
        (19, "header"),
        (33, "header"),
        (34, "scheme"),
        (42, "scheme"),
    ] {
        let path = format!("authenticators.partners.credentials[0].{path}");
        assert_eq!(path_at(6, column), path, "{column}");
    }
    assert_eq!(path_at(10, 9), "checks");
}

#[test]
fn scalars_have_text_and_bytes() {
    let locator = Locator::new(DOCUMENT);
    assert_eq!(locator.scalar("authenticators.partners.type"), Some("jwt"));
    assert_eq!(locator.scalar("authenticators"), None);
    assert_eq!(
        Locator::find_scalar(DOCUMENT, "checks.deadline").as_deref(),
        Some("400ms")
    );
    let range_of = |path: &str| {
        let place = locator.places().iter().find(|place| &*place.path == path);
        place.unwrap().scalar.clone().unwrap().range
    };
    let range = range_of("authenticators.partners.credentials[1].header").unwrap();
    assert_eq!(&DOCUMENT[range], "\"x-token\"");
    assert_eq!(range_of("text"), None);
}

#[test]
fn a_broken_document_keeps_what_was_read() {
    let locator = Locator::new("a: 1\nb:\n  c: 2\n d: [");
    assert_eq!(locator.line("b.c"), 3);
    assert_eq!(Locator::new("").line("a"), 1);
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "[-a-c:{}\\[\\]\"'|>&*!%#? \\n\\t\u{e9}]{0,60}", path in "[a-c.\\[\\]0]{0,12}") {
        let locator = Locator::new(&text);
        let _ = (locator.line(&path), locator.scalar(&path), locator.place_at(3, 3));
        for document in YamlDocument::split("f", &text) {
            prop_assert!(text.contains(document.text()));
            let _ = document.problem(&path, "no");
        }
    }
}
