//! What is revoked in files: a YAML list of entries each, read again when it changes.
//!
//! A file is taken whole or not at all. One that is missing, empty, half written or wrong leaves what
//! it said last in force; nothing is revoked by a file that says `[]`.
//
// INVARIANT: what no two looks found the same is not read.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use serde::Serialize;
use serde::de::{DeserializeSeed, Deserializer, SeqAccess, Visitor};
use tokio::sync::Notify;

use crate::authentication::revocation::document::{EntryDocument, Reading};
use crate::authentication::revocation::entry::{Entered, Entry};
use crate::authentication::revocation::{Changes, Revocations};
use crate::catalog::sync::watch::{FileWatcher, folder_of};
use crate::catalog::sync::{DEBOUNCE, SCHEDULE};
use crate::clock::Clock;
use crate::config::reader::Reader;
use crate::config::value::HumanDuration;
use crate::config::yaml::YamlDocument;
use crate::problem::{Problem, Problems};
use crate::secret::sha256;
use crate::spiffe::config::Mesh;
use crate::task::{TaskGuard, Tasks};

/// The largest file, in bytes.
const MAX_BYTES: usize = 256 * 1024 * 1024;

/// Called with what a file changed.
pub type Changed = Arc<dyn Fn(Changes) + Send + Sync>;

/// The files of one process.
#[derive(Debug, Clone)]
pub struct RevocationFiles(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    base: PathBuf,
    revocations: Revocations,
    keep: HumanDuration,
    clock: Clock,
    mesh: Mesh,
    files: Mutex<Vec<FileState>>,
}

/// How one file stands.
#[derive(Debug, Clone)]
struct FileState {
    path: PathBuf,
    name: Arc<str>,
    digest: Option<[u8; 32]>,
    status: FileStatus,
}

/// How one file stands, for people.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FileStatus {
    /// The file, as the configuration names it.
    pub file: Arc<str>,
    /// When what it holds was last found good.
    pub last_success: Option<Timestamp>,
    /// What is wrong with what it holds now; what it held before is in force.
    pub problem: Option<String>,
}

impl RevocationFiles {
    /// Reads the files at `paths`, relative to `base`, for the first time.
    ///
    /// # Errors
    /// Everything that is wrong: at the start nothing is kept, so nothing may be.
    pub fn load_first<'p>(
        paths: impl Iterator<Item = &'p PathBuf>,
        base: PathBuf,
        revocations: Revocations,
        (keep, clock, mesh): (HumanDuration, Clock, Mesh),
    ) -> Result<Self, Problems> {
        let files = paths.map(|path| {
            let name: Arc<str> = path.display().to_string().into();
            FileState {
                path: path.clone(),
                name: Arc::clone(&name),
                digest: None,
                status: FileStatus {
                    file: name,
                    last_success: None,
                    problem: None,
                },
            }
        });
        let files = Self(Arc::new(Inner {
            files: Mutex::new(files.collect()),
            base,
            revocations,
            keep,
            clock,
            mesh,
        }));
        let mut problems = Problems::new();
        for file in files.locked().iter_mut() {
            let taken = files
                .0
                .read(file)
                .and_then(|bytes| files.0.take(file, &bytes));
            if let Err(problem) = taken {
                problems.push(problem);
            }
        }
        problems.into_result(files)
    }

    /// How each stands.
    #[must_use]
    pub fn statuses(&self) -> Vec<FileStatus> {
        self.locked()
            .iter()
            .map(|file| file.status.clone())
            .collect()
    }

    /// Whether there is any.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.locked().is_empty()
    }

    /// Looks at them whenever they change, and once a minute.
    pub fn watch(&self, tasks: &Tasks, changed: Changed) -> TaskGuard {
        let nudge = Arc::new(Notify::new());
        let watcher = Arc::new(Mutex::new(FileWatcher::new(Arc::clone(&nudge))));
        let (files, blocking) = (self.clone(), tasks.clone());
        tasks.periodic("revocation_files", SCHEDULE, nudge, move || {
            let (files, tasks) = (files.clone(), blocking.clone());
            let (watcher, changed) = (Arc::clone(&watcher), Arc::clone(&changed));
            async move {
                let look = {
                    let files = files.clone();
                    move || {
                        // watched before it is read, so that no change falls between
                        files.watch_folders(&watcher);
                        files.look()
                    }
                };
                let seen = tasks.blocking(look).await?;
                tokio::time::sleep(DEBOUNCE).await;
                tasks
                    .blocking(move || files.take_settled(&seen, &changed))
                    .await?
            }
        })
    }

    fn watch_folders(&self, watcher: &Mutex<FileWatcher>) {
        let files = self.locked();
        let folders = files
            .iter()
            .map(|file| folder_of(&self.0.base.join(&file.path)));
        let folders = folders.collect();
        watcher
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .watch(folders);
    }

    /// The digest of each file now; none where it cannot be read.
    fn look(&self) -> Vec<Option<[u8; 32]>> {
        let files = self.locked();
        files
            .iter()
            .map(|file| self.0.read(file).ok().map(|bytes| sha256(&bytes)))
            .collect()
    }

    /// Takes what two looks found the same, and reports what that changed.
    ///
    /// # Errors
    /// Where a file is another at each look, to be tried again.
    fn take_settled(&self, seen: &[Option<[u8; 32]>], changed: &Changed) -> anyhow::Result<()> {
        let mut settled = true;
        for (file, seen) in self.locked().iter_mut().zip(seen) {
            let read = self.0.read(file);
            let digest = read.as_ref().ok().map(|bytes| sha256(bytes));
            if digest != *seen {
                settled = false;
                continue;
            }
            let taken = read.and_then(|bytes| self.0.take(file, &bytes));
            match taken {
                Ok(changes) => {
                    if file.status.problem.take().is_some() {
                        tracing::info!(file = %file.name, "what is revoked is read again");
                    }
                    if !changes.added.is_empty() || !changes.removed.is_empty() {
                        tracing::info!(
                            file = %file.name,
                            added = changes.added.len(),
                            removed = changes.removed.len(),
                            "what is revoked changed"
                        );
                        changed(changes);
                    }
                }
                Err(problem) => {
                    let problem = problem.to_string();
                    if file.status.problem.as_ref() != Some(&problem) {
                        tracing::error!(problem, "refused; what it said last stays revoked");
                    }
                    file.status.problem = Some(problem);
                }
            }
        }
        anyhow::ensure!(
            settled,
            "a file changes all the time: what was last read twice alike is kept"
        );
        Ok(())
    }

    fn locked(&self) -> MutexGuard<'_, Vec<FileState>> {
        self.0.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn read(&self, file: &FileState) -> Result<Vec<u8>, Problem> {
        let read = Reader::new(&self.base).read(&file.path, MAX_BYTES);
        read.map_err(|error| of_file(&file.name, error.to_string()))
    }

    /// Puts what `bytes` say into force.
    fn take(&self, file: &mut FileState, bytes: &[u8]) -> Result<Changes, Problem> {
        let digest = sha256(bytes);
        let now = self.clock.now();
        if file.digest == Some(digest) {
            file.status.last_success = Some(now);
            return Ok(Changes::default());
        }
        let reading = Reading {
            by: Entered::File,
            now: now.as_second(),
            keep: self.keep,
            // where that matters, a file says when it ends
            is_open_ended: true,
        };
        let entries = parse(&file.name, bytes, (&reading, &self.mesh))?;
        let taken = self.revocations.replace_file(&file.name, entries);
        let changes = taken.map_err(|full| of_file(&file.name, full.to_string()))?;
        file.digest = Some(digest);
        file.status.last_success = Some(now);
        Ok(changes)
    }
}

