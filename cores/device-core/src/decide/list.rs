//! The lists, the findings and the changes, from candidates and from what was.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::candidates::{Candidate, Candidates};
use super::contest::Contested;
use super::life::{Life, Look, State};
use super::orphans::Orphans;
use super::regrouped::Regrouped;
use super::{Change, Decision, Finding, Input, List, Listed, Reason, Status};
use crate::hold::{Mode, in_the_way};
use crate::rules::{HealthPolicy, Resource};
use crate::unit::{Body, Unit};

/// The kubelet's limit of one message, in bytes: gRPC's default.
const LIST_LIMIT: usize = 4 * 1024 * 1024;

/// Lives by resource and id.
type Lives = BTreeMap<Arc<str>, BTreeMap<Arc<str>, Life>>;

/// What replicas of one body must have in common to be one finding.
type Alike<'l> = (*const Body, Status, Duration, &'l [Reason]);

/// What is made one after another.
struct Making<'m> {
    input: &'m Input<'m>,
    orphans: Orphans<'m>,
    regrouped: Regrouped,
    lives: Lives,
    findings: Vec<Finding>,
    changes: Vec<Change>,
}

/// Makes the decision.
pub(super) fn make(input: &Input<'_>, contested: Contested) -> Decision {
    let Contested { seen, withheld } = contested;
    let Candidates { resources, units, others, identities, missing, .. } = seen;
    let (orphans, regrouped) = (Orphans::of(input, &units), Regrouped::of(input, &units));
    let (findings, changes) = (Vec::new(), Vec::new());
    let mut making = Making { input, orphans, regrouped, lives: Lives::new(), findings, changes };
    for (unit, reasons) in units.iter().zip(withheld) {
        making.add(unit, &reasons);
    }
    making.keep_the_vanished(&units, &resources);
    let lists = making.lists(resources);
    making.note_changes();
    let Making { lives, mut findings, mut changes, .. } = making;
    findings.extend(others);
    findings.sort_by(|a, b| {
        (a.kind, &a.name, &a.resource, a.status, &a.ids).cmp(&(b.kind, &b.name, &b.resource, b.status, &b.ids))
    });
    drop_answered(&mut findings);
    changes.sort_by(|a, b| (&a.resource, &a.id).cmp(&(&b.resource, &b.id)));
    let again = lives.iter().flat_map(|(resource, lives)| lives.iter().map(move |(id, life)| (resource, id, life)));
    let again = again.filter_map(|(resource, id, life)| life.next(policy(input, life), claimed(input, resource, id)));
    let again = again.filter(|moment| *moment > input.now).min();
    Decision { lists, findings, again, missing, changes, next: State { lives, identities } }
}

fn policy<'i>(input: &Input<'i>, life: &Life) -> &'i HealthPolicy {
    const DEFAULT: &HealthPolicy = &HealthPolicy {
        unhealthy_after: 3,
        healthy_after: Duration::from_secs(10),
        vanish_grace: Duration::from_secs(300),
        every: Duration::from_secs(10),
    };
    input.rules.resources.get(life.unit.body.rule).map_or(DEFAULT, |resource: &Resource| &resource.health)
}

fn claimed(input: &Input<'_>, resource: &str, id: &str) -> bool {
    !input.claims.held.is_empty() && input.claims.held.contains_key(&(resource.to_owned(), id.to_owned()))
}

