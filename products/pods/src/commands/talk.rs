//! `outrigger exec`, `attach` and `stop`: what is asked of a running pod's runner.

use std::time::Duration;

use anyhow::{Context, bail};
use outrigger_config::listing;
use outrigger_pod_directory::{RunDirectory, RunnerLife, StateDirectory, StopFile};
use outrigger_pod_runner::control::{AttachQuery, Client, ExecQuery, StopQuery};
use outrigger_terminal::out;
use tokio_util::sync::CancellationToken;

use super::session::{self, Ended, Wishes};
use crate::args::{AttachArgs, ExecArgs, StopArgs, TargetArgs};
use crate::record::{self, PodRecord, Record};

/// A running pod, and its runner's ear.
async fn running(state: &StateDirectory, target: &TargetArgs) -> anyhow::Result<(PodRecord, Client)> {
    let directory = record::find(state, &target.name, target.namespace.as_deref())?;
    match Record::read(directory)? {
        Record::Job(job) => bail!(
            "job {} has no containers of its own; name one of its pods (`outrigger ps` lists them)",
            job.directory.name()
        ),
        Record::Pod(pod) if pod.has_ended() => {
            bail!("pod {} has ended; `outrigger logs {}` shows what it wrote", pod.directory.name(), target.name)
        }
        Record::Pod(pod) => Ok((*pod.clone(), client(&pod).await?)),
    }
}

async fn client(pod: &PodRecord) -> anyhow::Result<Client> {
    let named = pod.file.as_ref().and_then(|file| file.control.as_deref());
    Client::open(pod.directory.path(), named).await.with_context(|| format!("pod {}", pod.directory.name()))
}

/// The container that is meant: the one named, else the first main container.
pub fn container(pod: &PodRecord, named: Option<&str>) -> anyhow::Result<String> {
    let spec = pod.pod.spec.clone().unwrap_or_default();
    let all: Vec<String> =
        spec.containers.iter().chain(spec.init_containers.iter().flatten()).map(|one| one.name.clone()).collect();
    match named {
        Some(name) if all.iter().any(|one| one == name) => Ok(name.to_owned()),
        Some(name) => {
            bail!("pod {} has no container {name}; it has {}", pod.directory.name(), listing(&all))
        }
        None => all.into_iter().next().context("the pod has no container"),
    }
}

/// Runs a command in a container; answers its exit code.
pub async fn exec(args: &ExecArgs, state: &StateDirectory, stop: &CancellationToken) -> anyhow::Result<i32> {
    let (pod, client) = running(state, &args.target).await?;
    let container = container(&pod, args.container.as_deref())?;
    let terminal = session::terminal_size(args.tty, args.stdin);
    let wishes = Wishes { stdin: args.stdin, terminal: terminal.is_some(), leaves: false };
    let query = ExecQuery { container, command: args.command.clone(), stdin: args.stdin, terminal };
    let session = client.exec(&query).await?;
    match session::pass_on(session, wishes, stop).await? {
        Ended::Process(code) => Ok(code),
        Ended::Left => Ok(crate::verdict::INTERRUPTED),
    }
}

/// Joins a container; answers its exit code, or 0 when the user left it.
pub async fn attach(args: &AttachArgs, state: &StateDirectory, stop: &CancellationToken) -> anyhow::Result<i32> {
    let (pod, client) = running(state, &args.target).await?;
    let container = container(&pod, args.container.as_deref())?;
    let size = session::terminal_size(args.tty, args.stdin);
    let wishes = Wishes { stdin: args.stdin, terminal: size.is_some(), leaves: true };
    let mut session = client.attach(&AttachQuery { container, stdin: args.stdin }).await?;
    if let Some(size) = size {
        session.input.resize(size).await?;
    }
    match session::pass_on(session, wishes, stop).await? {
        Ended::Process(code) => Ok(code),
        Ended::Left => Ok(0),
    }
}

/// Stops pods and jobs, and waits for their end.
pub async fn stop(args: &StopArgs, state: &StateDirectory, interrupted: &CancellationToken) -> anyhow::Result<i32> {
    let targets = &args.targets;
    let records = if args.all {
        let mut all = record::newest(state, |line| out::note(&format!("outrigger stop: {line}")))?;
        all.retain(|record| !record.has_ended());
        all
    } else if targets.names.is_empty() {
        bail!("nothing is named to be stopped; name pods, or --all for everything that runs");
    } else {
        record::find_all(state, targets)?.into_iter().map(Record::read).collect::<Result<_, _>>()?
    };
    let mut code = 0;
    let mut asked = Vec::new();
    for record in records {
        match ask_to_stop(&record, args.grace).await {
            Ok(true) => asked.push(record),
            Ok(false) => out::print(&format!("{} has ended already\n", record.label()))?,
            Err(error) => {
                out::note(&format!("outrigger stop: {}: {}", record.label(), record::chain(&*error)));
                code = 1;
            }
        }
    }
    for record in asked.iter().filter(|_| !args.no_wait) {
        tokio::select! {
            ended = wait_for_end(record.directory()) => ended?,
            () = interrupted.cancelled() => {
                out::note(&format!("outrigger stop: {} is still ending", record.label()));
                return Ok(crate::verdict::INTERRUPTED);
            }
        }
        out::print(&format!("{} stopped\n", record.label()))?;
    }
    Ok(code)
}

/// Asks a runner to stop; `false` where the pod or Job has ended.
pub async fn ask_to_stop(record: &Record, grace: Option<Duration>) -> anyhow::Result<bool> {
    if record.has_ended() {
        return Ok(false);
    }
    // Whole seconds on the wire, rounded up so that only 0s kills at once.
    let seconds = grace.map(|grace| grace.as_secs() + u64::from(grace.subsec_nanos() > 0));
    match record {
        Record::Pod(pod) => {
            client(pod).await?.stop(StopQuery { grace_seconds: seconds }).await?;
        }
        Record::Job(job) => {
            let lives = job.directory.life()? == RunnerLife::Alive;
            anyhow::ensure!(lives, "its runner does not live on this machine");
            job.directory.ask_to_stop(&StopFile { grace_seconds: seconds })?;
        }
    }
    Ok(true)
}

/// Waits until the runner of a run has ended or was killed: then its end is written down, or never will be, and its name is
/// free for another run.
pub async fn wait_for_end(directory: &RunDirectory) -> anyhow::Result<()> {
    let directory = directory.clone();
    Ok(tokio::task::spawn_blocking(move || directory.wait_for_runner()).await??)
}
