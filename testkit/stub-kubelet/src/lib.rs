//! The kubelet's side of the device plugin protocol, on real unix sockets, no kinder than a kubelet.
//!
//! ```text
//!  test ──► StubKubelet ──start, kill, restart──► Run (one life of the process)
//!   ▲           │                                  ├─ kubelet.sock: Register ─dial, options─► plugin's socket
//!   │ View      │ admit, start_container           ├─ one client for each registration: ListAndWatch
//!   └─ watch ───┴────────────────────────────────  └─ pod-resources/kubelet.sock: List, GetAllocatableResources, Get
//! ```
//!
//! Modeled on `pkg/kubelet/cm/devicemanager` of Kubernetes 1.36.3, function by function:
//!
//! - at a start it removes sockets from its directory and nothing else, binds, waits ([`Options::listen_pause`]), listens;
//! - `Register` dials the plugin and asks for its options before it answers, and ignores the options of the request;
//! - a list replaces the one before; above 4 MiB the stream ends; after each list the checkpoint file is written;
//! - the end of a stream makes all devices unhealthy, and removes the resource five minutes later, by a clock that a test
//!   can set forward ([`StubKubelet::advance`]);
//! - with [`Options::overlap_bug`] clients are known by resource alone, so that the end of an old instance's stream
//!   disconnects the new one. Kubernetes 1.36.3 still behaves so;
//! - devices of init containers are used again by the containers after them; else the plugin's preference, else chance;
//! - a container that starts again gets the cached answer, after `PreStartContainer` where the plugin asked for it.
//!
//! Any `:authority` is taken, as grpc-go takes it: a client of grpc-go sends its socket's path.
//!
//! What it does not do: no topology manager, no API server, and the checksum in the checkpoint file is 0.

mod admission;
mod authority;
mod checkpoint;
mod client;
mod front;
mod kubelet;
mod lister;
mod register;
mod run;
mod state;
mod view;

pub use admission::{AdmissionError, Admitted, ContainerRequest, PodRequest, Reuse};
pub use checkpoint::CHECKPOINT;
pub use kubelet::{Options, StartError, StubKubelet};
pub use register::OnRegister;
pub use view::{Gap, Listed, Registration, ResourceView, View};