/// The entries that the file called `name` holds; those that are over are left out.
fn parse(
    name: &str,
    bytes: &[u8],
    (reading, mesh): (&Reading, &Mesh),
) -> Result<Vec<Entry>, Problem> {
    let text =
        std::str::from_utf8(bytes).map_err(|_| of_file(name, "it is no UTF-8 text".to_owned()))?;
    let [document] = &YamlDocument::split(name, text)[..] else {
        let why = "it needs one list of entries; write [] where nothing is revoked";
        return Err(of_file(name, why.to_owned()));
    };
    // what is no list, such as an empty value, must not count as an empty one
    let entries: Vec<EntryDocument> = document.parse_with(List)?;
    let entries = entries.into_iter().enumerate().map(|(at, entry)| {
        let read = entry.read(reading, mesh);
        read.map_err(|wrong| document.problem(&format!("[{at}].{}", wrong.place), wrong.why))
    });
    let entries: Vec<Entry> = entries.collect::<Result<_, _>>()?;
    Ok(entries
        .into_iter()
        .filter(|entry| !entry.is_over(reading.now))
        .collect())
}

/// Reads a list, and takes nothing else for one.
struct List;

impl<'de> DeserializeSeed<'de> for List {
    type Value = Vec<EntryDocument>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for List {
    type Value = Vec<EntryDocument>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of entries")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = list.next_element()? {
            entries.push(entry);
        }
        Ok(entries)
    }
}

fn of_file(file: &str, message: String) -> Problem {
    Problem {
        file: file.into(),
        line: None,
        path: String::new(),
        message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<usize, String> {
        let reading = Reading {
            by: Entered::File,
            now: 1_800_000_000,
            keep: HumanDuration(std::time::Duration::from_secs(3600)),
            is_open_ended: true,
        };
        let entries = parse(
            "revoked.yaml",
            text.as_bytes(),
            (&reading, &Mesh::default()),
        );
        entries
            .map(|entries| entries.len())
            .map_err(|problem| problem.to_string())
    }

    #[test]
    fn a_list_is_read_and_nothing_else_counts_as_an_empty_one() {
        assert_eq!(read("[]"), Ok(0));
        assert_eq!(read("# why\n[]\n"), Ok(0));
        let one = "- { kind: subject, value: alice, before: 2027-01-15T08:00:00Z }\n";
        assert_eq!(read(one), Ok(1));
        assert_eq!(read(&format!("---\n# x\n{one}")), Ok(1));
        let over = "- { kind: subject, value: alice, before: 2020-01-15T08:00:00Z }\n";
        assert_eq!(read(over), Ok(0));
        for text in [
            "",
            " \n",
            "# a comment\n",
            "~",
            "null\n",
            "---\n",
            "{}",
            "x",
            "# y\n~",
            "[]\n---\n[]\n",
            "---\n...\n",
        ] {
            assert!(read(text).is_err(), "{text:?} gave {:?}", read(text));
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line_and_without_values() {
        let text = "- { kind: subject, value: alice, before: 2027-01-15T08:00:00Z }\n- kind: token\n  value: hunter2\n  until: 2027-01-15T08:00:00Z\n";
        let told = read(text).unwrap_err();
        assert!(
            told.contains("revoked.yaml:3") && told.contains("[1].value"),
            "{told}"
        );
        assert!(!told.contains("hunter2"), "{told}");
        let cut = &text[..text.len() - 20];
        assert!(read(cut).is_err());
    }
}
