//! The directories that must be watched so that nothing escapes about one path.
//!
//! They are the directory itself and, on the way to it, every directory whose entry may come to mean something else: the
//! one that holds the directory, those that hold a link, and the last one that exists.

use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash, Hasher};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::inotify::{ReadFlags, WatchFlags};

/// Asked for of the directory itself.
pub(super) const NAMES: WatchFlags = WatchFlags::CREATE
    .union(WatchFlags::DELETE)
    .union(WatchFlags::MOVE)
    .union(WatchFlags::ATTRIB)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MOVE_SELF);

/// Asked for of a directory on the way.
pub(super) const ON_THE_WAY: WatchFlags = WatchFlags::CREATE
    .union(WatchFlags::DELETE)
    .union(WatchFlags::MOVE)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MOVE_SELF);

/// The watched directory is not at its path any more.
pub(super) const GONE: ReadFlags =
    ReadFlags::DELETE_SELF.union(ReadFlags::MOVE_SELF).union(ReadFlags::UNMOUNT).union(ReadFlags::IGNORED);

/// What a path leads through.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Places {
    pub(super) all: Vec<Place>,
    /// Device and inode of the directory; none while it is not there.
    pub(super) directory: Option<(u64, u64)>,
    /// A link on the way leads nowhere: what it names cannot be watched.
    dangling: bool,
}

/// One directory to watch.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) directory: PathBuf,
    /// The only entry that matters in it; none in the directory itself.
    pub(super) name: Option<PathBuf>,
}

impl Places {
    /// Walks an absolute path.
    pub(super) fn of(path: &Path) -> Self {
        let mut places = Self::default();
        let mut here = PathBuf::from("/");
        let names: Vec<&Path> = path.components().skip(1).map(|name| Path::new(name.as_os_str())).collect();
        for (number, name) in names.iter().enumerate() {
            let next = here.join(name);
            let is_link = fs::symlink_metadata(&next).is_ok_and(|there| there.is_symlink());
            let is_directory = fs::metadata(&next).is_ok_and(|there| there.is_dir());
            if is_link || !is_directory || number + 1 == names.len() {
                places.all.push(Place { directory: here, name: Some((*name).to_owned()) });
            }
            if !is_directory {
                places.dangling = is_link;
                return places;
            }
            here = next;
        }
        places.directory = fs::metadata(&here).ok().map(|there| (there.dev(), there.ino()));
        places.all.push(Place { directory: here, name: None });
        places
    }

    /// Why watching these is not enough.
    pub(super) fn refusal(&self) -> Option<String> {
        self.dangling.then(|| "a link on the way leads nowhere".to_owned())
    }
}

/// A digest of what a directory looks like, for where the kernel does not tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fingerprint(u64);

impl Fingerprint {
    /// Reads names, inodes, owners, modes and times; a directory that is not there has one too.
    pub(super) fn of(path: &Path) -> Self {
        let mut hasher = DefaultHasher::new();
        let mut entries: Vec<_> = fs::read_dir(path).into_iter().flatten().flatten().collect();
        entries.sort_by_key(fs::DirEntry::file_name);
        fs::metadata(path).ok().map(|there| (there.dev(), there.ino())).hash(&mut hasher);
        for entry in entries {
            entry.file_name().hash(&mut hasher);
            if let Ok(there) = entry.metadata() {
                (there.ino(), there.mode(), there.uid(), there.gid()).hash(&mut hasher);
                // A device node's time changes when somebody writes to the device.
                if there.is_file() || there.is_symlink() {
                    (there.len(), there.mtime(), there.mtime_nsec()).hash(&mut hasher);
                }
            }
        }
        Self(hasher.finish())
    }
}
