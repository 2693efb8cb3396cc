//! Watches folders: any change in one is a reason to look again.
//!
//! Folders and not files, because a mounted ConfigMap changes by a link that is swapped beside them.
//! Neither the kind nor the name of an event says enough, so none is looked at, but for reading,
//! which we do ourselves. How often that may lead to a look is not decided here.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;

/// Watches folders, as far as the system lets us; what it misses, a poll finds.
#[derive(Debug)]
pub(crate) struct FileWatcher {
    watcher: Option<RecommendedWatcher>,
    watched: BTreeSet<PathBuf>,
}

impl FileWatcher {
    /// Notifies `nudge` of changes.
    pub(crate) fn new(nudge: Arc<Notify>) -> Self {
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            if event.map_or(true, |event| is_change(&event)) {
                nudge.notify_one();
            }
        });
        let watcher = watcher
            .inspect_err(|error| {
                tracing::warn!(%error, "files cannot be watched and are polled instead");
            })
            .ok();
        Self {
            watcher,
            watched: BTreeSet::new(),
        }
    }

    /// Watches these folders and no others.
    pub(crate) fn watch(&mut self, folders: BTreeSet<PathBuf>) {
        let Some(watcher) = &mut self.watcher else {
            return;
        };
        // a folder that was replaced by another of the same name is no longer watched, and the
        // system does not say so: all are asked for anew
        for gone in self.watched.difference(&folders) {
            let _ = watcher.unwatch(gone);
        }
        self.watched = folders;
        for folder in &self.watched {
            if let Err(error) = watcher.watch(folder, RecursiveMode::NonRecursive) {
                tracing::debug!(%error, folder = %folder.display(), "cannot be watched");
            }
        }
    }
}

/// The folder that `path` is in.
pub(crate) fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

fn is_change(event: &Event) -> bool {
    match event.kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => true,
        EventKind::Access(_) => false,
        EventKind::Any
        | EventKind::Create(_)
        | EventKind::Modify(_)
        | EventKind::Remove(_)
        | EventKind::Other => true,
    }
}
