//! What the device manager knows during one life of the process.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use outrigger_kubelet_api::Channel;
use outrigger_kubelet_api::device_plugin::device_plugin_client::DevicePluginClient;
use outrigger_kubelet_api::device_plugin::{ContainerAllocateResponse, Device, DevicePluginOptions, HEALTHY};
use prost::Message;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::view::{Gap, Listed, ResourceView, View};

/// How long a resource is remembered whose stream has ended.
const GRACE: Duration = Duration::from_secs(300);

/// Shared by all tasks of one life.
#[derive(Clone, Debug)]
pub(crate) struct Manager {
    state: Arc<Mutex<State>>,
    view: watch::Sender<View>,
    overlap_bug: bool,
}

/// What is guarded.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) endpoints: BTreeMap<String, Endpoint>,
    /// The devices of the last list of each resource.
    pub(crate) devices: BTreeMap<String, BTreeMap<String, Device>>,
    /// Those that may be given.
    pub(crate) healthy: BTreeMap<String, BTreeSet<String>>,
    /// By pod, container and resource.
    pub(crate) held: BTreeMap<(String, String, String), Held>,
    clients: Vec<Client>,
    next_client: u64,
    /// How far the clock was set forward.
    pub(crate) ahead: Duration,
}

/// Whom the kubelet calls for a resource.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    /// `None` once it was disconnected.
    pub(crate) plugin: Option<DevicePluginClient<Channel>>,
    pub(crate) options: DevicePluginOptions,
    client: u64,
    stopped: Option<Instant>,
}

/// What a container holds of a resource.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) ids: BTreeSet<String>,
    pub(crate) answer: ContainerAllocateResponse,
}

/// A plugin whose list is read.
#[derive(Debug)]
struct Client {
    number: u64,
    resource: String,
    socket: PathBuf,
    task: Option<AbortHandle>,
}

impl Manager {
    pub(crate) fn new(state: State, view: watch::Sender<View>, overlap_bug: bool) -> Self {
        let manager = Self { state: Arc::new(Mutex::new(state)), view, overlap_bug };
        manager.show();
        manager
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn change_view<T>(&self, change: impl FnOnce(&mut View) -> T) -> T {
        let mut result = None;
        self.view.send_modify(|view| result = Some(change(view)));
        result.expect("the change was made")
    }

    /// `PluginConnected`: whom to call from now on.
    pub(crate) fn connected(
        &self,
        resource: &str,
        socket: PathBuf,
        plugin: DevicePluginClient<Channel>,
        options: DevicePluginOptions,
    ) -> u64 {
        let mut state = self.lock();
        let number = state.next_client;
        state.next_client += 1;
        state.clients.push(Client { number, resource: resource.to_owned(), socket, task: None });
        let endpoint = Endpoint { plugin: Some(plugin), options, client: number, stopped: None };
        state.endpoints.insert(resource.to_owned(), endpoint);
        number
    }

    /// The task that reads a client's list.
    pub(crate) fn reading(&self, client: u64, task: AbortHandle) {
        if let Some(client) = self.lock().clients.iter_mut().find(|one| one.number == client) {
            client.task = Some(task);
        }
        self.show();
    }

    /// `genericDeviceUpdateCallback`: a list replaces the one before.
    pub(crate) fn listed(&self, resource: &str, devices: Vec<Device>, bytes: usize) {
        let mut state = self.lock();
        let healthy = devices.iter().filter(|device| device.health == HEALTHY).map(|device| device.id.clone());
        state.healthy.insert(resource.to_owned(), healthy.collect());
        let devices = devices.into_iter().map(|device| (device.id.clone(), device)).collect();
        state.devices.insert(resource.to_owned(), devices);
        drop(state);
        self.change_view(|view| {
            let resource = view.resources.entry(resource.to_owned()).or_default();
            resource.lists += 1;
            resource.largest = resource.largest.max(bytes);
        });
        self.show();
    }

    /// `runClient` after its stream has ended. With the overlap bug whoever is known under the resource's name is
    /// disconnected, and that may be another client; without it, the client itself.
    pub(crate) fn stream_ended(&self, client: u64, resource: &str, why: String) {
        let mut state = self.lock();
        let found = if self.overlap_bug {
            state.clients.iter().rposition(|one| one.resource == resource)
        } else {
            state.clients.iter().position(|one| one.number == client)
        };
        if let Some(found) = found {
            let number = state.clients[found].number;
            let one = state.clients.remove(found);
            if let Some(task) = one.task.filter(|_| number != client) {
                task.abort();
            }
            state.disconnect(number, resource);
        }
        state.clients.retain(|one| one.number != client);
        drop(state);
        self.change_view(|view| {
            let resource = view.resources.entry(resource.to_owned()).or_default();
            resource.ended += 1;
            resource.last_end = Some(why);
        });
        self.show();
    }

    /// Closes the streams of a resource, as if the kubelet had lost them.
    pub(crate) fn close_streams(&self, resource: &str) {
        let mut state = self.lock();
        while let Some(found) = state.clients.iter().position(|one| one.resource == resource) {
            let one = state.clients.remove(found);
            if let Some(task) = one.task {
                task.abort();
            }
            state.disconnect(one.number, resource);
        }
        drop(state);
        self.show();
    }

    /// `GetCapacity`: forgets resources whose grace is over.
    pub(crate) fn forget_expired(&self) {
        let mut state = self.lock();
        let now = Instant::now() + state.ahead;
        let is_over = |endpoint: &Endpoint| endpoint.stopped.is_some_and(|stopped| now >= stopped + GRACE);
        let over: Vec<String> =
            state.endpoints.iter().filter(|(_, endpoint)| is_over(endpoint)).map(|(name, _)| name.clone()).collect();
        for resource in &over {
            state.endpoints.remove(resource);
            state.healthy.remove(resource);
            state.devices.remove(resource);
        }
        drop(state);
        self.change_view(|view| view.resources.retain(|name, _| !over.contains(name)));
        self.show();
    }

    /// Brings the view up to date.
    pub(crate) fn show(&self) {
        let state = self.lock();
        self.view.send_modify(|view| {
            for resource in state.endpoints.keys().chain(state.healthy.keys()) {
                let shown = view.resources.entry(resource.clone()).or_default();
                let before = shown.allocatable;
                state.show(resource, shown);
                note_gap(&mut view.gaps, resource, before, shown.allocatable);
            }
        });
    }

    /// The sockets whose lists are read, by resource.
    pub(crate) fn sockets(&self, resource: &str) -> Vec<PathBuf> {
        let state = self.lock();
        state.clients.iter().filter(|one| one.resource == resource).map(|one| one.socket.clone()).collect()
    }
}

impl State {
    /// `PluginDisconnected`: if the resource is still this client's, its devices are unhealthy and its grace begins.
    fn disconnect(&mut self, client: u64, resource: &str) {
        let now = Instant::now() + self.ahead;
        if let Some(endpoint) = self.endpoints.get_mut(resource).filter(|endpoint| endpoint.client == client) {
            endpoint.plugin = None;
            endpoint.stopped = Some(now);
            self.healthy.insert(resource.to_owned(), BTreeSet::new());
        }
    }

