//! Tells the view what happens to a pod: one task for its status, notes and usage, one for the log of each container.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use outrigger_launcher::Usage;
use outrigger_pod_core::plan::ContainerName;
use outrigger_pod_directory::log::read::Line;
use outrigger_pod_runner::handle::{Handle, Request, Snapshot, TimedNote};
use outrigger_runtime::Children;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::follow::follow;

/// How often CPU and memory are asked for.
const USAGE_PERIOD: Duration = Duration::from_secs(1);

/// What the view is told.
#[derive(Debug)]
pub enum Event {
    /// A pod begins.
    Pod(Handle),
    /// A pod's status is now this.
    Status(usize, Arc<Snapshot>),
    /// A pod's event, as a kubelet would record it.
    Note(usize, TimedNote),
    /// What its containers use.
    Usage(usize, Instant, BTreeMap<ContainerName, Usage>),
    /// A container wrote this; the number is that of its source.
    Lines(usize, Vec<Line>),
    /// Something to say to the user.
    Say(String),
    /// Something went wrong that the user must know.
    Fault(String),
}

/// A pod that is watched.
#[derive(Debug)]
pub struct Watched {
    /// Its handle.
    pub handle: Handle,
    /// Its number in what the view is told.
    pub pod: usize,
    /// The number of its first container's log; those of the others follow.
    pub first_source: usize,
    /// Whether the view shows what its containers use.
    pub usage: bool,
}

/// Starts the tasks that tell of a pod.
pub fn start(tasks: &mut Children, watched: &Watched, events: &mpsc::Sender<Event>) -> anyhow::Result<()> {
    let Watched { handle, pod, first_source, usage } = watched;
    tasks.start("status", watch(handle.clone(), *pod, *usage, events.clone()))?;
    for (place, container) in handle.plan.containers.iter().enumerate() {
        let reading = follow(handle.clone(), container.name.clone(), first_source + place, events.clone());
        tasks.start(format!("log of {}", container.name), reading)?;
    }
    Ok(())
}

async fn watch(handle: Handle, pod: usize, usage: bool, events: mpsc::Sender<Event>) -> anyhow::Result<()> {
    let Handle { mut status, notes, requests, .. } = handle;
    let mut notes = notes.subscribe();
    let mut ticks = interval(USAGE_PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    status.mark_changed();
    loop {
        let event = tokio::select! {
            biased;
            note = note(&mut notes) => match note {
                Some(note) => Event::Note(pod, note),
                None => continue,
            },
            changed = status.changed() => match changed {
                Ok(()) => Event::Status(pod, status.borrow_and_update().clone()),
                Err(_) => return Ok(()),
            },
            at = ticks.tick(), if usage => {
                let (reply, answer) = oneshot::channel();
                if requests.try_send(Request::Usage { reply }).is_err() {
                    continue;
                }
                match answer.await {
                    Ok(used) => Event::Usage(pod, at, used),
                    Err(_) => continue,
                }
            }
        };
        let over = matches!(&event, Event::Status(_, snapshot) if snapshot.end.is_some());
        if events.send(event).await.is_err() || over {
            return Ok(());
        }
    }
}

/// The next note; `None` where some were missed: they stand in the pod's status file. Waits for ever when there are no more.
async fn note(notes: &mut broadcast::Receiver<TimedNote>) -> Option<TimedNote> {
    match notes.recv().await {
        Ok(note) => Some(note),
        Err(RecvError::Lagged(_)) => None,
        Err(RecvError::Closed) => std::future::pending().await,
    }
}
