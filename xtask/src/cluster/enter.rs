//! `cargo xtask cluster shell` and `load`: commands inside, with the cluster's programs on the path.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::covers::COVERED;
use super::group::Cgroups;
use super::place::Place;
use super::{components, images};
use crate::step::{self, Found};

/// `cargo xtask cluster shell`.
#[derive(clap::Args, Debug)]
pub struct ShellArgs {
    #[command(flatten)]
    named: super::Named,
    /// The command and its arguments
    #[arg(last = true)]
    command: Vec<String>,
}

/// `cargo xtask cluster load`.
#[derive(clap::Args, Debug)]
pub struct LoadArgs {
    #[command(flatten)]
    named: super::Named,
    /// The archive
    image: PathBuf,
}

impl ShellArgs {
    pub(super) fn name(&self) -> &str {
        &self.named.name
    }
}

impl LoadArgs {
    pub(super) fn name(&self) -> &str {
        &self.named.name
    }
}

/// Runs a command inside and ends with its exit code.
pub fn shell(place: &Place, args: &ShellArgs) -> Result<()> {
    let own = std::env::var("SHELL").unwrap_or_else(|_| "/bin/sh".into());
    let words = if args.command.is_empty() { std::slice::from_ref(&own) } else { &args.command };
    let mut command = inside(place)?;
    let status = command.args(words).status().context("cannot start nsenter")?;
    step::end_like(status.code().unwrap_or(1))
}

/// Imports an image.
pub fn load(place: &Place, args: &LoadArgs) -> Result<()> {
    let archive = File::open(&args.image).with_context(|| format!("cannot read {}", args.image.display()))?;
    let mut command = inside(place)?;
    // By its content: the archive may lie where the cluster sees something else.
    command.args(images::import(place, "-")).stdin(Stdio::from(archive));
    step::command(&mut command)
}

/// `nsenter` into the cluster; the command's words come last. Its groups we enter ourselves, since no namespace does that: we
/// and what we start are the cluster's from then on, and end with it.
fn inside(place: &Place) -> Result<Command> {
    let Some(init) = place.init() else {
        bail!(Found(format!("no cluster {0} runs: `cargo xtask cluster up --name {0}` starts it", place.name)));
    };
    Cgroups::here()?.join(&place.name)?;
    let here = std::env::current_dir().unwrap_or_else(|_| "/".into());
    let is_covered = COVERED.iter().any(|covered| here.starts_with(covered));
    let mut nsenter = Command::new("nsenter");
    nsenter.args(["--target", &init.pid.to_string(), "--net", "--mount", "--pid", "--uts", "--ipc", "--cgroup"]);
    let directory = if is_covered { Path::new("/") } else { &here };
    nsenter.arg(format!("--wdns={}", directory.display())).arg("--");
    nsenter.envs(components::environment(place));
    Ok(nsenter)
}
