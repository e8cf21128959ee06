//! The launcher `host` on this machine: real processes, namespaces, mounts and cgroups.
//!
//! Every test runs as the user who runs the tests; where that is root, all of them run once more as an ordinary user.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests may panic, also in their helpers")]

mod bench;
mod claims;
mod death;
mod keepers;
mod life;
mod limits;
mod many;
mod ordinary_user;
mod requests;
mod rights;
mod streams;
mod together;
mod view;
