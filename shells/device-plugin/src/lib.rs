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
