//! What is logged and counted of a decision.

use std::collections::{BTreeMap, BTreeSet};

use outrigger_device_core::decide::{Change, Decision, Listed, Reason, Status, why};
use tracing::{info, warn};

use super::metrics::Metrics;
use crate::claims::Holders;

/// Every state that a device of a resource can be in.
const STATES: [Status; 4] = [Status::Offered, Status::Unhealthy, Status::Vanished, Status::Withheld];

/// More changes of one resource at a time than these are one line together.
const SINGLE: usize = 16;

/// What became of a device.
type Became = (Option<Status>, String);

/// One line for each device whose health changed, however many may hold it; where many change at once, one for all.
pub fn changes(decision: &Decision, changes: &[Change], metrics: &Metrics) {
    let mut by_resource: BTreeMap<&str, BTreeMap<String, (Became, &str)>> = BTreeMap::new();
    let served: BTreeSet<&str> = decision.lists.iter().map(|list| &*list.resource).collect();
    for Change { unit, from: _, to, reasons } in changes {
        let resource = &*unit.body.resource;
        let label = reasons.first().map_or("none", |reason| reason.label());
        // What is counted of a resource goes with it.
        if served.contains(resource) {
            metrics.transition(resource, to.map_or("gone", Status::word), label);
        }
        let devices = by_resource.entry(resource).or_default();
        devices.entry(unit.name()).or_insert_with(|| ((*to, why(reasons)), &unit.id));
    }
    for (resource, devices) in by_resource {
        if devices.len() > SINGLE {
            let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
            for ((to, _), _) in devices.values() {
                *counts.entry(word(*to)).or_default() += 1;
            }
            let counts: Vec<String> = counts.iter().map(|(word, count)| format!("{count} {word}")).collect();
            info!(resource, "Devices of {resource} have changed: {}", counts.join(", "));
            continue;
        }
        for (device, ((to, why), id)) in devices {
            let says_more = !why.is_empty() && why != word(to);
            let because = if says_more { format!(": {why}") } else { String::new() };
            match to {
                Some(Status::Unhealthy | Status::Vanished) => {
                    warn!(resource, id, device, reason = %why, "{device} of {resource} is {}{because}", word(to));
                }
                to => info!(resource, id, device, reason = %why, "{device} of {resource} is {}{because}", word(to)),
            }
        }
    }
}

fn word(status: Option<Status>) -> &'static str {
    status.map_or("no longer listed", Status::word)
}

/// How many devices are in which state, which are used though nobody has a claim on them, and which evidence is missing.
pub fn known(decision: &Decision, metrics: &Metrics) {
    let mut counted: BTreeMap<(&str, Status), usize> = BTreeMap::new();
    let mut used: BTreeMap<&str, usize> = BTreeMap::new();
    let is_used = |reason: &Reason| ["mounted", "swap", "held", "busy"].contains(&reason.label());
    for finding in &decision.findings {
        let resource = finding.resource.as_deref().unwrap_or_default();
        *counted.entry((resource, finding.status)).or_default() += finding.ids.len().max(1);
        *used.entry(resource).or_default() += usize::from(finding.reasons.iter().any(is_used));
    }
    for list in &decision.lists {
        let count = |status: Status| counted.get(&(&*list.resource, status)).copied().unwrap_or_default();
        let counts = STATES.map(|status| (status.word(), count(status)));
        metrics.known(&list.resource, &counts, list.listed.len());
        metrics.stale_claims(&list.resource, "unclaimed", used.get(&*list.resource).copied().unwrap_or_default());
    }
    for source in ["mounts", "swaps", "signature"] {
        metrics.evidence_missing(source, usize::from(decision.missing.contains(source)));
    }
}

/// Claims that should not be: on a device that is not listed, and two on one physical device.
pub fn stale(decision: &Decision, holders: &Holders, metrics: &Metrics) {
    for list in &decision.lists {
        let of_it = holders.range((list.resource.to_string(), String::new())..);
        let of_it = of_it.take_while(|((resource, _), _)| *resource == *list.resource);
        let (mut unknown, mut doubled, mut locks) = (0, 0, BTreeSet::new());
        for ((_, id), _) in of_it {
            let Some(Listed { unit, .. }) = list.unit(id) else {
                unknown += 1;
                continue;
            };
            doubled +=
                unit.locks().filter(|lock| !unit.shares(lock)).filter(|lock| !locks.insert(lock.clone())).count();
        }
        metrics.stale_claims(&list.resource, "unknown", unknown);
        metrics.stale_claims(&list.resource, "doubled", doubled);
    }
}
