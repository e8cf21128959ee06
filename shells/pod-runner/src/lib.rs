//! Runs one pod on this machine without a kubelet.
//!
//! The state machine of `pod-core` decides; this shell carries out. Read in this order: [`drive`] is the loop that runs a
//! pod; [`handle`] is what a running pod shows and accepts, and [`control`]
//! carries that over a socket; [`recover`] is for a run whose runner died.
//!
//! What it does not do: it reads no manifest (that is its caller's), it decides nothing about the pod's life, and it knows
//! no launcher but by the trait of `outrigger_launcher`.

pub mod control;
pub mod drive;
pub mod handle;
pub mod recover;
