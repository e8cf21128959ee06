//! The runtime of a command: one thread, and signals that stop it in order.

use outrigger_runtime::{Stop, stop_on_signals};

/// Runs a command's work on a runtime of its own; the first signal cancels the token of [`Stop`].
pub fn block_on<T>(work: impl AsyncFnOnce(&Stop) -> anyhow::Result<T>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let done = runtime.block_on(async {
        let stop = stop_on_signals()?;
        work(&stop).await
    });
    // A thread that reads a terminal may never come back.
    runtime.shutdown_background();
    done
}
