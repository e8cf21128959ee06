//! Pods on this machine: `outrigger run`, `ps`, `logs`, `exec`, `attach`, `stop`, `describe`, `rm`, `prune`.
//!
//! Read in this order: [`args`] is the command line, [`manifest`] makes of files what is to run, [`show`] is how things
//! look. What runs a pod is the pod runner; what a manifest means is `pod-core`'s.

use std::process::ExitCode;

pub mod args;
mod commands;
mod launcher;
mod manifest;
mod record;
mod settings;
mod show;
mod text;
mod verdict;
mod view;

pub use args::Command;

/// What the executable wires in: the products that hand out what Kubernetes does not know.
#[derive(Default)]
pub struct Parts {
    /// CPUs, devices, licenses.
    pub providers: Vec<std::sync::Arc<dyn outrigger_pod_runner::claims::Provider>>,
}

/// Runs one command to its end; what it answers is the exit code of the process.
pub fn execute(command: Command, parts: Parts) -> ExitCode {
    let _ = (command, parts);
    ExitCode::SUCCESS
}

/// The JSON Schemas of this product's configuration files, by the command they belong to.
pub fn schemas() -> Vec<(&'static str, serde_json::Value)> {
    Vec::new()
}
