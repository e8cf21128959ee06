//! The lists, the findings and the changes, from candidates and from what was.

use std::cell::LazyCell;
use std::collections::{BTreeMap, BTreeSet};
use std::iter::repeat_with;
use std::sync::Arc;
use std::time::Duration;

use super::candidates::{Candidate, Candidates};
use super::contest::Contested;
use super::life::{Look, State, of_id};
use super::orphans::Orphans;
use super::regrouped::Regrouped;
use super::{Change, Decision, Finding, Input, List, Listed, Reason, Status};
use crate::hold::{Mode, in_the_way};
use crate::rules::{HealthPolicy, Resource};
use crate::unit::{Body, Unit};

/// The kubelet's limit of one message, in bytes: gRPC's default.
const LIST_LIMIT: usize = 4 * 1024 * 1024;

/// What each resource lists, or is about to.
type ByResource<L> = BTreeMap<Arc<str>, L>;

/// What replicas of one body must have in common to be one finding.
type Alike<'l> = (*const Body, Status, Duration, &'l [Reason]);

/// What is made one after another.
struct Making<'m> {
    input: &'m Input<'m>,
    orphans: Orphans<'m>,
    regrouped: Regrouped,
    /// Sorted by id, once all is in.
    listed: ByResource<Vec<Listed>>,
    findings: Vec<Finding>,
    changes: Vec<Change>,
}

/// Makes the decision.
pub(super) fn make(input: &Input<'_>, contested: Contested) -> Decision {
    let Contested { seen, withheld } = contested;
    let Candidates { resources, units, others, identities, missing, .. } = seen;
    let (orphans, regrouped) = (Orphans::of(input, &units), Regrouped::of(input, &units));
    let (findings, changes) = (Vec::new(), Vec::new());
    let mut making = Making { input, orphans, regrouped, listed: ByResource::new(), findings, changes };
    for (unit, reasons) in units.iter().zip(withheld) {
        making.add(unit, &reasons);
    }
    making.sort();
    making.keep_the_vanished(&units, &resources);
    let lists = making.lists(resources);
    let filled = lists.iter().filter(|list| !list.listed.is_empty());
    let left: ByResource<_> = filled.map(|list| (Arc::clone(&list.resource), Arc::clone(&list.listed))).collect();
    making.note_changes(&left);
    let Making { mut findings, mut changes, .. } = making;
    findings.extend(others);
    findings.sort_by(|a, b| {
        (a.kind, &a.name, &a.resource, a.status, &a.ids).cmp(&(b.kind, &b.name, &b.resource, b.status, &b.ids))
    });
    drop_answered(&mut findings);
    changes.sort_by(|a, b| (&a.unit.body.resource, &a.unit.id).cmp(&(&b.unit.body.resource, &b.unit.id)));
    let all = left.values().flat_map(|listed| listed.iter());
    let again = all.filter_map(|listed| {
        let Unit { id, body, .. } = &listed.unit;
        listed.next(policy(input, listed), claimed(input, &body.resource, id))
    });
    let again = again.filter(|moment| *moment > input.now).min();
    Decision { lists, findings, again, missing, changes, next: State { lists: left, identities } }
}

fn policy<'i>(input: &Input<'i>, listed: &Listed) -> &'i HealthPolicy {
    const DEFAULT: &HealthPolicy = &HealthPolicy {
        unhealthy_after: 3,
        healthy_after: Duration::from_secs(10),
        vanish_grace: Duration::from_secs(300),
        every: Duration::from_secs(10),
    };
    input.rules.resources.get(listed.unit.body.rule).map_or(DEFAULT, |resource: &Resource| &resource.health)
}

fn claimed(input: &Input<'_>, resource: &str, id: &str) -> bool {
    !input.claims.held.is_empty() && input.claims.held.contains_key(&(resource.to_owned(), id.to_owned()))
}

