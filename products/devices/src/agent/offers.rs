//! The lists, each in the channel of its resource, and which resources the kubelet is to be served.
//!
//! What it does not do: it serves nothing. A task of its own ([`serve`]) brings what is wanted to the device plugin, which
//! leaves the streams of all other resources alone.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;

use outrigger_device_core::decide::{Decision, List};
use outrigger_device_core::rules::{self, Rules};
use outrigger_device_plugin::{Device, DeviceList, DevicePlugin, PutError, Resource, ResourceName, SocketName};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::error;

use super::desk::{Ask, Decided, Desk};
use super::metrics::Metrics;

/// The resources that are to be served, by name.
pub type Wanted = BTreeMap<ResourceName, Resource>;

/// The lists of all resources.
#[derive(Debug)]
pub struct Offers {
    lists: BTreeMap<Arc<str>, Offered>,
    wanted: watch::Sender<Wanted>,
    asks: mpsc::Sender<Ask>,
    decided: watch::Receiver<Decided>,
    metrics: Metrics,
}

/// What each resource of a decision offers, in the order of the rules.
pub type Lists = Vec<(Arc<str>, Arc<DeviceList>)>;

#[derive(Debug)]
struct Offered {
    list: watch::Sender<Arc<DeviceList>>,
    options: Options,
}

/// What of a resource the kubelet is told beside its list.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Options {
    socket: SocketName,
    pre_start: bool,
    preferred: bool,
}

impl Options {
    fn of(resource: &rules::Resource) -> Self {
        Self {
            socket: resource.socket.clone().map_or(SocketName::Derived, SocketName::Fixed),
            pre_start: resource.verifies_start(),
            preferred: resource.prefer != rules::Prefer::None,
        }
    }
}

impl Offers {
    /// None yet. Desks ask by `asks`, and see what was decided last.
    pub fn new(
        asks: mpsc::Sender<Ask>,
        decided: watch::Receiver<Decided>,
        metrics: Metrics,
    ) -> (Self, watch::Receiver<Wanted>) {
        let (wanted, told) = watch::channel(Wanted::new());
        (Self { lists: BTreeMap::new(), wanted, asks, decided, metrics }, told)
    }

    /// Publishes the lists of a decision. One that is the same as before ([`lists`]) is not sent.
    pub fn publish(&mut self, rules: &Rules, decision: &Decision, lists: &Lists) {
        let mut before = std::mem::take(&mut self.lists);
        let mut has_changed = false;
        for (list, (_, devices)) in decision.lists.iter().zip(lists) {
            let Some(resource) = rules.resources.get(list.rule) else { continue };
            let options = Options::of(resource);
            let former = before.remove(&list.resource);
            has_changed |= former.as_ref().is_none_or(|former| former.options != options);
            let list_of = former.map_or_else(|| watch::Sender::new(Arc::clone(devices)), |former| former.list);
            list_of.send_if_modified(|present| {
                let is_new = !Arc::ptr_eq(present, devices);
                *present = Arc::clone(devices);
                is_new
            });
            let offered = Offered { list: list_of, options };
            self.lists.insert(Arc::clone(&list.resource), offered);
        }
        if has_changed || !before.is_empty() {
            let wanted = self.lists.iter().filter_map(|(name, offered)| self.resource(name, offered));
            self.wanted.send_replace(wanted.map(|resource| (resource.name.clone(), resource)).collect());
        }
    }

    fn resource(&self, name: &Arc<str>, offered: &Offered) -> Option<Resource> {
        let (asks, decided, metrics) = (self.asks.clone(), self.decided.clone(), self.metrics.clone());
        let desk = Desk { resource: Arc::clone(name), asks, decided, metrics };
        let Options { socket, pre_start, preferred } = offered.options.clone();
        // Validation has refused every other name.
        let name = ResourceName::new(name).ok()?;
        Some(Resource { name, socket, pre_start, preferred, list: offered.list.subscribe(), answers: Arc::new(desk) })
    }
}

/// The lists of a decision; of those before, each that has not changed stays the same one.
pub fn lists(decision: &Decision, before: &Lists) -> Lists {
    let of = |list: &List| {
        let now = devices(list);
        let former = before.iter().find(|(resource, former)| *resource == list.resource && **former == now);
        (Arc::clone(&list.resource), former.map_or_else(|| Arc::new(now), |(_, former)| Arc::clone(former)))
    };
    decision.lists.iter().map(of).collect()
}

fn devices(list: &List) -> DeviceList {
    let device = |listed: &outrigger_device_core::decide::Listed| Device {
        id: Arc::clone(&listed.unit.id),
        healthy: listed.is_healthy(),
        numa: listed.unit.body.numa.clone(),
    };
    list.listed.iter().map(device).collect()
}

/// Brings what is wanted to the device plugin until `stop`.
pub async fn serve(
    plugin: DevicePlugin,
    mut wanted: watch::Receiver<Wanted>,
    stop: CancellationToken,
) -> Result<(), Infallible> {
    let mut served: BTreeMap<ResourceName, Served> = BTreeMap::new();
    loop {
        let now = wanted.borrow_and_update().clone();
        for name in served.keys().filter(|name| !now.contains_key(*name)).cloned().collect::<Vec<_>>() {
            served.remove(&name);
            if plugin.remove(name).await.is_err() {
                break;
            }
        }
        for (name, resource) in now {
            let is = Served::of(&resource);
            if served.get(&name) == Some(&is) {
                continue;
            }
            match plugin.put(resource).await {
                Ok(()) => drop(served.insert(name, is)),
                Err(PutError::Ended(_)) => break,
                Err(wrong) => error!(resource = %name, "{name} cannot be served: {wrong}"),
            }
        }
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            changed = wanted.changed() => if changed.is_err() {
                stop.cancelled().await;
                return Ok(());
            },
        }
    }
}

/// What tells one resource of a name from the next.
#[derive(PartialEq, Eq)]
struct Served {
    socket: SocketName,
    options: (bool, bool),
}

impl Served {
    fn of(resource: &Resource) -> Self {
        Self { socket: resource.socket.clone(), options: (resource.pre_start, resource.preferred) }
    }
}
