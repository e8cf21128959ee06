//! The machine-wide lock of a physical device, the same at both doors: what it is called, and what is written in it.

use outrigger_device_core::unit::Unit;
use outrigger_host::{Attempt, LockError, LockHolder, Locks};
use serde_json::json;

/// The kind of lock that devices have.
pub const KIND: &str = "devices";

/// Tries to lock one device of a unit, for `who`.
pub fn try_lock(locks: &Locks, name: &str, unit: &Unit, who: &str) -> Result<Attempt, LockError> {
    let text = json!({"who": who, "resource": &*unit.body.resource, "id": &*unit.id});
    locks.try_lock(KIND, name, &text.to_string())
}

/// Whoever holds a lock, in words: the name that it wrote, else its process.
pub fn who(holder: &LockHolder) -> String {
    let text: Option<serde_json::Value> = serde_json::from_str(&holder.text).ok();
    match text.as_ref().and_then(|text| text["who"].as_str()).or(Some(&holder.text)).filter(|who| !who.is_empty()) {
        Some(who) => who.to_owned(),
        None => holder.pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}")),
    }
}