impl Making<'_> {
    /// All replicas of one candidate.
    fn add(&mut self, candidate: &Candidate, withheld: &[Reason]) {
        let Candidate { body, ids, against, .. } = candidate;
        let mut apart: Vec<(Arc<str>, Vec<Reason>)> = Vec::new();
        let mut is_listed = false;
        let elsewhere = self.others(candidate).into_iter().chain(repeat_with(|| None));
        for ((replica, id), elsewhere) in (0..).zip(ids).zip(elsewhere) {
            let unit = Unit { id: Arc::clone(id), replica, body: Arc::clone(body) };
            if !withheld.is_empty() || elsewhere.is_some() {
                let reasons = withheld.iter().cloned().chain(elsewhere);
                apart.push((Arc::clone(id), reasons.collect()));
                continue;
            }
            let broken: Vec<Reason> = against.broken.iter().chain(&against.unfit).cloned().collect();
            let look = match (&*broken, &*against.failing) {
                ([], []) => Look::Well,
                ([], failing) => Look::Failing(failing),
                (broken, _) => Look::Broken(broken),
            };
            let before = self.input.previous.listed(&body.resource, id).cloned();
            let listed = match before {
                Some(before) => {
                    let listed = Listed { unit, ..before };
                    let policy = policy(self.input, &listed);
                    listed.step(look, policy, self.input.now)
                }
                None => Listed::new(unit, look, self.input.now),
            };
            self.listed.entry(Arc::clone(&body.resource)).or_default().push(listed);
            is_listed = true;
        }
        if !apart.is_empty() || !is_listed {
            self.add_withheld(body, apart);
        }
    }

    fn sort(&mut self) {
        for listed in self.listed.values_mut() {
            listed.sort_by(|one, other| one.unit.id.cmp(&other.unit.id));
        }
    }

    /// Of each replica that no pod has, who else has it; nothing where nobody has anything. A claim under another name takes one that nobody else has.
    fn others(&self, candidate: &Candidate) -> Vec<Option<Reason>> {
        let Candidate { body, ids, .. } = candidate;
        if self.input.claims.elsewhere.is_empty() && self.regrouped.is_empty() && self.orphans.is_empty() {
            return Vec::new();
        }
        let is_claimed = |id: &str| claimed(self.input, &body.resource, id);
        let other = |(replica, id): (u32, &Arc<str>)| {
            let unit = Unit { id: Arc::clone(id), replica, body: Arc::clone(body) };
            if is_claimed(id) { None } else { self.elsewhere(&unit) }
        };
        let mut others: Vec<Option<Reason>> = (0..).zip(ids).map(other).collect();
        let orphans = self.orphans.of_unit(self.input.rules, body, ids);
        let orphans = orphans.into_iter().skip(others.iter().flatten().count());
        let free = ids.iter().zip(&mut others).filter(|(id, other)| other.is_none() && !is_claimed(id));
        for ((_, other), who) in free.zip(orphans) {
            *other = Some(Reason::Elsewhere(who.to_owned()));
        }
        others
    }

    /// Who else has it.
    fn elsewhere(&self, unit: &Unit) -> Option<Reason> {
        let elsewhere = &self.input.claims.elsewhere;
        let of_it = |(name, mode): (String, Mode)| in_the_way(elsewhere, &name, mode).next();
        let who = if elsewhere.is_empty() { None } else { unit.modes().into_iter().find_map(of_it) };
        who.map(|who| Reason::Elsewhere(who.clone())).or_else(|| self.regrouped.holder(self.input.rules, unit))
    }

    /// Replicas with the same reasons are one finding.
    fn add_withheld(&mut self, body: &Arc<Body>, apart: Vec<(Arc<str>, Vec<Reason>)>) {
        let mut alike: BTreeMap<Vec<Reason>, Vec<Arc<str>>> = BTreeMap::new();
        for (id, reasons) in apart {
            alike.entry(reasons).or_default().push(id);
        }
        for (reasons, ids) in alike {
            self.findings.push(finding(body, ids, Status::Withheld, reasons, None));
        }
    }

    /// What was listed and is not there any more stays listed until its grace ends, and as long as it is claimed.
    fn keep_the_vanished(&mut self, units: &[Candidate], resources: &[(Arc<str>, usize)]) {
        let seen = LazyCell::new(|| {
            let mut seen: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
            for unit in units {
                seen.entry(&unit.body.resource).or_default().extend(unit.ids.iter().map(|id| &**id));
            }
            seen
        });
        let (input, mut kept) = (self.input, Vec::new());
        for (resource, before) in &input.previous.lists {
            let rule = resources.iter().find(|(name, _)| name == resource).map(|(_, rule)| *rule);
            for before in before.iter() {
                let id = &before.unit.id;
                if self.listed.get(resource).is_some_and(|listed| of_id(listed, id).is_some()) {
                    continue;
                }
                let is_withheld = seen.get(&**resource).is_some_and(|ids| ids.contains(&**id));
                let is_claimed = claimed(input, resource, id);
                let of_rule = rule.or_else(|| self.rule_of_match(before));
                let Some(rule) = of_rule.filter(|_| is_claimed || !is_withheld) else { continue };
                let policy = &input.rules.resources[rule].health;
                // What a pod has is told as unhealthy where it would be withheld.
                let reasons = if is_withheld { self.reasons(resource, id) } else { Vec::new() };
                let look = if reasons.is_empty() { Look::Gone } else { Look::Broken(&reasons) };
                let listed = before.clone().step(look, policy, input.now);
                if is_claimed || !listed.is_over(policy, input.now) {
                    kept.push((Arc::clone(resource), listed));
                }
            }
        }
        if !kept.is_empty() {
            for (resource, listed) in kept {
                self.listed.entry(resource).or_default().push(listed);
            }
            self.sort();
        }
    }

    /// Why an id is withheld.
    fn reasons(&self, resource: &Arc<str>, id: &Arc<str>) -> Vec<Reason> {
        let of_it = |finding: &&Finding| finding.resource.as_ref() == Some(resource) && finding.ids.contains(id);
        self.findings.iter().find(of_it).map(|finding| finding.reasons.clone()).unwrap_or_default()
    }

    /// The rule of a match whose resource is gone with it, as long as the configuration has that rule.
    fn rule_of_match(&self, listed: &Listed) -> Option<usize> {
        let rule = listed.unit.body.rule;
        self.input.rules.resources.get(rule).filter(|resource| resource.per_match).map(|_| rule)
    }

    /// The list of each resource, no longer than the kubelet takes.
    fn lists(&mut self, mut resources: Vec<(Arc<str>, usize)>) -> Vec<List> {
        for (resource, listed) in &self.listed {
            if !resources.iter().any(|(name, _)| name == resource) {
                let rule = listed.first().map_or(0, |listed| listed.unit.body.rule);
                resources.push((Arc::clone(resource), rule));
            }
        }
        let mut lists = Vec::new();
        for (resource, rule) in resources {
            let over = self.over_full(&resource);
            let mut listed = self.listed.remove(&resource).unwrap_or_default();
            for one in listed.extract_if(.., |listed| over.contains(&listed.unit.id)) {
                let Unit { id, body, .. } = one.unit;
                self.findings.push(finding(&body, vec![id], Status::Withheld, vec![Reason::ListFull], None));
            }
            listed.shrink_to_fit();
            self.add_listed(&listed);
            lists.push(List { resource, rule, listed: Arc::new(listed) });
        }
        lists
    }

    /// What does not fit into one message: first what is new, in the order of ids.
    fn over_full(&self, resource: &Arc<str>) -> BTreeSet<Arc<str>> {
        let Some(listed) = self.listed.get(resource) else { return BTreeSet::new() };
        let size = |listed: &Listed| wire_size(listed.unit.id.len(), &listed.unit.body.numa);
        let total: usize = listed.iter().map(size).sum();
        if total <= LIST_LIMIT {
            return BTreeSet::new();
        }
        let is_new = |id: &str| self.input.previous.listed(resource, id).is_none();
        let mut order: Vec<&Listed> = listed.iter().collect();
        order.sort_by_key(|listed| (!claimed(self.input, resource, &listed.unit.id), is_new(&listed.unit.id)));
        let mut used = 0;
        let beyond = order.into_iter().skip_while(|listed| {
            used += size(listed);
            used <= LIST_LIMIT
        });
        beyond.map(|listed| Arc::clone(&listed.unit.id)).collect()
    }

    /// Replicas that are alike are one finding.
    fn add_listed(&mut self, listed: &[Listed]) {
        let mut alike: BTreeMap<Alike<'_>, (&Body, Vec<Arc<str>>)> = BTreeMap::new();
        for Listed { unit, status, reasons, since, .. } in listed {
            let key = (Arc::as_ptr(&unit.body), *status, *since, &**reasons);
            alike.entry(key).or_insert_with(|| (&unit.body, Vec::new())).1.push(Arc::clone(&unit.id));
        }
        for ((_, status, since, reasons), (body, mut ids)) in alike {
            ids.shrink_to_fit();
            self.findings.push(finding(body, ids, status, reasons.to_vec(), Some(since)));
        }
    }

    /// What is another way than before.
    fn note_changes(&mut self, now: &ByResource<Arc<Vec<Listed>>>) {
        for listed in now.values().flat_map(|listed| listed.iter()) {
            let Listed { unit, status, reasons, .. } = listed;
            let from = self.input.previous.listed(&unit.body.resource, &unit.id).map(|before| before.status);
            if from != Some(*status) {
                self.changes.push(Change { unit: unit.clone(), from, to: Some(*status), reasons: reasons.clone() });
            }
        }
        for (resource, before) in &self.input.previous.lists {
            let is_listed = |id: &str| now.get(resource).is_some_and(|listed| of_id(listed, id).is_some());
            for Listed { unit, status, .. } in before.iter().filter(|before| !is_listed(&before.unit.id)) {
                let is_it =
                    |finding: &&Finding| finding.resource.as_ref() == Some(resource) && finding.ids.contains(&unit.id);
                let withheld = self.findings.iter().find(is_it);
                let to = withheld.map(|finding| finding.status);
                let reasons = withheld.map(|finding| finding.reasons.clone()).unwrap_or_default();
                self.changes.push(Change { unit: unit.clone(), from: Some(*status), to, reasons });
            }
        }
    }
}

