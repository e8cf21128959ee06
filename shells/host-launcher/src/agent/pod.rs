//! Makes what the containers of a pod share and hands it to the runner as descriptors, so that nothing of the pod needs a
//! living process: user, mount and IPC namespace, memory volumes.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags, open};
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use rustix::process::{getgid, getuid};
use rustix::thread::UnshareFlags;

use super::cover::Covers;
use super::identity::write_maps;
use super::process::unshare;
use super::wire::{Channel, Failure, PodTask, Report};

/// Makes the pod level and sends [`Report::PodReady`].
pub fn make(task: &PodTask, channel: &Channel) -> Result<(), Failure> {
    if task.user_namespace {
        enter_user_namespace()?;
    }
    let mut namespaces = UnshareFlags::NEWNS;
    namespaces.set(UnshareFlags::NEWIPC, task.ipc_namespace);
    unshare(namespaces, "the pod's mount and IPC namespaces")?;
    follow_the_machine()?;
    if task.ipc_namespace && Path::new("/dev/shm").is_dir() {
        tmpfs("/dev/shm", "mode=1777").map_err(|error| Failure::prepare("cannot mount the pod's /dev/shm", error))?;
    }
    let mut covers = Covers::new(&task.staging);
    for file in &task.placeholders {
        covers.ensure(Path::new(file), false)?;
    }
    covers.seal()?;
    let mut descriptors = Vec::new();
    for (name, wanted) in [("user", task.user_namespace), ("mnt", true), ("ipc", task.ipc_namespace)] {
        if wanted {
            let path = format!("/proc/self/ns/{name}");
            let namespace =
                File::open(&path).map_err(|error| Failure::prepare(format!("cannot open {path}"), error))?;
            descriptors.push(OwnedFd::from(namespace));
        }
    }
    for (path, limit) in &task.memory_volumes {
        descriptors.push(memory_volume(path, *limit, task.memory_group)?);
    }
    let borrowed: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
    // A runner that is gone needs no report.
    let _ = channel.send(&Report::PodReady, &borrowed);
    Ok(())
}

/// A user namespace in which the caller keeps its own uid and gid.
pub fn enter_user_namespace() -> Result<(), Failure> {
    let (uid, gid) = (getuid().as_raw(), getgid().as_raw());
    unshare(UnshareFlags::NEWUSER, "a user namespace")?;
    write_maps(uid, uid, gid, gid)
}

/// What the machine mounts and unmounts later happens here too, and nothing done here reaches the machine. (Were the
/// mounts private, a file system that the machine unmounts would stay busy for as long as the pod runs.)
pub fn follow_the_machine() -> Result<(), Failure> {
    mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)
        .map_err(|error| Failure::prepare("cannot part from the machine's mounts", error))
}

fn memory_volume(path: &str, limit: Option<u64>, group: Option<u32>) -> Result<OwnedFd, Failure> {
    let mut options = group.map_or_else(|| "mode=0777".to_owned(), |gid| format!("mode=2777,gid={gid}"));
    if let Some(bytes) = limit {
        options.push_str(&format!(",size={bytes}"));
    }
    let failed = |error: io::Error| Failure::prepare(format!("cannot mount a memory volume at {path}"), error);
    tmpfs(path, &options).map_err(failed)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    open(path, flags, Mode::empty()).map_err(|error| failed(error.into()))
}

/// Mounts a tmpfs.
pub fn tmpfs(path: &str, options: &str) -> io::Result<()> {
    let options = std::ffi::CString::new(options)?;
    Ok(mount("tmpfs", path, "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, options.as_c_str())?)
}
