//! `outrigger run --detach`: each errand in a process of its own, which is this executable started anew.
//!
//! ```text
//! run --detach ──errand, by a pipe──► detached-runner: own session ──► directory, socket, runner
//!       ▲                                                                   │
//!       └──────────── "under way" or nothing, by a pipe ────────────────────┘   then on, until the pod ends
//! ```
//!
//! Until a pod is under way its process tells faults at our standard error. What it logs stands in `runner.log` in the
//! directory of the pod or Job, as JSON, a line each; from when the pod is under way, whatever else it says too.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use anyhow::{Context, bail};
use outrigger_pod_runner::handle::{Handle, Snapshot};
use outrigger_runtime::{LogFilter, LogFormat, Stop, subscriber};
use outrigger_terminal::out;
use tokio::sync::{mpsc, watch};

use super::errand::{Errand, FORMAT, What};
use super::job;
use super::pod::{self, Tools};
use crate::record;
use crate::verdict::REFUSED;

/// What a process of ours says once its pod is under way.
const UNDER_WAY: &str = "under way\n";

/// Starts a process for each errand, and waits until each is under way; prints their names.
///
/// `variables` are those of `--env`: whose value was taken from this environment is not in that of the new process.
pub fn detach(errands: &[Errand], variables: &[String]) -> anyhow::Result<i32> {
    let mut code = 0;
    for errand in errands {
        match start(errand, variables) {
            Ok(true) => out::print(&format!("{}\n", name(&errand.what)))?,
            // It has said why.
            Ok(false) => code = REFUSED,
            Err(error) => {
                out::note(&format!("outrigger run: {}", errand.what.failure(&error)));
                code = REFUSED;
            }
        }
    }
    Ok(code)
}

/// As the other commands take it.
fn name(what: &What) -> String {
    match what {
        What::Pod(_) => what.name().to_owned(),
        What::Job(_) => format!("job/{}", what.name()),
    }
}

fn start(errand: &Errand, variables: &[String]) -> anyhow::Result<bool> {
    let text = serde_json::to_vec(errand)?;
    let mut command = Command::new("/proc/self/exe");
    for name in variables.iter().filter(|variable| !variable.contains('=')) {
        command.env_remove(name);
    }
    let mut child = command
        .arg0("outrigger")
        .arg("detached-runner")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("its process cannot be started")?;
    let mut stdin = child.stdin.take().context("the process has no standard input")?;
    // A process that ended early has said why; a pipe that broke is no more than that.
    let written = stdin.write_all(&text);
    drop(stdin);
    let mut said = String::new();
    child.stdout.take().context("the process has no standard output")?.read_to_string(&mut said)?;
    if said == UNDER_WAY {
        return Ok(true);
    }
    child.wait()?;
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error).context("its process took no errand"),
        _ => Ok(false),
    }
}

/// Reads the errand that [`detach`] hands over.
pub fn errand() -> anyhow::Result<Errand> {
    let mut text = Vec::new();
    io::stdin().lock().read_to_end(&mut text)?;
    let errand: Errand = serde_json::from_slice(&text)
        .ok()
        .context("this command is for `outrigger run --detach` alone, which hands it its work")?;
    if errand.format != FORMAT {
        bail!("the errand has format {}, and this release knows {FORMAT}", errand.format);
    }
    // Our own session: the terminal that started us may go.
    let _ = rustix::process::setsid();
    std::env::set_current_dir("/")?;
    Ok(errand)
}

/// Carries one errand out; the process is its own from when the pod is under way.
pub async fn carry_out(errand: Errand, tools: Tools, stop: &Stop) -> anyhow::Result<i32> {
    let Errand { format: _, what, beside, how } = errand;
    let stop = stop.token().clone();
    match &what {
        What::Pod(it) => {
            let begun = pod::begin(it, None, &beside, &how, &tools)?;
            let status = begun.handle.status.clone();
            let log = start_log(begun.handle.directory.path());
            tracing::info!(pod = %begun.handle.directory.name(), launcher = how.launcher.name(), "Running the pod");
            let ready = async move {
                under_way(status).await;
                leave(log.as_deref())
            };
            let (outcome, left) = tokio::join!(begun.finish(stop), ready);
            left?;
            let outcome = outcome?;
            tracing::info!(pod = %outcome.directory.name(), ending = ?outcome.ending, "The pod has ended");
        }
        What::Job(it) => {
            let begun = job::begin(it, &beside, &how, &tools)?;
            let name = begun.directory().name().to_string();
            let log = start_log(begun.directory().path());
            tracing::info!(job = %name, launcher = how.launcher.name(), "Running the job");
            let (tell, mut pods) = mpsc::channel(1);
            let ready = async move {
                if let Some(handle) = pods.recv().await {
                    let handle: Handle = handle;
                    under_way(handle.status).await;
                }
                let left = leave(log.as_deref());
                while pods.recv().await.is_some() {}
                left
            };
            let (outcome, left) = tokio::join!(begun.finish(tell, stop), ready);
            left?;
            tracing::info!(job = %name, ending = ?outcome?.ending, "The job has ended");
        }
    }
    Ok(0)
}

/// Waits until a container has begun, or there is something to know instead.
async fn under_way(mut status: watch::Receiver<Arc<Snapshot>>) {
    let told = |snapshot: &Arc<Snapshot>| {
        let statuses = [&snapshot.status.init_container_statuses, &snapshot.status.container_statuses];
        let states = statuses.into_iter().flatten().flatten().filter_map(|container| container.state.as_ref());
        let said = states.filter(|state| {
            let waiting = state.waiting.as_ref().and_then(|waiting| waiting.reason.as_deref());
            state.terminated.is_some() || waiting.is_some_and(|it| it != "PodInitializing" && it != "ContainerCreating")
        });
        !snapshot.running.is_empty() || snapshot.waiting.is_some() || snapshot.end.is_some() || said.count() > 0
    };
    // A sender that is gone is a runner that has ended: then there is nothing to wait for.
    let _ = status.wait_for(told).await;
}

/// Starts the log of this process. Where it cannot be written, the pod runs without.
fn start_log(directory: &Path) -> Option<Arc<File>> {
    let path = directory.join("runner.log");
    let file = match File::options().append(true).create(true).mode(0o600).open(&path) {
        Ok(file) => Arc::new(file),
        Err(error) => {
            out::note(&format!("outrigger: {} cannot be written: {}", path.display(), record::chain(&error)));
            return None;
        }
    };
    let (subscriber, _) = subscriber(LogFilter::default(), LogFormat::Json, Arc::clone(&file));
    // A process that logs already goes on as it does.
    let _ = tracing::subscriber::set_global_default(subscriber);
    Some(file)
}

/// Tells that all is well, and lets go of everything that was the user's.
fn leave(log: Option<&File>) -> anyhow::Result<()> {
    io::stdout().write_all(UNDER_WAY.as_bytes())?;
    io::stdout().flush()?;
    let nothing = OpenOptions::new().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdin(&nothing)?;
    rustix::stdio::dup2_stderr(log.unwrap_or(&nothing))?;
    Ok(rustix::stdio::dup2_stdout(&nothing)?)
}
