//! What the executable says about itself: schemas, completions, manual pages, its version.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::Outrigger;

/// `outrigger schema`
#[derive(Args)]
#[command(after_help = "Examples:\n  outrigger schema                       List what has a schema\n  \
                        outrigger schema run > run.schema.json Of run.yaml, for an editor\n  \
                        outrigger schema devices               Of devices.yaml")]
pub struct SchemaArgs {
    /// The command whose configuration file is meant, for example `run`
    #[arg(value_name = "COMMAND")]
    command: Vec<String>,
}

/// `outrigger completions`
#[derive(Args)]
#[command(after_help = "Examples:\n  outrigger completions bash > /etc/bash_completion.d/outrigger\n  \
                        outrigger completions zsh > ~/.zfunc/_outrigger")]
pub struct CompletionsArgs {
    /// For which shell
    shell: Shell,
}

/// `outrigger man`
#[derive(Args)]
#[command(after_help = "Examples:\n  outrigger man | man -l -\n  outrigger man /usr/local/share/man/man1")]
pub struct ManArgs {
    /// Write one page for each command into this directory
    #[arg(value_name = "DIR")]
    directory: Option<PathBuf>,
}

/// Prints the schema of one configuration file, or which there are.
pub fn schema(args: &SchemaArgs) -> ExitCode {
    let known = [outrigger_pods::schemas(), outrigger_devices::schemas()].concat();
    let wanted = args.command.join(" ");
    let text = match known.iter().find(|(name, _)| *name == wanted) {
        Some((_, schema)) => format!("{schema:#}\n"),
        None if wanted.is_empty() => known.iter().map(|(name, _)| format!("{name}\n")).collect(),
        None => {
            let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
            return refuse(&format!("`{wanted}` has no configuration file; these have one: {}", names.join(", ")));
        }
    };
    told(io::stdout().write_all(text.as_bytes()))
}

/// Prints the completions for a shell.
pub fn completions(args: &CompletionsArgs) -> ExitCode {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut Outrigger::command(), "outrigger", &mut text);
    told(io::stdout().write_all(&text))
}

/// Prints the manual page of the executable, or writes those of all commands.
pub fn man(args: &ManArgs) -> ExitCode {
    let command = Outrigger::command();
    let Some(directory) = &args.directory else {
        let mut page = Vec::new();
        let rendered = clap_mangen::Man::new(command).render(&mut page);
        return told(rendered.and_then(|()| io::stdout().write_all(&page)));
    };
    let written = std::fs::create_dir_all(directory).and_then(|()| clap_mangen::generate_to(command, directory));
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => refuse(&format!("the manual pages could not be written to {}: {error}", directory.display())),
    }
}

/// Prints the version, and which Kubernetes' meaning of a pod is followed.
pub fn version() -> ExitCode {
    let text = concat!("outrigger ", env!("CARGO_PKG_VERSION"), "\npods as in Kubernetes 1.36\n");
    told(io::stdout().write_all(text.as_bytes()))
}

/// A reader that went away has read enough.
fn told(written: io::Result<()>) -> ExitCode {
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => refuse(&format!("standard output: {error}")),
        _ => ExitCode::SUCCESS,
    }
}

fn refuse(why: &str) -> ExitCode {
    let _ = writeln!(io::stderr(), "outrigger: {why}");
    ExitCode::from(2)
}
