//! The decision: tables of what is offered and why not, and properties that hold whatever a host shows.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's helpers fail as its tests do")]

mod contest;
mod handing_out;
mod life;
mod locks;
mod properties;
mod units;
mod usage;
mod values;
