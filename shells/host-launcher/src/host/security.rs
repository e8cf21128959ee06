//! Whom a container runs as and what it may do, from its `securityContext` and what this machine allows.

use std::path::Path;

use outrigger_host::users;
use outrigger_launcher::StartError;
use outrigger_pod_core::life::{LinuxUser, StartProblem};
use outrigger_pod_core::plan::{ContainerPlan, PodPlan, SecurityPlan};
use rustix::process::{getegid, geteuid, getgroups};

use super::spec::refused;
use crate::agent::wire::{Abilities, Identity};

/// What this process may make of its children.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rights {
    /// Root: any user, any group.
    Any,
    /// One user namespace: any number, standing for the caller's own.
    StandIn,
    /// Only itself.
    Own,
}

/// What this process may make of its children.
pub fn rights(abilities: &Abilities) -> Rights {
    match (abilities.user_namespace, geteuid().is_root()) {
        (true, _) => Rights::StandIn,
        (false, true) => Rights::Any,
        (false, false) => Rights::Own,
    }
}

/// The user a container's processes have inside.
pub fn uid_inside(security: &SecurityPlan) -> u32 {
    security.run_as_user.and_then(|uid| u32::try_from(uid).ok()).unwrap_or_else(|| geteuid().as_raw())
}

/// Whom the container runs as.
pub fn identity(abilities: &Abilities, plan: &PodPlan, container: &ContainerPlan) -> Result<Identity, StartError> {
    verify_non_root(plan, container)?;
    let security = &container.security;
    let uid = number(security.run_as_user, "runAsUser")?;
    let gid = number(security.run_as_group, "runAsGroup")?;
    let mut identity = Identity { no_new_privileges: security.no_new_privileges, ..Identity::default() };
    let rights = rights(abilities);
    match rights {
        Rights::Any => {
            identity.uid = uid;
            // Without runAsGroup it is the user's own group, or 0 for a user that the machine does not know (containerd's
            // `WithUserID`).
            identity.gid = gid.or_else(|| uid.map(|uid| user(uid).map_or(0, |user| user.gid)));
            identity.groups = groups(plan, uid)?;
        }
        Rights::StandIn => {
            let differs = |wanted: Option<u32>, own: u32| wanted.is_some_and(|wanted| wanted != own);
            identity.by_namespace = differs(uid, geteuid().as_raw()) || differs(gid, getegid().as_raw());
            (identity.uid, identity.gid) = (uid, gid);
        }
        Rights::Own => {}
    }
    if rights != Rights::Own {
        identity.drop = dropped(security)?;
    }
    Ok(identity)
}

/// Whom a process with this identity runs as, as it sees itself. The group is first among its groups, as containerd has
/// it; other groups of the caller have no number in a user namespace.
pub fn linux_user(abilities: &Abilities, identity: &Identity) -> LinuxUser {
    let uid = identity.uid.unwrap_or_else(|| geteuid().as_raw());
    let gid = identity.gid.unwrap_or_else(|| getegid().as_raw());
    let own = || getgroups().unwrap_or_default().into_iter().map(rustix::process::Gid::as_raw).collect();
    let others = match rights(abilities) {
        Rights::StandIn => Vec::new(),
        Rights::Any | Rights::Own => identity.groups.clone().unwrap_or_else(own),
    };
    let groups = std::iter::once(gid).chain(others.into_iter().filter(|group| *group != gid)).collect();
    LinuxUser { uid, gid, groups }
}

fn user(uid: u32) -> Option<users::User> {
    // A directory service that fails knows nobody.
    users::by_uid(Path::new("/"), uid).ok().flatten()
}

