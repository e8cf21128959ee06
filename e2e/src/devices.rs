//! The benchmarks of `outrigger devices agent`: what they measure and the lines each prints.
//!
//! Every figure is taken by a kubelet of the test kit, which speaks the real protocol on a real socket in a directory in
//! memory, beside the programs that a user would pick instead: the sample device plugin of Kubernetes, and the
//! generic-device-plugin where `GDP_BIN` names it.

mod calls;
mod hotplug;
mod node;
mod plugins;
mod process;
mod restart;
mod start;
mod update;

pub use calls::allocate;
pub use hotplug::hotplug;
pub use node::Node;
pub use plugins::{Plugin, Plugins, Served, compared};
pub use process::{idle, memory};
pub use restart::restart;
pub use start::start;
pub use update::update;
