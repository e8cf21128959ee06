//! What pods have in units that are not made any more: a group of paths is combined anew when one of its matches comes or
//! goes, and then a path stands in another unit, with another id, while the pod still has it.
//!
//! What it does not do: after a restart nobody remembers what a unit that is not made was made of.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::candidates::Candidate;
use super::{Input, Reason};
use crate::rules::{Dialect, Rules, Select};
use crate::unit::Unit;

/// Who has which part, by what it is.
#[derive(Debug, Default)]
pub(super) struct Regrouped {
    by_device: BTreeMap<String, Vec<Had>>,
}

#[derive(Debug)]
struct Had {
    resource: Arc<str>,
    may_overlap: bool,
    who: String,
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
        let lives = input.previous.lives.values().flat_map(BTreeMap::values);
        let mut by_device: BTreeMap<String, Vec<Had>> = BTreeMap::new();
        for unit in lives.map(|life| &life.unit) {
            let resource = &unit.body.resource;
            let who = held.get(&(resource.to_string(), unit.id.to_string()));
            let Some(who) = who.filter(|_| !made.contains(&(&**resource, &*unit.id))) else { continue };
            let may_overlap = may_overlap(input.rules, unit);
            for device in devices(unit) {
                by_device.entry(device).or_default().push(Had {
                    resource: Arc::clone(resource),
                    may_overlap,
                    who: who.clone(),
                });
            }
        }
        Self { by_device }
    }

    /// Who has something of this.
    pub(super) fn holder(&self, rules: &Rules, unit: &Unit) -> Option<Reason> {
        if self.by_device.is_empty() || is_limited(rules, unit) {
            return None;
        }
        let may_overlap = may_overlap(rules, unit);
        let had = devices(unit).find_map(|device| {
            let all = self.by_device.get(&device)?;
            all.iter().find(|had| had.resource == unit.body.resource || !(had.may_overlap && may_overlap))
        });
        had.map(|had| Reason::Elsewhere(had.who.clone()))
    }
}

/// What a unit's parts are, whatever number their nodes have: another device may come to have that of one that is gone.
fn devices(unit: &Unit) -> impl Iterator<Item = String> {
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
