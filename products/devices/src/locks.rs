//! The machine-wide lock of a physical device, the same at both doors: what it is called, what is written in it, and whose
//! counts. One user must not be able to keep all devices from all others: an ordinary user's lock counts only for what that
//! user may open. Only root can tell, and only where it sees all processes; in doubt a lock counts.
//!
//! What a node agent gives to a kubelet's pod alone is locked by a file that lasts ([`Wish::lasts`]): it keeps others away also
//! while no agent runs, until one has learned that the pod has given it back.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use outrigger_device_core::decide::Decision;
use outrigger_device_core::hold::Mode;
use outrigger_device_core::unit::Unit;
use outrigger_host::devices::Roots;
use outrigger_host::{Attempt, Credentials, LockError, LockHolder, Locks, Wish};
use serde_json::json;

use crate::claims::Holders;

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

/// Tries for one lock of a unit, for whoever it is given to through a door: alone, or with others where the unit shares it.
/// The lock of users who may not open the device does not count.
pub fn try_lock(
    locks: &Locks,
    name: &str,
    unit: &Unit,
    (door, who): (Door, &str),
    roots: &Roots,
) -> Result<Attempt, LockError> {
    let device = unit.parts_of(name).next().map(|part| part.hold.device());
    let text =
        json!({"who": who, "door": door.word(), "resource": &*unit.body.resource, "id": &*unit.id, "device": device});
    let nodes = nodes(unit, name, roots);
    let shared = unit.shares(name);
    let wish = Wish { text: &text.to_string(), shared, lasts: door == Door::Kubelet && !shared };
    locks.try_lock_against(KIND, name, wish, |user| may_open(user, &nodes))
}

/// Whether a user may open a device, all of it. What has no node, as a slot, is everybody's.
pub fn may_open(user: &Credentials, nodes: &[PathBuf]) -> bool {
    nodes.iter().all(|node| user.may_open(node))
}

/// The nodes of what a unit's lock of this name is for.
pub fn nodes(unit: &Unit, name: &str, roots: &Roots) -> Vec<PathBuf> {
    unit.parts_of(name).filter_map(|part| Some(roots.at(part.give.host_path()?))).collect()
}

/// The resource and id that a pod of this node has, where a node agent holds the lock for one or has left it: by a file that
/// nobody else can have open. In any other the text may be of long ago, and anybody may have the lock.
pub fn pods_claim(holder: &LockHolder) -> Option<(String, String)> {
    if !holder.is_lasting {
        return None;
    }
    let text: serde_json::Value = serde_json::from_str(&holder.text).ok()?;
    let text = |key: &str| text[key].as_str();
    (text("door") == Some(Door::Kubelet.word()))
        .then(|| Some((text("resource")?.to_owned(), text("id")?.to_owned())))?
}

/// Who else has locks, in words, by name, without those that are the caller's own and without those that do not count.
/// `free` is what would be offered if nobody had any; `told` is what the kubelet's pods have, where it tells.
pub fn others(
    locks: &Locks,
    (free, told): (&Decision, Option<&Holders>),
    roots: &Roots,
    is_own: impl Fn(&str) -> bool,
) -> BTreeMap<String, String> {
    let mut holders = locks.holders(KIND, &is_own);
    let powerless = Ordinary::among(locks, holders.keys()).unwrap_or_default().powerless(units(free), roots);
    holders.retain(|name, _| !powerless.contains(name));
    holders.extend(standing(locks.left(KIND, is_own), free, told));
    holders.into_iter().map(|(name, holder)| (name, who(&holder))).collect()
}

/// Of the locks that an agent has left, those that keep others away: of what the kubelet does not tell that its pod has given
/// it back. That of a device which is listed keeps nobody from that: whose it is, is known there.
pub fn standing(
    mut left: BTreeMap<String, LockHolder>,
    free: &Decision,
    told: Option<&Holders>,
) -> BTreeMap<String, LockHolder> {
    left.retain(|name, holder| {
        let (Some(key), Some(told)) = (pods_claim(holder), told) else { return pods_claim(holder).is_some() };
        let of_it =
            |unit: &Unit| unit.parts_of(name).any(|part| device(holder).is_some_and(|it| it == part.hold.device()));
        told.contains_key(&key) && !units(free).any(of_it)
    });
    left
}

