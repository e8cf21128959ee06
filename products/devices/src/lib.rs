//! Devices of this machine for pods: `outrigger devices list`, `explain`.
//!
//! ```text
//! devices.yaml ─ settings ─► rules ─┐
//! /sys, /proc, /dev ─ survey ───────┴─► Inventory ─ decide (device-core) ─► list, explain, outrigger run
//! ```
//!
//! Read in this order: [`args`] is the command line; [`file`] is `devices.yaml`, [`settings`] reads it, [`gdp`] reads what
//! is written for the programs that this one replaces, [`place`] tells where in it something stands, [`rules`] makes of it
//! what the core decides by. [`survey`] looks at the machine, [`inventory`] joins both. `claims` asks the kubelet who has
//! what; [`provider`] hands devices to `outrigger run`; `commands` tell people.

use std::process::ExitCode;

pub mod args;
mod claims;
mod commands;
pub mod file;
pub mod gdp;
pub mod inventory;
mod out;
pub mod place;
pub mod provider;
pub mod rules;
pub mod settings;
pub mod survey;

use args::{Command, DevicesArgs};
use commands::CommandError;

/// Runs one command to its end; what it answers is the exit code of the process.
pub fn execute(args: DevicesArgs) -> ExitCode {
    let (name, done) = match args.command {
        Command::List(args) => ("list", commands::list::list(&args)),
        Command::Explain(args) => ("explain", commands::explain::explain(&args)),
    };
    let code = done.unwrap_or_else(|error| {
        out::note(&match &error {
            CommandError::Wrong(faults) => faults.to_string(),
            CommandError::Print(_) => format!("outrigger devices {name}: {error}"),
        });
        error.code()
    });
    ExitCode::from(code)
}

/// The JSON Schemas of this product's configuration files, by the command they belong to.
pub fn schemas() -> Vec<(&'static str, serde_json::Value)> {
    vec![("devices", outrigger_config::schema::<file::DevicesFile>())]
}
