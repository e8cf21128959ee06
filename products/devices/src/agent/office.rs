//! The clerk's thread: where it is sent out from, and how long it has been out.
//!
//! What it does not do: it does not know what the clerk does there.

use std::future::pending;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::Context;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::clerk::{Clerk, Done};

/// What the clerk is sent out for.
type Errand = Box<dyn FnOnce(&mut Clerk) -> Done + Send>;

/// Where the clerk is sent out from: the thread on which it works. Dropping it ends the thread after the present errand,
/// which nobody waits for: a look at a dead disk may take for ever.
#[derive(Debug)]
pub struct Office {
    errands: std::sync::mpsc::Sender<Errand>,
    done: mpsc::Receiver<Done>,
    out: Option<Out>,
}

thread_local! {
    static ERRANDS: Arc<AtomicUsize> = Arc::default();
}

/// How many errands the clerks of this thread's agents are out for. Their threads are not the runtime's, so that a test with
/// a paused clock must let no time pass meanwhile.
pub fn errands() -> usize {
    ERRANDS.with(|errands| errands.load(Ordering::Relaxed))
}

/// After how long somebody is told that the clerk is still out.
pub const LATE: Duration = Duration::from_secs(10);

/// One errand, counted as long as it lasts.
#[derive(Debug)]
struct Out {
    errands: Arc<AtomicUsize>,
    since: Instant,
}

impl Out {
    fn begin() -> Self {
        let errands = ERRANDS.with(Arc::clone);
        errands.fetch_add(1, Ordering::Relaxed);
        Self { errands, since: Instant::now() }
    }
}

impl Drop for Out {
    fn drop(&mut self) {
        self.errands.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Office {
    /// Starts the thread.
    ///
    /// # Errors
    /// Where the machine has no room for one more.
    pub fn open(mut clerk: Clerk) -> io::Result<Self> {
        let (errands, received) = std::sync::mpsc::channel::<Errand>();
        let (back, done) = mpsc::channel(1);
        let work = move || {
            while let Ok(errand) = received.recv() {
                if back.blocking_send(errand(&mut clerk)).is_err() {
                    break; // The process is stopping.
                }
            }
        };
        thread::Builder::new().name("clerk".to_owned()).spawn(work)?;
        Ok(Self { errands, done, out: None })
    }

    /// Whether the clerk has nothing to do.
    pub fn is_in(&self) -> bool {
        self.out.is_none()
    }

    /// Sends it out; one errand at a time.
    pub fn send(&mut self, errand: impl FnOnce(&mut Clerk) -> Done + Send + 'static) {
        debug_assert!(self.is_in(), "one errand at a time");
        self.out = Some(Out::begin());
        // Where the thread has ended, `back` says so.
        let _ = self.errands.send(Box::new(errand));
    }

    /// When somebody is to be told that it is still out, where it is.
    pub fn late_at(&self) -> Option<Instant> {
        self.out.as_ref().map(|out| out.since + LATE)
    }

    /// Waits until it is back. Safe to drop and call again.
    pub async fn back(&mut self) -> anyhow::Result<Done> {
        if self.out.is_none() {
            return pending().await;
        }
        let done = self.done.recv().await.context("looking at the machine has failed")?;
        self.out = None;
        Ok(done)
    }
}
