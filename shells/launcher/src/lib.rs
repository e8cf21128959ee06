//! The two contracts of the pod runner, and the values in them: what starts containers for a pod, and how a pod gets what
//! Kubernetes does not know.
//!
//! Who implements one of them (a launcher, a provider of CPUs, devices or licenses) needs this crate and nothing else of
//! the pod runner. Read in this order: [`Launcher`], with what each call promises and the values it takes and gives;
//! then [`claims`], with the trait for providers.
//!
//! What it does not do: it starts nothing and holds nothing.

pub mod claims;
mod launcher;

pub use launcher::{
    BoxFuture, ContainerId, ExecRequest, ExecSession, Image, ImageError, ImageState, Incoming, LaunchError, Launcher,
    LogStream, MemoryVolume, Mount, MountSource, Outgoing, Output, PodRequest, PreparedPod, Running, Shortfall,
    StartError, StartRequest, Terminal, Usage, label,
};
