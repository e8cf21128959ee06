//! Becomes the user, the groups and the capabilities that a container asks for.

use std::fs;

use rustix::process::{Gid, Uid, getgid, getuid};
use rustix::thread::{
    CapabilitySet, UnshareFlags, capabilities, remove_capability_from_bounding_set, set_capabilities,
    set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};

use super::process::unshare;
use super::wire::{Failure, Identity};

/// Makes the calling process what `identity` says. It is a forked process that will execute a program next.
pub fn assume(identity: &Identity) -> Result<(), Failure> {
    if let Some(groups) = &identity.groups {
        let groups: Vec<Gid> = groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
        set_thread_groups(&groups).map_err(|error| Failure::prepare("cannot set supplementary groups", error))?;
    }
    if identity.by_namespace {
        stand_for(identity)?;
        drop_from_bounding_set(&identity.drop)?;
    } else {
        drop_from_bounding_set(&identity.drop)?;
        become_user(identity)?;
    }
    drop_from_own_sets(&identity.drop)
}

fn become_user(identity: &Identity) -> Result<(), Failure> {
    if let Some(gid) = identity.gid.map(Gid::from_raw) {
        set_thread_res_gid(gid, gid, gid)
            .map_err(|error| Failure::prepare(format!("cannot become group {}", gid.as_raw()), error))?;
    }
    if let Some(uid) = identity.uid.map(Uid::from_raw) {
        set_thread_res_uid(uid, uid, uid)
            .map_err(|error| Failure::prepare(format!("cannot become user {}", uid.as_raw()), error))?;
    }
    Ok(())
}

/// A further user namespace in which another uid and gid stand for the own ones.
fn stand_for(identity: &Identity) -> Result<(), Failure> {
    let (uid, gid) = (getuid().as_raw(), getgid().as_raw());
    unshare(UnshareFlags::NEWUSER, "a user namespace for runAsUser")?;
    write_maps(identity.uid.unwrap_or(uid), uid, identity.gid.unwrap_or(gid), gid)
}

/// Says who is who in a user namespace just made: one uid and one gid, all others unknown.
pub fn write_maps(uid_inside: u32, uid: u32, gid_inside: u32, gid: u32) -> Result<(), Failure> {
    for (file, text) in [
        ("setgroups", "deny".to_owned()),
        ("gid_map", format!("{gid_inside} {gid} 1")),
        ("uid_map", format!("{uid_inside} {uid} 1")),
    ] {
        let path = format!("/proc/self/{file}");
        fs::write(&path, text).map_err(|error| Failure::prepare(format!("cannot write {path}"), error))?;
    }
    Ok(())
}

fn set_of(numbers: &[u32]) -> CapabilitySet {
    numbers
        .iter()
        .filter_map(|number| 1_u64.checked_shl(*number))
        .fold(CapabilitySet::empty(), |set, bit| set | CapabilitySet::from_bits_retain(bit))
}

/// Lets no program that is executed from now on get these capabilities.
pub fn drop_from_bounding_set(numbers: &[u32]) -> Result<(), Failure> {
    for number in numbers {
        let one = set_of(&[*number]);
        match remove_capability_from_bounding_set(one) {
            // A capability that the kernel does not know is dropped already.
            Ok(()) | Err(rustix::io::Errno::INVAL) => {}
            // Of an ordinary user, the init has done it before it gave its own up.
            Err(rustix::io::Errno::PERM) if capabilities(None).is_ok_and(|sets| sets.permitted.is_empty()) => {}
            Err(error) => return Err(Failure::prepare(format!("cannot drop capability {number}"), error)),
        }
    }
    Ok(())
}

fn drop_from_own_sets(numbers: &[u32]) -> Result<(), Failure> {
    if numbers.is_empty() {
        return Ok(());
    }
    let dropped = set_of(numbers);
    let failed = |error| Failure::prepare("cannot drop capabilities", error);
    let mut sets = capabilities(None).map_err(failed)?;
    sets.effective -= dropped;
    sets.permitted -= dropped;
    sets.inheritable -= dropped;
    set_capabilities(None, sets).map_err(failed)
}
