//! A real cluster: it starts, runs pods, and leaves nothing of itself on the machine; what was killed can be repeated.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic, also in its helpers")]

mod guide;
mod kills;
mod life;
mod manifests;
mod options;
mod release;
mod schemas;
mod shell;
mod side_by_side;
