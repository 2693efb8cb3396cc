//! What an import says about itself: what is to do, what behaves otherwise, what was left out.

/// What people have to know of an import.
#[derive(Debug, Default)]
pub(super) struct Report {
    to_do: Vec<String>,
    changed: Vec<String>,
    left_out: Vec<String>,
}

impl Report {
    /// The result does not work before this is done.
    pub(super) fn remains(&mut self, what: impl Into<String>) {
        once(&mut self.to_do, what.into());
    }

    /// This behaves otherwise than it did, or as it did although that is surprising.
    pub(super) fn changed(&mut self, what: impl Into<String>) {
        once(&mut self.changed, what.into());
    }

    /// This is not in the result.
    pub(super) fn left_out(&mut self, what: impl Into<String>) {
        once(&mut self.left_out, what.into());
    }

    /// Everything, for people.
    pub(super) fn text(&self, summary: &str) -> String {
        let mut text = format!("imported: {summary}\n");
        for (kind, lines) in [
            ("left out", &self.left_out),
            ("note", &self.changed),
            ("to do", &self.to_do),
        ] {
            for line in lines {
                text.push_str(&format!("{kind}: {line}\n"));
            }
        }
        text
    }
}

/// A number of things.
pub(super) fn counted(count: usize, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}

fn once(lines: &mut Vec<String>, line: String) {
    if !lines.contains(&line) {
        lines.push(line);
    }
}
