//! Makes mount points without touching the machine.
//!
//! A mount path that does not exist cannot be made where it belongs, for those are the machine's real directories. So the
//! nearest existing directory is covered by a tmpfs that shows each of its entries and holds the new path too. The cover
//! is then made read-only, so that a file made directly in it fails instead of vanishing, unless the directory is one
//! for everybody's scratch files (`/tmp`).
//!
//! ```text
//!   /srv            (machine)        /srv            (tmpfs, read-only)
//!   ├── a                            ├── a           (bind of the machine's, with all mounts below)
//!   └── link -> a                    ├── link -> a   (made again)
//!                                    └── new         (the mount point)
//! ```

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions, Permissions};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, mkdirat, mknodat, open, readlinkat, symlinkat};
use rustix::mount::{MoveMountFlags, OpenTreeFlags, UnmountFlags, move_mount, open_tree, unmount};
use rustix::process::{chdir, chroot, pivot_root};

use super::pod::tmpfs;
use super::sys::{self, MountChange};
use super::wire::Failure;

/// The covers of one mount namespace.
#[derive(Debug)]
pub struct Covers {
    /// An empty directory of ours, where a cover of `/` is put together.
    staging: PathBuf,
    made: Vec<Cover>,
    /// Where the pod's own volumes are mounted: mount points inside them are made in them.
    own: Vec<PathBuf>,
    /// Where the machine's directories are mounted as volumes.
    foreign: Vec<PathBuf>,
}

#[derive(Debug)]
struct Cover {
    directory: PathBuf,
    device: u64,
    scratch: bool,
}

impl Covers {
    /// None yet.
    pub fn new(staging: impl Into<PathBuf>) -> Self {
        Self { staging: staging.into(), made: Vec::new(), own: Vec::new(), foreign: Vec::new() }
    }

    /// Tells where a volume has been mounted.
    pub fn mounted(&mut self, target: &Path, own: bool) {
        let target = fs::canonicalize(target).unwrap_or_else(|_| target.to_owned());
        if own { self.own.push(target) } else { self.foreign.push(target) }
    }

    /// Sees that something can be mounted at `target`: a directory, or else a file.
    pub fn ensure(&mut self, target: &Path, is_directory: bool) -> Result<(), Failure> {
        let failed =
            |error: io::Error| Failure::prepare(format!("cannot make the mount path {}", target.display()), error);
        let (ancestor, missing) = existing_part(target).map_err(failed)?;
        if missing.as_os_str().is_empty() {
            return Ok(());
        }
        let there = fs::metadata(&ancestor).map_err(failed)?;
        if !there.is_dir() {
            return Err(failed(io::Error::from_raw_os_error(libc::ENOTDIR)));
        }
        if !self.may_be_made_in(&ancestor, &there) {
            self.cover(&ancestor, &there).map_err(|error| {
                Failure::prepare(format!("cannot cover {} to make {}", ancestor.display(), target.display()), error)
            })?;
        }
        make(&ancestor.join(missing), is_directory).map_err(failed)
    }

    /// Makes the covers read-only.
    pub fn seal(self) -> Result<(), Failure> {
        for Cover { directory, .. } in self.made.iter().filter(|cover| !cover.scratch) {
            make_read_only(directory).map_err(|error| {
                Failure::prepare(format!("cannot make the covered {} read-only", directory.display()), error)
            })?;
        }
        Ok(())
    }

    fn may_be_made_in(&self, directory: &Path, there: &Metadata) -> bool {
        if self.made.iter().any(|cover| cover.device == there.dev()) {
            return true;
        }
        let depth = |mounts: &[PathBuf]| {
            mounts.iter().filter(|mount| directory.starts_with(mount)).map(|mount| mount.components().count()).max()
        };
        depth(&self.own) > depth(&self.foreign)
    }

