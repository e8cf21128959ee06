//! What a pod has: the values for its containers, and the locks.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

use outrigger_device_core::answer::{Answer, answer};
use outrigger_device_core::rules::Rules;
use outrigger_device_core::unit::Unit;
use outrigger_host::MachineLock;
use outrigger_launcher::BoxFuture;
use outrigger_launcher::claims::{ClaimError, HeldClaim};
use outrigger_pod_core::claim::{ClaimDevice, ClaimMount, ClaimValue};
use outrigger_pod_core::plan::ContainerName;
use tokio::sync::watch;

/// The devices of a pod.
#[derive(Debug)]
pub struct Held {
    values: BTreeMap<ContainerName, ClaimValue>,
    locks: Vec<MachineLock>,
    /// Never told: a device that fails is the container's to see.
    lost: watch::Sender<Option<String>>,
}

impl Held {
    /// These units, by container.
    pub fn new(rules: &Rules, units: &BTreeMap<ContainerName, Vec<Unit>>, locks: Vec<MachineLock>) -> Self {
        let values = units.iter().map(|(container, units)| (container.clone(), value(rules, units)));
        Self { values: values.collect(), locks, lost: watch::Sender::new(None) }
    }
}

/// What a container gets with its units, of however many resources.
fn value(rules: &Rules, units: &[Unit]) -> ClaimValue {
    let mut by_rule: BTreeMap<usize, Vec<&Unit>> = BTreeMap::new();
    for unit in units {
        by_rule.entry(unit.body.rule).or_default().push(unit);
    }
    let mut value = ClaimValue::default();
    for (rule, units) in by_rule {
        if let Some(resource) = rules.resources.get(rule) {
            value.merge(of_answer(answer(resource, &units)));
        }
    }
    value
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
        self.locks.iter().map(MachineLock::descriptor).collect()
    }

    fn lost(&self) -> watch::Receiver<Option<String>> {
        self.lost.subscribe()
    }

    fn give_back(self: Box<Self>) -> BoxFuture<'static, Result<(), ClaimError>> {
        // Dropping the locks is all.
        Box::pin(std::future::ready(Ok(())))
    }
}
