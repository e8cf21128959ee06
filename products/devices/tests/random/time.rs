//! Time that stands still until the test lets it pass.
//!
//! Everything of a run, agents, kubelet and test, is on one thread with tokio's paused clock, which goes on to the next timer
//! whenever there is nothing to do. It does so also while bytes wait in a socket, so that a second could pass in the middle
//! of a call. Therefore the test always sleeps for a millisecond: no step of a call takes longer than that. An agent's clerk
//! looks and decides on another thread, and the test waits for it after each sleep.

use std::future::Future;
use std::time::Duration;

use outrigger_devices::agent::errands;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep};

/// One step of a call takes no longer.
const TICK: Duration = Duration::from_millis(1);

/// Steps that a call may take until time passes faster again.
const CALL: u32 = 12;

/// How fast time passes then.
const STRIDE: Duration = Duration::from_secs(1);

/// How long a call may take.
const PATIENCE: u32 = 30_000;

/// Lets time pass, and looks after each bit of it.
pub async fn pass(time: Duration, mut look: impl FnMut() -> Result<(), String>) -> Result<(), String> {
    let end = Instant::now() + time;
    while Instant::now() < end {
        for _ in 0..CALL {
            bit(TICK).await;
            look()?;
        }
        let left = end.saturating_duration_since(Instant::now());
        bit(left.min(STRIDE)).await;
        look()?;
    }
    Ok(())
}

/// Lets time pass slowly, for something that only now begins.
pub async fn ticks(count: u32) {
    for _ in 0..count {
        bit(TICK).await;
    }
}

/// Sleeps, and waits for the clerks: as long as there is something to do, no time passes.
async fn bit(time: Duration) {
    sleep(time).await;
    while errands() > 0 {
        std::thread::yield_now();
        yield_now().await;
    }
}

/// Awaits a call; none where it takes for ever.
pub async fn called<T>(call: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        answer = call => Some(answer),
        () = ticks(PATIENCE) => None,
    }
}
