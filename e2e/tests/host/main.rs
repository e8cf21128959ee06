//! The host launcher from end to end: `outrigger run` of manifests, by root and by an ordinary user.
//!
//! What a container sees it writes to its termination message, which is read from the pod's final status.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic, also in its helpers")]

mod claims;
mod groups;
mod many;
mod mounts;
mod names;
mod namespaces;
mod site;
