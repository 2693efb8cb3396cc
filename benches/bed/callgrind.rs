//! Counts instructions of a server process with callgrind (Valgrind).
//!
//! Where the environment variable `PROFILES` names a folder, the counts by function are kept there,
//! one file for each row, for `callgrind_annotate`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A process that runs under callgrind.
#[derive(Debug)]
pub(crate) struct Callgrind {
    process_id: u32,
    output: PathBuf,
    dumps: usize,
}

/// `command`, under callgrind that writes into `folder`.
pub(crate) fn prefix(folder: &Path) -> Vec<String> {
    let output = folder.join("callgrind.out");
    let flags = [
        "valgrind",
        "--tool=callgrind",
        "--quiet",
        "--callgrind-out-file",
    ];
    let mut words: Vec<String> = flags.map(str::to_owned).to_vec();
    if let Some(last) = words.last_mut() {
        last.push_str(&format!("={}", output.display()));
    }
    words
}

/// Ends the benchmark where Valgrind is missing, with the command that installs it.
pub(crate) fn assert_installed() {
    let found = Command::new("valgrind").arg("--version").output();
    assert!(
        found.is_ok_and(|output| output.status.success()),
        "Valgrind is not installed; this installs it: sudo apt-get install -y valgrind"
    );
}

impl Callgrind {
    /// The counts of `process_id`, which was started with [`prefix`] for `folder`.
    pub(crate) fn of(process_id: u32, folder: &Path) -> Self {
        Self {
            process_id,
            output: folder.join("callgrind.out"),
            dumps: 0,
        }
    }

    /// The instructions since it was last asked, or since the start. The process must be at rest.
    /// A profile that is kept is called `name`.
    pub(crate) fn take(&mut self, name: &str) -> u64 {
        let output = Command::new("callgrind_control")
            .args(["--dump", &self.process_id.to_string()])
            .output()
            .expect("callgrind_control comes with Valgrind");
        assert!(
            output.status.success(),
            "callgrind_control: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        self.dumps += 1;
        let mut path = self.output.clone().into_os_string();
        path.push(format!(".{}", self.dumps));
        let dump = super::support::eventually("callgrind to write its counts", || {
            let dump = fs::read_to_string(&path).ok()?;
            total(&dump)
        });
        if let Some(folder) = std::env::var_os("PROFILES") {
            let kept = Path::new(&folder).join(name.replace([' ', ',', ':'], "-"));
            fs::copy(&path, kept).expect("PROFILES is a folder");
        }
        fs::remove_file(&path).expect("the dump is there");
        dump
    }
}

/// The count in the last line (`totals: 123`).
fn total(dump: &str) -> Option<u64> {
    let line = dump
        .lines()
        .rev()
        .find_map(|line| line.strip_prefix("totals: "))?;
    line.trim().parse().ok()
}
