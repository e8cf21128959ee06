//! The init or keeper of a container: this executable started anew, doing only system calls.
//!
//! The runner starts it with one descriptor, stdin, which is a channel to the runner; everything else comes over it.
//!
//! ```text
//!  runner ── posix_spawn ──▶ stage 1 (joins the pod's namespaces)
//!    │                          └─ clone(CLONE_PARENT, new namespaces) ──▶ init, a child of the runner
//!    └──────────── channel: requests, reports ─────────────────────────────┤ mounts, then serves
//!                                                                          └─ fork, exec ──▶ the container's process
//! ```
//!
//! Two kinds of agents keep a container:
//! - an **init** is process 1 of a process namespace: when it ends, for whatever reason, the kernel kills the rest;
//! - a **keeper** has no such namespace and adopts every orphan below it (child subreaper): when the container's main
//!   process ends or the channel closes it kills its descendants until none is left. A kill of the keeper itself can
//!   leave processes; [`crate::sweep`] finds those by a mark in their environment.
//!
//! Where another program makes the container (Apptainer), a second agent **inside** it is started by that program, with a
//! channel of its own as stdin; the first one then only keeps that program.
//!
//! All die with the runner: by the parent-death signal, or, where locks are to be freed last, because the channel closes.
//!
//! What it does not do: no threads, no runtime, no allocation while it waits, and no decision; the task says everything.

mod cover;
mod descendants;
mod identity;
mod inside;
mod pod;
mod probe;
mod process;
mod serve;
mod stage;
mod sys;
mod view;
pub(crate) mod wire;

use std::ffi::OsStr;
use std::path::Path;

pub(crate) use descendants::descendants;
pub use process::DEFAULT_PATH;

/// The name by which an executable knows that it is to be an agent.
pub const NAME: &str = "outrigger-init";

/// The argument by which an agent knows that another program has started it inside a container.
pub const INSIDE: &str = "inside";

/// Becomes an agent, and ends with it, where this process was started as one. To be called first in `main`, before any
/// runtime or command line parser.
pub fn dispatch() {
    let mut words = std::env::args_os();
    let name = words.next().unwrap_or_default();
    if Path::new(&name).file_name() == Some(OsStr::new(NAME)) {
        stage::run(words.next().is_some_and(|word| word == INSIDE));
    }
}