    /// A resource from the checkpoint: known, without a plugin and without devices.
    pub(crate) fn remember(&mut self, resource: &str) {
        let (options, stopped) = (DevicePluginOptions::default(), Some(Instant::now() + self.ahead));
        let endpoint = Endpoint { plugin: None, options, client: u64::MAX, stopped };
        self.endpoints.insert(resource.to_owned(), endpoint);
        self.healthy.insert(resource.to_owned(), BTreeSet::new());
    }

    /// All ids of a resource that containers hold.
    pub(crate) fn in_use(&self, resource: &str) -> BTreeSet<String> {
        let held = self.held.iter().filter(|((_, _, name), _)| name == resource);
        held.flat_map(|(_, held)| held.ids.iter().cloned()).collect()
    }

    fn show(&self, resource: &str, shown: &mut ResourceView) {
        let listed = |device: &Device| Listed {
            health: device.health.clone(),
            numa: device.topology.as_ref().map(|topology| topology.nodes.iter().map(|node| node.id).collect()),
        };
        let devices = self.devices.get(resource).into_iter().flatten();
        shown.devices = devices.map(|(id, device)| (id.clone(), listed(device))).collect();
        shown.allocatable = self.healthy.get(resource).map_or(0, BTreeSet::len);
        shown.streams = self.clients.iter().filter(|one| one.resource == resource && one.task.is_some()).count();
    }
}

/// Notes that a resource has lost all its devices, or has some again.
fn note_gap(gaps: &mut Vec<Gap>, resource: &str, before: usize, now: usize) {
    if before > 0 && now == 0 {
        gaps.push(Gap { resource: resource.to_owned(), from: Instant::now(), until: None });
    } else if before == 0 && now > 0 {
        let open = gaps.iter_mut().rfind(|gap| gap.resource == resource && gap.until.is_none());
        if let Some(gap) = open {
            gap.until = Some(Instant::now());
        }
    }
}

/// Bytes of a list, as they were on the wire.
pub(crate) fn size(list: &impl Message) -> usize {
    list.encoded_len()
}
