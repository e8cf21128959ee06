//! Runs one pod on this machine without a kubelet.
//!
//! The state machine of `pod-core` decides; this shell carries out. Read in this order: [`directory`] is where
//! every run is written down, [`launcher`] is what starts containers, [`claims`] is how a pod gets what Kubernetes does not
//! know.
//!
//! What it does not do: it reads no manifest (that is its caller's), and it decides nothing about the pod's life.

pub mod agent;
pub mod apptainer;
pub mod changes;
pub mod claims;
pub mod control;
pub mod directory;
pub mod drive;
mod driven;
pub mod handle;
pub mod host;
pub mod launcher;
pub mod log;
pub mod probe;
pub mod recover;
mod volumes;
