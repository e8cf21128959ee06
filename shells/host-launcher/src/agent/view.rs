//! What a container sees of the file system: its mounts over this machine's real files.
//!
//! All sources are opened first, while everything is still as the machine has it; then mount points are made, the root is
//! made read-only where that is asked, and last everything is mounted, parents first. The trees that wait in between are
//! attached to nothing, so no step sees another's work (`open_tree`, Linux 5.2).

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags, ResolveFlags, chmodat, fstat, mkdirat, open, openat2};
use rustix::mount::{MountFlags, OpenTreeFlags, mount, open_tree};

use super::cover::{Covers, attach, make_read_only, tree_flags};
use super::pod::follow_the_machine;
use super::sys::{self, MountChange};
use super::wire::{Failure, MountTask, View};

/// A source that waits to be mounted.
struct Tree<'a> {
    task: &'a MountTask,
    mount: OwnedFd,
    is_directory: bool,
}

/// Makes the view in the calling process' mount namespace, which is its own.
pub fn enter(view: &View) -> Result<(), Failure> {
    follow_the_machine()?;
    let trees = view.mounts.iter().map(capture).collect::<Result<Vec<_>, _>>()?;
    let mut covers = Covers::new(&view.staging);
    for tree in trees.iter().filter(|tree| !is_nested(tree.task, &view.mounts)) {
        covers.ensure(Path::new(&tree.task.target), tree.is_directory)?;
    }
    if view.read_only_root {
        make_root_read_only()?;
    }
    for tree in &trees {
        let target = Path::new(&tree.task.target);
        covers.ensure(target, tree.is_directory)?;
        attach(&tree.mount, target).map_err(|error| tree.failure(error))?;
        covers.mounted(target, tree.task.own);
    }
    covers.seal()?;
    for tree in trees.iter().filter(|tree| tree.task.is_sealed_last()) {
        make_read_only(Path::new(&tree.task.target)).map_err(|error| tree.failure(error))?;
    }
    if view.fresh_proc {
        mount("proc", "/proc", "proc", MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC, None)
            .map_err(|error| Failure::prepare("cannot mount /proc", error))?;
    }
    Ok(())
}

impl Tree<'_> {
    fn failure(&self, error: io::Error) -> Failure {
        let MountTask { what, target, .. } = self.task;
        let kind = if self.is_directory { "a directory" } else { "no directory" };
        match error.raw_os_error() {
            Some(libc::ENOTDIR) => {
                Failure::prepare(format!("cannot mount {what}, which is {kind}, at {target}, unlike it"), error)
            }
            _ => Failure::prepare(format!("cannot mount {what} at {target}"), error),
        }
    }
}

impl MountTask {
    /// Mount points may still have to be made in the pod's own volumes, so these become read-only last.
    fn is_sealed_last(&self) -> bool {
        self.read_only && self.own
    }
}

/// Whether the mount point lies in another mount, whose content decides whether it exists.
fn is_nested(task: &MountTask, all: &[MountTask]) -> bool {
    let target = Path::new(&task.target);
    all.iter().map(|other| Path::new(&other.target)).any(|other| other != target && target.starts_with(other))
}

/// Opens a source and copies its tree of mounts.
fn capture(task: &MountTask) -> Result<Tree<'_>, Failure> {
    let MountTask { source, what, .. } = task;
    let failed = |error: io::Error| Failure::prepare(format!("cannot open {source} for {what}"), error);
    let whole = open(source, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).map_err(|error| failed(error.into()))?;
    let part = match &task.sub_path {
        Some(path) => below(&whole, path).map_err(|error| {
            let text = match error.raw_os_error() {
                Some(libc::EXDEV | libc::ELOOP) => format!("subPath {path} of {what} leads out of the volume"),
                _ => format!("cannot use subPath {path} of {what}"),
            };
            Failure::prepare(text, error)
        })?,
        None => whole,
    };
    let is_directory = fstat(&part).is_ok_and(|stat| rustix::fs::FileType::from_raw_mode(stat.st_mode).is_dir());
    let mount =
        open_tree(&part, "", tree_flags() | OpenTreeFlags::AT_EMPTY_PATH).map_err(|error| failed(error.into()))?;
    let change = MountChange {
        read_only: task.read_only && !task.is_sealed_last(),
        propagation: if task.follow_host { libc::MS_SLAVE } else { libc::MS_PRIVATE },
        recursive: true,
    };
    sys::set_mount(&mount, change).map_err(failed)?;
    Ok(Tree { task, mount, is_directory })
}

/// Opens a path below a directory; no link leads out, and directories that are missing are made with the mode of the
/// volume (as `doSafeMakeDir` in `pkg/volume/util/subpath/subpath_linux.go` does).
fn below(whole: &OwnedFd, path: &str) -> io::Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let find = |path: &Path| openat2(whole, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve);
    let path = Path::new(path);
    match find(path) {
        Err(rustix::io::Errno::NOENT) => {}
        found => return Ok(found?),
    }
    let mode = Mode::from_raw_mode(fstat(whole)?.st_mode & 0o777);
    let mut parent = whole.try_clone()?;
    let ancestors: Vec<&Path> = path.ancestors().filter(|part| !part.as_os_str().is_empty()).collect();
    for part in ancestors.into_iter().rev() {
        parent = match find(part) {
            Err(rustix::io::Errno::NOENT) => {
                let name = part.file_name().ok_or(io::ErrorKind::InvalidInput)?;
                mkdirat(&parent, name, mode)?;
                chmodat(&parent, name, mode, rustix::fs::AtFlags::empty())?;
                find(part)?
            }
            found => found?,
        };
    }
    Ok(parent)
}

/// Makes everything read-only but `/dev`, whose devices and `/dev/shm` stay what they are.
fn make_root_read_only() -> Result<(), Failure> {
    let failed = |error: io::Error| Failure::prepare("cannot make the root file system read-only", error);
    let root = open("/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).map_err(|error| failed(error.into()))?;
    let devices = open_tree(rustix::fs::CWD, "/dev", tree_flags()).map_err(|error| failed(error.into()))?;
    sys::set_mount(root.as_fd(), MountChange { read_only: true, recursive: true, ..MountChange::default() })
        .map_err(failed)?;
    attach(&devices, Path::new("/dev")).map_err(failed)
}