    fn cover(&mut self, directory: &Path, there: &Metadata) -> io::Result<()> {
        let beneath = open(directory, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let entries: Vec<_> = fs::read_dir(directory)?.collect::<Result<_, _>>()?;
        let is_root = directory == Path::new("/");
        let place = if is_root { self.staging.as_path() } else { directory };
        let text = place.to_str().ok_or(io::ErrorKind::InvalidInput)?;
        tmpfs(text, "mode=0755")?;
        let root = open(place, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        if is_root {
            // Else the entry of `/` that holds the staging directory would show the new root once more.
            let unbindable = MountChange { propagation: libc::MS_UNBINDABLE, ..MountChange::default() };
            sys::set_mount(&root, unbindable)?;
        }
        for entry in entries {
            show(&beneath, &root, &entry)?;
        }
        // An owner without a number in our user namespace stays unknown there; the cover is then our own.
        let _ = chown(place, Some(there.uid()), Some(there.gid()));
        fs::set_permissions(place, Permissions::from_mode(there.mode() & 0o7777))?;
        if is_root {
            become_root(place, &root)?;
        }
        let device = fs::metadata(directory)?.dev();
        self.made.push(Cover { directory: directory.to_owned(), device, scratch: there.mode() & 0o1002 == 0o1002 });
        Ok(())
    }
}

/// Shows one entry of a covered directory in its cover. With as few system calls as can be: `/dev` has a hundred entries,
/// and nearly every pod covers it.
fn show(beneath: &OwnedFd, cover: &OwnedFd, entry: &fs::DirEntry) -> io::Result<()> {
    let name = entry.file_name();
    let kind = entry.file_type()?;
    if kind.is_symlink() {
        return Ok(symlinkat(readlinkat(beneath, &name, Vec::new())?, cover, &name)?);
    }
    let tree = match open_tree(beneath, &name, tree_flags() | OpenTreeFlags::AT_SYMLINK_NOFOLLOW) {
        Ok(tree) => tree,
        // It has gone since the directory was read.
        Err(rustix::io::Errno::NOENT) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    if kind.is_dir() {
        mkdirat(cover, &name, Mode::from_raw_mode(0o755))?;
    } else {
        mknodat(cover, &name, FileType::RegularFile, Mode::from_raw_mode(0o644), 0)?;
    }
    Ok(move_mount(&tree, "", cover, &name, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?)
}

/// A copy of what is mounted, with all below, that is not attached yet.
pub fn tree_flags() -> OpenTreeFlags {
    OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE
}

/// Attaches a tree at an existing path.
pub fn attach(tree: &OwnedFd, target: &Path) -> io::Result<()> {
    let target = open(target, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    Ok(move_mount(tree.as_fd(), "", target.as_fd(), "", flags)?)
}

/// Makes what is mounted at this path read-only, without what is mounted below it. It is found by its path, because a
/// cover of a directory above shows a copy of it.
pub fn make_read_only(path: &Path) -> io::Result<()> {
    let mount = open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    sys::set_mount(mount, MountChange { read_only: true, ..MountChange::default() })
}

/// Makes the directory that was put together the root of this mount namespace.
fn become_root(place: &Path, root: &OwnedFd) -> io::Result<()> {
    chdir(place)?;
    match pivot_root(".", ".") {
        // Both are mounted at `/` now, the old one on top.
        Ok(()) => unmount(".", UnmountFlags::DETACH)?,
        // The kernel's first root (an initramfs) cannot be left, only covered.
        Err(rustix::io::Errno::INVAL) => {
            rustix::mount::mount_move(".", "/")?;
            chroot(".")?;
        }
        Err(error) => return Err(error.into()),
    }
    chdir("/")?;
    sys::set_mount(root, MountChange { propagation: libc::MS_SLAVE, ..MountChange::default() })
}

/// The existing part of a path, without links, and what is missing of it.
fn existing_part(path: &Path) -> io::Result<(PathBuf, PathBuf)> {
    let mut missing = PathBuf::new();
    for ancestor in path.ancestors() {
        match fs::canonicalize(ancestor) {
            Ok(existing) => return Ok((existing, missing)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let name = ancestor.file_name().ok_or(io::ErrorKind::InvalidInput)?;
                missing = if missing.as_os_str().is_empty() { name.into() } else { Path::new(name).join(missing) };
            }
            Err(error) => return Err(error),
        }
    }
    Err(io::ErrorKind::InvalidInput.into())
}

/// Makes an empty directory or file, with the directories above it.
fn make(path: &Path, is_directory: bool) -> io::Result<()> {
    let directories = |path: &Path| DirBuilder::new().recursive(true).mode(0o755).create(path);
    if is_directory {
        return directories(path);
    }
    if let Some(parent) = path.parent() {
        directories(parent)?;
    }
    let made: File = OpenOptions::new().write(true).create(true).truncate(false).mode(0o644).open(path)?;
    drop(made);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_taken_apart_where_it_stops_to_exist() {
        let parts = |path: &str| existing_part(Path::new(path)).unwrap();
        assert_eq!(parts("/usr/none/such"), ("/usr".into(), "none/such".into()));
        assert_eq!(parts("/usr"), ("/usr".into(), PathBuf::new()));
        assert_eq!(parts("/none"), ("/".into(), "none".into()));
        assert_eq!(parts("/proc/self/none").1, PathBuf::from("none"));
    }
}
