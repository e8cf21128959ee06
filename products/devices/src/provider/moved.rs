//! Devices that are plugged again while a pod of `outrigger run` has them: they come with another number, and whoever knows
//! no more of a device than that must find it locked. The old number stays locked too: the pod's containers may open what
//! comes to have it.
//!
//! What it does not do: a container's nodes stay as they were when it started. The lock of a new number is this process's
//! alone; what the device is stays locked as long as a process of the pod lives.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use outrigger_device_core::decide::{Claims, Decision, State};
use outrigger_device_core::unit::Unit;
use outrigger_host::{Attempt, Locks, MachineLock, Watches};
use tokio::sync::oneshot;
use tokio::time::sleep;
use tracing::warn;

use crate::inventory::Inventory;
use crate::locks::{Door, try_lock};
use crate::survey::Changes;

/// The least time between two looks.
const REST: Duration = Duration::from_millis(100);

/// What a pod has, as it was seen last.
#[derive(Debug)]
pub struct Taken {
    /// Who.
    pub pod: String,
    /// The units of all its containers.
    pub units: Vec<Unit>,
    /// Their locks, by name.
    pub locks: BTreeMap<String, MachineLock>,
}

/// What several share: the claim, and whoever follows its devices.
pub type Shared = Arc<Mutex<Taken>>;

/// Follows the devices of a claim, for as long as it is not dropped. `state` is what the decision left by which they were taken.
pub async fn follow(inventory: Inventory, locks: Locks, taken: Shared, mut state: State) {
    let mut changes = Changes::of(&inventory, Watches::new());
    loop {
        let Some(decision) = look(&inventory, &taken, state).await else {
            return warn!("Devices are not followed any more: there is no room for a thread");
        };
        with(&taken, |taken| taken.follow(&decision, &locks, &inventory));
        state = decision.next;
        sleep(REST).await;
        changes.next().await;
    }
}

/// What is so of these, whatever a thread did that had them before.
pub fn with<T>(taken: &Shared, done: impl FnOnce(&mut Taken) -> T) -> T {
    done(&mut taken.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Looks and decides on another thread: a dead disk may take for ever.
async fn look(inventory: &Inventory, taken: &Shared, state: State) -> Option<Decision> {
    let held = with(taken, |taken| {
        let of_unit = |unit: &Unit| ((unit.body.resource.to_string(), unit.id.to_string()), taken.pod.clone());
        taken.units.iter().map(of_unit).collect()
    });
    let claims = Claims { held, ..Claims::default() };
    let (tell, told) = oneshot::channel();
    let inventory = inventory.clone();
    let work = move || {
        let picture = inventory.picture();
        // Nobody listens where the claim has been given back.
        let _ = tell.send(inventory.decide(&picture, &claims, &state, Duration::ZERO));
    };
    thread::Builder::new().name("devices".to_owned()).spawn(work).ok()?;
    told.await.ok()
}

impl Taken {
    /// Whether something of it can be plugged.
    pub fn has_nodes(&self) -> bool {
        self.units.iter().flat_map(Unit::holds).any(|hold| hold.node.is_some())
    }

    /// Locks what the devices are now too.
    fn follow(&mut self, decision: &Decision, locks: &Locks, inventory: &Inventory) {
        for unit in &mut self.units {
            let listed = decision.listed(&unit.body.resource, &unit.id).map(|listed| &listed.unit);
            let Some(now) = listed.filter(|now| !now.holds().eq(unit.holds())) else { continue };
            for name in now.locks().filter(|name| !self.locks.contains_key(name)).collect::<Vec<_>>() {
                let (who, roots) = ((Door::Run, self.pod.as_str()), &inventory.survey.roots);
                // Where somebody else has it, what the device is keeps it from them all the same.
                if let Ok(Attempt::Locked(lock)) = try_lock(locks, &name, now, who, roots) {
                    self.locks.insert(name, lock);
                }
            }
            *unit = now.clone();
        }
    }
}
