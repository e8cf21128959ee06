//! The runner with an engine whose containers outlive it, the clock paused: whole lives, crashes, claims.
#![allow(clippy::unwrap_used)] // clippy.toml allows it in test functions only, not in their helpers.

mod bench;
mod claims;
mod crash;
mod life;
