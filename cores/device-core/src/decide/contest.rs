//! Who gets what more than one rule matches: whatever a pod holds stays with its resource; else the earlier rule has it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::candidates::{Candidate, Candidates, Footprint};
use super::{Input, Reason};
use crate::picture::DeviceNumber;
use crate::rules::{Dialect, Rules};
use crate::unit::Body;

/// All candidates, each with what it has lost.
#[derive(Debug)]
pub(super) struct Contested {
    pub(super) seen: Candidates,
    /// For each candidate, why it is not listed; empty where it is.
    pub(super) withheld: Vec<Vec<Reason>>,
}

/// What has been taken so far, and by which candidates.
#[derive(Default)]
struct Taken<'c> {
    nodes: BTreeMap<(bool, DeviceNumber), Vec<usize>>,
    wholes: BTreeMap<&'c str, Vec<usize>>,
    parts: BTreeMap<&'c str, Vec<usize>>,
}

/// Settles it.
pub(super) fn settle(input: &Input<'_>, seen: Candidates) -> Contested {
    let units = &seen.units;
    let claimed = claimed(input, &seen);
    let mut withheld: Vec<Vec<Reason>> =
        units.iter().zip(&claimed).map(|(unit, claimed)| own_reasons(unit, *claimed)).collect();
    let mut order: Vec<usize> = (0..units.len()).filter(|number| withheld[*number].is_empty()).collect();
    order.sort_by_key(|number| (!claimed[*number], *number));
    let mut taken = Taken::default();
    for number in order {
        let rival = taken
            .rivals(&units[number].footprint)
            .find(|rival| !may_share(input.rules, &units[number], &units[*rival]));
        match rival {
            Some(rival) => {
                let resource = units[rival].body.resource.to_string();
                withheld[number].push(Reason::AlsoMatched { resource });
            }
            None => taken.add(number, &units[number].footprint),
        }
    }
    keep_ids_apart(input, units, &mut withheld);
    Contested { seen, withheld }
}

/// For each candidate, whether a pod has it: it had the id before; or nobody here had, and it has just come, as when it was
/// pulled and plugged again. One that was here all the time is another device with the same identity.
fn claimed(input: &Input<'_>, seen: &Candidates) -> Vec<bool> {
    let held = &input.claims.held;
    let is_held = |resource: &str, id: &str| held.contains_key(&(resource.to_owned(), id.to_owned()));
    let is_claimed = |unit: &Candidate| {
        let (resource, part) = (&*unit.body.resource, unit.body.parts.first());
        let (name, key) = part.map_or(("", None), |part| (&*part.name, Some((part.kind, part.name.clone()))));
        unit.ids.iter().filter(|id| is_held(resource, id)).any(|id| {
            let before = input.previous.listed(resource, id);
            let has_come = !key.as_ref().is_some_and(|key| seen.stayed.contains(key));
            before.is_none() || input.previous.has(resource, id, name) || has_come
        })
    };
    let all = seen.units.iter();
    if held.is_empty() { all.map(|_| false).collect() } else { all.map(is_claimed).collect() }
}

/// Why it is not listed, whatever the others are.
fn own_reasons(unit: &Candidate, is_claimed: bool) -> Vec<Reason> {
    let against = &unit.against;
    let unless_claimed = against.usage.iter().chain(&against.unfit).filter(|_| !is_claimed);
    against.rule.iter().chain(unless_claimed).cloned().collect()
}

/// Whether two may have the same: their rules may overlap; or both are the same group of paths, whose limit allows it.
fn may_share(rules: &Rules, one: &Candidate, other: &Candidate) -> bool {
    let same_group = (one.body.rule, one.body.group) == (other.body.rule, other.body.group);
    (same_group && one.footprint.is_limited) || may_overlap(rules, &one.body, &other.body)
}

/// Whether two rules may hand out the same: both say so, or both are written as generic-device-plugin's, which never looked.
pub fn may_overlap(rules: &Rules, one: &Body, other: &Body) -> bool {
    let both = |says: fn(&crate::rules::Resource) -> bool| {
        [one, other].iter().all(|unit| rules.resources.get(unit.rule).is_some_and(says))
    };
    both(|resource| resource.share) || both(|resource| resource.dialect == Dialect::Gdp)
}

impl<'c> Taken<'c> {
    /// Whoever has something of this already.
    fn rivals(&self, footprint: &Footprint) -> impl Iterator<Item = usize> {
        let nodes = footprint.nodes.iter().filter_map(|node| self.nodes.get(node));
        let wholes = footprint.wholes.iter().chain(&footprint.parts).filter_map(|it| self.wholes.get(it.as_str()));
        let parts = footprint.wholes.iter().filter_map(|it| self.parts.get(it.as_str()));
        nodes.chain(wholes).chain(parts).flatten().copied()
    }

    fn add(&mut self, number: usize, footprint: &'c Footprint) {
        for node in &footprint.nodes {
            self.nodes.entry(*node).or_default().push(number);
        }
        for whole in &footprint.wholes {
            self.wholes.entry(whole).or_default().push(number);
        }
        for part in &footprint.parts {
            self.parts.entry(part).or_default().push(number);
        }
    }
}

/// Of two devices with one id, the one that has it already keeps it, else the first.
fn keep_ids_apart(input: &Input<'_>, units: &[Candidate], withheld: &mut [Vec<Reason>]) {
    let mut owners: BTreeMap<(&Arc<str>, &Arc<str>), usize> = BTreeMap::new();
    let name = |number: usize| units[number].body.parts.first().map_or("", |part| part.name.as_str());
    for number in 0..units.len() {
        if !withheld[number].is_empty() {
            continue;
        }
        let resource = &units[number].body.resource;
        let Some(id) = units[number].ids.first() else { continue };
        let Some(owner) = owners.get(&(resource, id)).copied() else {
            owners.extend(units[number].ids.iter().map(|id| ((resource, id), number)));
            continue;
        };
        let has_it = |number: usize| input.previous.has(resource, id, name(number));
        let (kept, loser) = if has_it(number) && !has_it(owner) { (number, owner) } else { (owner, number) };
        withheld[loser].push(Reason::DuplicateId { of: name(kept).to_owned() });
        owners.extend(units[kept].ids.iter().map(|id| ((resource, id), kept)));
    }
}