/// The supplementary groups: those of the user, `supplementalGroups` and `fsGroup`. `None`: the caller's as they are.
fn groups(plan: &PodPlan, uid: Option<u32>) -> Result<Option<Vec<u32>>, StartError> {
    let mut groups = Vec::new();
    for gid in plan.supplemental_groups.iter().copied().chain(plan.fs_group) {
        groups.extend(number(Some(gid), "supplementalGroups or fsGroup")?);
    }
    match uid {
        None if groups.is_empty() => return Ok(None),
        None => groups.extend(getgroups().unwrap_or_default().into_iter().map(rustix::process::Gid::as_raw)),
        Some(uid) => {
            groups.extend(user(uid).map(|user| users::groups_of(Path::new("/"), &user.name)).unwrap_or_default());
        }
    }
    groups.sort_unstable();
    groups.dedup();
    Ok(Some(groups))
}

fn number(wanted: Option<i64>, field: &str) -> Result<Option<u32>, StartError> {
    wanted
        .map(|number| {
            u32::try_from(number).map_err(|_| refused(format!("{field} is {number}, which is no user or group")))
        })
        .transpose()
}

/// `verifyRunAsNonRoot` in `pkg/kubelet/kuberuntime/security_context_others.go`; the "image" is this process' user.
fn verify_non_root(plan: &PodPlan, container: &ContainerPlan) -> Result<(), StartError> {
    if !container.security.run_as_non_root || uid_inside(&container.security) != 0 {
        return Ok(());
    }
    let fault = match container.security.run_as_user {
        Some(_) => "container's runAsUser breaks non-root policy",
        None => "container has runAsNonRoot and image will run as root",
    };
    let PodPlan { name, namespace, uid, .. } = plan;
    let message = format!("{fault} (pod: \"{name}_{namespace}({uid})\", container: {})", container.name);
    Err(StartError::new(StartProblem::Config, message))
}

/// The capabilities that the container loses, by number: what `drop` names (or `ALL`) without what `add` names.
fn dropped(security: &SecurityPlan) -> Result<Vec<u32>, StartError> {
    if security.privileged {
        return Ok(Vec::new());
    }
    let added = security.capabilities_add.iter().map(|name| capability(name)).collect::<Result<Vec<_>, _>>()?;
    let mut dropped = Vec::new();
    for name in &security.capabilities_drop {
        if name.eq_ignore_ascii_case("ALL") {
            dropped.extend(0..u32::try_from(CAPABILITIES.len()).unwrap_or(0));
        } else {
            dropped.push(capability(name)?);
        }
    }
    let adds_all = security.capabilities_add.iter().any(|name| name.eq_ignore_ascii_case("ALL"));
    dropped.retain(|number| !adds_all && !added.contains(number));
    dropped.sort_unstable();
    dropped.dedup();
    Ok(dropped)
}

/// The number of a capability, named with or without `CAP_`. `ALL` has one that no capability has.
pub fn capability(name: &str) -> Result<u32, StartError> {
    let upper = name.to_ascii_uppercase();
    let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
    if bare == "ALL" {
        return Ok(u32::MAX);
    }
    let place = CAPABILITIES.iter().position(|known| *known == bare).and_then(|place| u32::try_from(place).ok());
    place.ok_or_else(|| refused(format!("{name} is no capability that this program knows")))
}

/// By number (`capabilities(7)`, `linux/capability.h`).
pub const CAPABILITIES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_added_is_not_dropped() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let check = |add: &[&str], drop: &[&str], expect: &[u32]| {
            let (capabilities_add, capabilities_drop) = (names(add), names(drop));
            let security = SecurityPlan { capabilities_add, capabilities_drop, ..SecurityPlan::default() };
            assert_eq!(dropped(&security).unwrap(), expect);
        };
        check(&[], &["CAP_CHOWN", "net_raw"], &[0, 13]);
        check(&["CHOWN"], &["CHOWN", "KILL"], &[5]);
        check(&["ALL"], &["ALL"], &[]);
        let all_but_one: Vec<u32> = (0..41).filter(|number| *number != 10).collect();
        check(&["NET_BIND_SERVICE"], &["ALL"], &all_but_one);
    }

    #[test]
    fn an_unknown_capability_is_refused_by_name() {
        assert!(capability("FLY").unwrap_err().message.contains("FLY"));
    }
}
