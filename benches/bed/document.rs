//! What a benchmark was asked for, and where its figures go.

use std::fs;

/// The document with the figures. Each table stands between two comments that name it.
const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/PERFORMANCE.md");

/// A table in Markdown, with a note ahead of it. Figures stand to the right.
#[derive(Debug)]
pub(crate) struct Table {
    text: String,
}

impl Table {
    /// An empty table.
    pub(crate) fn new(note: &str, columns: &[&str]) -> Self {
        let rule = "--:|".repeat(columns.len() - 1);
        let columns = columns.join(" | ");
        Self {
            text: format!("{note}\n\n| {columns} |\n|---|{rule}\n"),
        }
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, name: &str, figures: impl IntoIterator<Item = String>) {
        let figures: Vec<String> = figures.into_iter().collect();
        let row = format!("| {name} | {} |\n", figures.join(" | "));
        print!("{row}");
        self.text.push_str(&row);
    }

    /// Prints it; with `--write` it goes into the place called `name` of the document too.
    pub(crate) fn publish(&self, name: &str) {
        println!("\n{name}:\n\n{}", self.text);
        if is_asked("--write") {
            let document = fs::read_to_string(DOCUMENT).expect("the document can be read");
            let document = replaced(&document, name, &self.text);
            fs::write(DOCUMENT, document).expect("the document can be written");
        }
    }
}

/// Whether `flag` is among the arguments.
pub(crate) fn is_asked(flag: &str) -> bool {
    std::env::args().any(|argument| argument == flag)
}

/// The number that follows `flag`, or `default` where it is not among the arguments.
///
/// # Panics
/// Where something else follows it.
pub(crate) fn number(flag: &str, default: usize) -> usize {
    let mut arguments = std::env::args().skip_while(|argument| argument != flag);
    arguments.next().map_or(default, |_| {
        let value = arguments.next().and_then(|value| value.parse().ok());
        value.unwrap_or_else(|| panic!("a number belongs after {flag}"))
    })
}

/// The document with `text` in the place called `name`.
fn replaced(document: &str, name: &str, text: &str) -> String {
    let (begin, end) = (
        format!("<!-- {name}: written by"),
        format!("<!-- end of {name} -->"),
    );
    let found = document.split_once(&begin).and_then(|(before, rest)| {
        let (command, rest) = rest.split_once("-->\n")?;
        let (_, after) = rest.split_once(&end)?;
        Some(format!("{before}{begin}{command}-->\n{text}{end}{after}"))
    });
    found.unwrap_or_else(|| panic!("{DOCUMENT} has no place for {name}"))
}