fn finding(body: &Body, ids: Vec<Arc<str>>, status: Status, reasons: Vec<Reason>, since: Option<Duration>) -> Finding {
    let names: Vec<&str> = body.parts.iter().map(|part| part.name.as_str()).collect();
    Finding {
        kind: body.parts.first().map_or(crate::ids::Kind::Counted, |part| part.kind),
        name: names.join(", "),
        node: body.parts.iter().find_map(|part| part.give.host_path()).map(str::to_owned),
        resource: Some(Arc::clone(&body.resource)),
        ids,
        status,
        reasons,
        numa: body.numa.clone(),
        since,
    }
}

/// A device that some rule makes a unit of needs no finding of another rule that only nearly matches.
fn drop_answered(findings: &mut Vec<Finding>) {
    let answered: BTreeSet<(crate::ids::Kind, String)> = findings
        .iter()
        .filter(|finding| finding.resource.is_some())
        .map(|finding| (finding.kind, finding.name.clone()))
        .collect();
    findings.retain(|finding| finding.resource.is_some() || !answered.contains(&(finding.kind, finding.name.clone())));
    findings.dedup();
}

/// How many bytes of a `ListAndWatchResponse` one device takes, `Unhealthy` and with these NUMA nodes: the messages of
/// `k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1/api.proto`.
pub fn wire_size(id_length: usize, numa: &[u32]) -> usize {
    let field = |length: usize| 1 + varint(length) + length;
    let node = |node: &u32| field(if *node == 0 { 0 } else { 1 + varint(*node as usize) });
    let topology = if numa.is_empty() { 0 } else { field(numa.iter().map(node).sum()) };
    field(field(id_length) + field("Unhealthy".len()) + topology)
}

/// Bytes of a number.
fn varint(number: usize) -> usize {
    (number.checked_ilog2().unwrap_or(0) / 7 + 1) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_measured_on_a_kubelet() {
        // Reference §15: bytes of a Healthy device, which is two shorter.
        for (id, healthy) in [(8, 21), (40, 53), (63, 76)] {
            assert_eq!(wire_size(id, &[]) - 2, healthy, "{id}");
        }
        assert_eq!(wire_size(8, &[1]) - wire_size(8, &[]), 6);
        assert_eq!(wire_size(8, &[0]) - wire_size(8, &[]), 4);
    }
}
