//! What a container writes, run after run, read from its log files: a reader that is slow slows nobody.

use std::sync::Arc;

use k8s_openapi::api::core::v1::ContainerStatus;
use outrigger_pod_core::life::Instance;
use outrigger_pod_core::plan::ContainerName;
use outrigger_pod_directory::log::read::{LogReader, ReadOptions};
use outrigger_pod_runner::handle::{Handle, Snapshot};
use tokio::sync::{mpsc, watch};

use super::state::containers;
use super::watch::Event;

/// Sends all lines of all runs of one container, until the pod has ended or nobody listens. `source` names it.
pub async fn follow(
    handle: Handle,
    container: ContainerName,
    source: usize,
    events: mpsc::Sender<Event>,
) -> anyhow::Result<()> {
    let mut status = handle.status.clone();
    let mut attempt = 0;
    while has_run(&mut status, &container, attempt).await {
        let run = Instance { container: container.clone(), attempt };
        let log = handle.directory.log(&run)?;
        let changes = handle.written.changes(&run, &log);
        let mut reader = LogReader::following(&log, ReadOptions::default(), changes, over(status.clone(), run));
        while let Some(some) = reader.next().await? {
            if events.send(Event::Lines(source, some)).await.is_err() {
                return Ok(());
            }
        }
        attempt += 1;
    }
    Ok(())
}

/// Waits until this run of the container has begun; `false` where it never will.
async fn has_run(status: &mut watch::Receiver<Arc<Snapshot>>, container: &ContainerName, attempt: u32) -> bool {
    let begun = |snapshot: &Snapshot| newest_run(snapshot, container).is_some_and(|newest| newest >= attempt);
    let seen = status.wait_for(|snapshot| begun(snapshot) || snapshot.end.is_some()).await.map(|seen| begun(&seen));
    seen.unwrap_or_else(|_| begun(&status.borrow()))
}

/// The newest run of a container that has begun.
fn newest_run(snapshot: &Snapshot, container: &ContainerName) -> Option<u32> {
    let lives = snapshot.running.keys().filter(|run| run.container == *container).map(|run| run.attempt).max();
    let told = containers(&snapshot.status).find(|one| one.name == container.0).filter(|one| has_begun(one));
    lives.max(told.and_then(|one| u32::try_from(one.restart_count).ok()))
}

fn has_begun(status: &ContainerStatus) -> bool {
    let begun = [&status.state, &status.last_state]
        .map(|state| state.as_ref().is_some_and(|state| state.running.is_some() || state.terminated.is_some()));
    begun.contains(&true)
}

/// Resolves when this run is over, or the runner has ended.
fn over(mut status: watch::Receiver<Arc<Snapshot>>, run: Instance) -> outrigger_launcher::BoxFuture<'static, ()> {
    Box::pin(async move {
        let _ = status.wait_for(|snapshot| !snapshot.running.contains_key(&run)).await;
    })
}
