//! Tasks with names and an owner.
//!
//! A process is a few long-running tasks. [`Tasks`] starts them, and [`Tasks::finish`] waits for the first thing that ends
//! the process: the stop token, or a task that ended by itself, which is always a failure.
//!
//! ```text
//! start ──► running ──stop, or a task ends──► stopping ──all ended, or grace over──► finished
//! ```
//!
//! Short-lived work inside one of them (one task for each connection) belongs to [`Children`](crate::Children).
//! This crate's task modules are the only place that may spawn; the root's `clippy.toml` bans it elsewhere.
//!
//! What it does not do: it restarts nothing. A process whose task failed ends, and whoever started it starts it again.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use thiserror::Error;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error};

/// The name of a task, as it stands in logs and failures.
pub type TaskName = Cow<'static, str>;

/// The long-running tasks of a process. Dropping it aborts them all.
///
/// ```
/// # use std::time::Duration;
/// # use outrigger_runtime::{Readiness, TaskFailure, Tasks};
/// # use tokio_util::sync::CancellationToken;
/// async fn become_ready(readiness: Readiness, stop: CancellationToken) -> std::io::Result<()> {
///     let listening = readiness.condition("listening");
///     listening.met();
///     stop.cancelled().await;
///     Ok(())
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), TaskFailure> {
/// # let stop = CancellationToken::new();
/// let mut tasks = Tasks::new(stop.clone());
/// tasks.start("listen", become_ready(Readiness::new(), stop.clone()));
/// # stop.cancel();
/// tasks.finish(Duration::from_secs(10)).await
/// # }
/// ```
#[derive(Debug)]
pub struct Tasks {
    stop: CancellationToken,
    set: JoinSet<anyhow::Result<()>>,
    names: BTreeMap<Id, TaskName>,
}

/// Why [`Tasks::finish`] did not end well. The first failure is returned; later ones are logged.
#[derive(Debug, Error)]
pub enum TaskFailure {
    /// A task ended before it was asked to, without an error. Somebody counted on its work.
    #[error("task \"{task}\" ended though nothing asked it to")]
    EndedEarly {
        /// The task's name.
        task: TaskName,
    },
    /// A task returned an error, before or while stopping.
    #[error("task \"{task}\" failed")]
    Failed {
        /// The task's name.
        task: TaskName,
        /// What it returned.
        source: anyhow::Error,
    },
    /// A task panicked (only where panics unwind; the release profile aborts).
    #[error("task \"{task}\" panicked: {message}")]
    Panicked {
        /// The task's name.
        task: TaskName,
        /// The panic's text.
        message: String,
    },
    /// Tasks had not ended when the grace was over, and were aborted.
    #[error("{} had not ended {grace:?} after the stop and had to be aborted", quoted(.tasks))]
    Overran {
        /// Their names, in the order in which they were started.
        tasks: Vec<TaskName>,
        /// The grace they had.
        grace: Duration,
    },
}

impl Tasks {
    /// No tasks yet. `stop` is what ends them: [`Tasks::finish`] waits for it, and cancels it when a task ends early.
    pub fn new(stop: CancellationToken) -> Self {
        Self { stop, set: JoinSet::new(), names: BTreeMap::new() }
    }

    /// Starts a task that runs until the stop token is cancelled. Must be called within a tokio runtime.
    ///
    /// The task should watch a clone of the token and return `Ok` soon after it is cancelled.
    pub fn start<E>(&mut self, name: impl Into<TaskName>, task: impl Future<Output = Result<(), E>> + Send + 'static)
    where
        E: Into<anyhow::Error>,
    {
        let name = name.into();
        debug!(task = %name, "Task \"{name}\" starts");
        let handle = self.set.spawn(async { task.await.map_err(Into::into) });
        self.names.insert(handle.id(), name);
    }

    /// Waits for the stop token or for the first task to end, cancels the token, gives the tasks `grace` to end, and
    /// aborts those that overrun it.
    pub async fn finish(mut self, grace: Duration) -> Result<(), TaskFailure> {
        let stop = self.stop.clone();
        let mut first = tokio::select! {
            biased;
            () = stop.cancelled() => None,
            Some(ended) = self.set.join_next_with_id() => Some(self.early(ended)),
        };
        stop.cancel();

        let deadline = Instant::now() + grace;
        while let Ok(Some(ended)) = timeout_at(deadline, self.set.join_next_with_id()).await {
            if let Err(failure) = self.result(ended) {
                keep_first(&mut first, failure);
            }
        }
        if !self.names.is_empty() {
            let tasks = self.names.values().cloned().collect();
            keep_first(&mut first, TaskFailure::Overran { tasks, grace });
            self.set.shutdown().await;
        }
        first.map_or(Ok(()), Err)
    }

    /// The failure of a task that ended while nobody asked it to.
    fn early(&mut self, ended: Result<(Id, anyhow::Result<()>), JoinError>) -> TaskFailure {
        let id = ended.as_ref().map_or_else(JoinError::id, |(id, _)| *id);
        let name = self.name(id).clone();
        self.result(ended).err().unwrap_or(TaskFailure::EndedEarly { task: name })
    }

    /// What a task's end says, and strikes the task from the list.
    fn result(&mut self, ended: Result<(Id, anyhow::Result<()>), JoinError>) -> Result<(), TaskFailure> {
        let id = ended.as_ref().map_or_else(JoinError::id, |(id, _)| *id);
        let task = self.name(id).clone();
        self.names.remove(&id);
        match ended {
            Ok((_, Ok(()))) => {
                debug!(task = %task, "Task \"{task}\" has ended");
                Ok(())
            }
            Ok((_, Err(source))) => Err(TaskFailure::Failed { task, source }),
            Err(end) => Err(TaskFailure::Panicked { task, message: panic_text(end) }),
        }
    }

    fn name(&self, id: Id) -> &TaskName {
        self.names.get(&id).expect("every task of the set was named when it started")
    }
}

/// Keeps the first failure for the caller and logs the others, so that none is lost and none is told twice.
fn keep_first(first: &mut Option<TaskFailure>, failure: TaskFailure) {
    if first.is_none() {
        *first = Some(failure);
    } else {
        let failure = anyhow::Error::new(failure);
        error!("While stopping after a failure: {failure:#}");
    }
}

/// The text of the panic that ended a task.
pub(crate) fn panic_text(end: JoinError) -> String {
    match end.try_into_panic() {
        Ok(payload) => {
            let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
            text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "without a text".to_owned())
        }
        Err(end) => end.to_string(),
    }
}

/// `task "a"` or `tasks "a", "b"`.
pub(crate) fn quoted(tasks: &[TaskName]) -> String {
    let names: Vec<String> = tasks.iter().map(|task| format!("\"{task}\"")).collect();
    format!("task{} {}", if tasks.len() == 1 { "" } else { "s" }, names.join(", "))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::future::pending;
    use std::io;

    use super::*;

    const GRACE: Duration = Duration::from_secs(5);

    async fn until(stop: CancellationToken) -> Result<(), Infallible> {
        stop.cancelled().await;
        Ok(())
    }

    #[tokio::test]
    async fn a_stop_ends_all_tasks_well() {
        let stop = CancellationToken::new();
        let mut tasks = Tasks::new(stop.clone());
        tasks.start("first", until(stop.clone()));
        tasks.start(format!("second of {}", 2), until(stop.clone()));
        stop.cancel();
        tasks.finish(GRACE).await.unwrap();
    }

    #[tokio::test]
    async fn an_early_successful_end_is_a_failure_and_stops_the_others() {
        let stop = CancellationToken::new();
        let mut tasks = Tasks::new(stop.clone());
        tasks.start("patient", until(stop.clone()));
        tasks.start("hasty", async { Ok::<(), Infallible>(()) });
        let failure = tasks.finish(GRACE).await.unwrap_err();
        assert_eq!(failure.to_string(), "task \"hasty\" ended though nothing asked it to");
        assert!(stop.is_cancelled());
    }

    #[tokio::test]
    async fn the_first_error_is_returned_with_its_cause() {
        let stop = CancellationToken::new();
        let mut tasks = Tasks::new(stop.clone());
        tasks.start("watch", async { Err(io::Error::other("the watch broke")) });
        tasks.start("late", async move {
            stop.cancelled().await;
            Err(io::Error::other("could not say goodbye"))
        });
        let failure = anyhow::Error::new(tasks.finish(GRACE).await.unwrap_err());
        assert_eq!(format!("{failure:#}"), "task \"watch\" failed: the watch broke");
    }

    #[tokio::test]
    async fn an_error_while_stopping_is_a_failure() {
        let stop = CancellationToken::new();
        let mut tasks = Tasks::new(stop.clone());
        let token = stop.clone();
        tasks.start("store", async move {
            token.cancelled().await;
            Err(io::Error::other("the last write failed"))
        });
        stop.cancel();
        let failure = anyhow::Error::new(tasks.finish(GRACE).await.unwrap_err());
        assert_eq!(format!("{failure:#}"), "task \"store\" failed: the last write failed");
    }

    #[tokio::test]
    async fn a_panic_is_a_failure_with_the_tasks_name() {
        let mut tasks = Tasks::new(CancellationToken::new());
        tasks.start("shaky", async {
            assert!(std::hint::black_box(false), "the floor gave way");
            Ok::<(), Infallible>(())
        });
        let failure = tasks.finish(GRACE).await.unwrap_err();
        assert_eq!(failure.to_string(), "task \"shaky\" panicked: the floor gave way");
    }

    #[tokio::test(start_paused = true)]
    async fn tasks_that_overrun_their_grace_are_named_and_aborted() {
        let stop = CancellationToken::new();
        let mut tasks = Tasks::new(stop.clone());
        tasks.start("deaf", pending::<Result<(), Infallible>>());
        tasks.start("good", until(stop.clone()));
        tasks.start("dumb", pending::<Result<(), Infallible>>());
        stop.cancel();
        let begun = Instant::now();
        let failure = tasks.finish(GRACE).await.unwrap_err();
        assert_eq!(begun.elapsed(), GRACE);
        assert_eq!(
            failure.to_string(),
            "tasks \"deaf\", \"dumb\" had not ended 5s after the stop and had to be aborted"
        );
    }

    #[tokio::test]
    async fn without_tasks_it_waits_for_the_stop() {
        let stop = CancellationToken::new();
        let tasks = Tasks::new(stop.clone());
        let finish = tokio::time::timeout(Duration::from_millis(1), tasks.finish(GRACE)).await;
        assert!(finish.is_err(), "it ended though nothing asked it to");

        let tasks = Tasks::new(stop.clone());
        stop.cancel();
        tasks.finish(GRACE).await.unwrap();
    }
}
