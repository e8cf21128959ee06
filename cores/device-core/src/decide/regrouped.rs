//! What pods have in units that are not made any more: a group of paths is combined anew when one of its matches comes or
//! goes, and then a path stands in another unit, with another id, while the pod still has it. And another device can come to
//! have the number of one that is gone: the pod that had that one may still open it.
//!
//! What it does not do: after a restart nobody remembers what a unit that is not made was made of.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::candidates::Candidate;
use super::{Input, Reason};
use crate::hold::{Hold, in_the_way};
use crate::rules::{Dialect, Rules, Select};
use crate::unit::Unit;

/// Who has which part, by what it is, and which lock alone.
#[derive(Debug, Default)]
pub(super) struct Regrouped {
    by_device: BTreeMap<String, Vec<Had>>,
    by_lock: BTreeMap<String, Vec<Had>>,
}

#[derive(Clone, Debug)]
struct Had {
    resource: Arc<str>,
    may_overlap: bool,
    who: String,
    devices: Arc<BTreeSet<String>>,
}

impl Had {
    /// Whether it keeps a unit away.
    fn counts_for(&self, unit: &Unit, may_overlap: bool) -> bool {
        self.resource == unit.body.resource || !(self.may_overlap && may_overlap)
    }
}

impl Regrouped {
    /// Of the claims on units that were listed and that are not among these.
    pub(super) fn of(input: &Input<'_>, units: &[Candidate]) -> Self {
        let held = &input.claims.held;
        if held.is_empty() {
            return Self::default();
        }
        let ids = units.iter().flat_map(|unit| unit.ids.iter().map(|id| (&*unit.body.resource, &**id)));
        let made: BTreeSet<(&str, &str)> = ids.collect();
        let listed = input.previous.lists.values().flat_map(|list| list.iter());
        let mut regrouped = Self::default();
        for unit in listed.map(|listed| &listed.unit) {
            let resource = &unit.body.resource;
            let who = held.get(&(resource.to_string(), unit.id.to_string()));
            let Some(who) = who.filter(|_| !made.contains(&(&**resource, &*unit.id))) else { continue };
            let devices = Arc::new(unit.holds().map(Hold::device).collect());
            let (resource, who) = (Arc::clone(resource), who.clone());
            let had = Had { resource, may_overlap: may_overlap(input.rules, unit), who, devices };
            for device in devices_of(unit) {
                regrouped.by_device.entry(device).or_default().push(had.clone());
            }
            for lock in unit.exclusive() {
                regrouped.by_lock.entry(lock).or_default().push(had.clone());
            }
        }
        regrouped
    }

    /// Whether nobody has anything.
    pub(super) fn is_empty(&self) -> bool {
        self.by_device.is_empty() && self.by_lock.is_empty()
    }

    /// Who has something of this.
    pub(super) fn holder(&self, rules: &Rules, unit: &Unit) -> Option<Reason> {
        if self.by_device.is_empty() {
            return None;
        }
        let may_overlap = may_overlap(rules, unit);
        let of_device =
            |device: String| self.by_device.get(&device)?.iter().find(|had| had.counts_for(unit, may_overlap));
        let had = if is_limited(rules, unit) { None } else { devices_of(unit).find_map(of_device) };
        let had = had.or_else(|| self.of_number(unit, may_overlap));
        had.map(|had| Reason::Elsewhere(had.who.clone()))
    }

    /// Who has what had a number of this before.
    fn of_number(&self, unit: &Unit, may_overlap: bool) -> Option<&Had> {
        let is_another = |had: &&Had| !unit.holds().any(|hold| had.devices.contains(&hold.device()));
        let mut all =
            unit.modes().into_iter().flat_map(|(name, mode)| in_the_way(&self.by_lock, &name, mode)).flatten();
        all.find(|had| is_another(had) && had.counts_for(unit, may_overlap))
    }
}

/// What a unit's parts are, whatever number their nodes have.
fn devices_of(unit: &Unit) -> impl Iterator<Item = String> {
    unit.body.parts.iter().map(|part| crate::ids::replica(&part.hold.device(), unit.replica, unit.body.count))
}

/// Whether other resources may hand out the same.
fn may_overlap(rules: &Rules, unit: &Unit) -> bool {
    let resource = rules.resources.get(unit.body.rule);
    resource.is_some_and(|resource| resource.share || resource.dialect == Dialect::Gdp)
}

/// Whether the group may hand out one match several times.
fn is_limited(rules: &Rules, unit: &Unit) -> bool {
    let group = rules.resources.get(unit.body.rule).and_then(|resource| resource.groups.get(unit.body.group));
    group.is_some_and(|group| matches!(&group.select, Select::Paths(paths) if paths.iter().any(|path| path.limit > 1)))
}
