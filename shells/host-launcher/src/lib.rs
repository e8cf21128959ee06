//! The launcher `host`: containers are processes of this machine, each kept by an agent that ends with its launcher.
//!
//! It stands on both sides of a channel. Read in this order: [`HostLauncher`] (`host` and the files below it) is the
//! launcher's side, in the pod runner's process; [`agent`] is the other one, this executable started anew; `agent/wire.rs`
//! is what they say to each other. [`parts`] is for a launcher whose containers are started by way of this one.
//!
//! What it does not do: it runs no pod; it does what the pod runner asks by the trait [`outrigger_launcher::Launcher`].

pub mod agent;
mod host;
pub mod parts;

pub use host::{HostLauncher, MARK, commands, sweep};
