//! Which units a pod gets, and their locks: all that it asks for, or none.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use outrigger_device_core::decide::{Decision, Finding, Status};
use outrigger_device_core::prefer::{Choice, prefer};
use outrigger_device_core::rules::{Prefer, Rules};
use outrigger_device_core::unit::Unit;
use outrigger_host::devices::Roots;
use outrigger_host::{Attempt, Locks, MachineLock};
use outrigger_launcher::claims::ClaimError;
use outrigger_pod_core::plan::{ContainerName, PodPlan, Role};
use rustix::fs::{Access, access};

use super::offered;
use crate::claims::Holders;
use crate::locks::{Door, opponent, try_lock, who};

/// Chooses for one pod.
pub struct Chooser<'c> {
    rules: &'c Rules,
    decision: &'c Decision,
    holders: &'c Holders,
    locks: (Locks, &'c Roots),
    plan: &'c PodPlan,
    /// The locks of what its containers have, by resource and id.
    taken: BTreeMap<Key, BTreeMap<String, MachineLock>>,
    /// What an init container had, for those after it.
    used_up: BTreeMap<String, Vec<Unit>>,
}

/// A resource and an id in it: slots of two resources have the same ids.
type Key = (Arc<str>, Arc<str>);

/// Why a pod does not get what it asks for.
pub enum Missed {
    /// Others have it.
    Now {
        /// Which devices, and who has them.
        why: String,
    },
    /// It is not to be had here at all, or not for this user.
    Never(ClaimError),
}

/// Why a unit that is offered was not given.
struct Passed {
    id: Arc<str>,
    why: String,
    /// Whether it may be had later.
    later: bool,
}

impl<'c> Chooser<'c> {
    /// Among what is offered, without what `holders` have.
    pub fn new(
        rules: &'c Rules,
        decision: &'c Decision,
        holders: &'c Holders,
        locks: (Locks, &'c Roots),
        plan: &'c PodPlan,
    ) -> Self {
        Self { rules, decision, holders, locks, plan, taken: BTreeMap::new(), used_up: BTreeMap::new() }
    }

    /// The units for one container. What an init container had is given to those after it, as a kubelet does; what others
    /// have is their own (`pkg/kubelet/cm/devicemanager/manager.go`, `devicesToAllocate`).
    pub fn choose(&mut self, container: &ContainerName, resource: &str, amount: u64) -> Result<Vec<Unit>, Missed> {
        let amount = usize::try_from(amount).unwrap_or(usize::MAX);
        let role = self.plan.container(container).map_or(Role::Main, |container| container.role);
        let mut chosen = self.reused(resource, amount);
        let mut passed = Vec::new();
        while chosen.len() < amount {
            let missing = amount - chosen.len();
            let next = self.best(resource, &chosen, &passed, missing);
            if next.is_empty() {
                return Err(self.too_few(resource, amount, &chosen, &passed));
            }
            for unit in next {
                match self.lock(unit)? {
                    None => chosen.push(unit.clone()),
                    Some(why) => passed.push(why),
                }
            }
        }
        if role == Role::Init {
            self.used_up.entry(resource.to_owned()).or_default().extend(chosen.iter().cloned());
        }
        Ok(chosen)
    }

    /// The locks of all that was chosen, by name.
    pub fn into_locks(self) -> BTreeMap<String, MachineLock> {
        self.taken.into_values().flatten().collect()
    }

    fn reused(&mut self, resource: &str, amount: usize) -> Vec<Unit> {
        let used = self.used_up.entry(resource.to_owned()).or_default();
        let count = used.len().min(amount);
        used.drain(..count).collect()
    }

    /// As many of the free ones as are missing, as the configuration prefers them.
    fn best(&self, resource: &str, chosen: &[Unit], passed: &[Passed], missing: usize) -> Vec<&'c Unit> {
        let units: Vec<&Unit> = offered(self.decision, resource);
        let free = units.iter().copied().filter(|unit| !self.has(unit) && !is_passed(unit, passed));
        let available: Vec<Choice> = free.chain(chosen).map(Choice::of).collect::<Vec<_>>();
        let must: Vec<&str> = chosen.iter().map(|unit| &*unit.id).collect();
        let how = units.first().and_then(|unit| self.rules.resources.get(unit.body.rule));
        let how = how.map_or(Prefer::None, |resource| resource.prefer);
        let best: BTreeSet<Arc<str>> = prefer(how, &available, &must, chosen.len() + missing).into_iter().collect();
        units.into_iter().filter(|unit| best.contains(&unit.id) && !must.contains(&&*unit.id)).collect()
    }

