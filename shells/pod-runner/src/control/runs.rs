//! Which run of a container a request is about, and when that run is over.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{ContainerState, ContainerStatus, PodStatus};
use outrigger_launcher::BoxFuture;
use outrigger_pod_core::life::Instance;
use outrigger_pod_core::plan::ContainerName;
use outrigger_pod_directory::log::read::latest_attempt;
use tokio::sync::watch;

use super::protocol::{Refusal, RefusalCode};
use crate::handle::{Handle, Snapshot};

/// The container of this name.
pub(super) fn container(handle: &Handle, name: &str) -> Result<ContainerName, Refusal> {
    let name = ContainerName(name.to_owned());
    if handle.plan.container(&name).is_some() {
        return Ok(name);
    }
    let known: Vec<&str> = handle.plan.containers.iter().map(|container| container.name.0.as_str()).collect();
    let message = format!("the pod has no container {:?}; it has {}", name.0, known.join(", "));
    Err(Refusal { code: RefusalCode::NotFound, message })
}

/// The run whose log is wanted: the one that lives, else the last one; with `previous` the one before.
pub(super) fn logged(handle: &Handle, name: &str, previous: bool) -> Result<Instance, Refusal> {
    let container = container(handle, name)?;
    let lives = handle.status.borrow().running.keys().find(|run| run.container == container).map(|run| run.attempt);
    let newest = match lives {
        Some(attempt) => Some(attempt),
        None => handle.directory.logs(name).ok().and_then(|directory| latest_attempt(&directory).ok().flatten()),
    };
    let Some(newest) = newest else {
        let snapshot = handle.status.borrow().clone();
        let message = format!("container {name:?} has not run yet: {}", state(&snapshot.status, name));
        return Err(Refusal { code: RefusalCode::NotRunning, message });
    };
    let attempt = if previous { newest.checked_sub(1) } else { Some(newest) };
    let none = || Refusal {
        code: RefusalCode::NotFound,
        message: format!("container {name:?} has no previous log: it has not been restarted"),
    };
    Ok(Instance { container, attempt: attempt.ok_or_else(none)? })
}

/// Resolves when this run is over, or the runner has ended.
pub(super) fn over(mut status: watch::Receiver<Arc<Snapshot>>, run: Instance) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        // A sender that is gone is a runner that has ended, and its containers with it.
        let _ = status.wait_for(|snapshot| !snapshot.running.contains_key(&run)).await;
    })
}

/// Resolves when this run is over, with its exit code where the status tells it.
pub(super) fn exit(mut status: watch::Receiver<Arc<Snapshot>>, run: Instance) -> BoxFuture<'static, Option<i32>> {
    Box::pin(async move {
        let is_over = |snapshot: &Arc<Snapshot>| !snapshot.running.contains_key(&run);
        let last = match status.wait_for(is_over).await {
            Ok(snapshot) => Some(Arc::clone(&snapshot)),
            Err(_) => None,
        };
        exit_code(&last.unwrap_or_else(|| status.borrow().clone()).status, &run)
    })
}

/// The exit code that a status gives for a run: its state while it is the last run, its last state after a restart.
fn exit_code(status: &PodStatus, run: &Instance) -> Option<i32> {
    let container = statuses(status).find(|container| container.name == run.container.0)?;
    let is = |state: Option<&ContainerState>| state?.terminated.as_ref().map(|terminated| terminated.exit_code);
    let runs = u32::try_from(container.restart_count).ok()?;
    if runs == run.attempt {
        is(container.state.as_ref()).or_else(|| is(container.last_state.as_ref()))
    } else if runs == run.attempt + 1 {
        is(container.last_state.as_ref())
    } else {
        None
    }
}

/// A container's state in words.
fn state(status: &PodStatus, name: &str) -> String {
    let container = statuses(status).find(|container| container.name == name);
    let waiting = container.and_then(|container| container.state.as_ref()?.waiting.as_ref());
    let reason = waiting.and_then(|waiting| waiting.reason.clone()).unwrap_or_else(|| "waiting".to_owned());
    match waiting.and_then(|waiting| waiting.message.as_deref()) {
        Some(message) => format!("{reason}: {message}"),
        None => reason,
    }
}

fn statuses(status: &PodStatus) -> impl Iterator<Item = &ContainerStatus> {
    [&status.init_container_statuses, &status.container_statuses].into_iter().flatten().flatten()
}
