//! What a container sees of the file system: its mounts over this machine's real files.

use rustix::mount::{MountFlags, mount};

use super::pod::follow_the_machine;
use super::wire::{Failure, View};

/// Makes the view in the calling process' mount namespace, which is its own.
pub fn enter(view: &View) -> Result<(), Failure> {
    follow_the_machine()?;
    if view.fresh_proc {
        mount("proc", "/proc", "proc", MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC, None)
            .map_err(|error| Failure::prepare("cannot mount /proc", error))?;
    }
    Ok(())
}
