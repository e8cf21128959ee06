//! What is logged and counted of a decision.

use std::collections::{BTreeMap, BTreeSet};

use outrigger_device_core::decide::{Change, Decision, Reason, Status};
use tracing::{info, warn};

use super::metrics::Metrics;
use crate::claims::Holders;
use crate::commands::list::why;

/// Every state that a device of a resource can be in.
pub const STATES: [Status; 4] = [Status::Offered, Status::Unhealthy, Status::Vanished, Status::Withheld];

/// More changes of one resource at a time than these are one line together.
const SINGLE: usize = 16;

/// What became of a device.
type Became = (Option<Status>, String);

/// One line for each device whose health changed, however many may hold it; where many change at once, one for all.
pub fn changes(decision: &Decision, metrics: &Metrics) {
    let mut by_resource: BTreeMap<&str, BTreeMap<&str, (Became, &str)>> = BTreeMap::new();
    for change in &decision.changes {
        let Change { resource, id, name, from: _, to, reasons } = change;
        let label = reasons.first().map_or("none", |reason| reason.label());
        metrics.transition(resource, to.map_or("gone", Status::word), label);
        let devices = by_resource.entry(resource).or_default();
        devices.entry(name).or_insert(((*to, why(reasons)), id));
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

/// How many devices are in which state, and which evidence is missing.
pub fn known(decision: &Decision, metrics: &Metrics) {
    let mut counted: BTreeMap<(&str, Status), usize> = BTreeMap::new();
    for finding in &decision.findings {
        let resource = finding.resource.as_deref().unwrap_or_default();
        *counted.entry((resource, finding.status)).or_default() += finding.ids.len().max(1);
    }
    for list in &decision.lists {
        let count = |status: Status| counted.get(&(&*list.resource, status)).copied().unwrap_or_default();
        let counts = STATES.map(|status| (status.word(), count(status)));
        metrics.known(&list.resource, &counts, list.listed.len());
    }
    for source in ["mounts", "swaps", "signature"] {
        metrics.evidence_missing(source, usize::from(decision.missing.contains(source)));
    }
}

/// Claims that should not be: on a device that is not listed, and two on one physical device; and devices that are used
/// though nobody has a claim on them.
pub fn stale(decision: &Decision, holders: &Holders, metrics: &Metrics) {
    let mut used: BTreeMap<&str, usize> = BTreeMap::new();
    let is_used = |reason: &Reason| ["mounted", "swap", "held", "busy"].contains(&reason.label());
    for finding in decision.findings.iter().filter(|finding| finding.reasons.iter().any(is_used)) {
        *used.entry(finding.resource.as_deref().unwrap_or_default()).or_default() += 1;
    }
    for list in &decision.lists {
        let claimed =
            || holders.keys().filter(|(resource, _)| *resource == *list.resource).map(|(_, id)| list.unit(id));
        let unknown = claimed().filter(Option::is_none).count();
        let mut locks = BTreeSet::new();
        let held = claimed().flatten().flat_map(|listed| {
            let unit = &listed.unit;
            unit.locks().filter(|lock| !unit.shares(lock))
        });
        let doubled = held.filter(|lock| !locks.insert(lock.clone())).count();
        metrics.stale_claims(&list.resource, "unknown", unknown);
        metrics.stale_claims(&list.resource, "doubled", doubled);
        metrics.stale_claims(&list.resource, "unclaimed", used.get(&*list.resource).copied().unwrap_or_default());
    }
}
