use std::collections::BTreeMap;

use serde::Deserialize;

use super::*;
use crate::config::tagged::TaggedMap;
use crate::config::value::{HumanDuration, SecretSource};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Body {
    version: String,
    #[serde(default, rename = "timeout")]
    _timeout: Option<HumanDuration>,
    #[serde(default, rename = "count")]
    _count: Option<u32>,
    #[serde(default, rename = "secret")]
    _secret: Option<SecretSource>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
enum Choice {
    Full(#[expect(dead_code, reason = "only that it is read matters")] Body),
    Empty {},
}

fn problem(text: &str) -> String {
    YamlDocument::whole("f.yaml", text)
        .parse::<Body>()
        .unwrap_err()
        .to_string()
}

#[test]
fn documents_are_split_with_their_lines() {
    let text = "# nothing\n---\n\n---\na: 1\n--- \n# c\nb: 2\n...\n--- c\n---d: 4\n";
    let documents = YamlDocument::split("f", text);
    let found: Vec<(u32, &str)> = documents
        .iter()
        .map(|document| (document.first_line(), document.text()))
        .collect();
    assert_eq!(
        found,
        [
            (5, "---\na: 1\n"),
            (8, "--- \n# c\nb: 2\n...\n"),
            (10, "--- c\n---d: 4\n")
        ]
    );
    assert_eq!(documents[1].problem("b", "no").to_string(), "f:8: b: no");
}

#[test]
fn a_number_keeps_its_text_as_a_string() {
    let body: Body = YamlDocument::whole("f", "version: 1.10").parse().unwrap();
    assert_eq!(body.version, "1.10");
}

#[test]
fn structural_errors_have_file_line_and_path_and_quote_nothing() {
    for (text, expected) in [
        (
            "version: a\nverson: b\n",
            "f.yaml:2: verson: unknown field `verson`",
        ),
        (
            "version: a\nversion: hunter2\n",
            "f.yaml:2: version: duplicate",
        ),
        ("version: a\n\ncount: hunter2\n", "f.yaml:3: count: "),
        ("version: a\ntimeout: 30\n", "f.yaml:2: timeout: "),
        ("count: 3\n", "missing field `version`"),
        ("version: [\n", "f.yaml:"),
        (
            "version: a\nsecret: hunter2\n",
            "f.yaml:2: secret: secrets are never inline: write { file: … } or { env: … }",
        ),
        (
            "version: a\nsecret: { hunter2: b }\n",
            "f.yaml:2: secret: secrets are never inline: write { file: … } or { env: … }",
        ),
    ] {
        let problem = problem(text);
        assert!(problem.contains(expected), "{text:?}: {problem}");
        assert!(
            !problem.contains("hunter2") && !problem.contains(" at line"),
            "{problem}"
        );
    }
}

#[test]
fn a_body_is_read_by_its_type_and_its_mistakes_keep_their_place() {
    let read = |text: &str| {
        let locator = Locator::new(text);
        YamlDocument::whole("f", text).parse_with(Section(&locator))
    };
    let things = read("a: { version: 1, type: full }\nb: { type: empty }\n").unwrap();
    assert!(matches!(things["a"], Choice::Full(_)) && matches!(things["b"], Choice::Empty {}));
    for (text, expected) in [
        (
            "a:\n  version: 1\n  count: x\n  type: full\n",
            "f:3: a.count: ",
        ),
        (
            "a:\n  type: full\n  version: 1\n  other: x\n",
            "f:4: a.other: unknown field `other`",
        ),
        ("a:\n  type: ful\n", "unknown type; known are full, empty"),
        (
            "a:\n  version: 1\n",
            "`type` is missing; known are full, empty",
        ),
        ("b:\n  type: empty\n  x: 1\n", "f:3: b.x: unknown field `x`"),
    ] {
        let problem = read(text).unwrap_err().to_string();
        assert!(problem.contains(expected), "{text:?}: {problem}");
    }
}

/// The whole document as one section: the locator's paths begin with the name.
struct Section<'l>(&'l Locator);

impl<'de> DeserializeSeed<'de> for Section<'_> {
    type Value = BTreeMap<String, Choice>;

    fn deserialize<D: serde::Deserializer<'de>>(
        self,
        deserializer: D,
    ) -> Result<Self::Value, D::Error> {
        TaggedMap::new("", self.0).deserialize(deserializer)
    }
}

#[test]
fn mistakes_in_flow_style_have_their_path() {
    for (spec, expected) in [
        (
            "{ owner: a, apiKeys: [{ digest: a, expires: tomorrow }] }",
            "f:3: spec.apiKeys[0].expires: write it as 2027-01-01T00:00:00Z",
        ),
        (
            "\n  apiKeys:\n    - digest: a\n      expires: tomorrow",
            "f:6: spec.apiKeys[0].expires: write it as 2027-01-01T00:00:00Z",
        ),
        (
            "{ owner: a, apiKeys: [{ name: x }] }",
            "f:3: spec.apiKeys[0]: missing field `digest`",
        ),
        (
            "\n  apiKeys:\n    - name: a",
            "f:5: spec.apiKeys[0]: missing field `digest`",
        ),
        (
            "{ apiKeys: [{}] }",
            "f:3: spec.apiKeys[0]: missing field `digest`",
        ),
        (
            "{ owner: äöü, colour: b, appId: x }",
            "f:3: spec.colour: unknown field `colour`",
        ),
        (
            "{ owner: a, state: blue, appId: x }",
            "f:3: spec.state: unknown variant, expected",
        ),
        (
            "{ owner: a, apiKeys: 7, appId: x }",
            "f:3: spec.apiKeys: a list is expected",
        ),
        (
            "{ owner: a, \"apiKeys\": [a, b], appId: x }",
            "f:3: spec.apiKeys[0]: a mapping is expected",
        ),
        (
            "{ owner: a, subscriptions: [{ api: { title: a } }] }",
            "f:3: spec.subscriptions[0].api: missing field `version`",
        ),
        (
            "{ owner: &a x, apiKeys: *a }",
            "f:3: spec.apiKeys: a list is expected",
        ),
        (
            "\n  clients: &a []\n  owner: *a",
            "f:5: spec.owner: a text is expected",
        ),
    ] {
        let text = format!("kind: Application\nmetadata: {{ name: x }}\nspec: {spec}\n");
        let document = YamlDocument::whole("f", &text);
        let problem = crate::catalog::source::file::parse_document(&document).unwrap_err();
        assert!(
            problem.to_string().starts_with(expected),
            "{expected}\n{problem}"
        );
    }
}
