//! Files that a command makes: written into a folder, or printed one after the other.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::Path;

use anyhow::Context as _;

use crate::cli::print;

/// Files that were made, by their paths in a folder, in order.
#[derive(Debug, Default)]
pub(super) struct Made(Vec<(String, String)>);

impl Made {
    /// Adds a file.
    pub(super) fn add(&mut self, path: impl Into<String>, text: impl Into<String>) {
        self.0.push((path.into(), text.into()));
    }

    /// Writes them into `folder`, or prints them where there is none.
    ///
    /// # Errors
    /// Where one of them is there already, or cannot be written.
    pub(super) fn give(&self, folder: Option<&Path>) -> anyhow::Result<()> {
        match folder {
            Some(folder) => self.write(folder),
            None => print(&self.text()),
        }
    }

    fn text(&self) -> String {
        let files = self.0.iter();
        let files: Vec<String> = files
            .map(|(path, text)| format!("# {path}\n{text}"))
            .collect();
        files.join("---\n")
    }

    fn write(&self, folder: &Path) -> anyhow::Result<()> {
        let files = || self.0.iter().map(|(path, text)| (folder.join(path), text));
        for (path, _) in files() {
            anyhow::ensure!(!path.exists(), "`{}` is there already", path.display());
        }
        for (path, text) in files() {
            let parent = path.parent().unwrap_or(folder);
            fs::create_dir_all(parent)
                .with_context(|| format!("cannot make `{}`", parent.display()))?;
            let file = OpenOptions::new().write(true).create_new(true).open(&path);
            file.and_then(|mut file| file.write_all(text.as_bytes()))
                .with_context(|| format!("cannot write `{}`", path.display()))?;
        }
        Ok(())
    }
}
