//! What must be so, whatever happens.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use outrigger_device_core::decide::Decision;
use outrigger_stub_kubelet::View;

use super::machine::THINGS;
use super::node::{Held, Node, Pod};
use super::steps::RESOURCES;

/// After so long everything has settled: the agent looks every 5 s, a device is well after 1 s and forgotten after 4 s, and
/// claims are asked for every 10 s.
pub const SETTLED: Duration = Duration::from_secs(16);

/// And where a pod may have been given something that the kubelet never names: that ends some seconds after the pods have
/// gone that may have it, or when a kubelet that has just started has learnt of all of its pods.
pub const SETTLED_UNNAMED: Duration = Duration::from_secs(45);

/// After so long a pod has been named, at the latest.
pub const NAMED: Duration = Duration::from_secs(12);

/// For so long what a pod has may be missing from the list of an agent that was started without a kubelet.
pub const UNASKED: Duration = Duration::from_millis(500);

/// A device that falls more often than this in ten minutes stays unhealthy.
pub const FALLS: usize = 5;

/// What has been learned of ids: which thing, or which slot, each stands for.
#[derive(Debug, Default)]
pub struct Meanings {
    of: BTreeMap<String, (Option<usize>, Option<usize>)>,
}

impl Meanings {
    /// An id stood for this thing in this slot. It always stands for the same: a thing that tells who it is, or else a slot.
    pub fn learn(&mut self, held: &Held) -> Result<(), String> {
        let thing = &THINGS[held.thing];
        if thing.is_twin {
            return Ok(());
        }
        // Replicas are the id with a number.
        let base = held.id.split('-').next().unwrap_or_default().to_owned();
        if let Some(expected) = thing.id().filter(|expected| *expected != base) {
            return Err(format!("{} was given for {}, which is {expected}", thing.name, held.id));
        }
        let means = if thing.is_nameless() { (None, Some(held.slot)) } else { (Some(held.thing), None) };
        if let Some(other) = self.of.iter().find(|(id, known)| **known == means && **id != base) {
            return Err(format!("{} had the id {} and now has {base}: ids move", thing.name, other.0));
        }
        match self.of.insert(base.clone(), means) {
            Some(known) if known != means => {
                Err(format!("{base} stood for another thing than {}: ids move", thing.name))
            }
            _ => Ok(()),
        }
    }
}

/// What has just been handed out is free, and no more have it than may.
pub fn may_be_given(node: &Node, held: &Held, resource: &str) -> Result<(), String> {
    let thing = &THINGS[held.thing];
    if let Some(used) = node.machine.slots[held.slot].as_ref().and_then(|plugged| plugged.used) {
        return Err(format!("{} at {} was given although it is {used:?}", thing.name, held.node));
    }
    // A thing that tells nothing of itself is known by its place.
    let is_same = |other: &&Held| {
        other.thing == held.thing && (!thing.is_nameless() || (&other.node, other.slot) == (&held.node, held.slot))
    };
    let of_pods = node.pods.iter().flat_map(|pod| &pod.held);
    let claims = of_pods.chain(node.runs.iter().map(|run| &run.held)).filter(is_same).count();
    let count = node.count(resource);
    // Whoever was given what had this number before may still open what has it now.
    let has_number = |other: &&Held| other.node == held.node && other.thing != held.thing;
    let lost = node.pods.iter().flat_map(|pod| &pod.held).chain(node.runs.iter().map(|run| &run.held));
    let lost = lost.filter(has_number).count();
    let is_told = !thing.is_twin && !thing.is_nameless();
    if is_told && claims + lost > count {
        return Err(format!("{} at {} has {claims} claims, and {lost} what was there before", thing.name, held.node));
    }
    if claims > count {
        return Err(format!("{} at {} has {claims} claims, and {count} may have it", thing.name, held.node));
    }
    Ok(())
}

/// Whatever a pod has stays listed while it is there.
pub fn are_listed(view: &View, pods: &[Pod], steady: &BTreeSet<String>) -> Result<(), String> {
    for pod in pods {
        let Some(resource) =
            view.resources.get(pod.resource).filter(|resource| resource.lists > 0 && resource.streams > 0)
        else {
            continue;
        };
        for held in &pod.held {
            if steady.contains(&held.id) && !resource.devices.contains_key(&held.id) {
                return Err(format!(
                    "{} of {}, which {} has at {}, is not listed any more",
                    held.id, pod.resource, pod.name, held.node
                ));
            }
        }
    }
    Ok(())
}

