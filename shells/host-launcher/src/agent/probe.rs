//! Tries what this machine allows its user, in processes that end at once.

use rustix::mount::{MountFlags, mount};
use rustix::process::{WaitOptions, waitpid};
use rustix::thread::{CapabilitySet, UnshareFlags, capabilities};

use super::pod::{enter_user_namespace, follow_the_machine};
use super::sys::{self, MountChange, Side};
use super::wire::Abilities;

/// Bits of the exit code of the process that tries.
const FRESH_PROC: i32 = 1;
const UTS: i32 = 2;
const IPC: i32 = 4;
const MOUNTS: i32 = 8;

/// What this machine allows. Changes the calling process, which must end after.
pub fn abilities() -> Abilities {
    let mut found = Abilities::default();
    let is_admin = capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::SYS_ADMIN));
    if !is_admin {
        if let Err(failure) = enter_user_namespace() {
            found.refusals.push(format!("{} (user namespaces are off for ordinary users here)", failure.text()));
            return found;
        }
        found.user_namespace = true;
    }
    let namespaces = UnshareFlags::NEWPID | UnshareFlags::NEWNS;
    let Some(bits) = in_child(namespaces, trial) else {
        found.refusals.push("cannot make a process namespace".to_owned());
        let bits = in_child(UnshareFlags::NEWNS, trial).unwrap_or(0);
        return read(bits, found);
    };
    found.process_namespace = true;
    read(bits, found)
}

fn read(bits: i32, mut found: Abilities) -> Abilities {
    found.fresh_proc = bits & FRESH_PROC != 0 && found.process_namespace;
    found.uts_namespace = bits & UTS != 0;
    found.ipc_namespace = bits & IPC != 0;
    found.mount_namespace = bits & MOUNTS != 0;
    let named = [
        (found.mount_namespace, "mount namespaces with mount_setattr (Linux 5.12)"),
        (found.fresh_proc, "/proc of a process namespace"),
        (found.uts_namespace, "UTS namespaces"),
        (found.ipc_namespace, "IPC namespaces"),
    ];
    found.refusals.extend(named.iter().filter(|(has, _)| !has).map(|(_, what)| format!("no {what}")));
    found
}

/// The exit code of a child in new namespaces; `None` where they cannot be made.
fn in_child(namespaces: UnshareFlags, work: impl FnOnce() -> i32) -> Option<i32> {
    match sys::fork_into(namespaces).ok()? {
        Side::Child => sys::exit_now(work()),
        Side::Parent(pid) => {
            let (_, status) = waitpid(Some(pid), WaitOptions::empty()).ok()??;
            status.exit_status()
        }
    }
}

fn trial() -> i32 {
    let mut bits = 0;
    if follow_the_machine().is_ok() {
        // Without the call at all this is ENOSYS; with it, a read-only change of nothing but our own `/` succeeds.
        let root = rustix::fs::open("/", rustix::fs::OFlags::PATH, rustix::fs::Mode::empty());
        if root.is_ok_and(|root| sys::set_mount(root, MountChange::default()).is_ok()) {
            bits |= MOUNTS;
        }
        if mount("proc", "/proc", "proc", MountFlags::empty(), None).is_ok() {
            bits |= FRESH_PROC;
        }
    }
    if sys::unshare(UnshareFlags::NEWUTS).is_ok() {
        bits |= UTS;
    }
    if sys::unshare(UnshareFlags::NEWIPC).is_ok() {
        bits |= IPC;
    }
    bits
}
