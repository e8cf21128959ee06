//! Devices for `outrigger run`: a pod's `limits` are met from the same rules by the same decisions as at the kubelet's door.
//!
//! ```text
//!   request ─► look, decide ─► choose among the offered ─► lock each ─► look again ─► the claim
//!                                   ▲                        │ somebody else's
//!                                   └────────────────────────┘
//! ```
//!
//! A lock of the machine (`outrigger_host::Locks`) is what keeps two pods from one device, whatever door they came
//! through. The pod's processes hold its descriptor, so it ends with the last of them, also where the runner was killed;
//! therefore nothing has to be cleared up after one.
//!
//! What it does not do: a device that fails under a running pod does not end the pod, as it does not under a kubelet.

mod choice;
mod door;
mod held;
mod moved;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use outrigger_config::Faults;
use outrigger_device_core::decide::{Claims, Decision, Listed, State};
use outrigger_device_core::refuse::{Refusal, When, refuse};
use outrigger_device_core::unit::Unit;
use outrigger_launcher::BoxFuture;
use outrigger_launcher::claims::{ClaimError, ClaimRequest, HeldClaim, Progress, Provider, Served};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use crate::args::SettingsArgs;
use crate::claims::Holders;
use crate::inventory::Inventory;
use crate::locks::others;
use crate::settings::{self, Surroundings};
use choice::{Chooser, Missed};
use door::Door;
use held::Held;

/// How long a device that is just enumerating itself anew is waited for.
const REAPPEARS: Duration = Duration::from_secs(1);
/// How often is looked meanwhile.
const LOOK: Duration = Duration::from_millis(100);
/// How often is looked whether a device is free that others have: nothing tells that a lock is.
const FREED: Duration = Duration::from_millis(500);

/// Hands out the devices that this machine's configuration names.
#[derive(Debug)]
pub struct DeviceProvider {
    inventory: Inventory,
    door: Door,
}

/// The provider of this machine; none where it has no `devices.yaml`.
///
/// # Errors
/// Everything that is wrong with the file, each with its place.
pub fn provider(config_dir: Option<&Path>) -> Result<Option<DeviceProvider>, Faults> {
    let args = SettingsArgs { config_dir: config_dir.map(Path::to_owned), ..SettingsArgs::default() };
    let configuration = settings::load(&args, &Surroundings::here())?;
    if configuration.resources.is_empty() {
        return Ok(None);
    }
    let (inventory, odd) = Inventory::of(&configuration)?;
    for warning in configuration.warnings.iter().chain(&odd) {
        tracing::warn!("{warning}");
    }
    let door = Door::of(&configuration.settings);
    Ok(Some(DeviceProvider { inventory, door }))
}

impl DeviceProvider {
    /// What is offered now, beside what pods of a kubelet have.
    fn decision(&self, holders: &Holders) -> Decision {
        self.inventory.decide_once(&Claims { held: holders.clone(), ..Claims::default() }).1
    }

    /// One try; `is_told` as in [`Door::holders`].
    async fn take(&self, request: &ClaimRequest, is_told: &mut bool) -> Result<Held, Missed> {
        let first = request.containers.iter().flat_map(|(_, amounts)| amounts.keys()).next();
        let resource = first.map_or("device", String::as_str);
        let refused = |why| Missed::Never(ClaimError::Refused { resource: resource.to_owned(), why });
        let locks = self.door.locks().map_err(refused)?;
        let told = self.door.holders(is_told).await;
        let holders = told.clone().unwrap_or_default();
        let roots = &self.inventory.survey.roots;
        let picture = self.inventory.survey.whole(&self.inventory.rules);
        let decide = |elsewhere| {
            let claims = Claims { elsewhere, held: holders.clone() };
            self.inventory.decide(&picture, &claims, &State::default(), Duration::ZERO)
        };
        let decision = decide(others(&locks, (&decide(BTreeMap::new()), told.as_ref()), roots, |_| false));
        let mut chooser =
            Chooser::new(&self.inventory.rules, &decision, &holders, (locks.clone(), roots), &request.plan);
        let mut units: BTreeMap<_, Vec<Unit>> = BTreeMap::new();
        for (container, amounts) in &request.containers {
            for (resource, amount) in amounts {
                let chosen = chooser.choose(container, resource, *amount)?;
                units.entry(container.clone()).or_default().extend(chosen);
            }
        }
        for unit in units.values().flatten() {
            self.look_again(unit).await.map_err(Missed::Never)?;
        }
        let pod = format!("pod {}/{}", request.plan.namespace, request.plan.name);
        let held = Held::new(&self.inventory.rules, pod, &units, chooser.into_locks());
        Ok(held.following(&self.inventory, locks, decision.next))
    }

    /// Takes it as soon as others have given it back, and tells who has it until then.
    async fn wait(&self, request: &ClaimRequest, progress: &watch::Sender<Progress>) -> Result<Held, ClaimError> {
        let mut is_told = false;
        loop {
            match self.take(request, &mut is_told).await {
                Ok(held) => return Ok(held),
                Err(Missed::Never(error)) => return Err(error),
                Err(Missed::Now { why }) => {
                    progress.send_if_modified(|told| {
                        let is_news = told.message != why;
                        told.message = why;
                        is_news
                    });
                }
            }
            sleep(FREED).await;
        }
    }

    /// The list may be older than what has happened since.
    async fn look_again(&self, unit: &Unit) -> Result<(), ClaimError> {
        let deadline = Instant::now() + REAPPEARS;
        loop {
            let refusals = refuse(
                &self.inventory.rules,
                unit,
                &self.inventory.survey.fresh(unit, &self.inventory.rules),
                When::Allocate,
            );
            if refusals.is_empty() {
                return Ok(());
            }
            if Instant::now() >= deadline || !refusals.iter().all(Refusal::may_pass) {
                let why: Vec<String> = refusals.iter().map(ToString::to_string).collect();
                return Err(ClaimError::Unavailable { resource: unit.body.resource.to_string(), why: why.join("; ") });
            }
            sleep(LOOK).await;
        }
    }
}

impl Provider for DeviceProvider {
    fn serves(&self) -> Vec<Served> {
        let decision = self.decision(&Holders::new());
        let served = |list: &outrigger_device_core::decide::List| Served {
            resource: list.resource.to_string(),
            total: list.listed.iter().filter(|listed| listed.is_healthy()).count() as u64,
            free: None,
        };
        decision.lists.iter().map(served).collect()
    }

    fn claim(
        &self,
        request: ClaimRequest,
        progress: watch::Sender<Progress>,
    ) -> BoxFuture<'_, Result<Box<dyn HeldClaim>, ClaimError>> {
        Box::pin(async move { self.wait(&request, &progress).await.map(|held| Box::new(held) as _) })
    }

    fn clear<'a>(&'a self, _uid: &'a str) -> BoxFuture<'a, Result<(), ClaimError>> {
        // The locks ended with the pod's last process.
        Box::pin(std::future::ready(Ok(())))
    }
}

/// Units of a resource that may be given now.
fn offered<'d>(decision: &'d Decision, resource: &str) -> Vec<&'d Unit> {
    let lists = decision.lists.iter().filter(|list| &*list.resource == resource);
    lists
        .flat_map(|list| list.listed.iter())
        .filter(|listed| listed.is_healthy())
        .map(|listed: &Listed| &listed.unit)
        .collect()
}

/// As the executable wires it.
pub fn providers(config_dir: Option<&Path>) -> anyhow::Result<Vec<Arc<dyn Provider>>> {
    Ok(provider(config_dir)?.map(|provider| Arc::new(provider) as Arc<dyn Provider>).into_iter().collect())
}
