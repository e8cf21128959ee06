//! The executable: every role of Outrigger behind one enum of subcommands, and the only place where products meet.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod names;
mod surface;
mod typed;

/// Runs Kubernetes pods and jobs on this machine, without Kubernetes and without a daemon.
#[derive(Parser)]
#[command(name = "outrigger", version, after_help = EXAMPLES)]
struct Outrigger {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    #[command(flatten)]
    Pods(outrigger_pods::Command),
    /// Hand out devices of this machine: disks, serial ports, cameras, anything in /dev
    Devices(outrigger_devices::args::DevicesArgs),
    /// Print the JSON Schema of a configuration file
    Schema(surface::SchemaArgs),
    /// Print the completions for a shell
    Completions(surface::CompletionsArgs),
    /// Print the manual page, or write one for every command
    Man(surface::ManArgs),
    /// Print the version
    Version,
}

/// What hands out devices to the pods of `outrigger run`.
const PARTS: outrigger_pods::Parts = outrigger_pods::Parts { providers: outrigger_devices::provider::providers };

const EXAMPLES: &str = "\
Examples:
  outrigger run pod.yaml       Run a pod, follow its logs, end with its exit code
  outrigger ps                 List the pods of this machine
  outrigger run --help         Everything that run can do";

fn main() -> ExitCode {
    // First of all: a container's init is this executable started anew, before any parser or runtime.
    outrigger_host_launcher::agent::dispatch();
    if let Some(code) = names::dispatch() {
        return code;
    }
    match typed::read().command {
        Command::Pods(command) => outrigger_pods::execute(command, PARTS),
        Command::Devices(args) => outrigger_devices::execute(args),
        Command::Schema(args) => surface::schema(&args),
        Command::Completions(args) => surface::completions(&args),
        Command::Man(args) => surface::man(&args),
        Command::Version => surface::version(),
    }
}
