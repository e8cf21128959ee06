//! What a pod has: the values for its containers, and the locks.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use outrigger_device_core::answer::{Answer, answer};
use outrigger_device_core::decide::State;
use outrigger_device_core::rules::Rules;
use outrigger_device_core::unit::Unit;
use outrigger_host::{Locks, MachineLock};
use outrigger_launcher::BoxFuture;
use outrigger_launcher::claims::{ClaimError, HeldClaim};
use outrigger_pod_core::claim::{ClaimDevice, ClaimMount, ClaimValue, Given};
use outrigger_pod_core::plan::ContainerName;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::moved::{Shared, Taken, follow, with};
use crate::inventory::Inventory;

/// The devices of a pod.
#[derive(Debug)]
pub struct Held {
    values: BTreeMap<ContainerName, ClaimValue>,
    taken: Shared,
    /// Never told: a device that fails is the container's to see.
    lost: watch::Sender<Option<String>>,
    /// Ends with the claim.
    follows: JoinSet<()>,
}

impl Held {
    /// These units, by container, for a pod that has taken their locks.
    pub fn new(
        rules: &Rules,
        pod: String,
        units: &BTreeMap<ContainerName, Vec<Unit>>,
        locks: BTreeMap<String, MachineLock>,
    ) -> Self {
        let values = units.iter().map(|(container, units)| (container.clone(), value(rules, units)));
        let units = units.values().flatten().cloned().collect();
        let taken = Arc::new(Mutex::new(Taken { pod, units, locks }));
        Self { values: values.collect(), taken, lost: watch::Sender::new(None), follows: JoinSet::new() }
    }

    /// Goes with its devices where they are plugged again.
    #[must_use]
    pub fn following(mut self, inventory: &Inventory, locks: Locks, state: State) -> Self {
        if with(&self.taken, |taken| taken.has_nodes()) {
            self.follows.spawn(follow(inventory.clone(), locks, Arc::clone(&self.taken), state));
        }
        self
    }
}

/// What a container gets with its units, of however many resources.
fn value(rules: &Rules, units: &[Unit]) -> ClaimValue {
    let mut by_rule: BTreeMap<usize, Vec<&Unit>> = BTreeMap::new();
    for unit in units {
        by_rule.entry(unit.body.rule).or_default().push(unit);
    }
    let mut value = ClaimValue { given: units.iter().map(given).collect(), ..ClaimValue::default() };
    for (rule, units) in by_rule {
        if let Some(resource) = rules.resources.get(rule) {
            value.merge(of_answer(answer(resource, &units)));
        }
    }
    value
}

fn given(unit: &Unit) -> Given {
    let paths = unit.body.parts.iter().filter_map(|part| part.give.host_path()).map(str::to_owned);
    Given { resource: unit.body.resource.to_string(), id: unit.id.to_string(), paths: paths.collect() }
}

fn of_answer(answer: Answer) -> ClaimValue {
    let device = |node: outrigger_device_core::answer::Node| ClaimDevice {
        host_path: PathBuf::from(node.host_path),
        container_path: PathBuf::from(node.container_path),
        permissions: node.permissions,
    };
    let mount = |mount: outrigger_device_core::answer::Mount| ClaimMount {
        host_path: PathBuf::from(mount.host_path),
        container_path: PathBuf::from(mount.container_path),
        read_only: mount.read_only,
    };
    ClaimValue {
        env: answer.env,
        mounts: answer.mounts.into_iter().map(mount).collect(),
        devices: answer.nodes.into_iter().map(device).collect(),
        annotations: answer.annotations,
        ..ClaimValue::default()
    }
}

impl HeldClaim for Held {
    fn values(&self) -> &BTreeMap<ContainerName, ClaimValue> {
        &self.values
    }

    fn descriptors(&self) -> Vec<Arc<OwnedFd>> {
        with(&self.taken, |taken| taken.locks.values().map(MachineLock::descriptor).collect())
    }

    fn lost(&self) -> watch::Receiver<Option<String>> {
        self.lost.subscribe()
    }

    fn give_back(mut self: Box<Self>) -> BoxFuture<'static, Result<(), ClaimError>> {
        // Dropping the locks is all, also by whoever follows the devices.
        Box::pin(async move {
            self.follows.shutdown().await;
            Ok(())
        })
    }
}
