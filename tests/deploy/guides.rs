//! What the guides quote is what `deploy/` holds.

use crate::objects::{at, read};

const GUIDES: [&str; 4] = ["istio", "openshift", "envoy-gateway", "helm"];

/// Each block of YAML of a guide with the file that the line before it names:
/// `<!-- from deploy/… -->`.
fn quotes(guide: &str) -> Vec<(Option<String>, String)> {
    let text = read(&format!("docs/guides/{guide}.md"));
    let mut lines = text.lines();
    let (mut before, mut found) = (String::new(), Vec::new());
    while let Some(line) = lines.next() {
        if line.trim_start().starts_with("```yaml") {
            let block = lines.by_ref().take_while(|line| line.trim() != "```");
            let block: String = block.flat_map(|line| [line, "\n"]).collect();
            let file = before.strip_prefix("<!-- from ");
            let file = file.and_then(|rest| rest.strip_suffix(" -->"));
            found.push((file.map(str::to_owned), block));
        }
        line.clone_into(&mut before);
    }
    found
}

#[test]
fn every_quote_of_a_guide_is_the_text_of_a_file() {
    for guide in GUIDES {
        for (file, block) in quotes(guide) {
            let file = file.unwrap_or_else(|| panic!("{guide}: of which file is\n{block}"));
            let text = read(&file);
            assert!(
                !block.trim().is_empty(),
                "{guide}: an empty quote of {file}"
            );
            assert!(
                text.contains(&block),
                "{guide}: {file} does not hold\n{block}"
            );
        }
    }
    assert!(
        quotes("istio").len() >= 8,
        "the guide quotes what it is about"
    );
}

#[test]
fn every_file_and_page_that_a_guide_links_is_there() {
    for guide in GUIDES {
        let text = read(&format!("docs/guides/{guide}.md"));
        for link in text.split("](").skip(1) {
            let target = link.split([')', '#']).next().unwrap_or_default();
            if target.is_empty() || target.contains("://") {
                continue;
            }
            assert!(at("docs/guides").join(target).exists(), "{guide}: {target}");
        }
        for word in text.split([' ', '`', '\n', '(', ')', ',']) {
            let path = word.trim_end_matches(['.', ':', ';']);
            if path.starts_with("deploy/") && !path.contains('*') {
                assert!(at(path).exists(), "{guide}: {path}");
            }
        }
    }
}
