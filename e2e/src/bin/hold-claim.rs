//! A smallest pod runner whose pod holds a claim, for tests that kill it: the executable itself serves no claim yet.
//!
//! It takes the lock of a file, as a provider does, starts the containers of a Pod manifest (JSON) with it, says `started`
//! once each has written something, and waits for their ends. Its agents are itself.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};
use outrigger_apptainer_launcher::{ApptainerLauncher, Program};
use outrigger_host_launcher::HostLauncher;
use outrigger_launcher::{Launcher, Output, PodRequest, Running, StartRequest};
use outrigger_pod_core::life::Instance;
use outrigger_pod_core::plan::PodPlan;

/// Runs a pod that holds a claim.
#[derive(Parser)]
struct Arguments {
    /// What starts the containers
    launcher: Kind,
    /// The manifest
    manifest: PathBuf,
    /// The file whose lock is the claim
    lock: PathBuf,
    /// The pod's directory
    directory: PathBuf,
    /// As on a machine that allows no namespaces
    #[arg(long)]
    keepers: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    Host,
    Apptainer,
}

fn main() -> Result<()> {
    outrigger_host_launcher::agent::dispatch();
    let arguments = Arguments::parse();
    let launcher: Box<dyn Launcher> = match (arguments.launcher, arguments.keepers) {
        (Kind::Host, false) => Box::new(HostLauncher::new()?),
        (Kind::Host, true) => Box::new(HostLauncher::new()?.without_namespaces()),
        (Kind::Apptainer, keepers) => {
            let program = Program::at(Path::new("/usr/bin/apptainer"))?;
            let launcher = ApptainerLauncher::new(program, arguments.directory.join("images"))?;
            Box::new(if keepers { launcher.without_namespaces() } else { launcher })
        }
    };
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(run(&*launcher, &arguments))
}

async fn run(launcher: &dyn Launcher, arguments: &Arguments) -> Result<()> {
    let Arguments { manifest, lock, directory, .. } = arguments;
    let pod = serde_json::from_slice(&std::fs::read(manifest)?)?;
    let plan = Arc::new(PodPlan::new(pod, &format!("held-{}", std::process::id()))?);
    let held = File::open(lock).context("no file to lock")?;
    held.lock()?;
    let held = Arc::new(OwnedFd::from(held));
    std::fs::write(directory.join("message"), "")?;
    launcher
        .prepare(PodRequest {
            plan: Arc::clone(&plan),
            directory: directory.clone(),
            hostname: plan.name.clone(),
            memory_volumes: Vec::new(),
            pod_ip: None,
        })
        .await?;
    let mut running = Vec::new();
    for container in &plan.containers {
        let request = StartRequest {
            plan: Arc::clone(&plan),
            instance: Instance { container: container.name.clone(), attempt: 0 },
            command: container.command.clone(),
            args: container.args.clone(),
            env: Vec::new(),
            working_dir: None,
            mounts: Vec::new(),
            message_file: directory.join("message"),
            claim: outrigger_pod_core::claim::ClaimValue::default(),
            held: vec![Arc::clone(&held)],
        };
        running.push(launcher.start(request).await?);
    }
    drop(held);
    let mut ends = Vec::new();
    for Running { output, ended, .. } in running {
        let Output::Pipes { stdout, .. } = output else { continue };
        let mut stdout = File::from(stdout);
        stdout.read_exact(&mut [0])?;
        ends.push((ended, stdout));
    }
    writeln!(std::io::stdout(), "started")?;
    for (ended, _stdout) in ends {
        ended.await;
    }
    Ok(())
}
