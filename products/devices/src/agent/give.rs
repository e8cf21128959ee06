//! Gives the devices of one resource to a pod, or says why not: the last look, the locks, the answer.

use std::sync::Arc;
use std::time::Duration;

use outrigger_device_core::answer::{Answer, answer};
use outrigger_device_core::decide::{Finding, Listed, Reason, Status, why};
use outrigger_device_core::refuse::{When, refuse};
use outrigger_device_core::unit::Unit;
use outrigger_device_plugin::{Allocation, DeviceNode, Mount, Refusal};

use super::desk::{Decided, Denied};
use super::ledger::{Ledger, Taken};
use crate::locks::who;

/// Where the devices of one resource are given.
#[derive(Debug)]
pub struct Counter<'d> {
    /// What was decided last.
    pub decided: &'d Decided,
    /// The resource.
    pub resource: &'d Arc<str>,
    /// Whether this was asked a moment ago and a device was gone. One that is back then need not be well for long: the
    /// kubelet chose it while it was.
    pub again: bool,
}

impl Counter<'_> {
    /// What a container needs to use these devices, which are its pod's from now on.
    pub fn allocate(&self, ids: &[String], ledger: &mut Ledger, now: Duration) -> Result<Allocation, Denied> {
        let mut units = Vec::new();
        for id in ids {
            let listed = self.listed(id)?;
            let is_back = self.again && listed.reasons == [Reason::Recovering];
            if !listed.is_healthy() && !is_back {
                let may_pass = listed.status == Status::Vanished;
                return Err(self.denied(id, &listed.unit.name(), &why(&listed.reasons), may_pass));
            }
            self.same(id, &listed.unit, When::Allocate)?;
            units.push(&listed.unit);
        }
        for (place, unit) in units.iter().enumerate() {
            let Err(taken) = ledger.take(unit, &self.decided.inventory.rules, now) else { continue };
            units[..place].iter().for_each(|unit| ledger.give_back(unit));
            let why = match taken {
                Taken::Elsewhere(holder) => format!("in use elsewhere: {}", who(&holder)),
                Taken::Unknown(error) => error.to_string(),
            };
            return Err(self.denied(&unit.id, &unit.name(), &why, false));
        }
        let rule = units.first().map(|unit| unit.body.rule);
        let resource = rule.and_then(|rule| self.decided.inventory.rules.resources.get(rule));
        Ok(resource.map(|resource| allocation(answer(resource, &units))).unwrap_or_default())
    }

    /// Whether these devices are still what was given. One that tells nothing of itself is known by its place, where
    /// another one may be by now: it must be as it was. And each must be where it was: the kubelet repeats the answers that it
    /// has kept, with the former nodes, whichever agent gave them. Where these are not known, our own claim tells.
    pub fn pre_start(&self, ids: &[String], ledger: &Ledger, kept: &[Answer]) -> Result<(), Denied> {
        let mut units = Vec::new();
        for id in ids {
            let listed = &self.listed(id)?.unit;
            let given = ledger.given(listed);
            let weak = given.filter(|given| given.body.parts.iter().any(|part| part.is_weak));
            self.same(id, weak.unwrap_or(listed), When::Start)?;
            if let Some(given) = given.filter(|_| kept.is_empty()) {
                let lost = given.host_paths().find(|was| !listed.host_paths().any(|is| is == *was));
                lost.map_or(Ok(()), |lost| Err(self.moved(listed, lost)))?;
            }
            units.push(listed);
        }
        let lost = kept.iter().find_map(|answer| answer.lost(&units));
        lost.map_or(Ok(()), |(unit, lost)| Err(self.moved(unit, lost)))
    }

    /// A unit is not at a node any more that its pod was given.
    fn moved(&self, unit: &Unit, lost: &str) -> Denied {
        let now: Vec<&str> = unit.host_paths().collect();
        let why = format!("it is at {} now, and the pod was given {lost}: start the pod anew", now.join(", "));
        self.denied(&unit.id, &unit.name(), &why, false)
    }

    fn listed(&self, id: &str) -> Result<&Listed, Denied> {
        let decision = &self.decided.decision;
        decision.listed(self.resource, id).ok_or_else(|| {
            let is_it = |finding: &&Finding| {
                finding.resource.as_ref() == Some(self.resource) && finding.ids.iter().any(|known| &**known == id)
            };
            if let Some(finding) = decision.findings.iter().find(is_it) {
                return self.denied(id, &finding.name, &why(&finding.reasons), false);
            }
            let refusal = Refusal::not_found(format!("{id} is no device of {}", self.resource));
            Denied { refusal, may_pass: false }
        })
    }

    /// Looks at the unit's devices afresh.
    fn same(&self, id: &str, unit: &Unit, when: When) -> Result<(), Denied> {
        let inventory = &self.decided.inventory;
        let fresh = inventory.survey.fresh(unit, &inventory.rules);
        let refusals = refuse(&inventory.rules, unit, &fresh, when);
        let Some(first) = refusals.first() else { return Ok(()) };
        let reasons: Vec<String> = refusals.iter().map(|refusal| refusal.reason.to_string()).collect();
        Err(self.denied(
            id,
            &first.name,
            &reasons.join("; "),
            refusals.iter().all(outrigger_device_core::refuse::Refusal::may_pass),
        ))
    }

    fn denied(&self, id: &str, device: &str, why: &str, may_pass: bool) -> Denied {
        let message = format!("{id} ({device}) of {} cannot be given: {why}", self.resource);
        Denied { refusal: Refusal::failed_precondition(message), may_pass }
    }
}

fn allocation(answer: Answer) -> Allocation {
    let Answer { env, annotations, nodes, mounts } = answer;
    let node = |node: outrigger_device_core::answer::Node| DeviceNode {
        container_path: node.container_path.into(),
        host_path: node.host_path.into(),
        permissions: node.permissions,
    };
    let mount = |mount: outrigger_device_core::answer::Mount| Mount {
        container_path: mount.container_path.into(),
        host_path: mount.host_path.into(),
        read_only: mount.read_only,
    };
    Allocation {
        env,
        annotations,
        devices: nodes.into_iter().map(node).collect(),
        mounts: mounts.into_iter().map(mount).collect(),
        cdi: Vec::new(),
    }
}
