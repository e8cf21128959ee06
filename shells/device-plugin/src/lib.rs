//! Serves resources to a kubelet: sockets, registration, streams, recovery.
//!
//! A product brings [`Resource`]s – a list of devices in a `watch` channel, and [`Answers`] – and everything else is this
//! crate's business: that the kubelet knows them, a few milliseconds after either side has started again, and that it knows
//! the last list always.
//!
//! ```text
//!               ┌────────────────────────────── the newer instance has ended ─────────────────────────────┐
//!               ▼                                                                                          │
//! put ──► waiting ──kubelet.sock takes connections──► serving ──► registering ──taken──► registered ──► silent
//!            ▲ ▲                                      (own socket, if        │                │ the kubelet opens
//!            │ └──── 1 ms doubling to 5 s, or at once ──(there is none) ─error┘                │ its stream
//!            │       when kubelet.sock is made anew                                           ▼
//!            └── stream ended · own socket gone · the kubelet does not know us ────────── connected ──► silent
//!                                                                          (a newer instance is served)
//! ```
//!
//! - The kubelet wipes its directory of sockets and then listens. So our socket is made when `kubelet.sock` takes
//!   connections, and never before: one restart of the kubelet is one registration of each resource.
//! - `Register` is answered only after the kubelet has dialed us. So a resource is served while it registers.
//! - A kubelet that replaces only its socket keeps its streams: nothing is registered then.
//! - Two instances of one process may overlap, each at a socket of its own. The older sends no lists when it sees the newer
//!   served. Kubelets up to 1.36 at least drop the newer one's stream when the older ends; it is back at once.
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use outrigger_device_plugin::{
//!     Allocation, Answers, BoxFuture, Choice, Device, DeviceList, DeviceNode, DevicePlugin, KUBELET_DIRECTORY, Place, Refusal,
//!     Resource, SocketName,
//! };
//! use outrigger_host::Watches;
//! use tokio::sync::watch;
//! use tokio_util::sync::CancellationToken;
//!
//! /// Hands out /dev/null.
//! struct Null;
//!
//! impl Answers for Null {
//!     fn allocate(&self, ids: Vec<String>) -> BoxFuture<'_, Result<Allocation, Refusal>> {
//!         Box::pin(async move {
//!             if let Some(id) = ids.iter().find(|id| *id != "null") {
//!                 return Err(Refusal::not_found(format!("there is no device {id}")));
//!             }
//!             let path = "/dev/null".into();
//!             let node = DeviceNode { container_path: path, host_path: "/dev/null".into(), permissions: "rw".into() };
//!             Ok(Allocation { devices: vec![node], ..Allocation::default() })
//!         })
//!     }
//!
//!     fn prefer(&self, choice: Choice) -> BoxFuture<'_, Result<Vec<String>, Refusal>> {
//!         Box::pin(async move { Ok(choice.available.into_iter().take(choice.size).collect()) })
//!     }
//!
//!     fn pre_start(&self, _: Vec<String>) -> BoxFuture<'_, Result<(), Refusal>> {
//!         Box::pin(async { Ok(()) })
//!     }
//! }
//!
//! # async fn run(stop: CancellationToken) -> Result<(), Box<dyn std::error::Error>> {
//! let (plugin, serving) = DevicePlugin::new(Place::new(KUBELET_DIRECTORY), Watches::new());
//! let list = DeviceList::new(vec![Device { id: "null".into(), healthy: true, numa: vec![] }]);
//! let (lists, list) = watch::channel(Arc::new(list)); // Whatever is sent here later reaches the kubelet.
//! let put = async {
//!     let name = "example.com/null".parse()?;
//!     let answers = Arc::new(Null);
//!     plugin.put(Resource { name, socket: SocketName::Derived, pre_start: false, preferred: false, list, answers }).await?;
//!     Ok::<_, Box<dyn std::error::Error>>(())
//! };
//! let (put, served) = tokio::join!(put, serving.run(stop)); // In a process: a task of its own.
//! put?;
//! # drop(lists);
//! # served?;
//! # Ok(())
//! # }
//! ```
//!
//! What it does not do: it decides nothing about devices, and exports no metrics; [`DevicePlugin::states`] tells what to
//! export. No type of the transport is in its face.

mod answers;
mod audit;
mod back_off;
mod calls;
mod life;
mod list;
mod newer;
mod place;
mod plugin;
mod publish;
mod resource;
mod server;
mod socket;
mod state;
mod streams;

pub use answers::{Allocation, Answers, BoxFuture, Choice, DeviceNode, Mount, Refusal, RefusalCode};
pub use list::{Device, DeviceList, Fit};
pub use place::{KUBELET_DIRECTORY, Place, Unfit};
pub use plugin::{DevicePlugin, Ended, PutError, Serving};
pub use resource::{InvalidName, Resource, ResourceName, SocketName};
pub use state::{Call, RegisterReason, RegisterResult, ResourceState, States};