    /// Takes a unit's locks; answers why not where somebody else has it.
    fn lock(&mut self, unit: &Unit) -> Result<Option<Passed>, Missed> {
        let passed = |why, later| Some(Passed { id: Arc::clone(&unit.id), why, later });
        if let Some(who) = self.holders.get(&(unit.body.resource.to_string(), unit.id.to_string())) {
            return Ok(passed(format!("{} of {} is in use by {who}", unit.name(), unit.body.resource), true));
        }
        if let Some(node) = closed(unit, self.locks.1) {
            return Ok(passed(format!("this user may not open {node}"), false));
        }
        let pod = format!("pod {}/{}", self.plan.namespace, self.plan.name);
        let mut locks = BTreeMap::new();
        for name in unit.locks() {
            let (locked, roots) = &self.locks;
            let attempt = try_lock(locked, &name, unit, (Door::Run, &pod), roots).map_err(|error| {
                let why = format!("{:#}", anyhow::Error::new(error));
                Missed::Never(ClaimError::Refused { resource: unit.body.resource.to_string(), why })
            })?;
            match attempt {
                Attempt::Locked(lock) => drop(locks.insert(name, lock)),
                Attempt::Held(_) if self.taken.values().any(|taken| taken.contains_key(&name)) => {
                    let why = format!("{} is this pod's by another resource", unit.name());
                    return Ok(passed(why, false));
                }
                Attempt::Held(holder) => {
                    return Ok(passed(
                        format!("{} of {} is in use by {}", unit.name(), unit.body.resource, who(&holder)),
                        true,
                    ));
                }
            }
        }
        let is_own = |name: &str| locks.contains_key(name) || self.taken.values().any(|taken| taken.contains_key(name));
        if let Some(holder) = opponent(&self.locks.0, unit, self.locks.1, is_own) {
            let why = format!("{} of {} is in use by {}", unit.name(), unit.body.resource, who(&holder));
            return Ok(passed(why, true));
        }
        self.taken.insert(key(unit), locks);
        Ok(None)
    }

    /// Whether some container of the pod has a unit.
    fn has(&self, unit: &Unit) -> bool {
        self.taken.contains_key(&key(unit))
    }

    /// Why there are not enough: not ever here, or not now.
    fn too_few(&self, resource: &str, amount: usize, chosen: &[Unit], passed: &[Passed]) -> Missed {
        let offered = offered(self.decision, resource);
        let is_chosen = |unit: &Unit| chosen.iter().any(|chosen| chosen.id == unit.id);
        let is_anothers = |unit: &&&Unit| self.has(unit) && !is_chosen(unit);
        let anothers = offered.iter().filter(is_anothers).map(|unit| unit.name());
        let anothers: Vec<String> =
            anothers.map(|name| format!("{name} is for another container of this pod")).collect();
        let free = offered.iter().filter(|unit| !is_anothers(unit) && !is_passed(unit, passed)).count();
        let of_it = |finding: &&Finding| finding.resource.as_deref() == Some(resource);
        let withheld = self.decision.findings.iter().filter(of_it).filter(|finding| finding.status != Status::Offered);
        let (mut held, mut reasons) = (Vec::new(), Vec::new());
        let mut may_come = 0;
        for finding in withheld {
            let name = &finding.name;
            if let Some(who) = finding.elsewhere() {
                may_come += finding.ids.len();
                held.push(format!("{name} of {resource} is in use by {who}"));
            } else {
                let why: Vec<String> = finding.reasons.iter().map(ToString::to_string).collect();
                reasons.push(format!("{name}: {}", why.join(", ")));
            }
        }
        let later = passed.iter().filter(|passed| passed.later);
        may_come += later.clone().count();
        held.extend(later.map(|passed| passed.why.clone()));
        if free + may_come >= amount && !held.is_empty() {
            return Missed::Now { why: held.join("; ") };
        }
        let never = passed.iter().filter(|passed| !passed.later).map(|passed| passed.why.clone());
        let here = match free + may_come {
            0 => "none can be had here".to_owned(),
            1 => "1 can be had here".to_owned(),
            count => format!("{count} can be had here"),
        };
        let why: Vec<String> = held.into_iter().chain(anothers).chain(never).chain(reasons).collect();
        let why = if why.is_empty() { "no device matches its rules".to_owned() } else { why.join("; ") };
        let asks = format!("a container asks for {amount}, and {here}");
        Missed::Never(ClaimError::Refused { resource: resource.to_owned(), why: format!("{asks}: {why}") })
    }
}

fn key(unit: &Unit) -> Key {
    (Arc::clone(&unit.body.resource), Arc::clone(&unit.id))
}

fn is_passed(unit: &Unit, passed: &[Passed]) -> bool {
    passed.iter().any(|passed| passed.id == unit.id)
}

/// The first node of a unit that this user may not open.
fn closed<'u>(unit: &'u Unit, roots: &Roots) -> Option<&'u str> {
    let mut paths = unit.body.parts.iter().filter_map(|part| part.give.host_path());
    paths.find(|path| access(roots.at(path), Access::READ_OK).is_err())
}
