//! Short-lived tasks inside a long-running one, for example one for each connection.
//!
//! The owner asks for [`Children::room`] before it takes on work, starts a child for it, and waits for all children with
//! [`Children::finish`] when it stops. The failure of one child is not its owner's: it is logged with the child's name.
//!
//! What it does not do: it stops no child by itself before `finish`'s grace is over; a child watches the stop token.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use thiserror::Error;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, timeout_at};
use tracing::{error, warn};

use crate::tasks::{TaskName, panic_text, quoted};

/// At most `limit` tasks at a time, owned by one long-running task. Dropping it aborts them.
#[derive(Debug)]
pub struct Children {
    limit: usize,
    set: JoinSet<()>,
    names: BTreeMap<Id, TaskName>,
}

/// [`Children::start`] was called while as many children as allowed are running. The work was not begun.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("\"{name}\" was not started: {limit} such tasks are running, the most allowed at a time")]
pub struct NoRoom {
    /// The name of the child that was refused.
    pub name: TaskName,
    /// The most children at a time.
    pub limit: usize,
}

/// Children had not ended when the grace was over, and were aborted.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("{} had not ended after {grace:?} and had to be aborted", quoted(.names))]
pub struct ChildrenOverran {
    /// Their names, in the order in which they were started.
    pub names: Vec<TaskName>,
    /// The grace they had.
    pub grace: Duration,
}

impl Children {
    /// No children yet, and never more than `limit` at a time.
    pub fn new(limit: usize) -> Self {
        Self { limit, set: JoinSet::new(), names: BTreeMap::new() }
    }

    /// Starts a child, or refuses it at the limit. Must be called within a tokio runtime.
    ///
    /// An owner that would rather wait than refuse awaits [`Children::room`] first.
    pub fn start<E>(
        &mut self,
        name: impl Into<TaskName>,
        task: impl Future<Output = Result<(), E>> + Send + 'static,
    ) -> Result<(), NoRoom>
    where
        E: Into<anyhow::Error>,
    {
        self.strike_ended();
        let name = name.into();
        if self.set.len() >= self.limit {
            return Err(NoRoom { name, limit: self.limit });
        }
        let told = name.clone();
        let handle = self.set.spawn(async move {
            if let Err(failure) = task.await.map_err(Into::into) {
                warn!(task = %told, "\"{told}\" failed: {failure:#}");
            }
        });
        self.names.insert(handle.id(), name);
        Ok(())
    }

    /// Waits until one more child may be started. Cancelling it loses nothing, so it may stand in a `select!`.
    pub async fn room(&mut self) {
        self.strike_ended();
        while self.set.len() >= self.limit
            && let Some(ended) = self.set.join_next_with_id().await
        {
            self.strike(ended);
        }
    }

    /// Waits until no child is running. Cancelling it loses nothing, so it may stand in a `select!`.
    pub async fn all_ended(&mut self) {
        while let Some(ended) = self.set.join_next_with_id().await {
            self.strike(ended);
        }
    }

    /// How many children are running.
    pub fn len(&mut self) -> usize {
        self.strike_ended();
        self.set.len()
    }

    /// Whether no child is running.
    pub fn is_empty(&mut self) -> bool {
        self.len() == 0
    }

    /// Waits for all children, at most `grace`, and aborts those that overrun it.
    pub async fn finish(mut self, grace: Duration) -> Result<(), ChildrenOverran> {
        let deadline = Instant::now() + grace;
        while let Ok(Some(ended)) = timeout_at(deadline, self.set.join_next_with_id()).await {
            self.strike(ended);
        }
        if self.names.is_empty() {
            return Ok(());
        }
        let names = self.names.values().cloned().collect();
        self.set.shutdown().await;
        Err(ChildrenOverran { names, grace })
    }

    fn strike_ended(&mut self) {
        while let Some(ended) = self.set.try_join_next_with_id() {
            self.strike(ended);
        }
    }

    /// Strikes an ended child from the list. Its error has been logged by itself; a panic is told here.
    fn strike(&mut self, ended: Result<(Id, ()), JoinError>) {
        let id = ended.as_ref().map_or_else(JoinError::id, |(id, ())| *id);
        let name = self.names.remove(&id).unwrap_or_default();
        if let Err(end) = ended {
            error!(task = %name, "\"{name}\" panicked: {}", panic_text(end));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::future::pending;
    use std::io;

    use tokio::sync::oneshot;

    use super::*;

    const GRACE: Duration = Duration::from_secs(5);

    #[tokio::test]
    async fn a_child_beyond_the_limit_is_refused_and_there_is_room_when_one_has_ended() {
        let mut children = Children::new(1);
        let (end, ended) = oneshot::channel::<()>();
        children.start("first", ended).unwrap();
        let refusal = children.start("second", async { Ok::<(), Infallible>(()) }).unwrap_err();
        assert_eq!(
            refusal.to_string(),
            "\"second\" was not started: 1 such tasks are running, the most allowed at a time"
        );

        end.send(()).unwrap();
        children.room().await;
        children.start("third", async { Ok::<(), Infallible>(()) }).unwrap();
        children.finish(GRACE).await.unwrap();
    }

    #[tokio::test]
    async fn a_failing_or_panicking_child_does_not_harm_its_owner() {
        let mut children = Children::new(2);
        children.start("failing", async { Err(io::Error::other("gone")) }).unwrap();
        children
            .start("panicking", async {
                assert!(std::hint::black_box(false), "oh");
                Ok::<(), Infallible>(())
            })
            .unwrap();
        children.room().await;
        children.finish(GRACE).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn children_that_overrun_are_named_and_aborted() {
        let mut children = Children::new(3);
        children.start("quick", async { Ok::<(), Infallible>(()) }).unwrap();
        children.start("slow", pending::<Result<(), Infallible>>()).unwrap();
        let overran = children.finish(GRACE).await.unwrap_err();
        assert_eq!(overran.to_string(), "task \"slow\" had not ended after 5s and had to be aborted");
    }

    #[tokio::test]
    async fn the_count_forgets_those_that_ended() {
        let mut children = Children::new(3);
        assert!(children.is_empty());
        children.start("quick", async { Ok::<(), Infallible>(()) }).unwrap();
        while !children.is_empty() {
            tokio::task::yield_now().await;
        }
        assert_eq!(children.len(), 0);
    }
}
