//! One run of one container: started, drained, ended.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use outrigger_launcher::{BoxFuture, ContainerId, Output, StartError, StartRequest};
use outrigger_pod_core::life::{Event, Exit, Instance, StartProblem};
use outrigger_pod_directory::log::{self, Drained, LogSink, LogTrouble, termination_message};
use tokio::time::timeout;

use super::pod::{Happened, Live, Pod, Stand};
use super::resolve;
use super::{claim, in_words};

/// How long after a container's end its output may still come: only a process that is none of the container's can hold
/// the other end of its pipe by then.
const LATE_OUTPUT: Duration = Duration::from_secs(5);

/// Starts a container and stays with it to its end.
pub(super) async fn run(pod: Arc<Pod>, stand: Option<Arc<Stand>>, instance: Instance) {
    let request = match &stand {
        Some(stand) => request(&pod, stand, &instance),
        None => Err(config("the pod is not prepared".to_owned())),
    };
    drop(stand);
    let started = match request {
        Ok(request) => pod.launcher.start(request).await,
        Err(refused) => Err(refused),
    };
    match started {
        Ok(mut running) => {
            let live = Live::of(instance.clone(), &mut running);
            let log = begin_log(&pod, &instance, running.output).await;
            pod.tell(Happened::Runs(live)).await;
            end(&pod, instance, running.ended, log).await;
        }
        Err(StartError { problem, message, exit_code, id }) => {
            if let Some(code) = exit_code {
                pod.tell(Happened::NotExecuted(instance.clone(), code)).await;
            }
            let id = id.map(|id| pod.shown_id(&id.0));
            pod.tell(Event::StartFailed { instance, problem, message, id }).await;
        }
    }
}

/// Joins a container that an earlier process of ours started, and stays with it to its end.
pub(super) async fn adopt(pod: Arc<Pod>, instance: Instance, id: ContainerId) {
    match pod.launcher.adopt(&id).await {
        Ok(mut running) => {
            let live = Live::of(instance.clone(), &mut running);
            let log = begin_log(&pod, &instance, running.output).await;
            // The machine knows of it; this brings its stdin and its terminal.
            pod.tell(Happened::Runs(live)).await;
            end(&pod, instance, running.ended, log).await;
        }
        // It ended between the listing and now; how is not known.
        Err(error) => {
            tracing::warn!(container = %id, "A container that was listed cannot be joined: {error}");
            let exit = Exit { code: 137, signal: None, out_of_memory: false, started_at: None, finished_at: None };
            pod.tell(Event::Exited { instance, exit, message: String::new() }).await;
        }
    }
}

/// Waits for the end and the last of the output, then tells.
async fn end(pod: &Pod, instance: Instance, mut ended: BoxFuture<'static, Exit>, log: Log) {
    let exit = match log {
        Log::Kept => ended.await,
        Log::Drained(mut drained) => {
            let exit = ended.await;
            if timeout(LATE_OUTPUT, drained.done()).await.is_err() {
                drained.cut().await;
            }
            exit
        }
        Log::Messages(mut writing) => tokio::select! {
            biased;
            () = &mut writing => ended.await,
            exit = &mut ended => {
                let _ = timeout(LATE_OUTPUT, writing).await;
                exit
            }
        },
    };
    let message = message(pod, &instance, exit.code);
    pod.tell(Event::Exited { instance, exit, message }).await;
}

fn message(pod: &Pod, instance: &Instance, code: i32) -> String {
    let from_log = pod.plan.container(&instance.container).is_some_and(|container| container.message_from_logs);
    let (Ok(file), Ok(log)) = (pod.directory.message(instance), pod.directory.log(instance)) else {
        return String::new();
    };
    termination_message(&file, (from_log && code != 0).then_some(log.as_path()))
}

fn config(message: String) -> StartError {
    StartError::new(StartProblem::Config, message)
}

/// Everything the container starts with, computed at this moment as a kubelet does
/// (`pkg/kubelet/kubelet_pods.go`, `GenerateRunContainerOptions`).
fn request(pod: &Pod, stand: &Stand, instance: &Instance) -> Result<StartRequest, StartError> {
    let Some(container) = pod.plan.container(&instance.container) else {
        return Err(config(format!("the pod has no container {}", instance.container)));
    };
    let claim = stand.values.get(&container.name).cloned().unwrap_or_default();
    let environment = resolve::environment(pod, container, &stand.addresses, &claim);
    let environment = environment.map_err(|error| config(error.to_string()))?;
    let mounts = stand.volumes.mounts(container, |expression| resolve::sub_path(expression, &environment));
    let mounts = mounts.map_err(config)?;
    let message_file = pod.directory.make_message(instance).map_err(|error| config(format!("{error}")))?;
    Ok(StartRequest {
        plan: Arc::clone(&pod.plan),
        instance: instance.clone(),
        command: environment.expand_all(&container.command),
        args: environment.expand_all(&container.args),
        env: environment.variables.into_iter().collect(),
        working_dir: container.working_dir.clone(),
        mounts,
        message_file,
        claim,
        held: claim::descriptors(&stand.claims),
    })
}

/// A container's output on its way into its log.
enum Log {
    /// By pipes that the log thread drains.
    Drained(Drained),
    /// By messages, written as they come.
    Messages(BoxFuture<'static, ()>),
    /// Its engine keeps it.
    Kept,
}

/// Begins to write the container's log.
async fn begin_log(pod: &Pod, instance: &Instance, output: Output) -> Log {
    let path = match pod.directory.make_place_of_log(instance) {
        Ok(path) => path,
        Err(error) => {
            let message = format!("the log cannot be written; the container goes on: {}", in_words(error));
            let _ = pod.trouble.try_send(LogTrouble { instance: instance.clone(), message, over: false });
            PathBuf::from("/dev/null")
        }
    };
    let sink = |path| LogSink {
        instance: instance.clone(),
        path,
        rules: pod.options.log_rules,
        live: pod.live.clone(),
        written: pod.written.begin(instance),
        trouble: pod.trouble.clone(),
    };
    match output {
        Output::Pipes { stdout, stderr } => Log::Drained(pod.logs.drain(sink(path), stdout, stderr).await),
        Output::Messages(messages) => Log::Messages(Box::pin(log::write_messages(sink(path), messages))),
        Output::Kept(kept) => {
            if let Err(error) = std::os::unix::fs::symlink(&kept, &path) {
                tracing::debug!(path = %path.display(), "The engine's log keeps its old link: {error}");
            }
            Log::Kept
        }
    }
}