/// What device a lock is of, as its holder knows it.
fn device(holder: &LockHolder) -> Option<String> {
    let text: serde_json::Value = serde_json::from_str(&holder.text).ok()?;
    text["device"].as_str().map(str::to_owned)
}

/// All that a decision lists.
pub fn units(decision: &Decision) -> impl Iterator<Item = &Unit> {
    decision.lists.iter().flat_map(|list| list.listed.iter()).map(|listed| &listed.unit)
}

/// Who has a part of what a unit shares as a whole, or the whole of what it has a part of: what both lock with others lets both
/// in, so that whoever has locked looks once more. Two that come in one moment may both let go.
pub fn opponent(locks: &Locks, unit: &Unit, roots: &Roots, is_own: impl Fn(&str) -> bool) -> Option<LockHolder> {
    let shared: Vec<(String, Mode)> = unit.modes().into_iter().filter(|(_, mode)| *mode != Mode::Alone).collect();
    let meets = |name: &str| {
        let part_of = |whole: &str| name.strip_prefix(whole)?.strip_prefix('+');
        shared.iter().any(|(whole, mode)| part_of(whole).is_some_and(|part| mode.meets(part)))
    };
    if shared.is_empty() {
        return None;
    }
    let mut holders = locks.holders(KIND, |name| is_own(name) || !meets(name));
    let powerless = Ordinary::among(locks, holders.keys()).unwrap_or_default().powerless([unit].into_iter(), roots);
    holders.retain(|name, _| !powerless.contains(name));
    holders.into_values().next()
}

/// Locks that nobody has but ordinary users, and who these are, where that can be told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ordinary(BTreeMap<String, Vec<Credentials>>);

impl Ordinary {
    /// Those among locks that somebody has; none where that cannot be told.
    pub fn among<'n>(locks: &Locks, names: impl ExactSizeIterator<Item = &'n String>) -> Option<Self> {
        if names.len() == 0 {
            return Some(Self::default());
        }
        let users = locks.users(KIND, names.map(String::as_str))?;
        let is_ordinary = |users: &Vec<Credentials>| !users.is_empty() && users.iter().all(|user| user.uid != 0);
        Some(Self(users.into_iter().filter(|(_, users)| is_ordinary(users)).collect()))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Those that do not count: they are in the way of some unit, and of none that one of these users may open.
    pub fn powerless<'u>(&self, units: impl Iterator<Item = &'u Unit>, roots: &Roots) -> BTreeSet<String> {
        // A part's name begins with that of the whole, which is what is taken away with it.
        let wholes = |name: &str| name.match_indices('+').map(|(end, _)| name[..end].to_owned()).collect::<Vec<_>>();
        let mut meant: BTreeMap<String, Vec<&String>> = BTreeMap::new();
        for name in self.0.keys() {
            for of in wholes(name).into_iter().chain([name.clone()]) {
                meant.entry(of).or_default().push(name);
            }
        }
        let mut counts: BTreeMap<&String, bool> = BTreeMap::new();
        for unit in units.filter(|_| !meant.is_empty()) {
            for lock in unit.locks() {
                for name in meant.get(&lock).into_iter().flatten() {
                    let nodes = nodes(unit, &lock, roots);
                    *counts.entry(name).or_default() |= self.0[*name].iter().any(|user| may_open(user, &nodes));
                }
            }
        }
        counts.into_iter().filter(|(_, counts)| !counts).map(|(name, _)| name.clone()).collect()
    }
}

/// Whoever holds a lock, in words: the name that it wrote, else its process.
pub fn who(holder: &LockHolder) -> String {
    let text: Option<serde_json::Value> = serde_json::from_str(&holder.text).ok();
    match text.as_ref().and_then(|text| text["who"].as_str()).or(Some(&holder.text)).filter(|who| !who.is_empty()) {
        Some(who) => who.to_owned(),
        None if holder.is_lasting => "a pod of this node's kubelet".to_owned(),
        None => holder.pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}")),
    }
}
