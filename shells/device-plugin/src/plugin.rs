//! The resources of a process: put, replaced and taken away at run time, each without touching the others.
//!
//! ```text
//! DevicePlugin (put, remove, states) ──mpsc──► Serving::run ──► one task for each resource
//!        ▲                                                             │
//!        └────────────────────────── watch ────────────────────────────┘
//! ```
//!
//! What it does not do: it knows no configuration. A product compares the old one with the new one and says what to put.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use outrigger_host::Watches;
use outrigger_runtime::Children;
use thiserror::Error;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::life::{Surroundings, live};
use crate::place::{Place, Unfit};
use crate::resource::{Resource, ResourceName};
use crate::state::{Board, States};

/// The most resources of one process.
const MAX_RESOURCES: usize = 1024;

/// How long resources may take to end: longer than calls under way and their servers.
const GRACE: Duration = Duration::from_millis(1900);

/// What a product does with its resources. A clone is the same.
#[derive(Clone, Debug)]
pub struct DevicePlugin {
    orders: mpsc::Sender<Order>,
    states: watch::Receiver<States>,
}

/// Serves the resources; to be run as a task.
#[derive(Debug)]
pub struct Serving {
    place: Place,
    watches: Watches,
    orders: mpsc::Receiver<Order>,
    states: watch::Sender<States>,
}

/// [`Serving::run`] has ended, so that nothing is served any more.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("resources are served no more: the process is stopping")]
pub struct Ended;

/// Why a resource was not put.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum PutError {
    /// It cannot be served at this place.
    #[error(transparent)]
    Unfit(#[from] Unfit),
    /// There are too many.
    #[error("{resource} is not served: {MAX_RESOURCES} resources are, the most of one process")]
    TooMany {
        /// The resource.
        resource: ResourceName,
    },
    /// Nothing is served any more.
    #[error(transparent)]
    Ended(#[from] Ended),
}

/// What is asked of [`Serving`].
#[derive(Debug)]
enum Order {
    Put(Resource, oneshot::Sender<Result<(), PutError>>),
    Remove(ResourceName, oneshot::Sender<()>),
}

/// A resource that is served.
#[derive(Debug)]
struct Running {
    resource: watch::Sender<Arc<Resource>>,
    stop: CancellationToken,
    /// Cancelled when its task has ended.
    ended: CancellationToken,
}

impl DevicePlugin {
    /// Serves resources at a place. Nothing happens until the second value is run.
    pub fn new(place: Place, watches: Watches) -> (Self, Serving) {
        let (orders, ordered) = mpsc::channel(16);
        let (states, told) = watch::channel(States::new());
        (Self { orders, states: told }, Serving { place, watches, orders: ordered, states })
    }

    /// Serves a resource, or replaces the one of its name.
    ///
    /// Where socket and options stay the same, the kubelet's stream goes on with the new list and the new answers; otherwise
    /// the old resource ends and the new one registers. An error leaves everything as it was.
    pub async fn put(&self, resource: Resource) -> Result<(), PutError> {
        let (reply, answer) = oneshot::channel();
        self.orders.send(Order::Put(resource, reply)).await.map_err(|_| Ended)?;
        answer.await.map_err(|_| Ended)?
    }

    /// Stops serving a resource: its stream ends, and the kubelet has no devices of it. Nothing happens where there is none.
    pub async fn remove(&self, name: ResourceName) -> Result<(), Ended> {
        let (reply, answer) = oneshot::channel();
        self.orders.send(Order::Remove(name, reply)).await.map_err(|_| Ended)?;
        answer.await.map_err(|_| Ended)
    }

    /// How every resource fares, now and after each change.
    pub fn states(&self) -> watch::Receiver<States> {
        self.states.clone()
    }
}

impl Serving {
    /// Serves until the stop. Then streams end, calls under way are answered, and our own sockets are removed, within 2 s.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), Infallible> {
        let mut tasks = Children::new(2 * MAX_RESOURCES);
        let mut running = BTreeMap::new();
        loop {
            let order = tokio::select! {
                () = stop.cancelled() => break,
                order = self.orders.recv() => order,
            };
            match order {
                Some(Order::Put(resource, reply)) => {
                    let put = self.put(resource, &mut running, &mut tasks, &stop);
                    reply.send(put).unwrap_or_else(|_| debug!("Nobody waits for the put resource any more"));
                }
                Some(Order::Remove(name, reply)) => {
                    self.remove(&name, &mut running);
                    reply.send(()).unwrap_or_else(|()| debug!("Nobody waits for the removed resource any more"));
                }
                None => {
                    stop.cancelled().await; // Nobody will change anything; what is served is served on.
                    break;
                }
            }
        }
        if let Err(overran) = tasks.finish(GRACE).await {
            warn!("While stopping: {overran}");
        }
        Ok(())
    }

    fn put(
        &self,
        resource: Resource,
        running: &mut BTreeMap<ResourceName, Running>,
        tasks: &mut Children,
        stop: &CancellationToken,
    ) -> Result<(), PutError> {
        let served: Vec<Arc<Resource>> = running.values().map(|one| Arc::clone(&one.resource.borrow())).collect();
        self.place.check_beside(&resource, served.iter().map(Arc::as_ref))?;
        let (name, resource) = (resource.name.clone(), Arc::new(resource));
        if let Some(before) = running.get(&name)
            && is_same_to_kubelet(&before.resource.borrow(), &resource)
        {
            before.resource.send_replace(resource);
            info!(resource = %name, "{name} has another configuration now");
            return Ok(());
        }
        if running.len() >= MAX_RESOURCES {
            return Err(PutError::TooMany { resource: name });
        }
        let former = running.remove(&name).map(|former| {
            former.stop.cancel();
            former.ended
        });
        let (one, resources) = Running::new(resource, stop);
        let surroundings = Surroundings {
            place: self.place.clone(),
            changes: self.watches.directory(&self.place.directory),
            board: Board::new(self.states.clone(), name.clone()),
            stop: one.stop.clone(),
        };
        let ended = one.ended.clone().drop_guard();
        let life = async move {
            if let Some(former) = former {
                former.cancelled().await;
            }
            live(resources, surroundings).await;
            drop(ended);
            Ok::<_, Infallible>(())
        };
        tasks.start(format!("resource {name}"), life).map_err(|_| PutError::TooMany { resource: name.clone() })?;
        running.insert(name, one);
        Ok(())
    }

    fn remove(&self, name: &ResourceName, running: &mut BTreeMap<ResourceName, Running>) {
        if let Some(one) = running.remove(name) {
            info!(resource = %name, "{name} is served no more");
            one.stop.cancel();
            Board::new(self.states.clone(), name.clone()).strike();
        }
    }
}

impl Running {
    fn new(resource: Arc<Resource>, stop: &CancellationToken) -> (Self, watch::Receiver<Arc<Resource>>) {
        let (resource, resources) = watch::channel(resource);
        (Self { resource, stop: stop.child_token(), ended: CancellationToken::new() }, resources)
    }
}

/// Whether the kubelet need not know that a resource was replaced.
fn is_same_to_kubelet(one: &Resource, other: &Resource) -> bool {
    (&one.socket, one.pre_start, one.preferred) == (&other.socket, other.pre_start, other.preferred)
}