impl Making<'_> {
    /// All replicas of one candidate.
    fn add(&mut self, candidate: &Candidate, withheld: &[Reason]) {
        let Candidate { body, ids, against, .. } = candidate;
        let mut apart: Vec<(Arc<str>, Vec<Reason>)> = Vec::new();
        let mut listed = false;
        let elsewhere = self.others(candidate);
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
            let before = self.input.previous.life(&body.resource, id).cloned();
            let life = match before {
                Some(mut life) => {
                    life.unit = unit;
                    let policy = policy(self.input, &life);
                    life.step(look, policy, self.input.now)
                }
                None => Life::new(unit, look, self.input.now),
            };
            self.lives.entry(Arc::clone(&body.resource)).or_default().insert(Arc::clone(id), life);
            listed = true;
        }
        if !apart.is_empty() || !listed {
            self.add_withheld(body, apart);
        }
    }

    /// Of each replica that no pod has, who else has it; a claim under another name takes one that nobody else has.
    fn others(&self, candidate: &Candidate) -> Vec<Option<Reason>> {
        let Candidate { body, ids, .. } = candidate;
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
        let mut seen: BTreeMap<&str, std::collections::BTreeSet<&str>> = BTreeMap::new();
        for unit in units {
            seen.entry(&unit.body.resource).or_default().extend(unit.ids.iter().map(|id| &**id));
        }
        let input = self.input;
        for (resource, lives) in &input.previous.lives {
            let rule = resources.iter().find(|(name, _)| name == resource).map(|(_, rule)| *rule);
            for (id, life) in lives {
                let is_listed = self.lives.get(resource).is_some_and(|lives| lives.contains_key(id));
                let is_withheld = seen.get(&**resource).is_some_and(|ids| ids.contains(&**id));
                let is_claimed = claimed(input, resource, id);
                let of_rule = rule.or_else(|| self.rule_of_match(life));
                let Some(rule) = of_rule.filter(|_| !is_listed && (is_claimed || !is_withheld)) else { continue };
                let policy = &input.rules.resources[rule].health;
                // What a pod has is told as unhealthy where it would be withheld.
                let reasons = if is_withheld { self.reasons(resource, id) } else { Vec::new() };
                let look = if reasons.is_empty() { Look::Gone } else { Look::Broken(&reasons) };
                let life = life.clone().step(look, policy, input.now);
                if is_claimed || !life.is_over(policy, input.now) {
                    self.lives.entry(Arc::clone(resource)).or_default().insert(Arc::clone(id), life);
                }
            }
        }
    }

    /// Why an id is withheld.
    fn reasons(&self, resource: &Arc<str>, id: &Arc<str>) -> Vec<Reason> {
        let of_it = |finding: &&Finding| finding.resource.as_ref() == Some(resource) && finding.ids.contains(id);
        self.findings.iter().find(of_it).map(|finding| finding.reasons.clone()).unwrap_or_default()
    }

    /// The rule of a match whose resource is gone with it, as long as the configuration has that rule.
    fn rule_of_match(&self, life: &Life) -> Option<usize> {
        let rule = life.unit.body.rule;
        self.input.rules.resources.get(rule).filter(|resource| resource.per_match).map(|_| rule)
    }

    /// The list of each resource, no longer than the kubelet takes.
    fn lists(&mut self, mut resources: Vec<(Arc<str>, usize)>) -> Vec<List> {
        for (resource, lives) in &self.lives {
            if !resources.iter().any(|(name, _)| name == resource) {
                let rule = lives.values().next().map_or(0, |life| life.unit.body.rule);
                resources.push((Arc::clone(resource), rule));
            }
        }
        let mut lists = Vec::new();
        for (resource, rule) in resources {
            let over = self.over_full(&resource);
            let mut lives = self.lives.remove(&resource).unwrap_or_default();
            for id in over {
                let Some(life) = lives.remove(&id) else { continue };
                self.findings.push(finding(&life.unit.body, vec![id], Status::Withheld, vec![Reason::ListFull], None));
            }
            self.add_listed(&lives);
            let listed = lives.values().map(|life| Listed {
                unit: life.unit.clone(),
                status: life.status,
                reasons: life.reasons.clone(),
                since: life.since,
            });
            lists.push(List { resource: Arc::clone(&resource), rule, listed: listed.collect() });
            if !lives.is_empty() {
                self.lives.insert(resource, lives);
            }
        }
        lists
    }

    /// What does not fit into one message: first what is new, in the order of ids.
    fn over_full(&self, resource: &Arc<str>) -> Vec<Arc<str>> {
        let Some(lives) = self.lives.get(resource) else { return Vec::new() };
        let size = |(id, life): (&Arc<str>, &Life)| wire_size(id.len(), &life.unit.body.numa);
        let total: usize = lives.iter().map(size).sum();
        if total <= LIST_LIMIT {
            return Vec::new();
        }
        let is_new = |id: &str| self.input.previous.life(resource, id).is_none();
        let mut order: Vec<(&Arc<str>, &Life)> = lives.iter().collect();
        order.sort_by_key(|(id, _)| (!claimed(self.input, resource, id), is_new(id)));
        let mut used = 0;
        let beyond = order.into_iter().skip_while(|entry| {
            used += size(*entry);
            used <= LIST_LIMIT
        });
        beyond.map(|(id, _)| Arc::clone(id)).collect()
    }

    /// Replicas that are alike are one finding.
    fn add_listed(&mut self, lives: &BTreeMap<Arc<str>, Life>) {
        let mut alike: BTreeMap<Alike<'_>, (&Body, Vec<Arc<str>>)> = BTreeMap::new();
        for (id, life) in lives {
            let key = (Arc::as_ptr(&life.unit.body), life.status, life.since, &*life.reasons);
            alike.entry(key).or_insert_with(|| (&life.unit.body, Vec::new())).1.push(Arc::clone(id));
        }
        for ((_, status, since, reasons), (body, ids)) in alike {
            self.findings.push(finding(body, ids, status, reasons.to_vec(), Some(since)));
        }
    }

    /// What is another way than before.
    fn note_changes(&mut self) {
        for (resource, lives) in &self.lives {
            for (id, life) in lives {
                let from = self.input.previous.life(resource, id).map(|before| before.status);
                if from != Some(life.status) {
                    let (name, reasons) = (life.unit.name(), life.reasons.clone());
                    let (resource, id) = (Arc::clone(resource), Arc::clone(id));
                    self.changes.push(Change { resource, id, name, from, to: Some(life.status), reasons });
                }
            }
        }
        for (resource, lives) in &self.input.previous.lives {
            for (id, life) in lives {
                if self.lives.get(resource).is_some_and(|lives| lives.contains_key(id)) {
                    continue;
                }
                let withheld = self
                    .findings
                    .iter()
                    .find(|finding| finding.resource.as_ref() == Some(resource) && finding.ids.contains(id));
                let (resource, id, name) = (Arc::clone(resource), Arc::clone(id), life.unit.name());
                let to = withheld.map(|finding| finding.status);
                let reasons = withheld.map(|finding| finding.reasons.clone()).unwrap_or_default();
                self.changes.push(Change { resource, id, name, from: Some(life.status), to, reasons });
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
    let answered: std::collections::BTreeSet<(crate::ids::Kind, String)> = findings
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
