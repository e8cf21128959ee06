//! What tells that the machine may have changed: the directories that globs look into, and the clock for the rest.
//!
//! What it does not do: it does not say what changed. Whoever is told looks again.

use std::collections::BTreeMap;
use std::future::{Future, pending, poll_fn};
use std::path::PathBuf;
use std::pin::Pin;
use std::task::Poll;

use outrigger_host::Watches;

use super::{Survey, paths, patterns};
use crate::inventory::Inventory;
use outrigger_device_core::rules::PathPattern;

/// Who told of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// A directory has other entries.
    Directory,
}

impl Source {
    /// The word for it in metrics.
    pub fn word(self) -> &'static str {
        match self {
            Self::Directory => "inotify",
        }
    }
}

/// The changes of a machine, as far as the rules look at it.
#[derive(Debug)]
pub struct Changes {
    watches: Watches,
    directories: BTreeMap<PathBuf, outrigger_host::Changes>,
}

impl Changes {
    /// Those that can concern an inventory. Must be called within a runtime.
    pub fn of(inventory: &Inventory, watches: Watches) -> Self {
        let mut changes = Self { watches, directories: BTreeMap::new() };
        changes.follow(inventory);
        changes
    }

    /// Watches what the rules look at now; what stays watched is so without a gap.
    pub fn follow(&mut self, inventory: &Inventory) {
        let Survey { root, .. } = &inventory.survey;
        let globs = patterns(&inventory.rules).filter_map(|pattern| match pattern {
            PathPattern::Glob(glob) => Some(glob),
            PathPattern::Regex(_) => None,
        });
        let wanted = globs.flat_map(|glob| paths::directories(root, glob));
        let mut before = std::mem::take(&mut self.directories);
        for path in wanted.map(|directory| paths::below(root, &directory)) {
            let watched = before.remove(&path).unwrap_or_else(|| self.watches.directory(&path));
            self.directories.entry(path).or_insert(watched);
        }
    }

    /// Waits for the next change. Safe to drop and call again.
    pub async fn next(&mut self) -> Source {
        if self.directories.is_empty() {
            return pending().await;
        }
        let changed = self.directories.values_mut().map(|directory| Box::pin(directory.changed()));
        let mut changed: Vec<Pin<Box<_>>> = changed.collect();
        poll_fn(|context| {
            let is_changed = changed.iter_mut().any(|directory| directory.as_mut().poll(context).is_ready());
            if is_changed { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        Source::Directory
    }
}
