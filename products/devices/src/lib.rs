//! Devices of this machine for pods: `outrigger devices agent`, `list`, `check`, `explain`.
//!
//! ```text
//! devices.yaml ─ settings ─► rules ─┐
//! /sys, /proc, /dev ─ survey ───────┴─► Inventory ─ decide (device-core) ─► list, explain, the node agent, outrigger run
//! ```
//!
//! Read in this order: [`args`] is the command line; [`mod@file`] is `devices.yaml`, [`settings`] reads it, [`gdp`] reads what
//! is written for the programs that this one replaces, [`place`] tells where in it something stands, [`rules`] makes of it
//! what the core decides by. [`survey`] looks at the machine, [`inventory`] joins both. `claims` asks the kubelet who has
//! what, `locks` are the same at both doors, `directory` tells whether others' can be used; [`provider`] hands devices to `outrigger run`; `commands` tell people; `agent` serves the kubelet.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;
use outrigger_terminal::out;

pub mod agent;
pub mod args;
mod claims;
mod commands;
mod directory;
pub mod file;
pub mod gdp;
pub mod inventory;
mod locks;
pub mod place;
pub mod provider;
pub mod rules;
pub mod settings;
pub mod survey;

use agent::source::Source;
use args::{Command, DevicesArgs};
use commands::CommandError;

/// Runs one command to its end; what it answers is the exit code of the process.
pub fn execute(args: DevicesArgs) -> ExitCode {
    let (name, done) = match args.command {
        Command::Agent(args) => return agent::main(Source::Ours(args.settings)),
        Command::List(args) => ("list", commands::list::list(&args)),
        Command::Check(args) => ("check", commands::check::check(&args)),
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

/// Behaves as the generic-device-plugin, with its flags, variables, files and exit codes.
pub fn as_generic_device_plugin(words: &[OsString]) -> ExitCode {
    let words = std::iter::once(OsString::from("generic-device-plugin")).chain(words.iter().cloned());
    let args = gdp::command::GdpArgs::try_parse_from(words).unwrap_or_else(|error| error.exit());
    if args.version {
        let _ = out::print(concat!(env!("CARGO_PKG_VERSION"), "\n"));
        return ExitCode::SUCCESS;
    }
    agent::main(Source::Gdp(args))
}

/// Behaves as the simple-device-plugin, with its flags and its one resource.
pub fn as_device_plugin(words: &[OsString]) -> ExitCode {
    let words: Vec<String> = words.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    match gdp::glog::parse(&words) {
        Ok(log_level) => agent::main(Source::Simple(log_level)),
        Err(why) => {
            let lines = [why.as_str(), gdp::glog::USAGE];
            out::note(&lines.into_iter().filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n"));
            ExitCode::from(2)
        }
    }
}

/// The JSON Schemas of this product's configuration files, by the command they belong to.
pub fn schemas() -> Vec<(&'static str, serde_json::Value)> {
    vec![("devices", outrigger_config::schema::<file::DevicesFile>())]
}
