//! The machine-wide lock of a physical device, the same at both doors: what it is called, what is written in it, and whose
//! counts. One user must not be able to keep all devices from all others: an ordinary user's lock counts only for what that
//! user may open. Only root can tell, and only where it sees all processes; in doubt a lock counts.

use std::path::PathBuf;

use outrigger_device_core::unit::Unit;
use outrigger_host::devices::Roots;
use outrigger_host::{Attempt, Credentials, LockError, LockHolder, Locks};
use serde_json::json;

/// The kind of lock that devices have.
pub const KIND: &str = "devices";

/// Through which door of this machine a device was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// The kubelet's: a node agent locks, for a pod of this node.
    Kubelet,
    /// `outrigger run`.
    Run,
}

impl Door {
    fn word(self) -> &'static str {
        match self {
            Self::Kubelet => "kubelet",
            Self::Run => "run",
        }
    }
}

/// Tries to lock one device of a unit, for whoever it is given to through a door. The lock of users who may not open the device does not count.
pub fn try_lock(
    locks: &Locks,
    name: &str,
    unit: &Unit,
    (door, who): (Door, &str),
    roots: &Roots,
) -> Result<Attempt, LockError> {
    let text = json!({"who": who, "door": door.word(), "resource": &*unit.body.resource, "id": &*unit.id});
    let nodes = nodes(unit, name, roots);
    locks.try_lock_against(KIND, name, &text.to_string(), |user| may_open(user, &nodes))
}

/// Whether a user may open a device, all of it. What has no node, as a slot, is everybody's.
pub fn may_open(user: &Credentials, nodes: &[PathBuf]) -> bool {
    nodes.iter().all(|node| user.may_open(node))
}

/// The nodes of what a unit's lock of this name is for.
pub fn nodes(unit: &Unit, name: &str, roots: &Roots) -> Vec<PathBuf> {
    let parts = unit.body.parts.iter().zip(unit.locks()).filter(|(_, lock)| lock == name);
    parts.filter_map(|(part, _)| Some(roots.at(part.give.host_path()?))).collect()
}

/// The resource and id that a pod of this node has, where a node agent holds the lock for one: a process of our own user, for
/// anybody could write so.
pub fn pods_claim(holder: &LockHolder) -> Option<(String, String)> {
    if holder.uid != Some(rustix::process::geteuid().as_raw()) {
        return None;
    }
    let text: serde_json::Value = serde_json::from_str(&holder.text).ok()?;
    let text = |key: &str| text[key].as_str();
    (text("door") == Some(Door::Kubelet.word()))
        .then(|| Some((text("resource")?.to_owned(), text("id")?.to_owned())))?
}

/// Whoever holds a lock, in words: the name that it wrote, else its process.
pub fn who(holder: &LockHolder) -> String {
    let text: Option<serde_json::Value> = serde_json::from_str(&holder.text).ok();
    match text.as_ref().and_then(|text| text["who"].as_str()).or(Some(&holder.text)).filter(|who| !who.is_empty()) {
        Some(who) => who.to_owned(),
        None => holder.pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}")),
    }
}
