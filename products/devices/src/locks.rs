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

/// Tries to lock one device of a unit, for `who`. The lock of users who may not open the device does not count.
pub fn try_lock(locks: &Locks, name: &str, unit: &Unit, who: &str, roots: &Roots) -> Result<Attempt, LockError> {
    let text = json!({"who": who, "resource": &*unit.body.resource, "id": &*unit.id});
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

/// Whoever holds a lock, in words: the name that it wrote, else its process.
pub fn who(holder: &LockHolder) -> String {
    let text: Option<serde_json::Value> = serde_json::from_str(&holder.text).ok();
    match text.as_ref().and_then(|text| text["who"].as_str()).or(Some(&holder.text)).filter(|who| !who.is_empty()) {
        Some(who) => who.to_owned(),
        None => holder.pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}")),
    }
}