/// Once all has settled: the kubelet knows exactly what the decision function says.
pub fn lists_are_as_decided(node: &Node, falls: usize) -> Result<(), String> {
    let (view, decision) = (node.kubelet.view(), node.decision());
    // What has the number of something that a pod lost is withheld, which a decision without a past does not know. What tells
    // nothing of itself is another thing wherever else it is plugged.
    let is_lost = |held: &Held| {
        let there = node.machine.slot_at(&held.node);
        let there = there.and_then(|slot| Some((slot, node.machine.slots[slot].as_ref()?.thing)));
        there.is_some_and(|(slot, thing)| thing != held.thing || THINGS[thing].is_nameless() && slot != held.slot)
    };
    if node.pods.iter().flat_map(|pod| &pod.held).any(is_lost) {
        return Ok(());
    }
    for resource in RESOURCES {
        let expected = expected(&decision, resource);
        let known = view.resources.get(resource);
        let Some(expected) = expected else {
            if known.is_some_and(|known| known.streams > 0 || !node.is_left_by_two && known.allocatable > 0) {
                return Err(format!("{resource} is no longer configured, and the kubelet has {known:?}"));
            }
            continue;
        };
        let known =
            known.filter(|known| known.streams > 0).ok_or(format!("the kubelet reads no list of {resource}"))?;
        let is_held = |id: &String| {
            let pods = node.pods.iter().filter(|pod| pod.resource == resource);
            pods.flat_map(|pod| &pod.held).any(|held| held.id == *id)
        };
        for (id, listed) in &known.devices {
            let is_healthy = listed.health == "Healthy";
            match expected.get(id) {
                Some(healthy) if *healthy == is_healthy || !is_healthy && falls > FALLS => (),
                None if !is_healthy && is_held(id) => (),
                other => return Err(format!("{id} of {resource} is listed as {listed:?}, decided is {other:?}")),
            }
        }
        if let Some(missing) = expected.keys().find(|id| !known.devices.contains_key(*id)) {
            return Err(format!("{missing} of {resource} should be listed: {:?}", known.devices));
        }
        let healthy = known.devices.values().filter(|listed| listed.health == "Healthy").count();
        if known.allocatable != healthy {
            return Err(format!("{resource}: {healthy} are healthy, {} can be had", known.allocatable));
        }
    }
    Ok(())
}

/// By id, whether it is healthy; none where the resource is not configured.
fn expected(decision: &Decision, resource: &str) -> Option<BTreeMap<String, bool>> {
    let list = decision.lists.iter().find(|list| &*list.resource == resource)?;
    Some(list.listed.iter().map(|listed| (listed.unit.id.to_string(), listed.is_healthy())).collect())
}

/// Once all has settled: what somebody has is locked, and nothing else is.
///
/// What was plugged a moment before it was given may be locked by its former number until its pod ends. The port of a radio with
/// a serial number is given where it is, though the agent has yet to see that the radio has another number on its bus; and of two
/// agents the one that did not give it claims what the kubelet names as it has seen it last. What it is now they
/// lock too, as soon as they have looked.
pub fn locks_are_as_claimed(node: &Node) -> Result<(), String> {
    let (decision, locked) = (node.decision(), node.locked());
    let mut expected: BTreeSet<String> = node.runs.iter().flat_map(|run| run.locks.keys().cloned()).collect();
    let mut may_be: BTreeSet<String> = BTreeSet::new();
    for pod in &node.pods {
        for held in &pod.held {
            let list = decision.lists.iter().find(|list| &*list.resource == pod.resource);
            let unit = list.and_then(|list| list.listed.iter().find(|listed| *listed.unit.id == *held.id));
            match unit {
                Some(listed) => {
                    // Plugged again since, also where it was: the number that it had then stays locked too. Its twin has its id.
                    let tells = THINGS[held.thing].tells;
                    let mut same = node.machine.slots.iter().flatten().filter(|now| THINGS[now.thing].tells == tells);
                    if pod.may_be_stale || same.any(|now| now.plug != held.plug) {
                        may_be.insert(held.id.clone());
                    }
                    let own: Vec<String> = listed.unit.locks().filter(|lock| !listed.unit.shares(lock)).collect();
                    let (has, lacks): (Vec<String>, Vec<String>) =
                        own.into_iter().partition(|lock| locked.contains(lock));
                    // One that was plugged elsewhere meanwhile has the lock of what it is; its node has another number.
                    if has.is_empty() {
                        expected.extend(lacks);
                    } else if !lacks.is_empty() {
                        may_be.insert(held.id.clone());
                    }
                    expected.extend(has);
                }
                // What is gone may be locked still, or not after the agent has started again.
                None => drop(may_be.insert(held.id.clone())),
            }
        }
    }
    if let Some(missing) = expected.difference(&locked).next() {
        return Err(format!("{missing} is claimed and not locked; locked are {locked:?}"));
    }
    let more = locked.difference(&expected).filter(|lock| !may_be.contains(*lock));
    let more: Vec<&String> = more.collect();
    if may_be.is_empty() && !more.is_empty() {
        return Err(format!("{more:?} are locked, and nobody has a claim"));
    }
    Ok(())
}
