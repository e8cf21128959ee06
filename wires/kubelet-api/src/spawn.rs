//! The tasks of one connection: hyper starts one for each call, and all of them end with the connection.
//!
//! What it does not do: it names no task and reports no failure. A call's failure is the call's answer.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::task::JoinSet;

/// Owns the tasks of a connection. Dropping it aborts them.
#[derive(Debug, Default)]
pub(crate) struct Owner(Arc<Mutex<JoinSet<()>>>);

/// Starts tasks for hyper, as long as their owner lives.
#[derive(Clone, Debug)]
pub(crate) struct Spawner(Weak<Mutex<JoinSet<()>>>);

impl Owner {
    /// What hyper is given. It does not keep the tasks alive: a task may hold it.
    pub(crate) fn spawner(&self) -> Spawner {
        Spawner(Arc::downgrade(&self.0))
    }
}

impl<F> hyper::rt::Executor<F> for Spawner
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, task: F) {
        let Some(tasks) = self.0.upgrade() else {
            return; // The connection has ended, and with it the call.
        };
        let mut tasks = tasks.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(async move {
            task.await;
        });
    }
}
